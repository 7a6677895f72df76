// SPDX-License-Identifier: BSD-3-Clause
// Sums across the lanes of a warp, in the two orders of formulas/reduction.h. No memory, no formula.
#pragma once

#include <cuda_runtime.h>

#include "../formulas/reduction.h"

namespace brazen::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// The lanes of a chunk: halves first, as merge_lanes. Every lane gets the sum.
template <class T>
__device__ __forceinline__ T add_lanes(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

// Chunks in order, one a lane: neighbours first, as merge_chunks. `count` is a power of two.
__device__ __forceinline__ double merge_neighbours(double value, int count) {
#pragma unroll
  for (int width = 1; width < count; width *= 2) value += __shfl_xor_sync(kAllLanes, value, width);
  return value;
}

}  // namespace brazen::cuda
