// SPDX-License-Identifier: BSD-3-Clause
// Registers the functions over lists of arrays.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_tensor_functions(pybind11::module_& module);

}  // namespace brazen::bindings
