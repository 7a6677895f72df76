// SPDX-License-Identifier: BSD-3-Clause
// Sums of squares by units, rows and columns of tensors, and what follows from them: adaptive clipping, max_norm, the
// directions of Adafactor and SM3.
#include "tensors.h"

namespace brazen::cuda::tensors {

struct UnitPass {
  StepPass step;
  Maps map;  // what is summed, and with it what follows
};

// The sum of squares of one unit's terms by a warp, which all lanes get.
template <class T, class Term>
__device__ __forceinline__ double unit_squares(int64_t length, double* stack, int lane, const Term& term) {
  int64_t chunk = 0;
#pragma unroll 1
  for (int64_t first = 0; first < length; first += kChunkRows, ++chunk) {
    const int64_t left = length - first, n = left < kChunkRows ? left : kChunkRows;
    T lanes = 0;
#pragma unroll 1
    for (int64_t row = lane; row < n; row += kLanes) {
      const T x = term(first + row);
      lanes += x * x;
    }
    double sum = static_cast<double>(add_lanes(lanes));
    if (lane != 0) continue;
    int level = 0;
#pragma unroll 1
    for (; chunk >> level & 1; ++level) sum = stack[level] + sum;
    stack[level] = sum;
  }
  double sum = 0.0;
  bool any = false;
#pragma unroll 1
  for (int level = 0; lane == 0 && chunk >> level; ++level) {
    if (!(chunk >> level & 1)) continue;
    sum = any ? stack[level] + sum : stack[level];
    any = true;
  }
  return add_lanes(sum);  // the others' zeros: a broadcast
}

template <class T>
__device__ __forceinline__ void run_unit(const UnitPass& pass, int64_t number, int64_t unit, double* stack) {
  const List& list = pass.step.list;
  const TensorEntry& tensor = list.tensors[number];
  const GroupStep& group = list.groups[tensor.group];
  const UnitMap map = list.maps[pass.map][number];
  const int lane = threadIdx.x % kLanes;
  const int64_t base = unit / map.per * map.jump + unit % map.per * map.step;
  const auto place = [&](int64_t r) {
    return base + (map.inner == 1 ? r * map.stride : r / map.inner * map.stride + r % map.inner);
  };
  if (pass.map == kRowMap || pass.map == kColumnMap) {
    const T* directions = reinterpret_cast<const T*>(tensor.data[kFirstState]);
    const double sum = unit_squares<T>(map.length, stack, lane, [&](int64_t r) { return directions[place(r)]; });
    if (lane != 0) return;
    T* average = static_cast<T*>(list.axes[number].data[pass.map == kColumnMap]) + unit;
    const Adafactor<T>& rule = *reinterpret_cast<const Adafactor<T>*>(group.coefficients[sizeof(T) == 8]);
    *average = rule.blend(*average, T(sum / static_cast<double>(map.length)));
    return;
  }
  const auto param = [&](int64_t r) { return read<T>(tensor.data[kParam], tensor.dtype(kParam), place(r)); };
  const double weights = unit_squares<T>(map.length, stack, lane, param);
  if (pass.map == kClipMap) {
    const double scale = group.clips != 0 ? list.state->clipped_scale : list.state->plain_scale;
    const Preparation<T> bounds = Preparation<T>::make(scale, group.clip_value, 0, 0);
    const double grads = unit_squares<T>(map.length, stack, lane, [&](int64_t r) {
      return bounds.held(read<T>(list.grads[number], tensor.dtype(kGrad), place(r)));
    });
    if (lane == 0)
      list.unit_factors[list.first_units[pass.map][number] + unit] =
          unit_clip(group.agc, group.agc_eps, grads, weights);
    return;
  }
  const T factor = T(unit_limit(group.max_norm, weights));
  if (factor == 1) return;
#pragma unroll 1
  for (int64_t r = lane; r < map.length; r += kLanes)
    write(tensor.data[kParam], tensor.dtype(kParam), place(r), param(r) * factor);
}

// A warp for each unit.
__global__ void __launch_bounds__(kThreads, 3) units(const __grid_constant__ UnitPass pass) {
  __shared__ double stacks[kWarps][kLevels];
  const List& list = pass.step.list;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (work >= list.unit_counts[pass.map] || list.state->skipped) return;
  const int64_t number = owner(list.first_units[pass.map], list.tensor_count, work);
  const TensorEntry& tensor = list.tensors[number];
  const GroupStep& group = list.groups[tensor.group];
  if (pass.map == kClipMap && group.agc == 0) return;
  if (pass.map == kLimitMap && group.max_norm == 0) return;
  const int64_t unit = work - list.first_units[pass.map][number];
  double* stack = stacks[threadIdx.x / kLanes];
  if (tensor.is_double())
    run_unit<double>(pass, number, unit, stack);
  else
    run_unit<float>(pass, number, unit, stack);
}

template <class T>
__device__ __forceinline__ void load_direction(const StepPass& pass, const Place& place) {
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  const Gradients<T> gradients(pass, place.tensor);
  T weights = 0;
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += kLanes) {
    const int64_t index = place.begin + row;
    const T param = read<T>(tensor.data[kParam], tensor.dtype(kParam), index);
    reinterpret_cast<T*>(tensor.data[kFirstState])[index] =
        gradients.prepared(pass, place.tensor, gradients.load(index), param, index);
    weights += param * param;
  }
  weights = add_lanes(weights);
  if (place.lane == 0) pass.list.partials[kFirstPartials][place.chunk] = static_cast<double>(weights);
}

// Adafactor's directions begin as the gradients its rule sees.
__global__ void __launch_bounds__(kThreads, 3) load_directions(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  if (pass.list.tensors[place.tensor].is_double())
    load_direction<double>(pass, place);
  else
    load_direction<float>(pass, place);
}

template <class T>
__device__ __forceinline__ double mean_of_rows(const Axes& axes, int64_t matrix, double* stack, int lane) {
  const int64_t rows = axes.extents[axes.count - 2];
  const T* averages = static_cast<const T*>(axes.data[0]) + matrix * rows;
  const auto read_row = [&](int64_t i) { return static_cast<double>(averages[i]); };
  return fold<kLanes>(read_row, rows, stack, nullptr, lane) / static_cast<double>(rows);
}

// A warp for each matrix: the mean of its rows' averages.
__global__ void __launch_bounds__(kThreads) row_means(const __grid_constant__ StepPass pass) {
  __shared__ double stacks[kWarps][kLevels];
  const List& list = pass.list;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (work >= list.matrix_count || list.state->skipped) return;
  const int64_t number = owner(list.first_matrices, list.tensor_count, work);
  const int lane = threadIdx.x % kLanes;
  const int64_t matrix = work - list.first_matrices[number];
  double* stack = stacks[threadIdx.x / kLanes];
  const double mean = list.tensors[number].is_double() ? mean_of_rows<double>(list.axes[number], matrix, stack, lane)
                                                       : mean_of_rows<float>(list.axes[number], matrix, stack, lane);
  if (lane == 0) list.matrix_means[work] = mean;
}

template <class T>
__device__ __forceinline__ void direct(const StepPass& pass, const Place& place) {
  const List& list = pass.list;
  const TensorEntry& tensor = list.tensors[place.tensor];
  const Adafactor<T> rule =
      *reinterpret_cast<const Adafactor<T>*>(list.groups[tensor.group].coefficients[sizeof(T) == 8]);
  const Axes& axes = list.axes[place.tensor];
  const bool is_vector = axes.count < 2;
  const int64_t columns = is_vector ? 1 : axes.extents[axes.count - 1];
  const int64_t rows = is_vector ? 1 : axes.extents[axes.count - 2];
  T* directions = reinterpret_cast<T*>(tensor.data[kFirstState]);
  T *by_row = static_cast<T*>(axes.data[0]), *by_column = static_cast<T*>(axes.data[1]);
  T sum = 0;
#pragma unroll 1
  for (int step = place.lane; step < place.n; step += kLanes) {
    const int64_t index = place.begin + step;
    T direction = directions[index];
    if (is_vector) {
      const T variance = rule.blend(by_row[index], direction * direction);
      by_row[index] = variance;
      direction = rule.direction(direction, variance);
    } else {
      const int64_t row = index / columns, matrix = row / rows;
      const double mean = list.matrix_means[list.first_matrices[place.tensor] + matrix];
      direction =
          rule.direction(direction, rule.row_scale(by_row[row], mean) * by_column[matrix * columns + index % columns]);
    }
    directions[index] = direction;
    sum += direction * direction;
  }
  sum = add_lanes(sum);
  if (place.lane == 0) list.partials[kSecondPartials][place.chunk] = static_cast<double>(sum);
}

__global__ void __launch_bounds__(kThreads, 3) adafactor_directions(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  if (pass.list.tensors[place.tensor].is_double())
    direct<double>(pass, place);
  else
    direct<float>(pass, place);
}

// Sums of squares: their bits are ordered as they are, and a NaN's are above them all.
__device__ __forceinline__ void raise(unsigned long long* slot, float value) {
  atomicMax(reinterpret_cast<unsigned*>(slot), math::bits(value));
}
__device__ __forceinline__ void raise(unsigned long long* slot, double value) {
  atomicMax(slot, static_cast<unsigned long long>(math::bits(value)));
}

template <class T>
__device__ __forceinline__ T largest_lane(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    value = math::maximum(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// Momentum takes the direction, and every axis the maximum of what it covers. Where a warp's elements share an index,
// one of them writes it.
template <class T>
__device__ __forceinline__ void accumulate(const StepPass& pass, const Place& place) {
  const List& list = pass.list;
  const TensorEntry& tensor = list.tensors[place.tensor];
  const Gradients<T> gradients(pass, place.tensor);
  const Sm3<T> rule = *reinterpret_cast<const Sm3<T>*>(list.groups[tensor.group].coefficients[sizeof(T) == 8]);
  const Axes& axes = list.axes[place.tensor];
  T* momentum = reinterpret_cast<T*>(tensor.data[kFirstState]);
  unsigned long long* maxima = list.maxima + list.first_maxima[place.tensor];
#pragma unroll 1
  for (int row = 0; row < place.n; row += kLanes) {
    const bool inside = row + place.lane < place.n;
    const int64_t first = place.begin + row, index = first + (inside ? place.lane : 0);
    const T param = read<T>(tensor.data[kParam], tensor.dtype(kParam), index);
    const T grad = gradients.prepared(pass, place.tensor, gradients.load(index), param, index);
    T bound = T(__builtin_inf());
    int64_t rest = index;
#pragma unroll 1
    for (int axis = axes.count - 1; axis >= 0; --axis) {
      const int64_t outer = rest / axes.extents[axis];
      bound = math::minimum(bound, static_cast<const T*>(axes.data[axis])[rest - outer * axes.extents[axis]]);
      rest = outer;
    }
    const T variance = rule.variance(bound, grad);
    if (inside) momentum[index] = rule.direction(momentum[index], grad, variance);
    int64_t slot = 0, low = first, high = first + kLanes - 1;
    rest = index;
#pragma unroll 1
    for (int axis = 0; axis < axes.count; ++axis) slot += axes.extents[axis];
#pragma unroll 1
    for (int axis = axes.count - 1; axis >= 0; --axis) {
      const int64_t extent = axes.extents[axis], outer = rest / extent;
      slot -= extent;
      if (low == high) {
        const T largest = largest_lane(inside ? variance : T(0));
        if (place.lane == 0) raise(maxima + slot + rest - outer * extent, largest);
      } else if (inside) {
        raise(maxima + slot + rest - outer * extent, variance);
      }
      rest = outer, low /= extent, high /= extent;
    }
  }
}

__global__ void __launch_bounds__(kThreads, 3) sm3_accumulate(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  if (pass.list.tensors[place.tensor].is_double())
    accumulate<double>(pass, place);
  else
    accumulate<float>(pass, place);
}

// The new maxima replace the old, and are cleared for the next step.
__global__ void __launch_bounds__(kThreads) sm3_replace(const __grid_constant__ StepPass pass) {
  const List& list = pass.list;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (work >= list.maximum_count || list.state->skipped) return;
  const int64_t number = owner(list.first_maxima, list.tensor_count, work);
  const Axes& axes = list.axes[number];
  int64_t index = work - list.first_maxima[number];
  int axis = 0;
#pragma unroll 1
  for (; index >= axes.extents[axis]; ++axis) index -= axes.extents[axis];
  const unsigned long long bits = list.maxima[work];
  if (list.tensors[number].is_double())
    static_cast<double*>(axes.data[axis])[index] = math::from_bits<double>(static_cast<uint64_t>(bits));
  else
    static_cast<float*>(axes.data[axis])[index] = math::from_bits<float>(static_cast<uint32_t>(bits));
  list.maxima[work] = 0;
}

cudaError_t launch_units(const StepPass& step, Maps map, void* stream) {
  return launch_over(units, blocks_of(step.list.unit_counts[map], kWarps), stream, UnitPass{step, map});
}

cudaError_t launch_unit_clips(const StepPass& pass, void* stream) { return launch_units(pass, kClipMap, stream); }
cudaError_t launch_unit_limits(const StepPass& pass, void* stream) { return launch_units(pass, kLimitMap, stream); }

cudaError_t launch_factored(const StepPass& pass, void* stream) {
  const List& list = pass.list;
  const int64_t chunk_blocks = blocks_of(list.chunk_count, kWarps);
  cudaError_t error = cudaSuccess;
  const auto then = [&](cudaError_t made) { error = error == cudaSuccess ? made : error; };
  if (is_adafactor(list.rule)) {
    then(launch_over(load_directions, chunk_blocks, stream, pass));
    then(launch_units(pass, kRowMap, stream));
    then(launch_units(pass, kColumnMap, stream));
    then(launch_over(row_means, blocks_of(list.matrix_count, kWarps), stream, pass));
    then(launch_over(adafactor_directions, chunk_blocks, stream, pass));
  } else {
    then(launch_over(sm3_accumulate, chunk_blocks, stream, pass));
    then(launch_over(sm3_replace, blocks_of(list.maximum_count, kThreads), stream, pass));
  }
  return error;
}

}  // namespace brazen::cuda::tensors
