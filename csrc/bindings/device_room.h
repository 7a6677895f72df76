// SPDX-License-Identifier: BSD-3-Clause
// Memory on a GPU that belongs to a list of tensors: what the CUDA library keeps there, and reports of steps. From the
// allocator of the arrays' own library, so that it is freed in the order of their stream.
#pragma once

#include <vector>

#include "../core/update.h"
#include "arrays.h"

namespace brazen::bindings {

class DeviceRoom {
 public:
  // Makes room for `call` where there is none yet, or another amount. `like` is one of the list's arrays.
  DeviceSpace& fit(const UpdateCall& call, const ArrayView& like);

  // Described anew at the next call.
  void forget() { space_ = {}; }

  // Whether a graph holds calls, which may run at any time.
  bool captured() const { return captured_; }

  // After a call whose report is `report`: what became part of a graph is neither freed nor used for another report.
  void keep_for_graph(const py::object& report);

  // An array of doubles that nobody else holds: a report somebody keeps is never written again.
  py::object report(int64_t numbers, const ArrayView& like, double*& data);

 private:
  struct Report {
    py::object array;
    double* data;
    int64_t numbers;
  };

  DeviceSpace space_{};
  py::object memory_;
  std::vector<char> shadow_;
  std::vector<Report> reports_;
  std::vector<py::object> kept_;
  bool captured_ = false;
};

}  // namespace brazen::bindings
