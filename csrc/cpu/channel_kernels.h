// SPDX-License-Identifier: BSD-3-Clause
// The loops over rows of channels, as one instruction set offers them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/registry.h"
#include "../formulas/batch_norm.h"

namespace brazen::cpu {

// Untyped pointers lead to floats or doubles, by a table's index. Up to 1,024 rows of one channel that lie in one run,
// or sums of `width` channels side by side, a lane's at a time.
struct ChannelKernels {
  // Meanwhile as many bytes from each of `ahead` are fetched.
  Moments (*moments[kComputeTypes])(const void* rows, size_t n, const char* ahead);
  GradientSums (*sums[kComputeTypes])(const void* grad, const void* x, const void* center, size_t n,
                                      const char* grad_ahead, const char* x_ahead);
  // Adds `count` rows of `width` elements that lie `step` elements apart.
  void (*add_moments[kComputeTypes])(const void* x, int64_t step, size_t count, size_t width, const void* pivot,
                                     void* sum, void* squares);
  void (*add_sums[kComputeTypes])(const void* grad, int64_t grad_step, const void* x, int64_t x_step, size_t count,
                                  size_t width, const void* center, void* sum, void* product);
  void (*add[kComputeTypes])(void* to, const void* from, size_t n);
  // Sums of first rows into pivots; sums about pivots into moments.
  void (*pivots[kComputeTypes])(void* sums, int64_t rows, size_t n);
  void (*finish[kComputeTypes])(const void* pivot, const void* sum, const void* squares, int64_t rows, size_t n,
                                Moments* moments, int64_t stride);
};

}  // namespace brazen::cpu
