// SPDX-License-Identifier: BSD-3-Clause
// Softmax and its kind, the norms, the lengths of rows: views of their arrays and checks of their shapes.
#include "rows.h"

#include <pybind11/stl.h>

#include <cmath>

#include "../core/rows.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

DType compute_dtype(DType dtype) { return dtype == DType::float64 ? DType::float64 : DType::float32; }

int find_map(const std::string& wanted) {
  int found = -1;
  RowMaps::for_each<float>([&]<class Op>(int i) {
    if (wanted == Op::info.name) found = i;
  });
  if (found < 0) throw ValueMismatch("no operation on rows is called " + wanted);
  return found;
}

// `first` is x, or dy with y as `second`.
py::object row_map(const std::string& operation, const py::object& first_object, const py::object& second_object,
                   const py::object& axis, const py::object& out_object) {
  const bool backward = given(second_object);
  const char *name = operation.c_str(), *first_name = backward ? "dy" : "x";
  const Argument out_argument{name, "out"};
  RowMapCall call;
  call.operation = find_map(operation);
  call.direction = backward ? Direction::backward : Direction::forward;
  call.fresh = !given(out_object);
  const ArrayView first = read_x(first_object, {name, first_name});
  ArrayView second;
  if (backward) {
    second = read_array(second_object.ptr(), {name, "y"});
    require_dtype(second, first.dtype, {name, "y"}, "the dtype of dy");
    require_same_place(second, {name, "y"}, first, "dy");
    require_shape(second, {name, "y"}, first.ndim, first.shape, "the shape of dy");
  }
  if (first.ndim == 0)
    throw ValueMismatch(std::string(name) + ": " + first_name + " has no axis; expected at least one dimension");
  const LastAxis axes(first, normalize_axis(read_integer(axis, {name, "axis"}), first.ndim, name));
  ArrayView out = call.fresh ? new_like(first) : output(out_object, out_argument, first, shape_of(first));
  if (!call.fresh) {
    require_no_partial_overlap(out, out_argument, first, first_name);
    if (backward) require_no_partial_overlap(out, out_argument, second, "y");
  }
  call.arrays.set_shape(first.ndim, first.ndim - 1, first.shape, axes.order);
  call.arrays.add(first.data, first.dtype, first.strides, axes.order);
  if (backward) call.arrays.add(second.data, second.dtype, second.strides, axes.order);
  call.arrays.add(out.data, out.dtype, out.strides, axes.order);
  call.arrays.simplify();
  execute(call, first);
  return result(out_object, out);
}

// An axis of a pass: `extent` steps of `step` entries along an array's axis.
struct Part {
  int axis;
  int64_t extent, step;
};

// What a row of a norm is.
struct NormShape {
  std::vector<Part> rows, columns;
  Axes row_shape, parameter_shape;
  int channel_axis = -1;  // of the parameters, one a channel; else they have the shape of the last axes
  int first_axis = 0;
  int64_t channels = 0, groups = 1;
};

NormShape last_axes(const ArrayView& x, int64_t axis, const char* name) {
  if (x.ndim == 0) throw ValueMismatch(std::string(name) + ": x has no axis; expected at least one dimension");
  NormShape shape;
  shape.first_axis = normalize_axis(axis, x.ndim, name);
  for (int d = 0; d < x.ndim; ++d) {
    const bool row = d < shape.first_axis;
    (row ? shape.rows : shape.columns).push_back({d, x.shape[d], 1});
    (row ? shape.row_shape : shape.parameter_shape).push_back(x.shape[d]);
  }
  return shape;
}

// `groups` 0: as many as channels.
NormShape channel_groups(const ArrayView& x, int64_t axis, int64_t groups, const char* name) {
  if (x.ndim < 2)
    throw ValueMismatch(std::string(name) + ": x has shape " + shape_text(x.ndim, x.shape) +
                        "; expected samples and channels");
  NormShape shape;
  const int at = normalize_axis(axis, x.ndim, name);
  if (at == 0)
    throw ValueMismatch(std::string(name) + ": axis is " + std::to_string(axis) +
                        ", the samples; expected that of the channels");
  const int64_t channels = x.shape[at];
  if (groups == 0) groups = std::max<int64_t>(1, channels);
  if (groups < 1 || channels % groups)
    throw ValueMismatch(std::string(name) + ": groups is " + std::to_string(groups) + "; expected a divisor of " +
                        std::to_string(channels) + " channels");
  shape.channel_axis = at;
  shape.rows = {{0, x.shape[0], 1}, {at, groups, channels / groups}};
  shape.columns = {{at, channels / groups, 1}};
  for (int d = 1; d < x.ndim; ++d) {
    if (d == at) continue;
    shape.columns.push_back({d, x.shape[d], 1});
  }
  shape.channels = channels, shape.groups = groups;
  shape.row_shape = {x.shape[0], groups};
  shape.parameter_shape = {channels};
  return shape;
}

void set_shape(RowsLayout& arrays, const NormShape& shape) {
  int64_t extents[kMaxDims];
  const auto extents_of = [&](const std::vector<Part>& parts) {
    for (size_t i = 0; i < parts.size(); ++i) extents[i] = parts[i].extent;
    return static_cast<int>(parts.size());
  };
  if (shape.rows.size() > kMaxDims || shape.columns.size() > kMaxDims)
    throw ValueMismatch("brazen: too many dimensions");
  const int rows = extents_of(shape.rows);
  arrays.rows.set_shape(rows, extents);
  const int columns = extents_of(shape.columns);
  arrays.columns.set_shape(columns, extents);
}

template <class StrideOf>
void add_operand(RowsLayout& arrays, const NormShape& shape, const ArrayView& view, StrideOf&& stride_of) {
  int64_t strides[kMaxDims];
  for (size_t i = 0; i < shape.rows.size(); ++i) strides[i] = stride_of(shape.rows[i]);
  arrays.rows.add(view.data, view.dtype, strides);
  for (size_t i = 0; i < shape.columns.size(); ++i) strides[i] = stride_of(shape.columns[i]);
  arrays.columns.add(view.data, view.dtype, strides);
}

void add_array(RowsLayout& arrays, const NormShape& shape, const ArrayView& view) {
  add_operand(arrays, shape, view, [&](const Part& part) { return view.strides[part.axis] * part.step; });
}

void add_parameter(RowsLayout& arrays, const NormShape& shape, const ArrayView& view) {
  add_operand(arrays, shape, view, [&](const Part& part) -> int64_t {
    if (shape.channel_axis >= 0) return part.axis == shape.channel_axis ? view.strides[0] * part.step : 0;
    return part.axis >= shape.first_axis ? view.strides[part.axis - shape.first_axis] : 0;
  });
}

ArrayView read_parameter(const py::object& object, Argument argument, const ArrayView& x, const NormShape& shape) {
  if (!given(object)) return {};
  ArrayView view = read_array(object.ptr(), argument);
  require_same_place(view, argument, x, "x");
  if (view.dtype != x.dtype && !(is_16_bit(x.dtype) && view.dtype == DType::float32))
    throw TypeMismatch(argument + "has dtype " + name(view.dtype) + "; expected " + name(x.dtype) +
                       (is_16_bit(x.dtype) ? " or float32" : ", the dtype of x"));
  require_shape(view, argument, static_cast<int>(shape.parameter_shape.size()), shape.parameter_shape.data(),
                shape.channel_axis >= 0 ? "one for each channel" : "the normalised axes of x");
  return view;
}

NormShape norm_shape(const ArrayView& x, const py::object& axis, const py::object& groups, const char* name) {
  const int64_t at = read_integer(axis, {name, "axis"});
  if (!given(groups)) return last_axes(x, at, name);
  return channel_groups(x, at, read_integer(groups, {name, "groups"}), name);
}

ArrayView read_statistics(const py::object& object, Argument argument, const ArrayView& x, const NormShape& shape,
                          bool written = false) {
  ArrayView view = written ? read_output(object.ptr(), argument) : read_array(object.ptr(), argument);
  require_dtype(view, compute_dtype(x.dtype), argument, "one number a row");
  require_same_place(view, argument, x, "x");
  require_shape(view, argument, static_cast<int>(shape.row_shape.size()), shape.row_shape.data(), "one number a row");
  if (!view.c_contiguous) throw ValueMismatch(argument + "is not contiguous; expected what the forward pass gives");
  return view;
}

// A statistic of each row: the caller's memory, so that a training step allocates none, or new.
ArrayView room_for(const py::object& object, Argument argument, const ArrayView& x, const NormShape& shape,
                   std::initializer_list<std::pair<const ArrayView&, const char*>> others) {
  if (!given(object)) return new_like(x, shape.row_shape, compute_dtype(x.dtype));
  ArrayView room = read_statistics(object, argument, x, shape, true);
  for (const auto& [other, name] : others)
    if (other.data) require_apart(room, argument, other, name);
  return room;
}

py::tuple norm_forward(const std::string& operation, const py::object& x_object, const py::object& scale_object,
                       const py::object& shift_object, const py::object& add_object, const py::object& axis,
                       const py::object& groups, double eps, const py::object& out_object, const py::object& mean_out,
                       const py::object& inverse_std_out) {
  const char* name = operation.c_str();
  const Argument out_argument{name, "out"};
  const ArrayView x = read_x(x_object, {name, "x"});
  const NormShape shape = norm_shape(x, axis, groups, name);
  if (!(eps >= 0) || !std::isfinite(eps))
    throw ValueMismatch(std::string(name) + ": eps is " + std::to_string(eps) + "; expected a finite number from 0 up");
  const ArrayView scale = read_parameter(scale_object, {name, "scale"}, x, shape);
  const ArrayView shift = read_parameter(shift_object, {name, "shift"}, x, shape);
  ArrayView add;
  if (given(add_object)) add = read_like(add_object, {name, "add"}, x, "the shape of x");

  RowNormCall call;
  call.direction = Direction::forward;
  call.centred = operation != "rms_norm";
  call.has_add = given(add_object), call.has_scale = given(scale_object), call.has_shift = given(shift_object);
  call.fresh = !given(out_object);
  call.epsilon = eps;
  call.dscale = call.dshift = nullptr;
  call.channels = shape.channels, call.groups = shape.groups;
  ArrayView y = call.fresh ? new_like(x) : output(out_object, out_argument, x, shape_of(x));
  if (!call.fresh) {
    require_no_partial_overlap(y, out_argument, x, "x");
    if (call.has_add) require_no_partial_overlap(y, out_argument, add, "add");
    if (call.has_scale) require_apart(y, out_argument, scale, "scale");
    if (call.has_shift) require_apart(y, out_argument, shift, "shift");
  }
  ArrayView sum, mean;
  if (call.has_add) sum = new_like(x);
  if (call.centred)
    mean = room_for(mean_out, {name, "mean_out"}, x, shape,
                    {{x, "x"}, {add, "add"}, {y, "out"}, {scale, "scale"}, {shift, "shift"}});
  ArrayView deviation =
      room_for(inverse_std_out, {name, "inverse_std_out"}, x, shape,
               {{x, "x"}, {add, "add"}, {y, "out"}, {scale, "scale"}, {shift, "shift"}, {mean, "mean_out"}});
  call.means = mean.data, call.inverse_deviations = deviation.data;
  set_shape(call.arrays, shape);
  add_array(call.arrays, shape, x);
  if (call.has_add) add_array(call.arrays, shape, add);
  if (call.has_scale) add_parameter(call.arrays, shape, scale);
  if (call.has_shift) add_parameter(call.arrays, shape, shift);
  if (call.has_add) add_array(call.arrays, shape, sum);
  add_array(call.arrays, shape, y);
  call.arrays.simplify();
  execute(call, x, name);
  return py::make_tuple(result(out_object, y), call.has_add ? finish(sum) : py::none(),
                        call.centred ? result(mean_out, mean) : py::none(), result(inverse_std_out, deviation));
}

// The gradient of a parameter: the caller's array, or a new one.
ArrayView parameter_gradient(const py::object& object, Argument argument, const ArrayView& parameter,
                             const ArrayView& x, const std::vector<std::pair<const ArrayView*, const char*>>& apart) {
  if (!given(object)) return new_like(parameter, shape_of(parameter), parameter.dtype);
  ArrayView view = read_output(object.ptr(), argument);
  require_dtype(view, parameter.dtype, argument, "the dtype of the parameter");
  require_same_place(view, argument, x, "x");
  require_shape(view, argument, parameter.ndim, parameter.shape, "the shape of the parameter");
  if (!view.c_contiguous)
    throw ValueMismatch(argument + "is not contiguous; pass a contiguous array, or leave it away");
  for (const auto& [other, other_name] : apart) require_apart(view, argument, *other, other_name);
  return view;
}

py::tuple norm_backward(const std::string& operation, const py::object& dy_object, const py::object& x_object,
                        const py::object& scale_object, const py::object& shift_object, const py::object& mean_object,
                        const py::object& deviation_object, const py::object& axis, const py::object& groups,
                        const py::object& dx_object, const py::object& dscale_object, const py::object& dshift_object) {
  const char* name = operation.c_str();
  const Argument dx_argument{name, "dx"};
  const ArrayView x = read_x(x_object, {name, "x"});
  const NormShape shape = norm_shape(x, axis, groups, name);
  const ArrayView dy = read_like(dy_object, {name, "dy"}, x, "the shape of x");
  const ArrayView scale = read_parameter(scale_object, {name, "scale"}, x, shape);
  const ArrayView shift = read_parameter(shift_object, {name, "shift"}, x, shape);

  RowNormCall call;
  call.direction = Direction::backward;
  call.centred = operation != "rms_norm";
  call.has_add = 0, call.has_scale = given(scale_object), call.has_shift = given(shift_object);
  call.fresh = !given(dx_object);
  call.epsilon = 0;
  call.channels = shape.channels, call.groups = shape.groups;
  ArrayView mean;
  if (call.centred) mean = read_statistics(mean_object, {name, "mean"}, x, shape);
  const ArrayView deviation = read_statistics(deviation_object, {name, "inverse_std"}, x, shape);
  call.means = mean.data, call.inverse_deviations = deviation.data;
  ArrayView dx = call.fresh ? new_like(x) : output(dx_object, dx_argument, x, shape_of(x));
  if (!call.fresh) {
    require_no_partial_overlap(dx, dx_argument, x, "x");
    require_no_partial_overlap(dx, dx_argument, dy, "dy");
    if (call.has_scale) require_apart(dx, dx_argument, scale, "scale");
  }
  std::vector<std::pair<const ArrayView*, const char*>> apart = {{&x, "x"}, {&dy, "dy"}, {&dx, "dx"}};
  if (call.has_scale) apart.emplace_back(&scale, "scale");
  ArrayView dscale, dshift;
  call.dscale_dtype = call.dshift_dtype = compute_dtype(x.dtype);
  if (call.has_scale) {
    dscale = parameter_gradient(dscale_object, {name, "dscale"}, scale, x, apart);
    call.dscale_dtype = dscale.dtype;
    apart.emplace_back(&dscale, "dscale");
  }
  if (call.has_shift) {
    dshift = parameter_gradient(dshift_object, {name, "dshift"}, shift, x, apart);
    call.dshift_dtype = dshift.dtype;
  }
  call.dscale = dscale.data, call.dshift = dshift.data;
  set_shape(call.arrays, shape);
  add_array(call.arrays, shape, dy);
  add_array(call.arrays, shape, x);
  if (call.has_scale) add_parameter(call.arrays, shape, scale);
  add_array(call.arrays, shape, dx);
  call.arrays.simplify();
  execute(call, x, name);
  return py::make_tuple(result(dx_object, dx), call.has_scale ? result(dscale_object, dscale) : py::none(),
                        call.has_shift ? result(dshift_object, dshift) : py::none());
}

py::object row_norms(const py::object& x_object, const std::vector<int64_t>& reduced, const py::object& out_object) {
  const char* name = "row_norms";
  const Argument out_argument{name, "out"};
  const ArrayView x = read_x(x_object, {name, "x"});
  bool is_reduced[kMaxDims] = {};
  for (const int64_t axis : reduced) {
    const int at = normalize_axis(axis, x.ndim, name);
    if (is_reduced[at])
      throw ValueMismatch(std::string(name) + ": axis names " + std::to_string(axis) + " twice; expected each once");
    is_reduced[at] = true;
  }
  int order[kMaxDims], kept = 0;
  Axes shape;
  for (int d = 0; d < x.ndim; ++d)
    if (!is_reduced[d]) order[kept++] = d, shape.push_back(x.shape[d]);
  for (int d = 0, at = kept; d < x.ndim; ++d)
    if (is_reduced[d]) order[at++] = d;
  const DType compute = compute_dtype(x.dtype);
  ArrayView out;
  if (given(out_object)) {
    out = read_output(out_object.ptr(), out_argument);
    require_dtype(out, compute, out_argument, "the compute type of x");
    require_same_place(out, out_argument, x, "x");
    require_shape(out, out_argument, kept, shape.data(), "the shape of x without the axes of the rows");
    if (!out.c_contiguous)
      throw ValueMismatch(out_argument + "is not contiguous; pass a contiguous array, or leave it away");
    require_apart(out, out_argument, x, "x");
  } else {
    out = new_like(x, shape, compute);
  }
  RowLengthsCall call;
  call.results = out.data;
  call.arrays.set_shape(x.ndim, kept, x.shape, order);
  call.arrays.add(x.data, x.dtype, x.strides, order);
  call.arrays.simplify();
  execute(call, x);
  return result(out_object, out);
}

}  // namespace

py::list row_operations() {
  py::list list;
  const auto add = [&]<class Op>(const char* family) {
    py::dict entry, parameters;
    for (int p = 0; p < Op::info.parameter_count(); ++p)
      parameters[Op::info.parameters[p].name] = Op::info.parameters[p].standard;
    entry["name"] = Op::info.name;
    entry["family"] = family;
    entry["parameters"] = parameters;
    list.append(entry);
  };
  ElementLosses::for_each<float>([&]<class Op>(int) { add.template operator()<Op>("element_loss"); });
  RowLosses::for_each<float>([&]<class Op>(int) { add.template operator()<Op>("row_loss"); });
  RowMaps::for_each<float>([&]<class Op>(int) { add.template operator()<Op>("row_map"); });
  RowNormKinds::for_each<float>([&]<class Op>(int) { add.template operator()<Op>("row_norm"); });
  return list;
}

void add_rows(py::module_& module) {
  using namespace py::literals;
  module.def("row_operations", row_operations, "The registry of what works on rows: name, family, parameters.");
  module.def("row_map", row_map, "operation"_a, "first"_a, "second"_a, "axis"_a, "out"_a);
  module.def("norm_forward", norm_forward, "operation"_a, "x"_a, "scale"_a, "shift"_a, "add"_a, "axis"_a, "groups"_a,
             "eps"_a, "out"_a, "mean_out"_a = py::none(), "inverse_std_out"_a = py::none());
  module.def("norm_backward", norm_backward, "operation"_a, "dy"_a, "x"_a, "scale"_a, "shift"_a, "mean"_a,
             "inverse_std"_a, "axis"_a, "groups"_a, "dx"_a, "dscale"_a, "dshift"_a);
  module.def("row_norms", row_norms, "x"_a, "axis"_a, "out"_a);
}

}  // namespace brazen::bindings
