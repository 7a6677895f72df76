// SPDX-License-Identifier: BSD-3-Clause
// The sums over a chain's channels: the gradients of its bias and scale.
#pragma once

#include "chain.h"
#include "channels.h"

namespace brazen::bindings {

// Where the sums of d and of d * x go; what is not present is not taken.
struct ChainSums {
  Vector bias, scale;

  bool any() const { return bias.present || scale.present; }
};

// d is `d` as it is stored, or, where `gradient` is given, what that pass computes from dy, which is `d` then. The
// pass' layout is in the order of d's own axes, without its output.
void take_sums(const ArrayView& d, const ArrayView* x, int axis, const ChainCall* gradient, const ChainSums& sums);

void add_chain_sums(py::module_& module);

}  // namespace brazen::bindings
