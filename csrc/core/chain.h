// SPDX-License-Identifier: BSD-3-Clause
// A chain of fused stages as data: (x - center) * factor + shift -> + add -> activation -> dropout -> + add_after.
// Forward and backward are one elementwise pass each. It holds no loop and no formula.
#pragma once

#include "../formulas/random.h"
#include "layout.h"
#include "registry.h"

namespace brazen {

struct Chain {
  // Which operands there are. Coefficients are operands like any other, broadcast along every axis but the channel's;
  // float32 where the arrays are 16 bits. What is absent costs nothing.
  bool center, factor, shift, add, add_after;
  bool correction;     // backward only: slope and base
  bool has_dadd;       // backward only: the gradient of the affine result, which is add's, is an output of its own
  bool has_dx;         // backward only
  int32_t activation;  // a registered activation, or -1
  double activation_parameters[kMaxParameters];
  // Dropout keeps an element if its 16-bit piece is below the threshold, and multiplies it by keep_scale. 0: no
  // dropout.
  uint32_t keep_threshold;
  double keep_scale;
  RandomKey key;
};

// One pass. The operands stand in this order, absent ones left out:
//   forward:  x, center, factor, shift, add, add_after, index -> y
//   backward: dy, x, center, factor, shift, add, slope, base, index -> dadd, dx
// index is there with dropout and is no memory: `data` is the first element's index in the whole batch, the strides are
// those of the logical shape in C order, in elements. Layout::simplify treats it like any other operand.
// backward recomputes the activation's argument, draws the mask again, and gives
//   dadd = dy * mask * activation'(...)     dx = dadd * factor + [(x - center) * slope + base]
// where slope and base carry the batch statistics' share of a batch norm.
struct ChainCall {
  Chain chain;
  Direction direction;
  int32_t input_count;
  int32_t fresh;        // as in ElementwiseCall
  DType compute_dtype;  // of the arrays; coefficients may be wider
  Layout layout;
};

}  // namespace brazen
