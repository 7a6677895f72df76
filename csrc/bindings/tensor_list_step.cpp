// SPDX-License-Identifier: BSD-3-Clause
// Steps of a list of tensors: described, and handed to the CPU driver or to the CUDA library. What steps remember.
#include <pybind11/stl.h>

#include <algorithm>

#include "../cpu/tensors.h"
#include "execute.h"
#include "tensor_list.h"

namespace brazen::bindings {
namespace {

constexpr const char* kOperation = "optim";
// Giving the GIL away and taking it back costs about 0.1 us uncontended, far more contended.
constexpr int64_t kReleaseElements = 64 << 10;

}  // namespace

UpdateCall TensorList::describe_step(int rule, const std::vector<std::vector<double>>& settings,
                                     const std::vector<double>& options, const py::object& rounding) {
  if (rule < 0 || rule >= kUpdates || settings.size() != groups_.size() || options.size() != 7)
    throw ValueMismatch("optim: rule, settings or options do not fit this list");
  for (size_t g = 0; g < groups_.size(); ++g) {
    if (settings[g].size() != kGroupSettings) throw ValueMismatch("optim: a group's settings have the wrong length");
    for (int k = 0; k < kGroupSettings; ++k) groups_[g].setting(k) = settings[g][k];
  }
  UpdateCall call{};
  call.rule = rule;
  call.group_count = static_cast<int32_t>(groups_.size()), call.groups = groups_.data();
  call.describe(entries_, *cut_);
  if (axes_.empty() && is_factored(rule)) throw ValueMismatch("optim: this rule needs set_axes");
  call.axes = axes_.empty() ? nullptr : axes_.data();
  call.max_norm_units = max_norm_units_.empty() ? nullptr : max_norm_units_.data();
  call.agc_units = agc_units_.empty() ? nullptr : agc_units_.data();
  call.tensor_memory = tensor_memory_.data();
  call.grad_scale = options[0], call.clip_norm = options[1];
  call.skip_nonfinite = options[2] != 0, call.zero_grads = options[3] != 0, call.wants_norms = options[4] != 0;
  // Less than 0: not given.
  call.norm_given = !(options[5] < 0), call.norm = options[5];
  call.skip_given = static_cast<int32_t>(options[6]);
  call.rounds_randomly = !rounding.is_none();
  if (call.rounds_randomly) call.seed = rounding.cast<uint64_t>();
  return call;
}

py::object TensorList::step_on_host(const UpdateCall& call) {
  std::vector<GroupReport> reports(call.wants_norms ? groups_.size() : 0);
  UpdateReport report;
  if (cut_->elements < kReleaseElements) {
    report = cpu::run(call, reports.empty() ? nullptr : reports.data());
  } else {
    const py::gil_scoped_release release;
    report = cpu::run(call, reports.empty() ? nullptr : reports.data());
  }
  py::list norms;
  for (const GroupReport& group : reports)
    norms.append(py::make_tuple(group.grad_norm, group.update_norm, group.weight_norm));
  return py::make_tuple(report.grad_norm, report.skipped != 0, norms);
}

py::object TensorList::step_on_device(const UpdateCall& call, const py::list& scalars) {
  if (!device_memory_) throw ValueMismatch("optim: arrays on a GPU need set_device_memory");
  DeviceStep device = device_step_;
  for (GroupStep& group : groups_) std::fill_n(group.sources, kGroupSettings, nullptr);
  for (const py::handle item : scalars) {
    const auto [group, which, array] = item.cast<std::tuple<int, int, py::object>>();
    const Argument argument{kOperation, group >= 0 ? "a hyper-parameter" : which < 0 ? "scale" : "clip_norm"};
    const ArrayView view = read_array(array.ptr(), argument);
    require_compute_dtype(view, argument);
    if (view.size() != 1) throw ValueMismatch(argument + "is an array; expected a number, or an array of one element");
    if (view.device != device_) throw ValueMismatch(argument + "is on another device than the parameters");
    if (group < 0 && which < 0) {
      device.grad_scale = view.data, device.grad_scale_dtype = view.dtype;
    } else if (group < 0) {
      device.clip_norm = view.data, device.clip_norm_dtype = view.dtype;
    } else if (group < static_cast<int>(groups_.size()) && which >= 0 && which < kGroupSettings) {
      groups_[group].sources[which] = view.data, groups_[group].source_dtypes[which] = view.dtype;
    } else {
      throw ValueMismatch("optim: there is no such group or hyper-parameter");
    }
  }
  ArrayView where;
  where.library = library_, where.device = device_, where.stream = current_stream(library_, device_);
  where.object = slots_[0].param.ptr();
  py::object report = room_.report(2 + 3 * static_cast<int64_t>(groups_.size()), where, device.report);
  execute(call, device, room_.fit(call, where), where);
  room_.keep_for_graph(report);
  return report;
}

py::object TensorList::step(int rule, const py::object& grads, const std::vector<std::vector<double>>& settings,
                            const std::vector<double>& options, const py::object& rounding, const py::list& scalars) {
  const Busy busy(*this);
  look_at_params();
  read_grads(grads);
  const UpdateCall call = describe_step(rule, settings, options, rounding);
  if (on_device()) return step_on_device(call, scalars);
  if (!scalars.empty()) throw ValueMismatch("optim: hyper-parameters of a CPU step are numbers, not arrays on a GPU");
  return step_on_host(call);
}

void TensorList::set_device_memory(const py::object& memory, const py::object& tensor_memory) {
  const Busy busy(*this);
  const auto read = [&](const py::object& object, const char* name, int64_t numbers) {
    const Argument argument{kOperation, name};
    const ArrayView view = read_output(object.ptr(), argument);
    require_dtype(view, DType::float64, argument, "the type of what steps remember");
    if (view.size() != numbers || !view.c_contiguous || view.device != device_)
      throw ValueMismatch(argument + "does not fit this list, or lies elsewhere");
    return reinterpret_cast<double*>(view.data);
  };
  device_step_.memory = read(memory, "memory", 2 * static_cast<int64_t>(groups_.size()));
  device_step_.tensor_memory = read(tensor_memory, "tensor_memory", size());
  device_memory_ = memory, device_tensor_memory_ = tensor_memory;
}

std::vector<std::pair<double, double>> TensorList::memory() const {
  std::vector<std::pair<double, double>> result;
  for (const GroupStep& group : groups_) result.emplace_back(group.memory.step, group.memory.product);
  return result;
}

void TensorList::set_memory(const std::vector<std::pair<double, double>>& memory) {
  const Busy busy(*this);
  if (memory.size() != groups_.size()) throw ValueMismatch("optim: memory of another number of groups");
  for (size_t g = 0; g < memory.size(); ++g) groups_[g].memory = {memory[g].first, memory[g].second};
}

void TensorList::set_tensor_memory(const std::vector<double>& memory) {
  const Busy busy(*this);
  if (memory.size() != slots_.size()) throw ValueMismatch("optim: memory of another number of tensors");
  tensor_memory_ = memory;
}

}  // namespace brazen::bindings
