// SPDX-License-Identifier: BSD-3-Clause
// Registers the optimizers' bindings.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_optim(pybind11::module_& module);

}  // namespace brazen::bindings
