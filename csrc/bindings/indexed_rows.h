// SPDX-License-Identifier: BSD-3-Clause
// Bindings of sums of rows by index.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_indexed_rows(pybind11::module_& module);

}  // namespace brazen::bindings
