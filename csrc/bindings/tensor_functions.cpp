// SPDX-License-Identifier: BSD-3-Clause
// Functions over lists of arrays for loops of the caller's own: norm, scale, clip, average. No optimizer.
#include "tensor_functions.h"

#include <pybind11/stl.h>

#include "../cpu/tensors.h"
#include "arrays.h"

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
    if (view.device != kHost)
      throw ValueMismatch(argument + "is on a GPU; these functions work on arrays of the CPU, optimizers on both");
    TensorEntry& entry = entries_[index];
    if (role == kGrad || !entry.data[kParam]) entry.size = view.size();
    entry.data[role] = view.data;
    entry.dtypes[role] = static_cast<uint8_t>(view.dtype);
    if (!view.c_contiguous || reinterpret_cast<uintptr_t>(view.data) % itemsize(view.dtype)) {
      if (writes || role != kGrad) throw ValueMismatch(argument + "is not contiguous; pass ascontiguousarray of it");
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

std::pair<std::vector<double>, bool> tensor_squares(const py::sequence& grads) {
  Snapshot snapshot = grads_of(grads, "global_norm", false);
  return snapshot.run([](const UpdateCall& call) {
    std::vector<double> partials(call.chunk_count);
    const bool finite = cpu::sum_squares(call, partials.data());
    return std::pair{std::move(partials), finite};
  });
}

// The square of the norm, and whether every element is finite.
std::pair<double, bool> tensor_norm(const py::sequence& grads) {
  Snapshot snapshot = grads_of(grads, "global_norm", false);
  return snapshot.run([](const UpdateCall& call) {
    std::vector<double> partials(call.chunk_count);
    const bool finite = cpu::sum_squares(call, partials.data());
    return std::pair{merge_chunks(partials.data(), call.chunk_count, 1), finite};
  });
}

double merge_partials(std::vector<double> partials) {
  return merge_chunks(partials.data(), static_cast<int64_t>(partials.size()), 1);
}

bool tensor_scale(const py::sequence& grads, double factor, double bound) {
  Snapshot snapshot = grads_of(grads, "scale", true);
  return snapshot.run([=](const UpdateCall& call) { return cpu::scale(call, factor, bound); });
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
  snapshot.run([=](const UpdateCall& call) { cpu::average(call, keep); });
}

}  // namespace

void add_tensor_functions(py::module_& module) {
  using namespace py::literals;
  module.def("tensor_squares", tensor_squares, "grads"_a, "Sums of squares by chunks of 1,024, and all finite.");
  module.def("tensor_norm", tensor_norm, "grads"_a, "Sum of squares, and all finite.");
  module.def("merge_partials", merge_partials, "partials"_a);
  module.def("tensor_scale", tensor_scale, "grads"_a, "factor"_a, "bound"_a);
  module.def("tensor_average", tensor_average, "averages"_a, "params"_a, "keep"_a);
}

}  // namespace brazen::bindings
