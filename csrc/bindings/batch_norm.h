// SPDX-License-Identifier: BSD-3-Clause
// Bindings of batch norm: statistics, both passes, merging.
#pragma once

#include <pybind11/pybind11.h>

namespace brazen::bindings {

void add_batch_norm(pybind11::module_& module);

}  // namespace brazen::bindings
