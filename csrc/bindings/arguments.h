// SPDX-License-Identifier: BSD-3-Clause
// What every binding does with its arguments: optional ones, numbers, inputs and outputs that must agree with x. No
// operation here.
#pragma once

#include "../core/registry.h"
#include "arrays.h"

namespace brazen::bindings {

using Axes = std::vector<int64_t>;

inline Axes shape_of(const ArrayView& x) { return Axes(x.shape, x.shape + x.ndim); }

inline bool given(const py::object& object) { return !object.is_none(); }

int64_t read_integer(const py::object& object, Argument argument);
uint64_t read_unsigned(const py::handle& object, Argument argument, uint64_t largest);

// The largest index of an element in a whole batch.
inline constexpr int64_t kMaxIndex = int64_t{1} << 62;

// `value` must lie in the parameter's domain, also as the type that arithmetic on `dtype` is done in rounds it.
void require_domain(const char* operation, const Parameter& parameter, double value, DType dtype);

// The array an operation is about: any compute dtype, anywhere.
ArrayView read_x(const py::object& object, Argument argument);

// An input with x's dtype, place and shape; `because` says why that shape.
ArrayView read_like(const py::object& object, Argument argument, const ArrayView& x, const char* because);

// An output the caller gave, checked against everything it must agree with, or a new one.
ArrayView output(const py::object& object, Argument argument, const ArrayView& x, const Axes& shape);

// What to hand back for it: the caller's own object, or the new array.
py::object result(const py::object& object, ArrayView& out);

}  // namespace brazen::bindings
