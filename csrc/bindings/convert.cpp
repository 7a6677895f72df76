// SPDX-License-Identifier: BSD-3-Clause
// Numbers from one floating-point type to another: `linear`, whose result has a dtype of its own.
#include "convert.h"

#include "arguments.h"
#include "execute.h"
#include "kernel.h"

namespace brazen::bindings {
namespace {

py::object convert(const py::object& x_object, const py::object& out_object) {
  const Argument x_argument{"convert", "x"}, out_argument{"convert", "out"};
  const ArrayView x = read_array(x_object.ptr(), x_argument), out = read_output(out_object.ptr(), out_argument);
  require_compute_dtype(x, x_argument);
  require_compute_dtype(out, out_argument);
  if ((x.dtype == DType::float64) != (out.dtype == DType::float64))
    throw TypeMismatch(out_argument + "has dtype " + name(out.dtype) + ", x " + name(x.dtype) +
                       "; expected both float64, or neither");
  require_same_place(out, out_argument, x, "x");
  require_shape(out, out_argument, x.ndim, x.shape, "the shape of x");
  require_apart(out, out_argument, x, "x");
  ElementwiseCall call{};
  call.operation = find_operation("linear");
  call.direction = Direction::forward;
  call.input_count = 1;
  call.layout.set_shape(x.ndim, x.shape);
  call.layout.add(x.data, x.dtype, x.strides);
  call.layout.add(out.data, out.dtype, out.strides);
  call.layout.simplify(true, 1);
  execute(call, x);
  return out_object;
}

}  // namespace

void add_convert(py::module_& module) {
  using namespace py::literals;
  module.def("convert", convert, "x"_a, "out"_a);
}

}  // namespace brazen::bindings
