// SPDX-License-Identifier: BSD-3-Clause
// Bindings of the windows of images.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_images(pybind11::module_& module);

}  // namespace brazen::bindings
