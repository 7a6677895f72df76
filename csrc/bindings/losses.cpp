// SPDX-License-Identifier: BSD-3-Clause
// Losses: views of their arrays, checks of labels' shapes and of numbers.
#include "losses.h"

#include <cmath>
#include <cstring>

#include "../core/rows.h"
#include "arguments.h"
#include "execute.h"
#include "rows.h"

namespace brazen::bindings {
namespace {

Reduction read_reduction(const std::string& text, const char* operation) {
  if (text == "mean") return Reduction::mean;
  if (text == "sum") return Reduction::sum;
  if (text == "none") return Reduction::none;
  throw ValueMismatch(std::string(operation) + ": reduction is '" + text + "'; expected 'mean', 'sum' or 'none'");
}

double read_finite(double value, Argument argument) {
  if (!std::isfinite(value))
    throw ValueMismatch(argument + "is " + std::to_string(value) + "; expected a finite number");
  return value;
}

// Where a label out of range stands, and what it is.
std::string label_text(const LabelError& error) {
  std::string position = error.axes < 0 ? std::to_string(error.row) + " in C order" : "";
  int64_t rest = error.row;
  for (int d = error.axes; d-- > 0;) {
    position = std::to_string(rest % error.shape[d]) + (position.empty() ? "" : ", ") + position;
    rest /= error.shape[d];
  }
  return "holds " + std::to_string(error.label) + " at position " +
         (error.axes == 0 || error.axes > 1 ? "(" + position + ")" : position) + "; expected 0 to " +
         std::to_string(error.classes - 1) +
         (error.ignores ? ", or ignore_index = " + std::to_string(error.ignored) : "");
}

LabelError describe_labels(const RowLossCall& call, int64_t classes, const Axes& shape) {
  LabelError error{};
  error.operation = call.operation, error.classes = classes;
  error.ignored = call.ignored, error.ignores = call.ignores;
  const bool fits = shape.size() <= LabelError::kMaxAxes;
  error.axes = fits ? static_cast<int32_t>(shape.size()) : -1;
  if (fits) std::copy(shape.begin(), shape.end(), error.shape);
  return error;
}

const char* name_of_row_loss(int operation) {
  const char* found = "";
  RowLosses::for_each<float>([&]<class Op>(int i) {
    if (i == operation) found = Op::info.name;
  });
  return found;
}

// What an earlier call left on the GPU, if it has become known.
void check_labels_of(int device) {
  LabelError error;
  if (take_label_error(device, error))
    throw ValueMismatch(Argument{name_of_row_loss(error.operation), "labels"} + label_text(error) +
                        " (an earlier call, on CUDA device " + std::to_string(device) +
                        "; its loss and gradient are NaN there)");
}

void check_labels() {
  for (int device = 0; device < kMaxDevices; ++device) check_labels_of(device);
}

// Losses have the compute type: float16's own range ends at 65,504, bfloat16's digits at three.
DType compute_dtype(const ArrayView& x) { return x.dtype == DType::float64 ? DType::float64 : DType::float32; }

void require_weight_dtype(const ArrayView& weights, Argument argument, const ArrayView& x, const char* x_name) {
  if (weights.dtype != x.dtype && !(is_16_bit(x.dtype) && weights.dtype == DType::float32))
    throw TypeMismatch(argument + "has dtype " + name(weights.dtype) + "; expected " + name(x.dtype) +
                       (is_16_bit(x.dtype) ? " or float32" : std::string(", the dtype of ") + x_name));
}

// One class weight for each entry of the axis.
ArrayView read_weights(const py::object& object, Argument argument, const ArrayView& x, int64_t classes,
                       const char* x_name) {
  ArrayView weights = read_array(object.ptr(), argument);
  require_same_place(weights, argument, x, x_name);
  require_weight_dtype(weights, argument, x, x_name);
  require_shape(weights, argument, 1, &classes, "one for each class");
  return weights;
}

int64_t label_value(const ArrayView& labels, int64_t row) {
  const char* at = labels.data;
  for (int d = labels.ndim - 1; d >= 0; --d) {
    at += row % labels.shape[d] * labels.strides[d];
    row /= labels.shape[d];
  }
  int32_t narrow;
  int64_t wide;
  switch (labels.dtype) {
    case DType::int32: std::memcpy(&narrow, at, sizeof narrow); return narrow;
    case DType::int64: std::memcpy(&wide, at, sizeof wide); return wide;
    default: return static_cast<unsigned char>(*at);
  }
}

struct LabelOptions {
  py::object weight;
  int64_t axis;
  py::object ignored;
  double smoothing, margin, grad_scale;
  std::string reduction;
  bool log_targets = false;
};

// How the arrays of each are called, and what is said of them.
struct RowLossNames {
  const char *scores, *targets, *because_dtype, *because_shape, *accepted;
};
constexpr RowLossNames kRowLossNames[] = {
    {"logits", "labels", "the dtype of logits, for soft labels; classes are int32, int64 or uint8",
     "the shape of logits, for soft labels", "int32, int64 or uint8, or soft labels"},
    {"scores", "labels", "", "", "int32, int64 or uint8"},
    {"log_probabilities", "target", "the dtype of log_probabilities", "the shape of log_probabilities",
     "the dtype of log_probabilities"},
};

// Integers of another width are told which ones serve, not which floats.
ArrayView read_targets(const py::object& object, Argument argument, const RowLossNames& names) {
  try {
    return read_array(object.ptr(), argument);
  } catch (const TypeMismatch&) {
    const std::string dtype = py::str(py::getattr(object, "dtype", py::none()));
    if (dtype.find("int") == std::string::npos) throw;
    throw TypeMismatch(argument + "has dtype " + dtype + "; expected " + names.accepted);
  }
}

py::tuple row_loss(const char* operation, int number, const py::object& logits_object, const py::object& labels_object,
                   const LabelOptions& options, const py::object& out_object) {
  const RowLossNames& names = kRowLossNames[number];
  const Argument logits_argument{operation, names.scores}, labels_argument{operation, names.targets},
      weight_argument{operation, "weight"}, out_argument{operation, "out"};
  const ArrayView logits = read_x(logits_object, logits_argument);
  if (logits.ndim == 0)
    throw ValueMismatch(logits_argument + "has no axis of classes; expected at least one dimension");
  const int axis = normalize_axis(options.axis, logits.ndim, operation);
  const int64_t classes = logits.shape[axis];
  if (classes == 0)
    throw ValueMismatch(logits_argument + "has no classes: shape " + shape_text(logits.ndim, logits.shape));
  const LastAxis axes(logits, axis);

  RowLossCall call;
  call.operation = number;
  call.reduction = read_reduction(options.reduction, operation);
  call.ignores = given(options.ignored);
  call.ignored = call.ignores ? read_integer(options.ignored, {operation, "ignore_index"}) : 0;
  call.smoothing = options.smoothing;
  if (!(options.smoothing >= 0 && options.smoothing <= 1))
    throw ValueMismatch(std::string(operation) + ": label_smoothing is " + std::to_string(options.smoothing) +
                        "; expected 0 to 1");
  call.log_targets = options.log_targets;
  call.margin = read_finite(options.margin, {operation, "margin"});
  call.grad_scale = read_finite(options.grad_scale, {operation, "grad_scale"});
  call.fresh = !given(out_object);

  const ArrayView labels = read_targets(labels_object, labels_argument, names);
  require_same_place(labels, labels_argument, logits, names.scores);
  call.soft = is_compute(labels.dtype);
  if (!call.soft && logits.device != kHost) check_labels_of(logits.device);
  int64_t label_strides[kMaxDims] = {};
  if (call.soft) {
    if (number == kMulticlassHinge)
      throw TypeMismatch(labels_argument + "has dtype " + name(labels.dtype) + "; expected int32, int64 or uint8");
    require_dtype(labels, logits.dtype, labels_argument, names.because_dtype);
    require_shape(labels, labels_argument, logits.ndim, logits.shape, names.because_shape);
    std::copy(labels.strides, labels.strides + labels.ndim, label_strides);
  } else {
    if (number == kKlDivergence || labels.dtype == DType::boolean)
      throw TypeMismatch(labels_argument + "has dtype " + name(labels.dtype) + "; expected " + names.accepted);
    require_shape(labels, labels_argument, logits.ndim - 1, axes.rest.data(), "the shape without the axis of classes");
    for (int d = 0; d < labels.ndim; ++d) label_strides[axes.order[d]] = labels.strides[d];
  }
  ArrayView weights;
  call.weighted = given(options.weight);
  int64_t weight_strides[kMaxDims] = {};
  if (call.weighted) {
    weights = read_weights(options.weight, weight_argument, logits, classes, names.scores);
    weight_strides[axis] = weights.strides[0];
  }
  ArrayView gradient = call.fresh ? new_like(logits) : output(out_object, out_argument, logits, shape_of(logits));
  if (!call.fresh) {
    require_no_partial_overlap(gradient, out_argument, logits, names.scores);
    if (call.soft)
      require_no_partial_overlap(gradient, out_argument, labels, names.targets);
    else
      require_apart(gradient, out_argument, labels, names.targets);
    if (call.weighted) require_apart(gradient, out_argument, weights, "weight");
  }
  ArrayView losses = new_like(logits, call.reduction == Reduction::none ? axes.rest : Axes{}, compute_dtype(logits));
  call.losses = losses.data;

  call.arrays.set_shape(logits.ndim, logits.ndim - 1, logits.shape, axes.order);
  call.arrays.add(logits.data, logits.dtype, logits.strides, axes.order);
  call.arrays.add(labels.data, labels.dtype, label_strides, axes.order);
  if (call.weighted) call.arrays.add(weights.data, weights.dtype, weight_strides, axes.order);
  call.arrays.add(gradient.data, gradient.dtype, gradient.strides, axes.order);
  call.arrays.simplify();
  call.label_error = describe_labels(call, classes, axes.rest);
  const int64_t bad = execute(call, logits);
  if (bad >= 0) {
    call.label_error.row = bad, call.label_error.label = label_value(labels, bad);
    throw ValueMismatch(labels_argument + label_text(call.label_error));
  }
  return py::make_tuple(finish(losses), result(out_object, gradient));
}

py::tuple softmax_cross_entropy(const py::object& logits, const py::object& labels, const py::object& axis,
                                const py::object& ignore_index, double label_smoothing, const py::object& weight,
                                const std::string& reduction, double grad_scale, const py::object& out) {
  const char* name = "softmax_cross_entropy";
  return row_loss(name, kSoftmaxCrossEntropy, logits, labels,
                  {weight, read_integer(axis, {name, "axis"}), ignore_index, label_smoothing, 0, grad_scale, reduction},
                  out);
}

py::tuple multiclass_hinge(const py::object& scores, const py::object& labels, double margin,
                           const std::string& reduction, double grad_scale, const py::object& out) {
  return row_loss("multiclass_hinge", kMulticlassHinge, scores, labels,
                  {py::none(), -1, py::none(), 0, margin, grad_scale, reduction}, out);
}

py::tuple kl_divergence(const py::object& log_probabilities, const py::object& target, bool log_target,
                        const std::string& reduction, double grad_scale, const py::object& out) {
  return row_loss("kl_divergence", kKlDivergence, log_probabilities, target,
                  {py::none(), -1, py::none(), 0, 0, grad_scale, reduction, log_target}, out);
}

int find_element_loss(const std::string& wanted) {
  int found = -1;
  ElementLosses::for_each<float>([&]<class Op>(int i) {
    if (wanted == Op::info.name) found = i;
  });
  if (found < 0) throw ValueMismatch("no element loss is called " + wanted);
  return found;
}

// A weight that broadcasts against x, as NumPy would: its strides over x's axes.
void spread(const ArrayView& weight, Argument argument, const ArrayView& x, const char* x_name, int64_t* strides) {
  bool fits = weight.ndim <= x.ndim;
  for (int d = 0; d < x.ndim; ++d) strides[d] = 0;
  for (int d = 0; d < weight.ndim && fits; ++d) {
    const int at = x.ndim - weight.ndim + d;
    fits = weight.shape[d] == 1 || weight.shape[d] == x.shape[at];
    strides[at] = weight.shape[d] == 1 ? 0 : weight.strides[d];
  }
  if (!fits)
    throw ValueMismatch(argument + "has shape " + shape_text(weight.ndim, weight.shape) +
                        "; expected one that broadcasts against " + x_name + ", " + shape_text(x.ndim, x.shape));
}

// The weights of positive targets: an array, or one number, which is put where x lives without waiting for its device.
ArrayView read_positive_weights(const py::object& object, Argument argument, const ArrayView& x, const char* x_name) {
  const bool is_number = PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr()) ||
                         py::isinstance(object, py::module_::import("numpy").attr("generic"));
  if (!is_number) {
    ArrayView weight = read_array(object.ptr(), argument);
    require_same_place(weight, argument, x, x_name);
    require_weight_dtype(weight, argument, x, x_name);
    return weight;
  }
  ArrayView weight = new_like(x, {}, compute_dtype(x));
  FillCall fill{};
  fill.kind = FillCall::Kind::uniform;
  fill.scale = 0, fill.shift = read_finite(py::float_(object), argument);
  fill.layout.set_shape(0, nullptr);
  fill.layout.add(weight.data, weight.dtype, nullptr);
  execute(fill, weight, argument.operation);
  return weight;
}

py::tuple element_loss(const std::string& operation, const py::object& x_object, const py::object& target_object,
                       const py::object& weight_object, double parameter, const std::string& reduction,
                       double grad_scale, const py::object& out_object) {
  const int number = find_element_loss(operation);
  const bool logits = operation == "sigmoid_cross_entropy";
  const char *name = operation.c_str(), *x_name = logits ? "logits" : "prediction",
             *target_name = logits ? "targets" : "target";
  const Argument x_argument{name, x_name}, target_argument{name, target_name}, weight_argument{name, "pos_weight"},
      out_argument{name, "out"};
  const ArrayView x = read_x(x_object, x_argument);
  const ArrayView target = read_array(target_object.ptr(), target_argument);
  require_dtype(target, x.dtype, target_argument, (std::string("the dtype of ") + x_name).c_str());
  require_same_place(target, target_argument, x, x_name);
  require_shape(target, target_argument, x.ndim, x.shape, (std::string("the shape of ") + x_name).c_str());

  ElementLossCall call;
  call.operation = number;
  call.reduction = read_reduction(reduction, name);
  call.parameters[0] = parameter, call.parameters[1] = 0;
  call.grad_scale = read_finite(grad_scale, {name, "grad_scale"});
  call.fresh = !given(out_object);
  call.weighted = given(weight_object);
  ArrayView weight;
  int64_t weight_strides[kMaxDims];
  if (call.weighted) {
    weight = read_positive_weights(weight_object, weight_argument, x, x_name);
    spread(weight, weight_argument, x, x_name, weight_strides);
  }
  ArrayView gradient = call.fresh ? new_like(x) : output(out_object, out_argument, x, shape_of(x));
  if (!call.fresh) {
    require_no_partial_overlap(gradient, out_argument, x, x_name);
    require_no_partial_overlap(gradient, out_argument, target, target_name);
    if (call.weighted) require_apart(gradient, out_argument, weight, "pos_weight");
  }
  ArrayView losses = new_like(x, call.reduction == Reduction::none ? shape_of(x) : Axes{}, compute_dtype(x));
  call.losses = losses.data;

  int order[kMaxDims];
  for (int d = 0; d < x.ndim; ++d) order[d] = d;
  call.arrays.set_shape(x.ndim, 0, x.shape, order);
  call.arrays.add(x.data, x.dtype, x.strides, order);
  call.arrays.add(target.data, target.dtype, target.strides, order);
  if (call.weighted) call.arrays.add(weight.data, weight.dtype, weight_strides, order);
  call.arrays.add(gradient.data, gradient.dtype, gradient.strides, order);
  call.arrays.simplify();
  execute(call, x);
  return py::make_tuple(finish(losses), result(out_object, gradient));
}

}  // namespace

void add_losses(py::module_& module) {
  using namespace py::literals;
  module.def("softmax_cross_entropy", softmax_cross_entropy, "logits"_a, "labels"_a, "axis"_a, "ignore_index"_a,
             "label_smoothing"_a, "weight"_a, "reduction"_a, "grad_scale"_a, "out"_a);
  module.def("multiclass_hinge", multiclass_hinge, "scores"_a, "labels"_a, "margin"_a, "reduction"_a, "grad_scale"_a,
             "out"_a);
  module.def("kl_divergence", kl_divergence, "log_probabilities"_a, "target"_a, "log_target"_a, "reduction"_a,
             "grad_scale"_a, "out"_a);
  module.def("check_labels", check_labels, "Raises for a label out of range that a GPU has met.");
  module.def("element_loss", element_loss, "operation"_a, "x"_a, "target"_a, "weight"_a, "parameter"_a, "reduction"_a,
             "grad_scale"_a, "out"_a);
}

}  // namespace brazen::bindings
