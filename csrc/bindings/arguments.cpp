// SPDX-License-Identifier: BSD-3-Clause
// Reading of arguments with messages that name them.
#include "arguments.h"

#include <cstdio>

namespace brazen::bindings {

int64_t read_integer(const py::object& object, Argument argument) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!index) {
    PyErr_Clear();
    throw TypeMismatch(argument + "is " + Py_TYPE(object.ptr())->tp_name +
                       "; expected an integer (out is passed by name, or after it)");
  }
  int overflow = 0;
  const long value = PyLong_AsLongAndOverflow(index.ptr(), &overflow);
  if (overflow) throw ValueMismatch(argument + "is out of range");
  return value;
}

uint64_t read_unsigned(const py::handle& object, Argument argument, uint64_t largest) {
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!index) {
    PyErr_Clear();
    throw TypeMismatch(argument + "is " + Py_TYPE(object.ptr())->tp_name + "; expected an integer");
  }
  const unsigned long long value = PyLong_AsUnsignedLongLong(index.ptr());
  if ((value == static_cast<unsigned long long>(-1) && PyErr_Occurred()) || value > largest) {
    PyErr_Clear();
    throw ValueMismatch(argument + "is " + std::string(py::str(index)) + "; expected 0 to " + std::to_string(largest));
  }
  return value;
}

void require_domain(const char* operation, const Parameter& parameter, double value, DType dtype) {
  const bool narrow = dtype != DType::float64;
  const double rounded = narrow ? static_cast<double>(static_cast<float>(value)) : value;
  if (parameter.accepts(rounded)) return;
  const auto text = [](double number) {
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%g", number);
    return std::string(buffer);
  };
  constexpr const char* domains[] = {"any number", "a finite number", "a finite number above 0",
                                     "a finite number of at least 0"};
  const bool changed = rounded != value && parameter.accepts(value);
  throw ValueMismatch(Argument{operation, parameter.name} + "is " + text(value) +
                      (changed ? ", which is " + text(rounded) + " in float32" : "") + "; expected " +
                      domains[static_cast<int>(parameter.domain)] +
                      (parameter.most - parameter.most == 0 ? " up to " + text(parameter.most) : ""));
}

ArrayView read_x(const py::object& object, Argument argument) {
  ArrayView x = read_array(object.ptr(), argument);
  require_compute_dtype(x, argument);
  return x;
}

ArrayView read_like(const py::object& object, Argument argument, const ArrayView& x, const char* because) {
  ArrayView array = read_array(object.ptr(), argument);
  require_dtype(array, x.dtype, argument, "the dtype of x");
  require_same_place(array, argument, x, "x");
  require_shape(array, argument, x.ndim, x.shape, because);
  return array;
}

ArrayView output(const py::object& object, Argument argument, const ArrayView& x, const Axes& shape) {
  if (!given(object)) return new_like(x, shape, x.dtype);
  ArrayView out = read_output(object.ptr(), argument);
  require_dtype(out, x.dtype, argument, "the dtype of x");
  require_same_place(out, argument, x, "x");
  require_shape(out, argument, static_cast<int>(shape.size()), shape.data(), "as x and the operation ask");
  return out;
}

py::object result(const py::object& object, ArrayView& out) { return given(object) ? object : finish(out); }

}  // namespace brazen::bindings
