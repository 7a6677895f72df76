// SPDX-License-Identifier: BSD-3-Clause
// The Python type behind every activation of one argument: a callable that parses its arguments itself.
#pragma once

#include <pybind11/pybind11.h>

#include "../core/registry.h"

namespace brazen::bindings {

// Adds the type `Kernel` to the module.
void add_kernel_type(pybind11::module_& module);

// A Kernel's operation and parameters, for operations that take one as an argument.
struct KernelView {
  int operation;
  double parameters[kMaxParameters];
};
bool is_kernel(PyObject* object);
KernelView view_kernel(PyObject* kernel);

// The number of a registered operation, "math.exp" for the functions; throws ValueMismatch with the known names.
int find_operation(const std::string& name);

// The public name of an operation.
std::string operation_name(int operation);

}  // namespace brazen::bindings
