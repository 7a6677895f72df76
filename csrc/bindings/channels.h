// SPDX-License-Identifier: BSD-3-Clause
// Channel-first layouts, and values of which a channel has one each: what batch norm and the sums of a chain share.
#pragma once

#include "../core/batch_norm.h"
#include "arguments.h"

namespace brazen::bindings {

// Calls over channels see the channel's axis first.
inline void set_channel_first(Layout& layout, const ArrayView& x, int axis) {
  layout.set_shape(x.ndim, x.shape);
  move_axis_first(layout, axis);
}

inline void add_channel_first(Layout& layout, const ArrayView& array, int axis) {
  int64_t strides[kMaxDims];
  strides[0] = array.strides[axis];
  for (int d = 0, to = 1; d < array.ndim; ++d)
    if (d != axis) strides[to++] = array.strides[d];
  layout.add(array.data, array.dtype, strides);
}

// Coefficients have the compute type.
inline DType coefficient_dtype(const ArrayView& x) { return is_16_bit(x.dtype) ? DType::float32 : x.dtype; }

// One value for each channel, of the coefficients' dtype.
struct Vector {
  ArrayView view;
  bool present = false;

  ChannelVector get() const { return present ? ChannelVector{view.data, view.strides[0]} : ChannelVector{}; }
};

inline Vector read_vector(const py::object& object, Argument argument, const ArrayView& x, int axis, bool written) {
  Vector vector;
  if (!(vector.present = given(object))) return vector;
  vector.view = written ? read_output(object.ptr(), argument) : read_array(object.ptr(), argument);
  require_dtype(vector.view, coefficient_dtype(x), argument,
                is_16_bit(x.dtype) ? "as for all 16-bit x" : "the dtype of x");
  require_same_place(vector.view, argument, x, "x");
  const int64_t shape[] = {x.shape[axis]};
  require_shape(vector.view, argument, 1, shape, "one value for each channel");
  return vector;
}

// The caller's own, or a new one, where `wanted`.
inline Vector write_vector(const py::object& object, Argument argument, const ArrayView& x, int axis, bool wanted) {
  if (given(object)) return read_vector(object, argument, x, axis, true);
  Vector vector;
  if ((vector.present = wanted)) vector.view = new_like(x, {x.shape[axis]}, coefficient_dtype(x));
  return vector;
}

inline py::object result(const py::object& object, Vector& vector) {
  return vector.present ? result(object, vector.view) : py::object(py::none());
}

}  // namespace brazen::bindings
