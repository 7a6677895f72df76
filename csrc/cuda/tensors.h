// SPDX-License-Identifier: BSD-3-Clause
// What the kernels over a list of tensors are given, and how a warp finds its chunk and reads it. No kernel, no launch.
//
// A warp takes one chunk of 1,024 elements, a lane every 32nd of them: the lanes of formulas/reduction.h, and whole
// cache lines. The chunks of all tensors are one range; a tensor is found among the numbers of the first ones.
#pragma once

#include "../core/update.h"
#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda::tensors {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kLanes;
// Partials that one block folds at a time: eight a thread.
constexpr int kPerThread = 8;
constexpr int64_t kFolded = kThreads * kPerThread;

// What one step has found out, in the device's memory.
struct StepState {
  double grad_norm;
  double clipped_scale, plain_scale;  // gradients are multiplied by one of them
  int32_t skipped;
  int32_t poisoned;  // some gradient is not finite; cleared by the step
};

// How the units of one tensor lie: unit u begins at u / per * jump + u % per * step, its element r lies
// r / inner * stride + r % inner behind.
struct UnitMap {
  int64_t units, per, jump, step, inner, stride, length;
};

// What is cut into units: gradients for adaptive clipping, weights for max_norm, directions for Adafactor.
enum Maps : int { kClipMap, kLimitMap, kRowMap, kColumnMap, kMaps };

// The tables of a list as they lie in the device's memory, and the room behind them. Kernel parameters, plain data.
struct List {
  const TensorEntry* tensors;
  char* const* grads;
  const int64_t* first_chunks;  // one more than tensors, as all first_...
  const GroupStep* settings;    // what the host said of each group
  const UnitMap* maps[kMaps];   // null where not needed
  const int64_t* first_units[kMaps];
  const Axes* axes;
  const int64_t* first_matrices;  // of Adafactor
  const int64_t* first_maxima;    // of SM3: indices of all axes
  GroupStep* groups;              // of this step
  StepState* state;
  double* partials[4];  // one a chunk: gradients; first, second sum of a layerwise rule; weights, updates
  double* folded;       // what the blocks of one merge leave
  double* factors;      // one a tensor
  double* unit_factors;
  double* matrix_means;
  unsigned long long* maxima;  // the new ones, as bits of the compute type
  int64_t tensor_count, chunk_count;
  int64_t unit_counts[kMaps], matrix_count, maximum_count;
  int32_t group_count, rule;
};
inline constexpr int kGradPartials = 0, kFirstPartials = 0, kSecondPartials = 1, kWeightPartials = 2,
                     kUpdatePartials = 3;

struct StepPass {
  List list;
  uint64_t seed;
  int32_t rule;
  bool rounds_randomly, zero_grads, wants_norms, clips_units, limits_units, layered;
};

// The last of the ascending `firsts` that is at most `value`.
__device__ __forceinline__ int64_t owner(const int64_t* firsts, int64_t count, int64_t value) {
  int64_t low = 0, high = count;
#pragma unroll 1
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (firsts[middle] <= value)
      low = middle + 1;
    else
      high = middle;
  }
  return low - 1;
}

// A warp's chunk: the elements [begin, begin + n) of one tensor.
struct Place {
  int64_t tensor, chunk, begin;
  int32_t n, lane;
};

// False where the warp has none.
__device__ __forceinline__ bool find(const List& list, Place& place) {
  place.chunk = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (place.chunk >= list.chunk_count) return false;
  place.lane = threadIdx.x % kLanes;
  place.tensor = owner(list.first_chunks, list.tensor_count, place.chunk);
  place.begin = (place.chunk - list.first_chunks[place.tensor]) * kChunkRows;
  const int64_t left = list.tensors[place.tensor].size - place.begin;
  place.n = static_cast<int32_t>(left < kChunkRows ? left : kChunkRows);
  return true;
}

// Any storage type to and from any compute type, element `index` of an array.
template <class T>
FORMULA T read(const char* data, DType dtype, int64_t index) {
  if constexpr (sizeof(T) == 8) {
    if (dtype == DType::float64) return reinterpret_cast<const double*>(data)[index];
    return static_cast<T>(load_element<float>(data + index * (dtype == DType::float32 ? 4 : 2), dtype));
  } else {
    if (dtype == DType::float32) return reinterpret_cast<const float*>(data)[index];
    if (dtype == DType::float64) return static_cast<T>(reinterpret_cast<const double*>(data)[index]);
    return load_element<float>(data + index * 2, dtype);
  }
}

// Rounds once, but twice from float64 to 16 bits.
template <class T>
FORMULA void write(char* data, DType dtype, int64_t index, T value) {
  if (dtype == DType::float64)
    reinterpret_cast<double*>(data)[index] = static_cast<double>(value);
  else
    store_element(data + index * (dtype == DType::float32 ? 4 : 2), dtype, static_cast<float>(value));
}

// As `write`, but up with the probability of what is cut off where the array holds 16 bits.
FORMULA void write_randomly(char* data, DType dtype, int64_t index, float value, RandomKey key) {
  if (!is_16_bit(dtype)) return write(data, dtype, index, value);
  const uint64_t element = static_cast<uint64_t>(index);
  const uint32_t drawn = piece_at(philox(key, element / kPiecesPerBlock), element);
  reinterpret_cast<uint16_t*>(data)[index] =
      dtype == DType::bfloat16 ? to_bfloat16(value, drawn) : to_float16(value, drawn);
}

// What turns the stored gradients of one tensor into those its rule sees. Bounds and penalties are read anew for each
// element, which asked for them pays: kept in registers, they would leave room for fewer warps in every kernel.
template <class T>
struct Gradients {
  const char* data;
  const GroupStep* group;
  T scale;
  DType dtype;
  bool prepares;

  __device__ __forceinline__ Gradients(const StepPass& pass, int64_t number) {
    const List& list = pass.list;
    const TensorEntry& tensor = list.tensors[number];
    group = list.groups + tensor.group;
    data = list.grads[number], dtype = tensor.dtype(kGrad);
    scale = T(group->clips != 0 ? list.state->clipped_scale : list.state->plain_scale);
    prepares = group->prepares() || (pass.clips_units && group->agc != 0);
  }

  __device__ __forceinline__ T load(int64_t index) const { return read<T>(data, dtype, index); }

  __device__ __forceinline__ T prepared(const StepPass& pass, int64_t number, T grad, T param, int64_t index) const {
    if (!prepares) return grad * scale;
    const List& list = pass.list;
    if (pass.clips_units && group->agc != 0 && list.maps[kClipMap][number].units > 0) {
      const UnitMap& map = list.maps[kClipMap][number];
      const double factor = list.unit_factors[list.first_units[kClipMap][number] + index / map.step % map.units];
      const T clipped =
          Preparation<T>::make(static_cast<double>(scale), group->clip_value, 0, 0)(grad, param) * T(factor);
      if (group->l1 == 0 && group->square_penalty() == 0) return clipped;
      return Preparation<T>::make(1, 0, group->l1, group->square_penalty())(clipped, param);
    }
    return plainly_prepared(grad, param);
  }

  // Where no units are clipped.
  __device__ __forceinline__ T plainly_prepared(T grad, T param) const {
    if (!prepares || !group->prepares()) return grad * scale;
    return Preparation<T>::make(static_cast<double>(scale), group->clip_value, group->l1, group->square_penalty())(
        grad, param);
  }
};

// A run of partial sums as one, by the tree of merge_chunks: `threads` threads in step, eight partials each. Those past
// `count` are +0, which changes no sum of squares. The sum is the first thread's. `stack` has room for kLevels.
constexpr int kLevels = 48;

template <int threads, class Read>
__device__ __forceinline__ double fold(const Read& read, int64_t count, double* stack, double* warps, int thread) {
  constexpr int64_t together = threads * kPerThread;
  int64_t step = 0;
#pragma unroll 1
  for (int64_t first = 0; first < count; first += together, ++step) {
    double values[kPerThread];
    const int64_t at = first + thread * kPerThread;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) values[i] = at + i < count ? read(at + i) : 0.0;
#pragma unroll
    for (int width = 1; width < kPerThread; width *= 2)
#pragma unroll
      for (int i = 0; i < kPerThread; i += 2 * width) values[i] += values[i + width];
    double sum = merge_neighbours(values[0], kLanes);
    if constexpr (threads > kLanes) {
      if (thread % kLanes == 0) warps[thread / kLanes] = sum;
      __syncthreads();
      sum = merge_neighbours(thread < threads / kLanes ? warps[thread] : 0.0, threads / kLanes);
      __syncthreads();
    }
    if (thread != 0) continue;
    int level = 0;
#pragma unroll 1
    for (; step >> level & 1; ++level) sum = stack[level] + sum;
    stack[level] = sum;
  }
  double sum = 0.0;
  bool any = false;
#pragma unroll 1
  for (int level = 0; thread == 0 && step >> level; ++level) {
    if (!(step >> level & 1)) continue;
    sum = any ? stack[level] + sum : stack[level];
    any = true;
  }
  return sum;
}

using UpdateKernel = void (*)(StepPass);

// The kernels of a rule, by the compute type: float and double.
struct RuleKernels {
  int states;
  UpdateKernel direct;      // for tensors that are is_direct()
  UpdateKernel any[2];      // for the others
  UpdateKernel measure[2];  // null but for a layerwise rule that is not factored
};
const RuleKernels& rule_kernels(int rule);

// Whether a tensor is float32 throughout and gets nothing but its step, on the host and on the device.
FORMULA bool is_direct(const StepPass& pass, const TensorEntry& tensor, int states) {
  bool same = !tensor.data[kAverage] && !tensor.data[kCopy] && !pass.zero_grads && !pass.wants_norms &&
              !pass.clips_units && tensor.dtype(kParam) == DType::float32 && tensor.dtype(kGrad) == DType::float32;
#pragma unroll
  for (int k = 0; k < kMaxStates; ++k) same = same && (k >= states || tensor.dtype(kFirstState + k) == DType::float32);
  return same;
}

// The phases of a factored rule that make its directions, and the sums its factors come from.
cudaError_t launch_factored(const StepPass& pass, void* stream);
// The factors of adaptive clipping; the weights shrunk to max_norm.
cudaError_t launch_unit_clips(const StepPass& pass, void* stream);
cudaError_t launch_unit_limits(const StepPass& pass, void* stream);

template <class Pass>
cudaError_t launch_over(void (*kernel)(Pass), int64_t blocks, void* stream, const Pass& pass) {
  if (blocks == 0) return cudaSuccess;
  Pass copy = pass;
  return launch(kernel, blocks, kThreads, stream, copy);
}

}  // namespace brazen::cuda::tensors
