// SPDX-License-Identifier: BSD-3-Clause
// A batch norm as data: statistics of channels, and the two passes with the chain they end in. No loop, no formula.
#pragma once

#include "chain.h"
#include "channel_results.h"

namespace brazen {

// Every layout here is channel-first: axis 0 is the channel, the others are the reduced axes in C order, merged where
// all operands allow it. So an element's index counts a channel's rows in the order of formulas/reduction.h.

struct StatisticsCall {
  Layout layout;    // one operand: x
  double* moments;  // (3, channels)
};

struct BatchNormCall {
  ChainCall chain;  // forward; its coefficients are those of `results`
  ForwardResults results;
};

struct BatchNormBackwardCall {
  ChainCall chain;           // backward, to dx and dadd; its coefficients are those below and of `results`
  ChainCall gradient;        // backward, to the affine result's gradient d alone, which no array receives
  bool computed;             // d is not dy itself: `gradient` gives it
  Layout arrays;             // dy, x
  bool apply;                // the gradients are wanted, not only the sums
  const void* coefficients;  // of the forward call
  BackwardResults results;
};

// The gradients of a chain's scale and bias: sums of d * x, and of d. Where d is computed, its 16-bit roundings are
// never summed.
struct ChannelSumsCall {
  ChainCall gradient;  // as in BatchNormBackwardCall
  bool computed;
  Layout arrays;  // d (or dy), x; or d alone
  ChannelVector product, sum;
};

// Merges (3, channels) arrays of moments, or adds (2, channels) arrays of sums, in the tree of formulas/reduction.h.
struct MergeCall {
  int64_t channels, count;
  const double* const* parts;  // host memory; each C-contiguous
  double* result;
  bool are_moments;
};

// Makes the layout's axis the first.
inline void move_axis_first(Layout& layout, int axis) {
  const auto rotate = [&](int64_t* values) {
    const int64_t moved = values[axis];
    for (int d = axis; d > 0; --d) values[d] = values[d - 1];
    values[0] = moved;
  };
  rotate(layout.shape);
  for (int k = 0; k < layout.operand_count; ++k) rotate(layout.operands[k].strides);
}

// Merges the reduced axes of a channel-first layout where every operand allows it, and drops those of one row.
inline void merge_rows(Layout& layout) {
  int last = 0;
  for (int d = 1; d < layout.ndim; ++d) {
    if (layout.shape[d] == 1) continue;
    bool mergeable = last > 0;
    for (int k = 0; k < layout.operand_count && mergeable; ++k)
      mergeable = layout.operands[k].strides[last] == layout.operands[k].strides[d] * layout.shape[d];
    if (mergeable) {
      layout.shape[last] *= layout.shape[d];
    } else {
      layout.shape[++last] = layout.shape[d];
    }
    for (int k = 0; k < layout.operand_count; ++k) layout.operands[k].strides[last] = layout.operands[k].strides[d];
  }
  layout.ndim = last + 1;
}

inline int64_t channel_count(const Layout& layout) { return layout.shape[0]; }
inline int64_t row_count(const Layout& layout) { return layout.shape[0] ? layout.size / layout.shape[0] : 0; }

}  // namespace brazen
