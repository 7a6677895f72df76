// SPDX-License-Identifier: BSD-3-Clause
// Bindings of softmax and its kind and of the norms, and what bindings over rows share.
#pragma once

#include "arguments.h"

namespace brazen::bindings {

// All axes but one in their order, then that one.
struct LastAxis {
  int order[kMaxDims];
  Axes rest;  // the shape without it

  LastAxis(const ArrayView& x, int axis) {
    int count = 0;
    for (int d = 0; d < x.ndim; ++d) {
      if (d == axis) continue;
      order[count++] = d;
      rest.push_back(x.shape[d]);
    }
    order[count] = axis;
  }
};

// The registry of what works on rows: name, family, parameters of each.
py::list row_operations();

void add_rows(py::module_& module);

}  // namespace brazen::bindings
