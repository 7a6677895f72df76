// SPDX-License-Identifier: BSD-3-Clause
// Sums across the lanes of a warp, the columns of a block and what a block finds in memory, in the orders of
// formulas/reduction.h. No formula.
#pragma once

#include <cuda_runtime.h>

#include "../formulas/reduction.h"

namespace brazen::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// The lanes of a chunk: halves first, as the CPU's merge_lanes. Every lane gets the sum.
template <class T>
__device__ __forceinline__ T add_lanes(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// What merges as one pair of chunks does; other kinds of value bring their own.
__device__ __forceinline__ Moments merge_pair(const Moments& a, const Moments& b) { return merge_moments(a, b); }

// Chunks in order, one a lane: neighbours first, as merge_chunks. `count` is a power of two.
__device__ __forceinline__ double merge_neighbours(double value, int count) {
#pragma unroll
  for (int width = 1; width < count; width *= 2) value += __shfl_xor_sync(kAllLanes, value, width);
  return value;
}

// The sum over the lanes of each column, by all `warps` of the block; every thread gets its column's.
template <int warps, class T>
__device__ __forceinline__ T add_columns(T (*lanes)[kLanes]) {
  const int warp = threadIdx.x / kLanes, column = threadIdx.x % kLanes;
#pragma unroll 1
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    __syncthreads();
    for (int lane = warp; lane < offset; lane += warps) lanes[lane][column] += lanes[lane + offset][column];
  }
  __syncthreads();
  return lanes[0][column];
}

// By all threads of a block: the tree of merge_chunks over `count` values in memory, left in the first.
template <class Value>
__device__ __forceinline__ void merge_in_place(Value* values, int64_t count) {
#pragma unroll 1
  for (int64_t width = 1; width < count; width *= 2) {
#pragma unroll 1
    for (int64_t i = threadIdx.x * 2 * width; i + width < count; i += blockDim.x * 2 * width)
      values[i] = merge_pair(values[i], values[i + width]);
    __syncthreads();
  }
}

}  // namespace brazen::cuda
