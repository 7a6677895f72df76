// SPDX-License-Identifier: BSD-3-Clause
// Passes that one launch cannot number are cut along their first axis. No kernel, no launch.
#pragma once

#include <cuda_runtime.h>

#include "../core/layout.h"

namespace brazen::cuda {

inline constexpr int kAxes = 8;  // after merging; passes of more are cut

// Divisor<uint32_t>'s range; longer passes are cut. The emulation cuts early, so that its short passes are cut too.
#if !defined(BRAZEN_MAX_UNITS)
#define BRAZEN_MAX_UNITS 0x7fffffff
#endif
inline constexpr int64_t kMaxUnits = BRAZEN_MAX_UNITS;

// Restricts the first axis.
inline void narrow(Layout& layout, int64_t start, int64_t extent) {
  for (int k = 0; k < layout.operand_count; ++k) {
    Operand& operand = layout.operands[k];
    operand.data = static_cast<char*>(operand.data) + start * operand.strides[0];
  }
  layout.size = layout.size / layout.shape[0] * extent;
  layout.shape[0] = extent;
}

inline void drop_first_axis(Layout& layout) {
  --layout.ndim;
  for (int d = 0; d < layout.ndim; ++d) layout.shape[d] = layout.shape[d + 1];
  for (int k = 0; k < layout.operand_count; ++k)
    for (int d = 0; d < layout.ndim; ++d) layout.operands[k].strides[d] = layout.operands[k].strides[d + 1];
}

// Calls `run(const Layout&)` for each part that one launch can number, in order, or from the last to the first, until
// one fails.
template <class Run>
cudaError_t for_each_part(const Layout& layout, const Run& run, bool reversed = false) {
  if (layout.ndim <= kAxes && layout.size <= kMaxUnits) return run(layout);
  Layout part = layout;
  if (layout.shape[0] == 1) {
    drop_first_axis(part);
    return for_each_part(part, run, reversed);
  }
  // Whole vectors and whole cache lines on both sides of the cut.
  int64_t middle = layout.shape[0] / 2;
  if (layout.ndim == 1) middle = middle / 64 * 64;
  Layout rest = layout;
  narrow(part, 0, middle);
  narrow(rest, middle, layout.shape[0] - middle);
  const cudaError_t error = for_each_part(reversed ? rest : part, run, reversed);
  if (error != cudaSuccess) return error;
  return for_each_part(reversed ? part : rest, run, reversed);
}

}  // namespace brazen::cuda
