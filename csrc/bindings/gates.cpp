// SPDX-License-Identifier: BSD-3-Clause
// prelu, the glu kinds and maxout: views of their arrays and checks of their shapes.
#include "gates.h"

#include "arguments.h"
#include "execute.h"
#include "kernel.h"

namespace brazen::bindings {
namespace {

// The pieces of every gate and maxout kernel are bounded by the pointer lists of the loops.
constexpr int64_t kMaxPieces = 32;

ElementwiseCall describe(int operation, Direction direction, int inputs, int pieces) {
  ElementwiseCall call;
  call.operation = operation;
  call.direction = direction;
  call.input_count = inputs;
  call.pieces = pieces;
  call.fresh = false;
  return call;
}

// How an axis of x is split into groups: glu's two halves lie half the axis apart and are walked densely, maxout's
// pieces lie beside each other and are walked `pieces` elements at a time.
struct Grouping {
  int axis;
  int64_t groups;  // the axis' extent in y
  int32_t pieces;
  bool halves;
};

void add_grouped(Layout& layout, const ArrayView& x, const Grouping& grouping) {
  int64_t strides[kMaxDims];
  std::copy(x.strides, x.strides + x.ndim, strides);
  const int64_t stride = x.strides[grouping.axis];
  strides[grouping.axis] = grouping.halves ? stride : stride * grouping.pieces;
  layout.add(x.data, x.dtype, strides, grouping.pieces, grouping.halves ? stride * grouping.groups : stride);
}

py::object grouped_forward(int operation, const Grouping& wanted, const ArrayView& x, const py::object& out_object) {
  const char* name = kRegistry.operations[operation].info.name;
  Axes shape = shape_of(x);
  shape[wanted.axis] = wanted.groups;
  ArrayView out = output(out_object, {name, "out"}, x, shape);
  // Shapes differ, so any shared byte is a partial overlap.
  if (given(out_object)) require_no_partial_overlap(out, {name, "out"}, x, "x");
  ElementwiseCall call = describe(operation, Direction::forward, 1,
                                  kRegistry.operations[operation].family == Family::maxout ? wanted.pieces : 0);
  call.fresh = !given(out_object);
  call.layout.set_shape(x.ndim, shape.data());
  add_grouped(call.layout, x, wanted);
  call.layout.add(out.data, out.dtype, out.strides);
  call.layout.simplify(true, 1);
  execute(call, x);
  return result(out_object, out);
}

py::object grouped_backward(int operation, const py::object& dy_object, const Grouping& wanted, const ArrayView& x,
                            const py::object& out_object) {
  const char* name = kRegistry.operations[operation].info.name;
  const Argument dy_argument{name, "dy"}, out_argument{name, "out"};
  Axes shape = shape_of(x);
  shape[wanted.axis] = wanted.groups;
  const ArrayView dy = read_array(dy_object.ptr(), dy_argument);
  require_dtype(dy, x.dtype, dy_argument, "the dtype of x");
  require_same_place(dy, dy_argument, x, "x");
  require_shape(dy, dy_argument, x.ndim, shape.data(), "the shape of the forward result");
  ArrayView out = given(out_object) ? output(out_object, out_argument, x, shape_of(x)) : new_like(x);
  if (given(out_object)) {
    require_no_partial_overlap(out, out_argument, x, "x");
    require_no_partial_overlap(out, out_argument, dy, "dy");
  }
  ElementwiseCall call = describe(operation, Direction::backward, 2,
                                  kRegistry.operations[operation].family == Family::maxout ? wanted.pieces : 0);
  call.fresh = !given(out_object);
  call.layout.set_shape(x.ndim, shape.data());
  call.layout.add(dy.data, dy.dtype, dy.strides);
  add_grouped(call.layout, x, wanted);
  add_grouped(call.layout, out, wanted);
  call.layout.simplify(true, 2);
  execute(call, x);
  return result(out_object, out);
}

Grouping halves(const ArrayView& x, int64_t axis, const char* name) {
  if (x.ndim == 0) throw ValueMismatch(std::string(name) + ": x has no axis to split; expected at least one dimension");
  const int at = normalize_axis(axis, x.ndim, name);
  if (x.shape[at] % 2)
    throw ValueMismatch(std::string(name) + ": x has " + std::to_string(x.shape[at]) + " entries along axis " +
                        std::to_string(axis) + "; expected an even number, value and gate");
  return {at, x.shape[at] / 2, 2, true};
}

Grouping neighbours(const ArrayView& x, int64_t pieces, int64_t axis, const char* name) {
  if (x.ndim == 0) throw ValueMismatch(std::string(name) + ": x has no axis to group; expected at least one dimension");
  const int at = normalize_axis(axis, x.ndim, name);
  if (pieces < 1 || pieces > kMaxPieces)
    throw ValueMismatch(std::string(name) + ": pieces is " + std::to_string(pieces) + "; expected 1 to " +
                        std::to_string(kMaxPieces));
  if (x.shape[at] % pieces)
    throw ValueMismatch(std::string(name) + ": x has " + std::to_string(x.shape[at]) + " entries along axis " +
                        std::to_string(axis) + "; expected a multiple of pieces = " + std::to_string(pieces));
  return {at, x.shape[at] / pieces, static_cast<int32_t>(pieces), false};
}

int find_gate(const std::string& name) {
  const int number = find_operation(name);
  if (kRegistry.operations[number].family != Family::gate) throw ValueMismatch(name + " is no gate");
  return number;
}

py::object gate_forward(const std::string& operation, const py::object& x_object, const py::object& axis,
                        const py::object& out) {
  const int number = find_gate(operation);
  const char* name = kRegistry.operations[number].info.name;
  const ArrayView x = read_x(x_object, {name, "x"});
  return grouped_forward(number, halves(x, read_integer(axis, {name, "axis"}), name), x, out);
}

py::object gate_backward(const std::string& operation, const py::object& dy, const py::object& x_object,
                         const py::object& axis, const py::object& out) {
  const int number = find_gate(operation);
  const char* name = kRegistry.operations[number].info.name;
  const ArrayView x = read_x(x_object, {name, "x"});
  return grouped_backward(number, dy, halves(x, read_integer(axis, {name, "axis"}), name), x, out);
}

Grouping maxout_grouping(const ArrayView& x, const py::object& pieces, const py::object& axis) {
  return neighbours(x, read_integer(pieces, {"maxout", "pieces"}), read_integer(axis, {"maxout", "axis"}), "maxout");
}

py::object maxout_forward(const py::object& x_object, const py::object& pieces, const py::object& axis,
                          const py::object& out) {
  const ArrayView x = read_x(x_object, {"maxout", "x"});
  return grouped_forward(kMaxout, maxout_grouping(x, pieces, axis), x, out);
}

py::object maxout_backward(const py::object& dy, const py::object& x_object, const py::object& pieces,
                           const py::object& axis, const py::object& out) {
  const ArrayView x = read_x(x_object, {"maxout", "x"});
  return grouped_backward(kMaxout, dy, maxout_grouping(x, pieces, axis), x, out);
}

// alpha as it is seen from x: one value for all, or one for each index of `axis`.
struct Alpha {
  ArrayView view;
  int axis;  // -1: single
  int64_t strides[kMaxDims];
};

Alpha read_alpha(const py::object& object, const ArrayView& x, int64_t axis) {
  const Argument argument{"prelu", "alpha"};
  if (PyFloat_Check(object.ptr()) || PyLong_Check(object.ptr()))
    throw TypeMismatch(argument + "is " + Py_TYPE(object.ptr())->tp_name +
                       "; expected a NumPy or CuPy array, such as numpy.asarray(alpha, dtype='float32'); for a slope "
                       "that is not learned call leaky_relu(x, alpha)");
  Alpha alpha{read_array(object.ptr(), argument), -1, {}};
  require_same_place(alpha.view, argument, x, "x");
  if (alpha.view.dtype != x.dtype && !(is_16_bit(x.dtype) && alpha.view.dtype == DType::float32))
    throw TypeMismatch(argument + "has dtype " + name(alpha.view.dtype) + "; expected " + name(x.dtype) +
                       (is_16_bit(x.dtype) ? " or float32" : ", the dtype of x"));
  std::fill(alpha.strides, alpha.strides + x.ndim, int64_t{0});
  if (alpha.view.size() == 1) return alpha;
  const int at = x.ndim ? normalize_axis(axis, x.ndim, "prelu") : 0;
  if (alpha.view.ndim != 1 || x.ndim == 0 || alpha.view.shape[0] != x.shape[at])
    throw ValueMismatch(argument + "has shape " + shape_text(alpha.view.ndim, alpha.view.shape) +
                        "; expected one value, or (" + (x.ndim ? std::to_string(x.shape[at]) : std::string("1")) +
                        ",) for axis " + std::to_string(axis) + " of x");
  alpha.axis = at;
  alpha.strides[at] = alpha.view.strides[0];
  return alpha;
}

// A vector has no second axis: its only one is the channel's, unless alpha is single.
int64_t prelu_axis(const ArrayView& x, const py::object& axis) {
  if (!given(axis)) return x.ndim > 1 ? 1 : 0;
  const int64_t wanted = read_integer(axis, {"prelu", "axis"});
  normalize_axis(wanted, x.ndim, "prelu");
  return wanted;
}

py::object prelu_forward(const py::object& x_object, const py::object& alpha_object, const py::object& axis,
                         const py::object& out_object) {
  const Argument out_argument{"prelu", "out"};
  const ArrayView x = read_x(x_object, {"prelu", "x"});
  const Alpha alpha = read_alpha(alpha_object, x, prelu_axis(x, axis));
  ArrayView out = given(out_object) ? output(out_object, out_argument, x, shape_of(x)) : new_like(x);
  if (given(out_object)) {
    require_no_partial_overlap(out, out_argument, x, "x");
    require_no_partial_overlap(out, out_argument, alpha.view, "alpha");
  }
  ElementwiseCall call = describe(kPrelu, Direction::forward, 2, 0);
  call.fresh = !given(out_object);
  call.layout.set_shape(x.ndim, x.shape);
  call.layout.add(x.data, x.dtype, x.strides);
  call.layout.add(alpha.view.data, alpha.view.dtype, alpha.strides);
  call.layout.add(out.data, out.dtype, out.strides);
  call.layout.simplify(true, 2);
  execute(call, x);
  return result(out_object, out);
}

// Kept axis first, then the reduced ones in C order: rows are numbered by the logical shape, whatever the memory order.
ReductionCall describe_alpha_sum(const ArrayView& dy, const ArrayView& x, const Alpha& alpha, void* results) {
  ReductionCall sum;
  sum.terms = describe(kPreluAlpha, Direction::forward, 2, 0);
  sum.result_dtype = alpha.view.dtype;
  sum.results = results;
  sum.kept = 1;
  int64_t shape[kMaxDims + 1], dy_strides[kMaxDims + 1], x_strides[kMaxDims + 1];
  int count = 0;
  const auto push = [&](int64_t extent, int64_t dy_stride, int64_t x_stride) {
    shape[count] = extent, dy_strides[count] = dy_stride, x_strides[count] = x_stride;
    ++count;
  };
  if (alpha.axis >= 0)
    push(x.shape[alpha.axis], dy.strides[alpha.axis], x.strides[alpha.axis]);
  else
    push(1, 0, 0);
  for (int d = 0; d < x.ndim; ++d) {
    if (d == alpha.axis || x.shape[d] == 1) continue;
    const bool merges = count > 1 && dy_strides[count - 1] == dy.strides[d] * x.shape[d] &&
                        x_strides[count - 1] == x.strides[d] * x.shape[d];
    if (merges) {
      shape[count - 1] *= x.shape[d];
      dy_strides[count - 1] = dy.strides[d], x_strides[count - 1] = x.strides[d];
    } else {
      push(x.shape[d], dy.strides[d], x.strides[d]);
    }
  }
  if (count == 1) push(1, itemsize(dy.dtype), itemsize(x.dtype));
  sum.terms.layout.set_shape(count, shape);
  sum.terms.layout.add(dy.data, dy.dtype, dy_strides);
  sum.terms.layout.add(x.data, x.dtype, x_strides);
  return sum;
}

py::tuple prelu_backward(const py::object& dy_object, const py::object& x_object, const py::object& alpha_object,
                         const py::object& axis, const py::object& out_object, const py::object& alpha_out_object) {
  const Argument dy_argument{"prelu", "dy"}, out_argument{"prelu", "out"}, alpha_out_argument{"prelu", "dalpha"};
  const ArrayView x = read_x(x_object, {"prelu", "x"});
  const Alpha alpha = read_alpha(alpha_object, x, prelu_axis(x, axis));
  const ArrayView dy = read_like(dy_object, dy_argument, x, "the shape of x");
  ArrayView out = given(out_object) ? output(out_object, out_argument, x, shape_of(x)) : new_like(x);
  if (given(out_object)) {
    require_no_partial_overlap(out, out_argument, x, "x");
    require_no_partial_overlap(out, out_argument, dy, "dy");
    require_no_partial_overlap(out, out_argument, alpha.view, "alpha");
  }
  ArrayView dalpha;
  if (given(alpha_out_object)) {
    dalpha = read_output(alpha_out_object.ptr(), alpha_out_argument);
    require_dtype(dalpha, alpha.view.dtype, alpha_out_argument, "the dtype of alpha");
    require_same_place(dalpha, alpha_out_argument, x, "x");
    require_shape(dalpha, alpha_out_argument, alpha.view.ndim, alpha.view.shape, "the shape of alpha");
    if (!dalpha.c_contiguous)
      throw ValueMismatch(alpha_out_argument + "is not contiguous; pass a contiguous array, or leave it away");
    // Written before dx is computed, so not even the same array will do.
    require_apart(dalpha, alpha_out_argument, out, "out");
    for (const auto& [view, view_name] :
         {std::pair<const ArrayView&, const char*>{x, "x"}, {dy, "dy"}, {alpha.view, "alpha"}})
      require_apart(dalpha, alpha_out_argument, view, view_name);
  } else {
    dalpha = new_like(alpha.view, shape_of(alpha.view), alpha.view.dtype);
  }

  ElementwiseCall call = describe(kPrelu, Direction::backward, 3, 0);
  call.fresh = !given(out_object);
  call.layout.set_shape(x.ndim, x.shape);
  call.layout.add(dy.data, dy.dtype, dy.strides);
  call.layout.add(x.data, x.dtype, x.strides);
  call.layout.add(alpha.view.data, alpha.view.dtype, alpha.strides);
  call.layout.add(out.data, out.dtype, out.strides);
  call.layout.simplify(true, 3);
  execute(describe_alpha_sum(dy, x, alpha, dalpha.data), call, x);
  return py::make_tuple(result(out_object, out), result(alpha_out_object, dalpha));
}

}  // namespace

void add_gates(py::module_& module) {
  using namespace py::literals;
  module.def("gate_forward", gate_forward, "operation"_a, "x"_a, "axis"_a, "out"_a);
  module.def("gate_backward", gate_backward, "operation"_a, "dy"_a, "x"_a, "axis"_a, "out"_a);
  module.def("maxout_forward", maxout_forward, "x"_a, "pieces"_a, "axis"_a, "out"_a);
  module.def("maxout_backward", maxout_backward, "dy"_a, "x"_a, "pieces"_a, "axis"_a, "out"_a);
  module.def("prelu_forward", prelu_forward, "x"_a, "alpha"_a, "axis"_a, "out"_a);
  module.def("prelu_backward", prelu_backward, "dy"_a, "x"_a, "alpha"_a, "axis"_a, "out"_a, "dalpha"_a);
}

}  // namespace brazen::bindings
