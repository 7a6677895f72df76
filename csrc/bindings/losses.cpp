// SPDX-License-Identifier: BSD-3-Clause
// Losses: views of their arrays, checks of labels' shapes and of numbers.
#include "losses.h"

#include <cmath>
#include <cstring>

#include "../core/rows.h"
#include "arguments.h"
#include "execute.h"

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

// All axes but one in their order, then that one.
struct LastAxis {
  int order[kMaxDims];
  Axes rest;  // the shape without it

  LastAxis(const ArrayView& x, int axis) {
    int count = 0;
    for (int d = 0; d < x.ndim; ++d) {
      if (d == axis) continue;
      order[count++] = d;
      rest.push_back(x.shape[d]);
    }
    order[count] = axis;
  }
};

std::string position_text(int64_t row, const Axes& shape) {
  std::string text;
  for (size_t d = shape.size(); d-- > 0;) {
    text = std::to_string(row % shape[d]) + (text.empty() ? "" : ", ") + text;
    row /= shape[d];
  }
  return shape.size() == 1 ? text : "(" + text + ")";
}

// A float32 loss of 16-bit arrays: their own range ends at 65,504, or their digits at three.
DType loss_dtype(const ArrayView& x) { return x.dtype == DType::float64 ? DType::float64 : DType::float32; }

// One class weight for each entry of the axis.
ArrayView read_weights(const py::object& object, Argument argument, const ArrayView& x, int64_t classes,
                       const char* x_name) {
  ArrayView weights = read_array(object.ptr(), argument);
  require_same_place(weights, argument, x, x_name);
  if (weights.dtype != x.dtype && !(is_16_bit(x.dtype) && weights.dtype == DType::float32))
    throw TypeMismatch(argument + "has dtype " + name(weights.dtype) + "; expected " + name(x.dtype) +
                       (is_16_bit(x.dtype) ? " or float32" : std::string(", the dtype of ") + x_name));
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
};

py::tuple row_loss(const char* operation, int number, const py::object& logits_object, const py::object& labels_object,
                   const LabelOptions& options, const py::object& out_object) {
  const Argument logits_argument{operation, "logits"}, labels_argument{operation, "labels"},
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
  call.margin = read_finite(options.margin, {operation, "margin"});
  call.grad_scale = read_finite(options.grad_scale, {operation, "grad_scale"});
  call.fresh = !given(out_object);
  call.loss_dtype = loss_dtype(logits);

  const ArrayView labels = read_array(labels_object.ptr(), labels_argument);
  require_same_place(labels, labels_argument, logits, "logits");
  call.soft = is_compute(labels.dtype);
  int64_t label_strides[kMaxDims] = {};
  if (call.soft) {
    if (number != kSoftmaxCrossEntropy)
      throw TypeMismatch(labels_argument + "has dtype " + name(labels.dtype) + "; expected int32, int64 or uint8");
    require_dtype(labels, logits.dtype, labels_argument, "the dtype of logits, for soft labels");
    require_shape(labels, labels_argument, logits.ndim, logits.shape, "the shape of logits, for soft labels");
    std::copy(labels.strides, labels.strides + labels.ndim, label_strides);
  } else {
    if (labels.dtype == DType::boolean)
      throw TypeMismatch(labels_argument + "has dtype bool; expected int32, int64 or uint8, or soft labels");
    require_shape(labels, labels_argument, logits.ndim - 1, axes.rest.data(), "the shape of logits without its axis");
    for (int d = 0; d < labels.ndim; ++d) label_strides[axes.order[d]] = labels.strides[d];
  }
  ArrayView weights;
  call.weighted = given(options.weight);
  int64_t weight_strides[kMaxDims] = {};
  if (call.weighted) {
    weights = read_weights(options.weight, weight_argument, logits, classes, "logits");
    weight_strides[axis] = weights.strides[0];
  }
  ArrayView gradient = call.fresh ? new_like(logits) : output(out_object, out_argument, logits, shape_of(logits));
  if (!call.fresh) {
    require_no_partial_overlap(gradient, out_argument, logits, "logits");
    if (call.soft)
      require_no_partial_overlap(gradient, out_argument, labels, "labels");
    else
      require_apart(gradient, out_argument, labels, "labels");
    if (call.weighted) require_apart(gradient, out_argument, weights, "weight");
  }
  ArrayView losses = new_like(logits, call.reduction == Reduction::none ? axes.rest : Axes{}, call.loss_dtype);
  call.losses = losses.data;

  call.arrays.set_shape(logits.ndim, logits.ndim - 1, logits.shape, axes.order);
  call.arrays.add(logits.data, logits.dtype, logits.strides, axes.order);
  call.arrays.add(labels.data, labels.dtype, label_strides, axes.order);
  if (call.weighted) call.arrays.add(weights.data, weights.dtype, weight_strides, axes.order);
  call.arrays.add(gradient.data, gradient.dtype, gradient.strides, axes.order);
  call.arrays.simplify();
  const int64_t bad = execute(call, logits);
  if (bad >= 0)
    throw ValueMismatch(labels_argument + "holds " + std::to_string(label_value(labels, bad)) + " at position " +
                        position_text(bad, axes.rest) + "; expected 0 to " + std::to_string(classes - 1) +
                        (call.ignores ? ", or ignore_index = " + std::to_string(call.ignored) : ""));
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

}  // namespace

void add_losses(py::module_& module) {
  using namespace py::literals;
  module.def("softmax_cross_entropy", softmax_cross_entropy, "logits"_a, "labels"_a, "axis"_a, "ignore_index"_a,
             "label_smoothing"_a, "weight"_a, "reduction"_a, "grad_scale"_a, "out"_a);
}

}  // namespace brazen::bindings
