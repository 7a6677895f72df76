// SPDX-License-Identifier: BSD-3-Clause
// A chain's arguments as they come from Python, for every operation that ends in one; and the chain's own bindings.
#pragma once

#include "../core/chain.h"
#include "arguments.h"

namespace brazen::bindings {

// None, or an activation of one argument (a Kernel).
void set_activation(Chain& chain, const py::object& activation, const char* operation, DType dtype);

// None, or (kind, threshold, scale, kept_shift, dropped, seed, step, site, first_index); returns first_index.
int64_t set_noise(Chain& chain, const py::object& noise, const char* operation);

// The operand of core/chain.h: C order of `shape`, broadcast where it is 1 and x is not.
void add_index(Layout& layout, const Axes& shape, int64_t first_index);

// One value for each index of x's axis, float32 where x is 16 bits; with its strides as x sees it.
struct Coefficients {
  ArrayView view;
  std::vector<int64_t> strides;
};
Coefficients read_coefficients(const py::object& object, Argument argument, const ArrayView& x, int axis);

// A chain with nothing in it.
Chain empty_chain();

void add_chain(py::module_& module);

}  // namespace brazen::bindings
