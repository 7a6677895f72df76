// SPDX-License-Identifier: BSD-3-Clause
// Bindings of the generator: fills of arrays.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_random(pybind11::module_& module);

}  // namespace brazen::bindings
