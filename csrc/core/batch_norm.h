// SPDX-License-Identifier: BSD-3-Clause
// A batch norm as data: statistics of channels, and the two passes with the chain they end in. No loop, no formula.
#pragma once

#include "chain.h"

namespace brazen {

// Every layout here is channel-first: axis 0 is the channel, the others are the reduced axes in C order, merged where
// all operands allow it. So an element's index counts a channel's rows in the order of formulas/reduction.h.

// Moments travel as a float64 array (3, channels): counts, means, sums of squared distances.
struct StatisticsCall {
  Layout layout;  // one operand: x
  double* moments;
};

// One value a channel, of the compute type; null where there is none.
struct ChannelVector {
  void* data;
  int64_t stride;  // bytes
};

enum class MomentsFrom : int32_t {
  batch,    // measured here
  caller,   // given
  running,  // the running statistics, written as moments of one row
};

struct BatchNormCall {
  ChainCall chain;  // forward; its coefficients point into `coefficients`
  MomentsFrom from;
  double* moments;     // (3, channels); read where they are the caller's, else written
  void* coefficients;  // (3, channels) of the compute type: center, factor, shift
  ChannelVector scale, shift;
  ChannelVector running_mean, running_variance;  // updated where the moments are the batch's or the caller's
  double epsilon, momentum;
  bool unbiased;
};

struct BatchNormBackwardCall {
  ChainCall chain;           // backward, to dx and dadd; its coefficients are those below
  ChainCall gradient;        // backward, to the affine result's gradient d alone, which no array receives
  bool computed;             // d is not dy itself: `gradient` gives it
  Layout arrays;             // dy, x
  bool measure, apply;       // the sums are taken here, the gradients are wanted
  double* sums;              // (2, channels): of d, and of d * (x - center); null where nothing asks for them
  const double* moments;     // of the forward call
  const void* coefficients;  // of the forward call
  void* corrections;         // (2, channels) of the compute type: slope, base; null where the statistics are constants
  ChannelVector scale, dscale, dshift;
  double epsilon;
};

// The gradients of a chain's scale and bias: sums of d * x, and of d.
struct ChannelSumsCall {
  Layout arrays;  // d, x; or d alone
  ChannelVector product, sum;
};

// Merges (3, channels) arrays of moments, or adds (2, channels) arrays of sums, in the tree of formulas/reduction.h.
struct MergeCall {
  int64_t channels, count;
  const double* const* parts;  // host memory; each C-contiguous
  double* result;
  bool are_moments;
};

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
