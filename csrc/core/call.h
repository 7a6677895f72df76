// SPDX-License-Identifier: BSD-3-Clause
// One call of a registered operation, fully described: what the CPU driver and the CUDA library's C ABI both receive.
#pragma once

#include "layout.h"
#include "registry.h"

namespace brazen {

// Plain data, also across the C ABI. The layout holds the inputs first, then the outputs.
struct ElementwiseCall {
  int32_t operation;
  Direction direction;
  int32_t input_count;  // operands, a group counted once
  int32_t fresh;        // nonzero where the result was allocated for this call: its pages are yet to be touched
  int32_t pieces;       // maxout's group size; 0 elsewhere
  double parameters[kMaxParameters];
  Layout layout;

  bool is_double() const { return layout.operands[0].dtype == DType::float64; }
  // Where a formula has a brief form, these calls take it.
  bool is_brief() const { return direction == Direction::forward && layout.operands[0].dtype == DType::bfloat16; }
  int64_t cost_picoseconds() const {
    const OperationInfo& info = kRegistry.operations[operation].info;
    return layout.size * (direction == Direction::forward ? info.forward_cost : info.backward_cost);
  }
};

// A sum of the terms of `terms` (whose only output is a scratch run) over all axes from `first_reduced` on, one result
// for each index of the axes before. The layout is in logical order: formulas/reduction.h numbers the rows.
struct ReductionCall {
  ElementwiseCall terms;
  int32_t kept;  // axes [0, kept) index the results
  DType result_dtype;
  void* results;  // one per kept index, C order, contiguous
};

}  // namespace brazen
