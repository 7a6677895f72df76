// SPDX-License-Identifier: BSD-3-Clause
// Sums of chunks in memory, merged to one a group in the tree of merge_chunks: 2,048 a block and level. No formula.
#pragma once

#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda {

inline constexpr int kMergeThreads = 256, kMergeWarps = kMergeThreads / kLanes;
// Consecutive partials a block merges: eight a thread.
inline constexpr int kMergePerThread = 8;
inline constexpr int64_t kMergedPartials = kMergeThreads * kMergePerThread;

struct SumTarget {
  double* partials;  // group-major; null where the sums are the results
  char* results;
  DType dtype;
  double factor;  // of the results
};

// Kernel parameters, plain data.
struct MergePass {
  const double* partials;
  int64_t count;     // a group's
  int64_t blocks;    // a group's
  SumTarget target;  // `blocks` a group
};

__device__ __forceinline__ void store_sum(const SumTarget& target, int64_t group, int64_t index, int64_t count,
                                          double sum) {
  if (target.partials) {
    target.partials[group * count + index] = sum;
    return;
  }
  const double result = sum * target.factor;
  if (target.dtype == DType::float64)
    store_element(target.results + group * 8, target.dtype, result);
  else
    store_element(target.results + group * (target.dtype == DType::float32 ? 4 : 2), target.dtype,
                  static_cast<float>(result));
}

// One level of the tree: 2,048 partials, aligned, to one. Those missing at the end count as +0. A template, so that the
// units which include it may be compiled one by one.
template <int per_thread>
__global__ void __launch_bounds__(kMergeThreads) merge_partials(const __grid_constant__ MergePass pass) {
  __shared__ double warps[kMergeWarps];
  const int64_t group = blockIdx.x / pass.blocks, block = blockIdx.x % pass.blocks;
  const int64_t first = block * kMergedPartials + threadIdx.x * per_thread;
  double values[per_thread];
#pragma unroll
  for (int i = 0; i < per_thread; ++i)
    values[i] = first + i < pass.count ? pass.partials[group * pass.count + first + i] : 0.0;
#pragma unroll
  for (int width = 1; width < per_thread; width *= 2)
#pragma unroll
    for (int i = 0; i < per_thread; i += 2 * width) values[i] += values[i + width];
  double sum = merge_neighbours(values[0], kLanes);
  if (threadIdx.x % kLanes == 0) warps[threadIdx.x / kLanes] = sum;
  __syncthreads();
  if (threadIdx.x >= kLanes) return;
  sum = merge_neighbours(threadIdx.x < kMergeWarps ? warps[threadIdx.x] : 0.0, kMergeWarps);
  if (threadIdx.x == 0) store_sum(pass.target, group, block, pass.blocks, sum);
}

// How many doubles all levels of the tree above `count` partials a group take.
inline int64_t partials_above(int64_t groups, int64_t count) {
  int64_t doubles = 0;
  while (count > kMergedPartials) doubles += groups * (count = blocks_of(count, kMergedPartials));
  return doubles;
}

// `spare` holds partials_above() doubles.
inline cudaError_t merge_all(const double* partials, double* spare, int64_t groups, int64_t count,
                             const SumTarget& results, void* stream) {
  for (;;) {
    const int64_t blocks = count > kMergedPartials ? blocks_of(count, kMergedPartials) : 1;
    MergePass pass{partials, count, blocks, blocks > 1 ? SumTarget{spare, nullptr, DType::float64, 1.0} : results};
    const cudaError_t error = launch(merge_partials<kMergePerThread>, groups * blocks, kMergeThreads, stream, pass);
    if (error != cudaSuccess || blocks == 1) return error;
    partials = spare, spare += groups * blocks, count = blocks;
  }
}

}  // namespace brazen::cuda
