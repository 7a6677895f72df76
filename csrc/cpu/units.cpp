// SPDX-License-Identifier: BSD-3-Clause
// Bounds by units: adaptive clipping of gradients and the largest norm of weights. A tensor is one thread's, tensors
// are shared out.
#include "units.h"

#include "threads.h"
#include "work.h"

namespace brazen::cpu {
namespace {

constexpr int64_t kElementPicoseconds = 400;

template <class Body>
void each_tensor(const UpdateCall& call, Body&& body) {
  if (call.element_count * kElementPicoseconds >= kParallelPicoseconds) return parallel_for(call.tensor_count, body);
  for (int64_t i = 0; i < call.tensor_count; ++i) body(i);
}

template <class T>
std::vector<double> unit_squares(const KernelTable& table, const T* x, int64_t size, const UnitView& view) {
  std::vector<double> sums(view.units);
  if (view.inner == 1) {
    column_sums(table, x, size / view.units, view.units, view.units, sums.data());
    return sums;
  }
  const int64_t runs = size / (view.units * view.inner);
  std::vector<T> gathered(runs > 1 ? runs * view.inner : 0);
  for (int64_t unit = 0; unit < view.units; ++unit) {
    const T* from = x + unit * view.inner;
    for (int64_t run = 0; runs > 1 && run < runs; ++run)
      std::copy_n(from + run * view.units * view.inner, view.inner, gathered.data() + run * view.inner);
    sums[unit] = sum_of_squares(table, runs > 1 ? gathered.data() : from, runs * view.inner);
  }
  return sums;
}

// The parameter as the compute type: itself, or widened into `room`.
template <class T>
T* whole_param(const KernelTable& table, const TensorEntry& tensor, std::vector<T>& room) {
  if (tensor.dtype(kParam) == kComputeDType<T>) return reinterpret_cast<T*>(tensor.data[kParam]);
  room.resize(tensor.size);
  const Tiles<T> tiles;
  for (int64_t at = 0; at < tensor.size; at += kTile) {
    const int64_t n = std::min(kTile, tensor.size - at);
    memcpy(room.data() + at, load(table, tensor, kParam, at, n, tiles), n * sizeof(T));
  }
  return room.data();
}

template <class T>
void limit(const UpdateCall& call, const TensorEntry& tensor, const UnitView& view) {
  const KernelTable& table = kernels();
  const double bound = call.groups[tensor.group].max_norm;
  std::vector<T> room;
  T* weights = whole_param(table, tensor, room);
  const std::vector<double> sums = unit_squares(table, weights, tensor.size, view);
  std::vector<T> factors(view.units, T(1));
  bool any = false;
  for (int64_t unit = 0; unit < view.units; ++unit) {
    factors[unit] = T(unit_limit(bound, sums[unit]));
    any = any || factors[unit] != 1;
  }
  if (!any) return;
  for (int64_t start = 0; start < tensor.size; start += view.units * view.inner)
    for (int64_t unit = 0; unit < view.units; ++unit)
      for (int64_t i = 0; i < view.inner; ++i) weights[start + unit * view.inner + i] *= factors[unit];
  const Tiles<T> tiles;
  for (int64_t at = 0; at < tensor.size && !room.empty(); at += kTile)
    store_run(table, tensor.dtype(kParam), address(tensor, kParam, at), std::min(kTile, tensor.size - at), weights + at,
              tiles.narrow());
}

template <class T>
std::vector<double> clip_factors(const UpdateCall& call, const Step& step, const TensorEntry& tensor,
                                 const UnitView& view) {
  const KernelTable& table = kernels();
  const GroupStep& group = call.groups[tensor.group];
  std::vector<T> room, grads(tensor.size);
  {
    const Tiles<T> tiles;
    const double bound = group.clip_value > 0 ? group.clip_value : std::numeric_limits<double>::infinity();
    for (int64_t at = 0; at < tensor.size; at += kTile) {
      const int64_t n = std::min(kTile, tensor.size - at);
      memcpy(grads.data() + at, load_grad(table, tensor, at, n, tiles), n * sizeof(T));
      table.updates->scale[sizeof(T) == 8](step.scale_of(group), bound, grads.data() + at, n);
    }
  }
  const std::vector<double> slopes = unit_squares(table, grads.data(), tensor.size, view);
  const std::vector<double> sizes = unit_squares(table, whole_param(table, tensor, room), tensor.size, view);
  std::vector<double> factors(view.units, 1.0);
  for (int64_t unit = 0; unit < view.units; ++unit)
    factors[unit] = unit_clip(group.agc, group.agc_eps, slopes[unit], sizes[unit]);
  return factors;
}

}  // namespace

std::vector<std::vector<double>> agc_factors(const UpdateCall& call, const Step& step) {
  if (!call.agc_units) return {};
  std::vector<std::vector<double>> factors(call.tensor_count);
  each_tensor(call, [&](int64_t i) {
    const TensorEntry& tensor = call.tensors[i];
    const UnitView& view = call.agc_units[i];
    if (tensor.size == 0 || view.units == 0 || call.groups[tensor.group].agc == 0) return;
    factors[i] = tensor.is_double() ? clip_factors<double>(call, step, tensor, view)
                                    : clip_factors<float>(call, step, tensor, view);
  });
  return factors;
}

void limit_units(const UpdateCall& call) {
  each_tensor(call, [&](int64_t i) {
    const TensorEntry& tensor = call.tensors[i];
    const UnitView& view = call.max_norm_units[i];
    if (tensor.size == 0 || view.units == 0 || call.groups[tensor.group].max_norm == 0) return;
    if (tensor.is_double())
      limit<double>(call, tensor, view);
    else
      limit<float>(call, tensor, view);
  });
}

}  // namespace brazen::cpu
