// SPDX-License-Identifier: BSD-3-Clause
// The phases of a step that no rule has a part in: tables sent by value, norms of gradients, the step's begin and
// report, what follows a rule that had to wait. No rule's formula, no launch.
#include "tensor_kernels.h"

namespace brazen::cuda::tensors {

__global__ void __launch_bounds__(kThreads) send(const __grid_constant__ Parcel parcel) {
  for (int word = static_cast<int>(threadIdx.x); word < parcel.words; word += kThreads)
    parcel.to[word] = parcel.data[word];
}

__global__ void __launch_bounds__(kThreads) clear(const __grid_constant__ ClearPass pass) {
  const int64_t word = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (word < pass.words) pass.to[word] = 0;
}

// Calls body(row) for the lane's rows, in float32 with several loads under way: no speed is asked of float64.
template <class T, class Body>
__device__ __forceinline__ void each_row(const Place& place, Body&& body) {
  [[maybe_unused]] constexpr int at_once = sizeof(T) == sizeof(float) ? 4 : 1;
#pragma unroll at_once
  for (int row = place.lane; row < place.n; row += kLanes) body(row);
}

template <class T>
__device__ __forceinline__ void sum_chunk(const List& list, const Place& place) {
  const TensorEntry& tensor = list.tensors[place.tensor];
  const char* grad = list.grads[place.tensor];
  const DType dtype = tensor.dtype(kGrad);
  T sum = 0, poison = 0;
  each_row<T>(place, [&](int row) {
    const T x = read<T>(grad, dtype, place.begin + row);
    sum += x * x;
    poison += x - x;  // of infinity and NaN: NaN
  });
  if (poison != 0) list.state->poisoned = 1;
  sum = add_lanes(sum);
  if (place.lane == 0) list.partials[kGradPartials][place.chunk] = static_cast<double>(sum);
}

// Sums of squares of the gradients, as they are stored.
__global__ void __launch_bounds__(kThreads) grad_squares(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place)) return;
  if (pass.list.tensors[place.tensor].dtype(kGrad) == DType::float64)
    sum_chunk<double>(pass.list, place);
  else
    sum_chunk<float>(pass.list, place);
}

// A set of sums: partials of a source, of one group's chunks, of those that are clipped, or of all.
__device__ __forceinline__ double partial_of(const MergePass& pass, int64_t set, int64_t chunk) {
  const List& list = pass.list;
  if (!pass.at_end && set == 0 && !pass.drops_unclipped) return pass.sources[0][chunk];
  const int32_t group = list.tensors[owner(list.first_chunks, list.tensor_count, chunk)].group;
  if (!pass.at_end && set == 0) return list.settings[group].clips != 0 ? pass.sources[0][chunk] : 0.0;
  const int64_t number = pass.at_end ? set : set - 1;
  const double* source = pass.sources[number / list.group_count];
  return number % list.group_count == group ? source[chunk] : 0.0;
}

// One block for a run of `span` chunks of one set; at most kFolded a set.
__global__ void __launch_bounds__(kThreads) merge(const __grid_constant__ MergePass pass) {
  __shared__ double stack[kLevels], warps[kWarps];
  const int64_t set = blockIdx.x / pass.blocks, block = blockIdx.x % pass.blocks;
  const int64_t first = block * pass.span, left = pass.list.chunk_count - first;
  const auto read = [&](int64_t i) { return partial_of(pass, set, first + i); };
  const double sum = fold<kThreads>(read, left < pass.span ? left : pass.span, stack, warps, threadIdx.x);
  if (threadIdx.x == 0) pass.list.folded[set * kFolded + block] = sum;
}

__device__ __forceinline__ double set_sum(const MergePass& pass, int64_t set, double* stack, double* warps) {
  const double* folded = pass.list.folded + set * kFolded;
  return fold<kThreads>([=](int64_t i) { return folded[i]; }, pass.blocks, stack, warps, threadIdx.x);
}

__device__ __forceinline__ double scalar(const void* data, DType dtype) {
  return read<double>(static_cast<const char*>(data), dtype, 0);
}

// One block: what the norms decide, then every group's coefficients of this step.
__global__ void __launch_bounds__(kThreads) begin(const __grid_constant__ BeginPass pass) {
  __shared__ double stack[kLevels], warps[kWarps];
  const List& list = pass.merge.list;
  StepState& state = *list.state;
  const double given = pass.device.grad_scale ? pass.sign / scalar(pass.device.grad_scale, pass.device.grad_scale_dtype)
                                              : pass.grad_scale;
  double norm = __builtin_nan("");
  if (pass.measures) {
    norm = math::sqrt(set_sum(pass.merge, 0, stack, warps)) * math::abs(given);
    for (int32_t group = 0; pass.wants_norms && group < list.group_count; ++group) {
      const double sum = set_sum(pass.merge, 1 + group, stack, warps);
      if (threadIdx.x != 0) continue;
      double* report = pass.device.report + 2 + 3 * group;
      report[0] = math::sqrt(sum) * math::abs(given), report[1] = report[2] = 0.0;
    }
  }
  if (pass.norm_given) norm = pass.norm * math::abs(given);
  if (threadIdx.x == 0) {
    const double clip_norm =
        pass.device.clip_norm ? scalar(pass.device.clip_norm, pass.device.clip_norm_dtype) : pass.clip_norm;
    state.skipped = pass.skip_given >= 0 ? pass.skip_given : pass.skip_nonfinite && state.poisoned != 0;
    state.poisoned = 0;
    state.grad_norm = norm;
    state.plain_scale = given;
    state.clipped_scale = clip_norm > 0 ? given * clip_factor(norm, clip_norm) : given;
    pass.device.report[0] = norm, pass.device.report[1] = state.skipped ? 1.0 : 0.0;
  }
  __syncthreads();
  if (state.skipped) return;
#pragma unroll 1
  for (int32_t number = static_cast<int32_t>(threadIdx.x); number < list.group_count; number += kThreads) {
    GroupStep& group = list.groups[number];
    group = list.settings[number];
#pragma unroll 1
    for (int k = 0; k < kGroupSettings; ++k)
      if (group.sources[k]) group.setting(k) = scalar(group.sources[k], group.source_dtypes[k]);
    double* memory = pass.device.memory + 2 * number;
    group.memory = {memory[0], memory[1]};
    begin_step(list.rule, group);
    memory[0] = group.memory.step, memory[1] = group.memory.product;
  }
}

// One block: the norms of updates and weights of every group.
__global__ void __launch_bounds__(kThreads) end(const __grid_constant__ EndPass pass) {
  __shared__ double stack[kLevels], warps[kWarps];
  const List& list = pass.merge.list;
  if (list.state->skipped) return;
  for (int32_t number = 0; number < 2 * list.group_count; ++number) {
    const double sum = set_sum(pass.merge, number, stack, warps);
    const int32_t group = number % list.group_count;
    if (threadIdx.x == 0) pass.report[2 + 3 * group + (number < list.group_count ? 2 : 1)] = math::sqrt(sum);
  }
}

// A block for each tensor: the factor of its whole step.
__global__ void __launch_bounds__(kThreads) tensor_factors(const __grid_constant__ FactorPass pass) {
  __shared__ double stack[kLevels], warps[kWarps];
  const List& list = pass.list;
  if (list.state->skipped) return;
  const int64_t number = blockIdx.x;
  const TensorEntry& tensor = list.tensors[number];
  const int64_t first = list.first_chunks[number], count = list.first_chunks[number + 1] - first;
  double sums[2];
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const double* partials = list.partials[k == 0 ? kFirstPartials : kSecondPartials] + first;
    sums[k] = fold<kThreads>([=](int64_t i) { return partials[i]; }, count, stack, warps, threadIdx.x);
  }
  if (threadIdx.x == 0)
    list.factors[number] = layer_factor(list.rule, list.groups[tensor.group], tensor.is_double(), sums[0], sums[1],
                                        static_cast<double>(tensor.size), pass.tensor_memory[number]);
}

template <class T>
__device__ __forceinline__ void finish_element(const StepPass& pass, const Place& place, const TensorEntry& tensor,
                                               int64_t index) {
  const GroupStep& group = pass.list.groups[tensor.group];
  const T param = read<T>(tensor.data[kParam], tensor.dtype(kParam), index);
  if (tensor.data[kAverage]) {
    const T mean =
        Averaging<T>::make(group.average_keep)(read<T>(tensor.data[kAverage], tensor.dtype(kAverage), index), param);
    if (sizeof(T) == 4 && pass.rounds_randomly)
      write_randomly(tensor.data[kAverage], tensor.dtype(kAverage), index, static_cast<float>(mean),
                     rounding_key(pass.seed, group, place.tensor, kAverage));
    else
      write(tensor.data[kAverage], tensor.dtype(kAverage), index, mean);
  }
  if (tensor.data[kCopy]) write(tensor.data[kCopy], tensor.dtype(kCopy), index, param);
  if (pass.zero_grads) write(pass.list.grads[place.tensor], tensor.dtype(kGrad), index, T(0));
}

// What follows the rule, where that had to wait for the tensors as a whole.
__global__ void __launch_bounds__(kThreads) finish(const __grid_constant__ StepPass pass) {
  Place place;
  if (!find(pass.list, place) || pass.list.state->skipped) return;
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
#pragma unroll 1
  for (int row = place.lane; row < place.n; row += kLanes) {
    if (tensor.is_double())
      finish_element<double>(pass, place, tensor, place.begin + row);
    else
      finish_element<float>(pass, place, tensor, place.begin + row);
  }
}

template <class T>
__device__ __forceinline__ void scale_chunk(const ScalePass& pass, const Place& place) {
  const DType dtype = pass.list.tensors[place.tensor].dtype(kGrad);
  char* data = pass.list.grads[place.tensor];
  const Preparation<T> bounds =
      Preparation<T>::make(pass.by_norm ? pass.list.state->clipped_scale : pass.factor, pass.bound, 0, 0);
  T poison = 0;
  each_row<T>(place, [&](int row) {
    const T x = bounds.held(read<T>(data, dtype, place.begin + row));
    poison += x - x;
    write(data, dtype, place.begin + row, x);
  });
  if (poison != 0) pass.list.state->poisoned = 1;
}

// Gradients in place: times a factor, held to a bound.
__global__ void __launch_bounds__(kThreads) scale(const __grid_constant__ ScalePass pass) {
  Place place;
  if (!find(pass.list, place) || (pass.by_norm && pass.list.state->skipped)) return;
  if (pass.list.tensors[place.tensor].dtype(kGrad) == DType::float64)
    scale_chunk<double>(pass, place);
  else
    scale_chunk<float>(pass, place);
}

// One block: the norm of a list, what clips it, whether all is finite.
__global__ void __launch_bounds__(kThreads) settle(const __grid_constant__ SettlePass pass) {
  __shared__ double stack[kLevels], warps[kWarps];
  StepState& state = *pass.merge.list.state;
  const double norm = pass.measures ? math::sqrt(set_sum(pass.merge, 0, stack, warps)) : 0.0;
  if (threadIdx.x != 0) return;
  state.clipped_scale = norm != 0 ? clip_factor(norm, pass.max_norm) : 1.0;
  state.skipped = norm <= pass.max_norm;
  if (pass.norm) *pass.norm = norm;
  if (pass.finite) *pass.finite = state.poisoned == 0;
}

template <class T>
__device__ __forceinline__ void average_chunk(const AveragePass& pass, const Place& place) {
  const TensorEntry& tensor = pass.list.tensors[place.tensor];
  const Averaging<T> rule = Averaging<T>::make(pass.keep);
  each_row<T>(place, [&](int row) {
    const int64_t index = place.begin + row;
    const T param = read<T>(tensor.data[kParam], tensor.dtype(kParam), index);
    write(tensor.data[kAverage], tensor.dtype(kAverage), index,
          rule(read<T>(tensor.data[kAverage], tensor.dtype(kAverage), index), param));
  });
}

__global__ void __launch_bounds__(kThreads) average(const __grid_constant__ AveragePass pass) {
  Place place;
  if (!find(pass.list, place)) return;
  if (pass.list.tensors[place.tensor].is_double())
    average_chunk<double>(pass, place);
  else
    average_chunk<float>(pass, place);
}

const TensorKernels& tensor_kernels() {
  static const TensorKernels made{send,           clear,  grad_squares, merge,  begin,  end,
                                  tensor_factors, finish, scale,        settle, average};
  return made;
}

}  // namespace brazen::cuda::tensors
