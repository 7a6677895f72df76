// SPDX-License-Identifier: BSD-3-Clause
// The tensors of an optimizer: their arrays described once, looked at again at every step, and described anew where an
// array was replaced. No formula, no loop over elements.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../core/update.h"
#include "arrays.h"
#include "device_room.h"

namespace brazen::bindings {

class TensorList {
 public:
  // Parameter i is containers[i][keys[i]]; `names` and `groups` (a number each) are parallel to them.
  TensorList(const py::list& containers, const py::list& keys, const std::vector<std::string>& names,
             const std::vector<int>& groups);

  // Arrays the optimizer owns, one for each parameter, None where there is none: states, averages, copies.
  void set(int role, const py::list& arrays);
  // (units, inner) of each parameter, for max_norm and for adaptive clipping; empty where no group asks for it.
  void set_units(const std::vector<std::pair<int64_t, int64_t>>& max_norm,
                 const std::vector<std::pair<int64_t, int64_t>>& agc);
  // For each parameter its second moments by axes, of the compute type.
  void set_axes(const py::list& arrays);
  // Gradients that stay where they are: step(None) then uses them.
  void bind(const py::list& grads);

  // Whether these gradients (None: those bound) lie where the last ones that `let_clear` was told of do, and may be
  // written to: then nothing of what zero_grads asks of them has changed.
  bool may_clear(const py::object& grads);
  void let_clear(const py::object& grads);

  // `settings`: for each group kGroupSettings numbers, in the order of GroupStep. `scalars`: arrays of one element on
  // the GPU that take the place of numbers, (group, which setting, array), (-1, -1, the loss scale) or (-1, 0, the
  // bound of the norm).
  // `rounding`: the seed of stochastic rounding, or None. Returns the report: (norm, skipped, norms of each group), or
  // an array of these numbers on the GPU.
  py::object step(int rule, const py::object& grads, const std::vector<std::vector<double>>& settings,
                  const std::vector<double>& options, const py::object& rounding, const py::list& scalars);

  // (step, product) of each group.
  std::vector<std::pair<double, double>> memory() const;
  void set_memory(const std::vector<std::pair<double, double>>& memory);

  bool on_device() const { return device_ != kHost; }
  // Whether some step became part of a graph, which may take it again at any time.
  bool captured() const { return room_.captured(); }
  // Arrays of float64 on the GPU: (step, product) of each group, and what a layerwise rule remembers of each tensor.
  void set_device_memory(const py::object& memory, const py::object& tensor_memory);

  // What a layerwise rule remembers of each tensor.
  const std::vector<double>& tensor_memory() const { return tensor_memory_; }
  void set_tensor_memory(const std::vector<double>& memory);

  py::object param(int64_t index) const { return slots_.at(index).param; }
  int64_t size() const { return static_cast<int64_t>(slots_.size()); }

 private:
  struct Slot {
    py::object container, key, param;
    PyObject* list_item_of = nullptr;  // the container where it is a list, for a quick look
    int64_t position = 0;
    std::vector<int64_t> shape;
    std::string name;
    py::object grad_dtype;  // of a gradient that passed every check: one of the same needs its pointer read alone
    std::unique_ptr<Layout> grad_layout;
    py::object keep[kRoles];
  };

  class Busy;  // one step at a time

  py::object current(const Slot& slot) const;
  void describe_param(int64_t index, const py::object& object);
  void describe(int64_t index, int role, const py::object& object);
  void read_grads(const py::object& grads);
  void read_grad(int64_t index, PyObject* object);
  void describe_grad(int64_t index, PyObject* object);
  void require_apart_from_param(int64_t index) const;
  bool moved(PyObject* param, const TensorEntry& entry) const;
  // Where a gradient that can be cleared as one run of bytes begins; null for any other.
  const char* clearable(int64_t index, PyObject* grad) const;
  PyObject* grad_of(const py::object& grads, int64_t index) const;
  void look_at_params();
  UpdateCall describe_step(int rule, const std::vector<std::vector<double>>& settings,
                           const std::vector<double>& options, const py::object& rounding);
  py::object step_on_host(const UpdateCall& call);
  py::object step_on_device(const UpdateCall& call, const py::list& scalars);
  void require_params_apart() const;

  std::vector<Slot> slots_;
  std::vector<TensorEntry> entries_;
  std::unique_ptr<Cut> cut_;
  std::vector<GroupStep> groups_;
  std::vector<UnitView> max_norm_units_, agc_units_;
  std::vector<Axes> axes_;
  py::list axis_arrays_;
  std::vector<double> tensor_memory_;
  std::vector<const char*> cleared_;
  std::vector<ArrayView> held_;  // DLPack exports of the gradients of one step
  bool has_grads_ = false, params_replaced_ = false;
  bool bound_read_ = false;  // the entries hold the gradients that are bound
  int device_ = kHost;
  Library library_ = Library::numpy;
  DeviceRoom room_;
  py::object device_memory_, device_tensor_memory_;
  DeviceStep device_step_{};
  std::atomic<bool> busy_{false};
};

// One step at a time: the arrays, and what the steps remember, are the list's.
class TensorList::Busy {
 public:
  explicit Busy(TensorList& list) : list_(list) {
    if (list.busy_.exchange(true))
      throw std::runtime_error(
          "optim: this optimizer is in a step on another thread; give each thread an optimizer of its own, or a lock");
  }
  ~Busy() {
    list_.held_.clear();
    list_.busy_ = false;
  }
  Busy(const Busy&) = delete;

 private:
  TensorList& list_;
};

}  // namespace brazen::bindings
