// SPDX-License-Identifier: BSD-3-Clause
// The sums over a chain's channels: of a stored gradient, or of one that is computed on the way.
#include "chain_sums.h"

#include "execute.h"

namespace brazen::bindings {

void take_sums(const ArrayView& d, const ArrayView* x, int axis, const ChainCall* gradient, const ChainSums& sums) {
  ChannelSumsCall call;
  set_channel_first(call.arrays, d, axis);
  add_channel_first(call.arrays, d, axis);
  if (x) add_channel_first(call.arrays, *x, axis);
  merge_rows(call.arrays);
  if ((call.computed = gradient != nullptr)) {
    call.gradient = *gradient;
    Layout& layout = call.gradient.layout;
    layout.add(nullptr, d.dtype, d.strides);  // computed into tiles alone
    move_axis_first(layout, axis);
    merge_rows(layout);
  }
  call.sum = sums.bias.get(), call.product = sums.scale.get();
  if (channel_count(call.arrays) > 0) execute(call, d);
}

namespace {

// (sum of d, sum of d * x); None where not asked for.
py::tuple channel_sums(const py::object& d_object, const py::object& x_object, const py::object& axis_object,
                       bool wants_sum, const py::object& sum_object) {
  const ArrayView d = read_x(d_object, {"fused", "dy"});
  ArrayView x;
  if (given(x_object)) x = read_like(x_object, {"fused", "x"}, d, "the shape of dy");
  const int axis = normalize_axis(read_integer(axis_object, {"fused", "axis"}), d.ndim, "fused");
  ChainSums sums;
  sums.bias = write_vector(sum_object, {"fused", "dbias"}, d, axis, wants_sum);
  sums.scale = write_vector(py::none(), {"fused", "dscale"}, d, axis, given(x_object));
  take_sums(d, given(x_object) ? &x : nullptr, axis, nullptr, sums);
  return py::make_tuple(result(sum_object, sums.bias), result(py::none(), sums.scale));
}

}  // namespace

void add_chain_sums(py::module_& module) {
  using namespace py::literals;
  module.def("channel_sums", channel_sums, "d"_a, "x"_a, "axis"_a, "wants_sum"_a, "sum"_a = py::none());
}

}  // namespace brazen::bindings
