// SPDX-License-Identifier: BSD-3-Clause
// The binding that converts between floating-point types.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_convert(pybind11::module_& module);

}  // namespace brazen::bindings
