// SPDX-License-Identifier: BSD-3-Clause
// Batch norm: views of its arrays, channel first, and checks of what was given.
#include "batch_norm.h"

#include "arguments.h"
#include "chain.h"
#include "channels.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

// Which axis of x is the channel's.
int channel_axis(const ArrayView& x, const py::object& axis) {
  if (x.ndim < 2)
    throw ValueMismatch("batch_norm: x has shape " + shape_text(x.ndim, x.shape) +
                        "; expected at least two axes, one of them the channel's");
  return normalize_axis(read_integer(axis, {"batch_norm", "axis"}), x.ndim, "batch_norm");
}

constexpr const char* kName = "batch_norm";

// Coefficients of the compute type are rows of one array.
void add_coefficients(Layout& layout, const void* rows, int row, DType dtype) {
  int64_t strides[kMaxDims] = {itemsize(dtype)};
  char* data = static_cast<char*>(const_cast<void*>(rows)) + row * channel_count(layout) * itemsize(dtype);
  layout.add(data, dtype, strides);
}

// Where each element stands in the whole batch: C order of x's own shape, whatever axis comes first here.
void add_index(Layout& layout, const ArrayView& x, int axis, int64_t first) {
  int64_t packed[kMaxDims] = {}, strides[kMaxDims], stride = 1;
  for (int d = x.ndim - 1; d >= 0; --d) packed[d] = stride, stride *= x.shape[d];
  strides[0] = packed[axis];
  for (int d = 0, to = 1; d < x.ndim; ++d)
    if (d != axis) strides[to++] = packed[d];
  layout.add(reinterpret_cast<void*>(first), DType::uint8, strides);
}

// A gradient of what the forward call had.
Vector output_vector(const py::object& object, const char* name, const ArrayView& x, int axis, bool wanted) {
  if (given(object) && !wanted)
    throw ValueMismatch(std::string(kName) + ": " + name + " is given, but the forward call had no " + (name + 1));
  return write_vector(object, {kName, name}, x, axis, wanted);
}

// (3, channels) moments or (2, channels) sums.
ArrayView read_rows(const py::object& object, const char* name, const ArrayView& x, int axis, int64_t rows, DType dtype,
                    const char* because, bool written = false) {
  const Argument argument{kName, name};
  ArrayView view = written ? read_output(object.ptr(), argument) : read_array(object.ptr(), argument);
  require_dtype(view, dtype, argument, because);
  require_same_place(view, argument, x, "x");
  const int64_t shape[] = {rows, x.shape[axis]};
  require_shape(view, argument, 2, shape, because);
  if (!view.c_contiguous) throw ValueMismatch(argument + "is not contiguous; expected " + because);
  return view;
}

constexpr const char* kMomentsTold = "what batch_norm.statistics or merge gave";
constexpr const char* kSumsTold = "what batch_norm.backward_sums or merge_sums gave";
constexpr const char* kSavedTold = "as the forward call saved it";
constexpr const char* kRoomTold = "rows of numbers, one for each channel";

// What a call keeps by the channel: the caller's memory, so that a training step allocates none, or new.
ArrayView room_for(const py::object& object, const char* name, const ArrayView& x, int axis, int64_t rows, DType dtype,
                   std::initializer_list<std::pair<const ArrayView&, const char*>> others) {
  if (!given(object)) return new_like(x, {rows, x.shape[axis]}, dtype);
  ArrayView room = read_rows(object, name, x, axis, rows, dtype, kRoomTold, true);
  for (const auto& [other, other_name] : others)
    if (other.data) require_apart(room, {kName, name}, other, other_name);
  return room;
}

py::object statistics(const py::object& x_object, const py::object& axis_object) {
  const ArrayView x = read_x(x_object, {"batch_norm", "x"});
  const int axis = channel_axis(x, axis_object);
  ArrayView moments = new_like(x, {3, x.shape[axis]}, DType::float64);
  StatisticsCall call;
  set_channel_first(call.layout, x, axis);
  add_channel_first(call.layout, x, axis);
  merge_rows(call.layout);
  call.moments = reinterpret_cast<double*>(moments.data);
  execute(call, x);
  return finish(moments);
}

void require_more_than_one(const ArrayView& x, int axis) {
  int64_t rows = 1;
  for (int d = 0; d < x.ndim; ++d)
    if (d != axis) rows *= x.shape[d];
  if (rows < 2 && x.shape[axis] > 0)
    throw ValueMismatch("batch_norm: x has shape " + shape_text(x.ndim, x.shape) + ", " + std::to_string(rows) +
                        " values per channel, which have no variance; train on more, or pass training=False");
}

// moments: None (the batch's are taken), an array, or False (the running statistics serve as such).
py::tuple forward(const py::object& x_object, const py::object& moments_object, const py::object& scale_object,
                  const py::object& shift_object, const py::object& mean_object, const py::object& variance_object,
                  const py::object& axis_object, double momentum, bool unbiased, double epsilon,
                  const py::object& add_object, const py::object& activation, const py::object& noise,
                  const py::object& out_object, const py::object& moments_out, const py::object& coefficients_out) {
  const ArrayView x = read_x(x_object, {kName, "x"});
  const int axis = channel_axis(x, axis_object);
  const bool inference = moments_object.ptr() == Py_False;
  const Vector scale = read_vector(scale_object, {kName, "scale"}, x, axis, false);
  const Vector shift = read_vector(shift_object, {kName, "shift"}, x, axis, false);
  const Vector mean = read_vector(mean_object, {kName, "running_mean"}, x, axis, !inference);
  const Vector variance = read_vector(variance_object, {kName, "running_var"}, x, axis, !inference);
  ArrayView add;
  if (given(add_object)) add = read_like(add_object, {kName, "add"}, x, "the shape of x");

  BatchNormCall call;
  ForwardResults& results = call.results;
  results.channels = x.shape[axis];
  results.from = inference ? MomentsFrom::running : given(moments_object) ? MomentsFrom::caller : MomentsFrom::batch;
  if (results.from == MomentsFrom::batch) require_more_than_one(x, axis);
  const Argument out_argument{kName, "out"};
  ArrayView out = given(out_object) ? output(out_object, out_argument, x, shape_of(x)) : new_like(x);
  if (given(out_object)) {
    for (const auto& [view, name] : {std::pair<const ArrayView&, const char*>{x, "x"}, {add, "add"}}) {
      if (!view.data) continue;
      // The backward pass reads both again.
      if (inference)
        require_no_partial_overlap(out, out_argument, view, name);
      else
        require_apart(out, out_argument, view, name);
    }
  }
  ArrayView moments;
  if (results.from == MomentsFrom::caller)
    moments = read_rows(moments_object, "moments", x, axis, 3, DType::float64, kMomentsTold);
  else
    moments = room_for(moments_out, "moments_out", x, axis, 3, DType::float64, {{x, "x"}, {add, "add"}, {out, "out"}});
  ArrayView coefficients = room_for(coefficients_out, "coefficients_out", x, axis, 3, coefficient_dtype(x),
                                    {{x, "x"}, {add, "add"}, {out, "out"}, {moments, "moments"}});
  results.moments = reinterpret_cast<double*>(moments.data);
  results.coefficients = coefficients.data;
  results.scale = scale.get(), results.shift = shift.get();
  results.running_mean = mean.get(), results.running_variance = variance.get();
  results.epsilon = epsilon, results.momentum = momentum, results.unbiased = unbiased;

  ChainCall& pass = call.chain;
  Chain& chain = pass.chain = empty_chain();
  chain.center = chain.factor = chain.shift = true;
  chain.add = given(add_object);
  set_activation(chain, activation, kName, x.dtype);
  const int64_t first_index = set_noise(chain, noise, kName);
  pass.direction = Direction::forward;
  pass.fresh = !given(out_object);
  pass.compute_dtype = x.dtype;
  set_channel_first(pass.layout, x, axis);
  add_channel_first(pass.layout, x, axis);
  for (int row = 0; row < 3; ++row) add_coefficients(pass.layout, coefficients.data, row, coefficients.dtype);
  if (chain.add) add_channel_first(pass.layout, add, axis);
  if (chain.noise != Noise::none) add_index(pass.layout, x, axis, first_index);
  pass.input_count = pass.layout.operand_count;
  add_channel_first(pass.layout, out, axis);
  merge_rows(pass.layout);
  execute(call, x);
  const py::object kept = results.from == MomentsFrom::caller ? moments_object : result(moments_out, moments);
  return py::make_tuple(result(out_object, out), kept, result(coefficients_out, coefficients));
}

// The inputs of a backward pass, in the order of core/chain.h.
void add_inputs(ChainCall& pass, const ArrayView& dy, const ArrayView& x, const ArrayView& add, int axis,
                const ArrayView& coefficients, const void* corrections, int64_t first_index) {
  const Chain& chain = pass.chain;
  pass.direction = Direction::backward;
  pass.compute_dtype = x.dtype;
  pass.fresh = false;
  Layout& layout = pass.layout;
  set_channel_first(layout, x, axis);
  add_channel_first(layout, dy, axis);
  if (chain.has_x) add_channel_first(layout, x, axis);
  if (chain.center) add_coefficients(layout, coefficients.data, 0, coefficients.dtype);
  if (chain.factor) add_coefficients(layout, coefficients.data, 1, coefficients.dtype);
  if (chain.shift) add_coefficients(layout, coefficients.data, 2, coefficients.dtype);
  if (chain.add) add_channel_first(layout, add, axis);
  if (chain.correction) {
    add_coefficients(layout, corrections, 0, coefficients.dtype);
    add_coefficients(layout, corrections, 1, coefficients.dtype);
  }
  if (chain.noise != Noise::none) add_index(layout, x, axis, first_index);
  pass.input_count = layout.operand_count;
}

// sums: None (taken here), or an array. Without `apply`, only the sums are taken and handed back.
py::tuple backward(const py::object& dy_object, const py::object& x_object, const py::object& add_object,
                   const py::object& scale_object, bool has_shift, const py::object& moments_object,
                   const py::object& coefficients_object, const py::object& axis_object, bool corrected, double epsilon,
                   const py::object& activation, const py::object& noise, const py::object& sums_object, bool apply,
                   const py::object& dx_object, const py::object& dscale_object, const py::object& dshift_object,
                   const py::object& dadd_object, const py::object& sums_out, const py::object& corrections_out) {
  const ArrayView x = read_x(x_object, {kName, "x"});
  const int axis = channel_axis(x, axis_object);
  const ArrayView dy = read_like(dy_object, {kName, "dy"}, x, "the shape of x");
  ArrayView add;
  if (given(add_object)) add = read_like(add_object, {kName, "add"}, x, "the shape of x");
  const Vector scale = read_vector(scale_object, {kName, "scale"}, x, axis, false);
  const ArrayView moments = read_rows(moments_object, "moments", x, axis, 3, DType::float64, kSavedTold);
  const ArrayView coefficients =
      read_rows(coefficients_object, "coefficients", x, axis, 3, coefficient_dtype(x), kSavedTold);
  if (given(dadd_object) && !given(add_object))
    throw ValueMismatch("batch_norm: dadd is given, but the forward call had no add");

  BatchNormBackwardCall call;
  BackwardResults& results = call.results;
  results.channels = x.shape[axis];
  results.measured = !given(sums_object) && (!apply || corrected || scale.present || has_shift);
  call.apply = apply, results.epsilon = epsilon;
  ArrayView sums;
  if (given(sums_object))
    sums = read_rows(sums_object, "sums", x, axis, 2, DType::float64, kSumsTold);
  else if (results.measured)
    sums = room_for(sums_out, "sums_out", x, axis, 2, DType::float64,
                    {{x, "x"}, {dy, "dy"}, {add, "add"}, {moments, "moments"}, {coefficients, "coefficients"}});
  results.sums = reinterpret_cast<double*>(sums.data);
  results.moments = reinterpret_cast<const double*>(moments.data);
  results.scale = scale.get();
  call.coefficients = coefficients.data;

  Chain chain = empty_chain();
  set_activation(chain, activation, kName, x.dtype);
  const int64_t first_index = set_noise(chain, noise, kName);
  const bool active = chain.activation >= 0;
  call.computed = active || chain.noise != Noise::none;
  chain.center = chain.factor = chain.shift = active;
  chain.has_x = true;  // for the sums
  chain.add = active && given(add_object);
  chain.has_dadd = true;
  call.gradient.chain = chain;
  add_inputs(call.gradient, dy, x, add, axis, coefficients, nullptr, first_index);
  add_channel_first(call.gradient.layout, dy, axis);
  call.gradient.layout.operands[call.gradient.input_count].data = nullptr;  // computed into tiles alone
  merge_rows(call.gradient.layout);
  set_channel_first(call.arrays, x, axis);
  add_channel_first(call.arrays, dy, axis);
  add_channel_first(call.arrays, x, axis);
  merge_rows(call.arrays);

  ArrayView dx, dadd, corrections;
  Vector dscale, dshift;
  results.corrections = nullptr;
  results.dscale = results.dshift = ChannelVector{};
  if (apply) {
    dscale = output_vector(dscale_object, "dscale", x, axis, scale.present);
    dshift = output_vector(dshift_object, "dshift", x, axis, has_shift);
    results.dscale = dscale.get(), results.dshift = dshift.get();
    const Argument dx_argument{kName, "dx"}, dadd_argument{kName, "dadd"};
    dx = given(dx_object) ? output(dx_object, dx_argument, x, shape_of(x)) : new_like(x);
    chain.has_dadd = given(add_object);
    if (chain.has_dadd) dadd = given(dadd_object) ? output(dadd_object, dadd_argument, x, shape_of(x)) : new_like(x);
    for (const auto& [view, name] : {std::pair<const ArrayView&, const char*>{x, "x"}, {dy, "dy"}, {add, "add"}}) {
      if (given(dx_object) && view.data) require_no_partial_overlap(dx, dx_argument, view, name);
      if (given(dadd_object) && view.data) require_no_partial_overlap(dadd, dadd_argument, view, name);
    }
    if (given(dx_object) && chain.has_dadd) require_apart(dx, dx_argument, dadd, "dadd");
    if (given(dadd_object)) require_apart(dadd, dadd_argument, dx, "dx");
    chain.has_dx = true;
    chain.correction = corrected;
    chain.has_x = active || corrected;
    chain.center = active || corrected;
    chain.factor = true;
    call.chain.chain = chain;
    if (corrected)
      corrections = room_for(corrections_out, "corrections_out", x, axis, 2, coefficients.dtype,
                             {{x, "x"},
                              {dy, "dy"},
                              {add, "add"},
                              {dx, "dx"},
                              {dadd, "dadd"},
                              {sums, "sums"},
                              {moments, "moments"},
                              {coefficients, "coefficients"}});
    results.corrections = corrections.data;
    add_inputs(call.chain, dy, x, add, axis, coefficients, corrections.data, first_index);
    if (chain.has_dadd) add_channel_first(call.chain.layout, dadd, axis);
    add_channel_first(call.chain.layout, dx, axis);
    call.chain.fresh = !given(dx_object);
    merge_rows(call.chain.layout);
  }
  execute(call, x);
  if (!apply) return py::make_tuple(result(sums_out, sums));
  return py::make_tuple(result(dx_object, dx), result(dscale_object, dscale), result(dshift_object, dshift),
                        chain.has_dadd ? result(dadd_object, dadd) : py::object(py::none()));
}

// `rows`: 3 for moments, 2 for sums.
py::object merge(const py::object& parts, int64_t rows) {
  const char* told = rows == 3 ? "what batch_norm.statistics gave" : "what batch_norm.backward_sums gave";
  std::vector<ArrayView> views;
  std::vector<const double*> pointers;
  for (const py::handle part : parts) {
    ArrayView view = read_array(part.ptr(), {"batch_norm", "partials"});
    const Argument argument{"batch_norm", "partials"};
    require_dtype(view, DType::float64, argument, told);
    const int64_t shape[] = {rows, views.empty() ? (view.ndim == 2 ? view.shape[1] : 0) : views[0].shape[1]};
    require_shape(view, argument, 2, shape, told);
    if (!views.empty()) require_same_place(view, argument, views[0], "the first of them");
    if (!view.c_contiguous) throw ValueMismatch(argument + "is not contiguous; expected " + told);
    pointers.push_back(reinterpret_cast<const double*>(view.data));
    views.push_back(std::move(view));
  }
  if (views.empty()) throw ValueMismatch("batch_norm: partials is empty; expected at least one");
  ArrayView merged = new_like(views[0], {rows, views[0].shape[1]}, DType::float64);
  execute(MergeCall{views[0].shape[1], static_cast<int64_t>(views.size()), pointers.data(),
                    reinterpret_cast<double*>(merged.data), rows == 3},
          views[0]);
  return finish(merged);
}

}  // namespace

void add_batch_norm(py::module_& module) {
  using namespace py::literals;
  module.def("batch_norm_statistics", statistics, "x"_a, "axis"_a);
  module.def("batch_norm_forward", forward, "x"_a, "moments"_a, "scale"_a, "shift"_a, "running_mean"_a, "running_var"_a,
             "axis"_a, "momentum"_a, "unbiased"_a, "eps"_a, "add"_a, "activation"_a, "noise"_a, "out"_a,
             "moments_out"_a = py::none(), "coefficients_out"_a = py::none());
  module.def("batch_norm_backward", backward, "dy"_a, "x"_a, "add"_a, "scale"_a, "has_shift"_a, "moments"_a,
             "coefficients"_a, "axis"_a, "corrected"_a, "eps"_a, "activation"_a, "noise"_a, "sums"_a, "apply"_a, "dx"_a,
             "dscale"_a, "dshift"_a, "dadd"_a, "sums_out"_a = py::none(), "corrections_out"_a = py::none());
  module.def("batch_norm_merge", [](const py::object& partials) { return merge(partials, 3); }, "partials"_a);
  module.def("batch_norm_merge_sums", [](const py::object& sums) { return merge(sums, 2); }, "sums"_a);
}

}  // namespace brazen::bindings
