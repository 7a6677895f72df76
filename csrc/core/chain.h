// SPDX-License-Identifier: BSD-3-Clause
// A chain of fused stages as data: (x - center) * factor + shift -> + add -> activation -> noise -> + add_after.
// Forward and backward are one elementwise pass each. It holds no loop and no formula.
#pragma once

#include "../formulas/random.h"
#include "layout.h"
#include "registry.h"

namespace brazen {

// What a chain draws for each element. Dropout keeps an element if its 16-bit piece is below the threshold.
enum class Noise : int32_t {
  none,
  dropout,   // keep ? v * scale + kept_shift : dropped
  multiply,  // v * (1 + scale * normal)
  add,       // v + scale * normal
};
inline constexpr int kNoises = 4;

struct Chain {
  // Which operands there are. Coefficients are operands like any other, broadcast along every axis but the channel's;
  // float32 where the arrays are 16 bits. What is absent costs nothing.
  bool center, factor, shift, add, add_after;
  bool has_x;          // backward only: x is an operand, for the activation or the correction
  bool correction;     // backward only: slope and base; needs center and factor
  bool has_dadd;       // backward only: the gradient of the affine result, which is add's, is an output of its own
  bool has_dx;         // backward only
  int32_t activation;  // a registered activation, or -1
  double activation_parameters[kMaxParameters];
  Noise noise;
  uint32_t keep_threshold;  // of 65,536
  double noise_scale;
  double kept_shift, dropped;  // alpha dropout's; 0 elsewhere
  RandomKey key;
};

// One pass. The operands stand in this order, absent ones left out:
//   forward:  x, center, factor, shift, add, add_after, index -> y
//   backward: dy, [x], center, factor, shift, add, slope, base, index -> dadd, dx
// index is there with noise and is no memory: `data` is the first element's index in the whole batch, the strides are
// those of the logical shape in C order, in elements. Layout::simplify treats it like any other operand.
// backward recomputes the activation's argument, draws the noise again, and gives
//   dadd = (dy through the noise) * activation'(...)     dx = dadd * factor + [(x - center) * slope + base]
// where slope and base carry the batch statistics' share of a batch norm.
struct ChainCall {
  Chain chain;
  Direction direction;
  int32_t input_count;
  int32_t fresh;        // as in ElementwiseCall
  DType compute_dtype;  // of the arrays; coefficients may be wider
  // From the last block to the first: what a pass before this one read last, and a GPU's L2 still holds, comes first.
  bool reversed = false;
  Layout layout;
};

// Fills the only operand of the layout, in logical order, with values in [0, 1), normal ones, or (a bool or uint8
// operand) 1 with probability threshold / 65,536, or (int64) the generator's 64-bit words.
struct FillCall {
  enum class Kind : int32_t { uniform, normal, bernoulli, words };
  Kind kind;
  uint32_t threshold;
  RandomKey key;
  int64_t first_index;
  double scale, shift;  // value * scale + shift
  Layout layout;
};

}  // namespace brazen
