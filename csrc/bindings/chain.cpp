// SPDX-License-Identifier: BSD-3-Clause
// The fused chain and dropout: views of their arrays, checks of their shapes.
#include "chain.h"

#include "chain_sums.h"
#include "execute.h"
#include "kernel.h"

namespace brazen::bindings {
namespace {

double read_number(const py::handle& object, Argument argument) {
  const double value = PyFloat_AsDouble(object.ptr());
  if (value == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    throw TypeMismatch(argument + "is " + Py_TYPE(object.ptr())->tp_name + "; expected a real number");
  }
  return value;
}

const char* operation_text = "fused";

// What both directions read.
struct Arguments {
  ArrayView x;
  int axis;
  Chain chain;
  Coefficients scale, bias;
  ArrayView add;
  int64_t first_index;
  Axes noise_shape;
};

Axes read_noise_shape(const py::object& object, const ArrayView& x) {
  Axes shape = shape_of(x);
  if (!given(object)) return shape;
  const Argument argument{"dropout", "noise_shape"};
  const py::tuple extents = py::tuple(object);
  if (static_cast<int>(extents.size()) != x.ndim)
    throw ValueMismatch(argument + "has " + std::to_string(extents.size()) + " entries; expected " +
                        std::to_string(x.ndim) + ", one for each axis of x");
  for (int d = 0; d < x.ndim; ++d) {
    const int64_t extent = read_integer(extents[d], argument);
    if (extent != 1 && extent != x.shape[d])
      throw ValueMismatch(argument + "has " + std::to_string(extent) + " for axis " + std::to_string(d) +
                          "; expected 1 or " + std::to_string(x.shape[d]) + ", as x has");
    shape[d] = extent;
  }
  return shape;
}

Arguments read_arguments(const py::object& reference, const char* reference_name, const py::object& scale,
                         const py::object& bias, const py::object& add, const py::object& activation,
                         const py::object& noise, const py::object& noise_shape, int64_t axis) {
  Arguments arguments;
  arguments.x = read_x(reference, {operation_text, reference_name});
  const ArrayView& x = arguments.x;
  Chain& chain = arguments.chain = empty_chain();
  const bool has_channels = given(scale) || given(bias);
  if (has_channels && x.ndim == 0)
    throw ValueMismatch("fused: x has no axis for scale or bias; expected at least one dimension");
  arguments.axis = has_channels ? normalize_axis(axis, x.ndim, operation_text) : 0;
  if ((chain.factor = given(scale)))
    arguments.scale = read_coefficients(scale, {operation_text, "scale"}, x, arguments.axis);
  if ((chain.shift = given(bias)))
    arguments.bias = read_coefficients(bias, {operation_text, "bias"}, x, arguments.axis);
  if ((chain.add = given(add))) arguments.add = read_like(add, {operation_text, "add"}, x, "the shape of x");
  set_activation(chain, activation, operation_text, x.dtype);
  arguments.first_index = set_noise(chain, noise, operation_text);
  arguments.noise_shape = read_noise_shape(noise_shape, x);
  return arguments;
}

void add_coefficients(Layout& layout, const Coefficients& coefficients) {
  layout.add(coefficients.view.data, coefficients.view.dtype, coefficients.strides.data());
}

void add_array(Layout& layout, const ArrayView& array) { layout.add(array.data, array.dtype, array.strides); }

py::object fused_forward(const py::object& x_object, const py::object& scale, const py::object& bias,
                         const py::object& add, const py::object& activation, const py::object& noise,
                         const py::object& noise_shape, const py::object& add_after, int64_t axis,
                         const py::object& out_object) {
  const Argument out_argument{operation_text, "out"};
  Arguments arguments = read_arguments(x_object, "x", scale, bias, add, activation, noise, noise_shape, axis);
  const ArrayView& x = arguments.x;
  ArrayView after;
  if ((arguments.chain.add_after = given(add_after)))
    after = read_like(add_after, {operation_text, "add_after"}, x, "the shape of x");
  ArrayView out = given(out_object) ? output(out_object, out_argument, x, shape_of(x)) : new_like(x);
  if (given(out_object)) {
    require_no_partial_overlap(out, out_argument, x, "x");
    if (arguments.chain.add) require_no_partial_overlap(out, out_argument, arguments.add, "add");
    if (arguments.chain.add_after) require_no_partial_overlap(out, out_argument, after, "add_after");
    if (arguments.chain.factor) require_apart(out, out_argument, arguments.scale.view, "scale");
    if (arguments.chain.shift) require_apart(out, out_argument, arguments.bias.view, "bias");
  }
  ChainCall call;
  call.chain = arguments.chain;
  call.direction = Direction::forward;
  call.fresh = !given(out_object);
  call.compute_dtype = x.dtype;
  Layout& layout = call.layout;
  layout.set_shape(x.ndim, x.shape);
  add_array(layout, x);
  if (call.chain.factor) add_coefficients(layout, arguments.scale);
  if (call.chain.shift) add_coefficients(layout, arguments.bias);
  if (call.chain.add) add_array(layout, arguments.add);
  if (call.chain.add_after) add_array(layout, after);
  if (call.chain.noise != Noise::none) add_index(layout, arguments.noise_shape, arguments.first_index);
  call.input_count = layout.operand_count;
  add_array(layout, out);
  layout.simplify(true, layout.operand_count - 1);
  execute(call, x, operation_text);
  return result(out_object, out);
}

// The inputs of a backward pass, in the order of core/chain.h; what only the activation's argument depends on is left
// away with it.
void add_backward_inputs(ChainCall& call, const Chain& stages, const Arguments& arguments, const ArrayView& dy,
                         const ArrayView& x) {
  Chain& chain = call.chain = stages;
  const bool active = chain.activation >= 0;
  chain.has_x = chain.has_x || active;
  chain.shift = chain.shift && active;
  chain.add = chain.add && active;
  call.direction = Direction::backward;
  call.compute_dtype = dy.dtype;
  call.fresh = false;
  Layout& layout = call.layout;
  layout.set_shape(dy.ndim, dy.shape);
  add_array(layout, dy);
  if (chain.has_x) add_array(layout, x);
  if (chain.factor) add_coefficients(layout, arguments.scale);
  if (chain.shift) add_coefficients(layout, arguments.bias);
  if (chain.add) add_array(layout, arguments.add);
  if (chain.noise != Noise::none) add_index(layout, arguments.noise_shape, arguments.first_index);
  call.input_count = layout.operand_count;
}

// The pass that computes d, the gradient of the affine result, alone.
ChainCall gradient_pass(const Arguments& arguments, const ArrayView& dy, const ArrayView& x) {
  Chain chain = arguments.chain;
  chain.has_x = chain.factor;  // for the sum of d * x
  chain.factor = chain.factor && chain.activation >= 0;
  chain.has_dadd = true;
  chain.has_dx = false;
  ChainCall call;
  add_backward_inputs(call, chain, arguments, dy, x);
  return call;
}

// (dadd, dx, dbias, dscale): the gradients of the affine result and of x, the second None where it is the first, and,
// with wants_sums, of the vectors that are given.
py::tuple fused_backward(const py::object& dy_object, const py::object& x_object, const py::object& scale,
                         const py::object& bias, const py::object& add, const py::object& activation,
                         const py::object& noise, const py::object& noise_shape, int64_t axis, bool wants_dadd,
                         const py::object& dx_object, const py::object& dadd_object, bool wants_sums,
                         const py::object& dbias_object, const py::object& dscale_object) {
  const Argument dx_argument{operation_text, "dx"}, dadd_argument{operation_text, "dadd"};
  const bool has_x = given(x_object);
  Arguments arguments = read_arguments(has_x ? x_object : dy_object, has_x ? "x" : "dy", scale, bias, add, activation,
                                       noise, noise_shape, axis);
  Chain& chain = arguments.chain;
  const bool computed = chain.activation >= 0 || chain.noise != Noise::none;
  const bool wants_dscale = wants_sums && chain.factor, wants_dbias = wants_sums && chain.shift;
  if (!has_x && (chain.activation >= 0 || wants_dscale))
    throw TypeMismatch(Argument{operation_text, "x"} + "is None; the gradient of activation or scale depends on it");
  ArrayView other;
  if (has_x) other = read_like(dy_object, {operation_text, "dy"}, arguments.x, "the shape of x");
  const ArrayView &x = arguments.x, &dy = has_x ? other : arguments.x;
  chain.has_dx = chain.factor;
  chain.has_dadd = !chain.has_dx || wants_dadd;
  // Without a scale there is one gradient, and dx is its name.
  const bool swapped = !chain.has_dx;
  const auto make = [&](const py::object& object, Argument argument) {
    ArrayView made = given(object) ? output(object, argument, dy, shape_of(dy)) : new_like(dy);
    if (given(object)) {
      require_no_partial_overlap(made, argument, dy, "dy");
      if (has_x) require_no_partial_overlap(made, argument, x, "x");
      if (chain.add && chain.activation >= 0) require_no_partial_overlap(made, argument, arguments.add, "add");
    }
    return made;
  };
  ArrayView dadd, dx;
  const py::object& first_object = swapped ? dx_object : dadd_object;
  if (chain.has_dadd) dadd = make(first_object, swapped ? dx_argument : dadd_argument);
  if (chain.has_dx) dx = make(dx_object, dx_argument);
  if (chain.has_dadd && chain.has_dx && given(dx_object) && given(dadd_object))
    require_apart(dadd, dadd_argument, dx, "dx");
  ChainSums sums;
  sums.bias = write_vector(dbias_object, {operation_text, "dbias"}, dy, arguments.axis, wants_dbias);
  sums.scale = write_vector(dscale_object, {operation_text, "dscale"}, dy, arguments.axis, wants_dscale);

  // A gradient that is stored in full, and not over what the sums read, is read again; any other is computed twice.
  const bool over_inputs = given(dx_object) || given(dadd_object);
  const bool stored = computed && chain.has_dadd && !is_16_bit(dy.dtype) && !(wants_dscale && over_inputs);
  const ArrayView* factors = wants_dscale ? &x : nullptr;
  if (sums.any() && !stored) {
    const ChainCall gradient = gradient_pass(arguments, dy, x);
    take_sums(dy, factors, arguments.axis, computed ? &gradient : nullptr, sums);
  }
  ChainCall call;
  add_backward_inputs(call, chain, arguments, dy, x);
  call.fresh = chain.has_dx ? !given(dx_object) : !given(first_object);
  Layout& layout = call.layout;
  if (chain.has_dadd) add_array(layout, dadd);
  if (chain.has_dx) add_array(layout, dx);
  layout.simplify(true, layout.operand_count - 1);
  execute(call, dy, operation_text);
  if (sums.any() && stored) take_sums(dadd, factors, arguments.axis, nullptr, sums);
  const py::object first = chain.has_dadd ? result(first_object, dadd) : py::object(py::none());
  const py::object second = chain.has_dx ? result(dx_object, dx) : py::object(py::none());
  return py::make_tuple(first, second, result(dbias_object, sums.bias), result(dscale_object, sums.scale));
}

}  // namespace

Chain empty_chain() {
  Chain chain{};
  chain.activation = -1;
  return chain;
}

void set_activation(Chain& chain, const py::object& activation, const char* operation, DType dtype) {
  if (!given(activation)) return;
  const Argument argument{operation, "activation"};
  if (!is_kernel(activation.ptr()))
    throw TypeMismatch(argument + "is " + Py_TYPE(activation.ptr())->tp_name +
                       "; expected the name of an activation of one argument, or one with parameters such as "
                       "bz.leaky_relu.with_(alpha=0.2)");
  const KernelView kernel = view_kernel(activation.ptr());
  if (kRegistry.operations[kernel.operation].family != Family::activation)
    throw ValueMismatch(argument + "is " + operation_name(kernel.operation) + ", which is no activation");
  chain.activation = kernel.operation;
  for (int p = 0; p < kMaxParameters; ++p) chain.activation_parameters[p] = kernel.parameters[p];
  const OperationInfo& info = kRegistry.operations[kernel.operation].info;
  for (int p = 0; p < info.parameter_count(); ++p) {
    if (chain.activation_parameters[p] != chain.activation_parameters[p])
      throw TypeMismatch(argument + info.name + " needs its " + info.parameters[p].name + "; pass bz." + info.name +
                         ".with_(" + info.parameters[p].name + "=...)");
    require_domain(info.name, info.parameters[p], chain.activation_parameters[p], dtype);
  }
}

int64_t set_noise(Chain& chain, const py::object& noise, const char* operation) {
  if (!given(noise)) return 0;
  if (!py::isinstance<py::tuple>(noise) || py::len(noise) != 9)
    throw TypeMismatch(std::string(operation) + ": noise must be a tuple of 9");
  const py::tuple parts = noise;
  const std::string kind = py::str(parts[0]);
  if (kind == "dropout")
    chain.noise = Noise::dropout;
  else if (kind == "multiply")
    chain.noise = Noise::multiply;
  else if (kind == "add")
    chain.noise = Noise::add;
  else
    throw ValueMismatch(std::string(operation) + ": noise is '" + kind + "'; expected 'dropout', 'multiply' or 'add'");
  chain.keep_threshold = static_cast<uint32_t>(read_unsigned(parts[1], {operation, "threshold"}, 65536));
  chain.noise_scale = read_number(parts[2], {operation, "noise scale"});
  chain.kept_shift = read_number(parts[3], {operation, "kept_shift"});
  chain.dropped = read_number(parts[4], {operation, "dropped"});
  chain.key.seed = read_unsigned(parts[5], {operation, "seed"}, ~uint64_t{0});
  chain.key.step = static_cast<uint32_t>(read_unsigned(parts[6], {operation, "step"}, 0xffffffffu));
  chain.key.site = static_cast<uint32_t>(read_unsigned(parts[7], {operation, "site"}, 0xffffffffu));
  return static_cast<int64_t>(read_unsigned(parts[8], {operation, "offset"}, kMaxIndex));
}

void add_index(Layout& layout, const Axes& shape, int64_t first_index) {
  int64_t strides[kMaxDims], stride = 1;
  for (int d = static_cast<int>(shape.size()) - 1; d >= 0; --d) {
    strides[d] = shape[d] == 1 ? 0 : stride;
    stride *= shape[d];
  }
  layout.add(reinterpret_cast<void*>(first_index), DType::uint8, strides);
}

Coefficients read_coefficients(const py::object& object, Argument argument, const ArrayView& x, int axis) {
  Coefficients coefficients{read_array(object.ptr(), argument), Axes(x.ndim, 0)};
  const ArrayView& view = coefficients.view;
  require_same_place(view, argument, x, "x");
  const DType wanted = is_16_bit(x.dtype) ? DType::float32 : x.dtype;
  require_dtype(view, wanted, argument, is_16_bit(x.dtype) ? "coefficients of 16-bit arrays" : "the dtype of x");
  const int64_t channels = x.shape[axis];
  require_shape(view, argument, 1, &channels, "one value for each index of the axis");
  coefficients.strides[axis] = view.strides[0];
  return coefficients;
}

void add_chain(py::module_& module) {
  using namespace py::literals;
  module.def("fused_forward", fused_forward, "x"_a, "scale"_a, "bias"_a, "add"_a, "activation"_a, "noise"_a,
             "noise_shape"_a, "add_after"_a, "axis"_a, "out"_a);
  module.def("fused_backward", fused_backward, "dy"_a, "x"_a, "scale"_a, "bias"_a, "add"_a, "activation"_a, "noise"_a,
             "noise_shape"_a, "axis"_a, "wants_dadd"_a, "dx"_a = py::none(), "dadd"_a = py::none(),
             "wants_sums"_a = false, "dbias"_a = py::none(), "dscale"_a = py::none());
}

}  // namespace brazen::bindings
