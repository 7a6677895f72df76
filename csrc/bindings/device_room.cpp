// SPDX-License-Identifier: BSD-3-Clause
// Allocates through new_like, and remembers what is free again.
#include "device_room.h"

#include "execute.h"

namespace brazen::bindings {

DeviceSpace& DeviceRoom::fit(const UpdateCall& call, const ArrayView& like) {
  int64_t bytes = 0, shadow_bytes = 0;
  list_bytes(call, bytes, shadow_bytes);
  if (space_.memory && space_.bytes == bytes && static_cast<int64_t>(shadow_.size()) == shadow_bytes) return space_;
  space_ = {};
  ArrayView made = new_like(like, {(bytes + 7) / 8}, DType::float64);
  shadow_.assign(shadow_bytes, 0);
  space_ = {made.data, shadow_.data(), bytes, 1};
  memory_ = finish(made);
  return space_;
}

void DeviceRoom::keep_for_graph(const py::object& report) {
  if (!space_.capturing) return;
  captured_ = true;
  kept_.push_back(report);
  kept_.push_back(memory_);
}

py::object DeviceRoom::report(int64_t numbers, const ArrayView& like, double*& data) {
  for (const Report& report : reports_) {
    if (report.numbers != numbers || Py_REFCNT(report.array.ptr()) != 1) continue;
    data = report.data;
    return report.array;
  }
  ArrayView made = new_like(like, {numbers}, DType::float64);
  data = reinterpret_cast<double*>(made.data);
  py::object array = finish(made);
  // Beyond a few, the caller collects them: then each is its own.
  constexpr size_t kept = 4;
  if (reports_.size() < kept) reports_.push_back({array, data, numbers});
  return array;
}

}  // namespace brazen::bindings
