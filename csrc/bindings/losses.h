// SPDX-License-Identifier: BSD-3-Clause
// Bindings of the losses.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_losses(pybind11::module_& module);

}  // namespace brazen::bindings
