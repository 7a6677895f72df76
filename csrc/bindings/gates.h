// SPDX-License-Identifier: BSD-3-Clause
// Bindings of the activations of more than one argument.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_gates(pybind11::module_& module);

}  // namespace brazen::bindings
