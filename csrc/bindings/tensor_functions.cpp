// SPDX-License-Identifier: BSD-3-Clause
// Functions over lists of arrays for loops of the caller's own: norm, scale, clip, average. No optimizer.
#include "tensor_functions.h"

#include <pybind11/stl.h>

#include <cmath>
#include <limits>

#include "../cpu/tensors.h"
#include "arrays.h"
#include "device_room.h"
#include "execute.h"

namespace brazen::bindings {
namespace {

constexpr int64_t kReleaseElements = 64 << 10;

// Arrays as they lie at this moment.
class Snapshot {
 public:
  explicit Snapshot(size_t count) : entries_(count) {}

  void add(size_t index, int role, PyObject* object, const char* operation, const char* name, bool writes) {
    const std::string full = std::string(name) + "[" + std::to_string(index) + "]";
    const Argument argument{operation, full.c_str()};
    ArrayView view = writes ? read_output(object, argument) : read_array(object, argument);
    require_compute_dtype(view, argument);
    if (!held_.empty()) require_same_place(view, argument, held_[0], (std::string(name) + "[0]").c_str());
    TensorEntry& entry = entries_[index];
    if (role == kGrad || !entry.data[kParam]) entry.size = view.size();
    entry.data[role] = view.data;
    entry.dtypes[role] = static_cast<uint8_t>(view.dtype);
    if (!view.c_contiguous || reinterpret_cast<uintptr_t>(view.data) % itemsize(view.dtype)) {
      if (writes || role != kGrad || view.device != kHost)
        throw ValueMismatch(argument + "is not contiguous; pass ascontiguousarray of it");
      layouts_.push_back(std::make_unique<Layout>());
      layouts_.back()->set_shape(view.ndim, view.shape);
      layouts_.back()->add(view.data, view.dtype, view.strides);
      layouts_.back()->simplify(false, 0);
      entry.grad_layout = layouts_.back().get();
    }
    held_.push_back(std::move(view));
  }

  // Runs `body` on the described list, without the GIL where it is long.
  template <class Body>
  auto run(Body&& body) {
    const Cut cut(entries_);
    UpdateCall call{};
    call.describe(entries_, cut);
    if (cut.elements < kReleaseElements) return body(call);
    const py::gil_scoped_release release;
    return body(call);
  }

  int64_t chunks() const {
    int64_t sum = 0;
    for (const TensorEntry& entry : entries_) sum += chunk_count(entry.size);
    return sum;
  }

  bool on_device() const { return !held_.empty() && held_[0].device != kHost; }

  // The same on the GPU. Results are arrays of one element there: nothing waits for them.
  template <class Prepare>
  void run_on_device(ListWork work, const char* operation, Prepare&& prepare) {
    const Cut cut(entries_);
    GroupStep group{};
    ListCall call{};
    call.list.describe(entries_, cut);
    call.list.groups = &group, call.list.group_count = 1;
    call.work = work;
    prepare(call);
    DeviceRoom room;
    execute(call, room.fit(call.list, held_[0]), held_[0], operation);
  }

  // Uninitialised, beside the arrays.
  ArrayView beside(DType dtype, const std::vector<int64_t>& shape) const { return new_like(held_[0], shape, dtype); }

  const std::vector<ArrayView>& views() const { return held_; }

 private:
  std::vector<TensorEntry> entries_;
  std::vector<std::unique_ptr<Layout>> layouts_;
  std::vector<ArrayView> held_;
};

Snapshot grads_of(const py::sequence& grads, const char* operation, bool writes) {
  Snapshot snapshot(grads.size());
  for (size_t i = 0; i < grads.size(); ++i)
    snapshot.add(i, kGrad, py::object(grads[i]).ptr(), operation, "grads", writes);
  return snapshot;
}

// Sums of squares, and whether every element is finite; on a GPU both are arrays there.
py::tuple tensor_squares(const py::sequence& grads) {
  Snapshot snapshot = grads_of(grads, "norm_partials", false);
  if (snapshot.on_device()) {
    ArrayView sums = snapshot.beside(DType::float64, {snapshot.chunks()}), finite = snapshot.beside(DType::boolean, {});
    snapshot.run_on_device(ListWork::squares, "norm_partials", [&](ListCall& call) {
      call.partials = reinterpret_cast<double*>(sums.data), call.finite = reinterpret_cast<bool*>(finite.data);
    });
    return py::make_tuple(finish(sums), finish(finite));
  }
  std::vector<double> partials(snapshot.chunks());
  const bool finite = snapshot.run([&](const UpdateCall& call) { return cpu::sum_squares(call, partials.data()); });
  return py::make_tuple(partials, finite);
}

// A number of the CPU, an array of one on a GPU.
py::object tensor_norm(const py::sequence& grads) {
  Snapshot snapshot = grads_of(grads, "global_norm", false);
  if (snapshot.on_device()) {
    ArrayView made = snapshot.beside(DType::float64, {});
    snapshot.run_on_device(ListWork::squares, "global_norm",
                           [&](ListCall& call) { call.norm = reinterpret_cast<double*>(made.data); });
    return finish(made);
  }
  return py::float_(snapshot.run([](const UpdateCall& call) {
    std::vector<double> partials(call.chunk_count);
    cpu::sum_squares(call, partials.data());
    return std::sqrt(merge_chunks(partials.data(), call.chunk_count, 1));
  }));
}

double merge_partials(std::vector<double> partials) {
  return merge_chunks(partials.data(), static_cast<int64_t>(partials.size()), 1);
}

py::object tensor_clip(const py::sequence& grads, double max_norm) {
  Snapshot snapshot = grads_of(grads, "clip_grad_norm", true);
  if (snapshot.on_device()) {
    ArrayView made = snapshot.beside(DType::float64, {});
    snapshot.run_on_device(ListWork::clip, "clip_grad_norm", [&](ListCall& call) {
      call.max_norm = max_norm, call.norm = reinterpret_cast<double*>(made.data);
    });
    return finish(made);
  }
  return py::float_(snapshot.run([=](const UpdateCall& call) {
    std::vector<double> partials(call.chunk_count);
    cpu::sum_squares(call, partials.data());
    const double norm = std::sqrt(merge_chunks(partials.data(), call.chunk_count, 1));
    if (!(norm <= max_norm)) cpu::scale(call, clip_factor(norm, max_norm), std::numeric_limits<double>::infinity());
    return norm;
  }));
}

py::object tensor_scale(const py::sequence& grads, double factor, double bound) {
  Snapshot snapshot = grads_of(grads, "scale", true);
  if (snapshot.on_device()) {
    ArrayView made = snapshot.beside(DType::boolean, {});
    snapshot.run_on_device(ListWork::scale, "scale", [&](ListCall& call) {
      call.factor = factor, call.bound = bound, call.finite = reinterpret_cast<bool*>(made.data);
    });
    return finish(made);
  }
  return py::bool_(snapshot.run([=](const UpdateCall& call) { return cpu::scale(call, factor, bound); }));
}

void tensor_average(const py::sequence& averages, const py::sequence& params, double keep) {
  if (averages.size() != params.size())
    throw ValueMismatch("ema_update: " + std::to_string(averages.size()) + " averages for " +
                        std::to_string(params.size()) + " params");
  Snapshot snapshot(params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    snapshot.add(i, kParam, py::object(params[i]).ptr(), "ema_update", "params", false);
    snapshot.add(i, kAverage, py::object(averages[i]).ptr(), "ema_update", "averages", true);
    const ArrayView &param = snapshot.views()[2 * i], &mean = snapshot.views()[2 * i + 1];
    const std::string name = "averages[" + std::to_string(i) + "]";
    require_shape(mean, {"ema_update", name.c_str()}, param.ndim, param.shape, "the shape of its parameter");
    require_apart(mean, {"ema_update", name.c_str()}, param, "params");
  }
  if (snapshot.on_device())
    return snapshot.run_on_device(ListWork::average, "ema_update", [=](ListCall& call) { call.keep = keep; });
  snapshot.run([=](const UpdateCall& call) { cpu::average(call, keep); });
}

}  // namespace

void add_tensor_functions(py::module_& module) {
  using namespace py::literals;
  module.def("tensor_squares", tensor_squares, "grads"_a, "Sums of squares by chunks of 1,024; whether all is finite.");
  module.def("tensor_norm", tensor_norm, "grads"_a, "The norm of all arrays as one; on a GPU an array of one element.");
  module.def("tensor_clip", tensor_clip, "grads"_a, "max_norm"_a, "Scales to max_norm; the norm before.");
  module.def("merge_partials", merge_partials, "partials"_a);
  module.def("tensor_scale", tensor_scale, "grads"_a, "factor"_a, "bound"_a);
  module.def("tensor_average", tensor_average, "averages"_a, "params"_a, "keep"_a);
}

}  // namespace brazen::bindings
