// SPDX-License-Identifier: BSD-3-Clause
// An optimizer's step over a list of tensors, and the functions over lists: tables sent where they changed, then one
// launch a phase. Nothing waits for the device. No kernel here.
#include <cstring>

#include "tensor_kernels.h"

namespace brazen::cuda::tensors {
namespace {

constexpr int64_t kAlignment = 16;

// Places in a list's memory, one after another: the tables first, which the host fills, then the room of the phases.
class Plan {
 public:
  Plan(const UpdateCall& call, char* memory) : call_(call), memory_(memory) {
    list_.tensor_count = call.tensor_count, list_.chunk_count = call.chunk_count;
    list_.group_count = call.group_count, list_.rule = call.rule;
    const int64_t tensors = call.tensor_count;
    take(list_.tensors, tensors);
    take(list_.grads, tensors);
    take(list_.first_chunks, tensors + 1);
    take(list_.settings, call.group_count);
    const bool factored = call.axes && is_factored(call.rule), by_rows = factored && is_adafactor(call.rule);
    const bool wanted[kMaps] = {call.agc_units != nullptr, call.max_norm_units != nullptr, by_rows, by_rows};
    for (int map = 0; map < kMaps; ++map) {
      list_.unit_counts[map] = 0, list_.maps[map] = nullptr, list_.first_units[map] = nullptr;
      if (!wanted[map]) continue;
      take(list_.maps[map], tensors);
      take(list_.first_units[map], tensors + 1);
      for (int64_t i = 0; i < tensors; ++i) list_.unit_counts[map] += unit_map(map, i).units;
    }
    list_.axes = nullptr, list_.first_matrices = list_.first_maxima = nullptr;
    list_.matrix_count = list_.maximum_count = 0;
    if (factored) {
      take(list_.axes, tensors);
      take(list_.first_matrices, tensors + 1);
      take(list_.first_maxima, tensors + 1);
      for (int64_t i = 0; i < tensors; ++i) list_.matrix_count += matrices(i), list_.maximum_count += maxima(i);
    }
    table_bytes_ = used_;
    take(list_.state, 1);
    take(list_.groups, call.group_count);
    take(list_.maxima, list_.maximum_count);
    cleared_bytes_ = used_;
    for (double*& partials : list_.partials) take(partials, call.chunk_count);
    take(list_.folded, kFolded * (2 * int64_t{call.group_count} + 1));
    take(list_.factors, tensors);
    take(list_.unit_factors, list_.unit_counts[kClipMap]);
    take(list_.matrix_means, list_.matrix_count);
  }

  const List& list() const { return list_; }
  int64_t bytes() const { return used_; }
  int64_t table_bytes() const { return table_bytes_; }
  int64_t cleared_bytes() const { return cleared_bytes_; }

  // The tables' contents, at their places behind `to`.
  void fill(char* to) const {
    memset(to, 0, table_bytes_);
    const int64_t tensors = call_.tensor_count;
    TensorEntry* entries = at(to, list_.tensors);
    char** grads = at(to, list_.grads);
    int64_t* first_chunks = at(to, list_.first_chunks);
    for (int64_t i = 0; i < tensors; ++i) {
      memcpy(&entries[i], &call_.tensors[i], sizeof(TensorEntry));
      entries[i].data[kGrad] = nullptr, entries[i].grad_layout = nullptr;
      grads[i] = call_.tensors[i].data[kGrad];
      first_chunks[i] = call_.tensors[i].first_chunk;
    }
    first_chunks[tensors] = call_.chunk_count;
    GroupStep* settings = at(to, list_.settings);
    for (int32_t group = 0; group < call_.group_count; ++group) {
      memcpy(&settings[group], &call_.groups[group], sizeof(GroupStep));
      // What the device keeps itself.
      settings[group].memory = {0, 0}, settings[group].decay = settings[group].average_keep = 0;
      memset(settings[group].coefficients, 0, sizeof settings[group].coefficients);
    }
    for (int map = 0; map < kMaps; ++map) {
      if (!list_.maps[map]) continue;
      number(at(to, list_.first_units[map]), [&](int64_t i) { return unit_map(map, i).units; });
      for (int64_t i = 0; i < tensors; ++i) at(to, list_.maps[map])[i] = unit_map(map, i);
    }
    if (!list_.axes) return;
    memcpy(at(to, list_.axes), call_.axes, tensors * sizeof(Axes));
    number(at(to, list_.first_matrices), [&](int64_t i) { return matrices(i); });
    number(at(to, list_.first_maxima), [&](int64_t i) { return maxima(i); });
  }

 private:
  template <class T>
  void take(T*& place, int64_t count) {
    place = reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
  }

  template <class T>
  T* at(char* to, const T* place) const {
    return reinterpret_cast<T*>(to + (reinterpret_cast<const char*>(place) - memory_));
  }

  template <class Count>
  void number(int64_t* firsts, const Count& count) const {
    firsts[0] = 0;
    for (int64_t i = 0; i < call_.tensor_count; ++i) firsts[i + 1] = firsts[i] + count(i);
  }

  UnitMap unit_map(int map, int64_t index) const {
    const int64_t size = call_.tensors[index].size;
    if (map == kClipMap || map == kLimitMap) {
      const UnitView& view = (map == kClipMap ? call_.agc_units : call_.max_norm_units)[index];
      if (size == 0 || view.units == 0) return {0, 1, 0, 1, 1, 0, 0};
      return {view.units, view.units, 0, view.inner, view.inner, view.units * view.inner, size / view.units};
    }
    const Axes& axes = call_.axes[index];
    if (size == 0 || axes.count < 2) return {0, 1, 0, 1, 1, 0, 0};
    const int64_t rows = axes.extents[axes.count - 2], columns = axes.extents[axes.count - 1];
    if (map == kRowMap) return {size / columns, size / columns, 0, columns, columns, columns, columns};
    return {size / rows, columns, rows * columns, 1, 1, columns, rows};
  }

  int64_t matrices(int64_t index) const {
    const Axes& axes = call_.axes[index];
    if (call_.tensors[index].size == 0 || axes.count < 2) return 0;
    return call_.tensors[index].size / (axes.extents[axes.count - 2] * axes.extents[axes.count - 1]);
  }

  int64_t maxima(int64_t index) const {
    if (call_.tensors[index].size == 0 || is_adafactor(call_.rule)) return 0;
    int64_t sum = 0;
    for (int axis = 0; axis < call_.axes[index].count; ++axis) sum += call_.axes[index].extents[axis];
    return sum;
  }

  const UpdateCall& call_;
  char* memory_;
  List list_{};
  int64_t used_ = 0, table_bytes_ = 0, cleared_bytes_ = 0;
};

// The phases of one call, until one fails.
class Phases {
 public:
  Phases(const Plan& plan, DeviceSpace& space, const Launch& where)
      : list_(plan.list()), where_(where), chunk_blocks_(blocks_of(list_.chunk_count, kWarps)) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    error_ = cudaStreamIsCapturing(static_cast<cudaStream_t>(where.stream), &status);
    space.capturing = status == cudaStreamCaptureStatusActive;
    space.captured = space.captured || space.capturing;
    send_tables(plan, space);
  }

  cudaError_t error() const { return error_; }

  template <class Pass>
  void run(void (*kernel)(Pass), int64_t blocks, const Pass& pass) {
    then([&] { return launch_over(kernel, blocks, where_.stream, pass); });
  }

  template <class Pass>
  void over_chunks(void (*kernel)(Pass), const Pass& pass) {
    run(kernel, chunk_blocks_, pass);
  }

  template <class Launcher>
  void then(Launcher&& launcher) {
    if (error_ == cudaSuccess) error_ = launcher();
  }

  // Leaves at most kFolded sums of each set.
  MergePass merge(const double* first, const double* second, bool at_end, bool drops_unclipped, int64_t sets) {
    MergePass pass{list_, {first, second}, kFolded, 0, at_end, drops_unclipped};
    while (blocks_of(list_.chunk_count, pass.span) > kFolded) pass.span *= 2;
    pass.blocks = blocks_of(list_.chunk_count, pass.span);
    run(kernels_.merge, sets * pass.blocks, pass);
    return pass;
  }

  const TensorKernels& kernels() const { return kernels_; }
  void* stream() const { return where_.stream; }

 private:
  // Parcels of what differs from what was sent last; `shadow` remembers it. A graph brings all of its own, as steps
  // beside it do from then on: it may run at any time, and neither knows what the other sent.
  void send_tables(const Plan& plan, DeviceSpace& space) {
    char* wanted = space.shadow + plan.table_bytes();
    plan.fill(wanted);
    if (space.fresh) {
      const int64_t words = (plan.cleared_bytes() - plan.table_bytes()) / 8;
      const ClearPass pass{reinterpret_cast<uint64_t*>(space.memory + plan.table_bytes()), words};
      run(kernels_.clear, blocks_of(words, kThreads), pass);
    }
    for (int64_t first = 0; first < plan.table_bytes(); first += kParcelBytes) {
      const int64_t left = plan.table_bytes() - first, bytes = left < kParcelBytes ? left : kParcelBytes;
      if (!space.fresh && !space.captured && memcmp(wanted + first, space.shadow + first, bytes) == 0) continue;
      Parcel parcel;
      parcel.to = reinterpret_cast<uint64_t*>(space.memory + first);
      parcel.words = static_cast<int32_t>(bytes / 8);
      memcpy(parcel.data, wanted + first, bytes);
      run(kernels_.send, 1, parcel);
      if (error_ == cudaSuccess) memcpy(space.shadow + first, wanted + first, bytes);
    }
    if (error_ == cudaSuccess && !space.capturing) space.fresh = 0;
  }

  const List& list_;
  const Launch& where_;
  const TensorKernels& kernels_ = tensor_kernels();
  int64_t chunk_blocks_;
  cudaError_t error_ = cudaSuccess;
};

// Which kernels of the rule have tensors of their own.
struct Kinds {
  bool any_type[2] = {}, direct = false, others[2] = {};

  Kinds(const UpdateCall& call, const StepPass& pass, int states) {
    for (int64_t i = 0; i < call.tensor_count; ++i) {
      const TensorEntry& tensor = call.tensors[i];
      if (tensor.size == 0) continue;
      any_type[tensor.is_double()] = true;
      (is_direct(pass, tensor, states) ? direct : others[tensor.is_double()]) = true;
    }
  }
};

cudaError_t step(const UpdateCall& call, const DeviceStep& device, Phases& phases, const StepPass& pass) {
  const List& list = pass.list;
  const TensorKernels& kernels = phases.kernels();
  BeginPass begin{};
  begin.device = device;
  begin.grad_scale = call.grad_scale, begin.clip_norm = call.clip_norm;
  begin.sign = call.grad_scale < 0 ? -1.0 : 1.0;
  begin.norm = call.norm, begin.norm_given = call.norm_given, begin.skip_given = call.skip_given;
  begin.wants_norms = call.wants_norms, begin.skip_nonfinite = call.skip_nonfinite;
  const bool clips = call.clip_norm > 0 || device.clip_norm;
  begin.measures = call.measures() || (clips && !call.norm_given) || call.wants_norms;
  begin.merge.list = list;
  if (begin.measures) {
    phases.over_chunks(kernels.grad_squares, pass);
    begin.merge = phases.merge(list.partials[kGradPartials], list.partials[kGradPartials], false, clips,
                               call.wants_norms ? call.group_count + 1 : 1);
  }
  phases.run(kernels.begin, 1, begin);
  void* stream = phases.stream();
  if (pass.clips_units) phases.then([&] { return launch_unit_clips(pass, stream); });
  const FactorPass factors{list, device.tensor_memory};
  if (is_factored(call.rule)) {
    phases.then([&] { return launch_factored(pass, stream); });
    phases.run(kernels.tensor_factors, list.tensor_count, factors);
  }
  const RuleKernels& rule = rule_kernels(call.rule);
  const Kinds kinds(call, pass, rule.states);
  if (rule.measure[0]) {
    for (const bool doubles : {false, true})
      if (kinds.any_type[doubles]) phases.over_chunks(rule.measure[doubles], pass);
    phases.run(kernels.tensor_factors, list.tensor_count, factors);
  }
  if (kinds.direct) phases.over_chunks(rule.direct, pass);
  for (const bool doubles : {false, true})
    if (kinds.others[doubles]) phases.over_chunks(rule.any[doubles], pass);
  if (pass.limits_units) {
    phases.then([&] { return launch_unit_limits(pass, stream); });
    phases.over_chunks(kernels.finish, pass);
  }
  if (call.wants_norms) {
    const MergePass merged =
        phases.merge(list.partials[kWeightPartials], list.partials[kUpdatePartials], true, false, 2 * call.group_count);
    phases.run(kernels.end, 1, EndPass{merged, device.report});
  }
  return phases.error();
}

cudaError_t work(const ListCall& call, Phases& phases, const StepPass& pass) {
  const List& list = pass.list;
  const TensorKernels& kernels = phases.kernels();
  if (call.work == ListWork::average) {
    phases.over_chunks(kernels.average, AveragePass{list, call.keep});
    return phases.error();
  }
  SettlePass settle{};
  settle.merge.list = list;
  settle.max_norm = call.max_norm, settle.norm = call.norm, settle.finite = call.finite;
  if (call.work == ListWork::scale) {
    phases.over_chunks(kernels.scale, ScalePass{list, call.factor, call.bound, false});
  } else {
    StepPass squares = pass;
    if (call.partials) squares.list.partials[kGradPartials] = call.partials;
    phases.over_chunks(kernels.grad_squares, squares);
    settle.measures = true;
    settle.merge =
        phases.merge(squares.list.partials[kGradPartials], squares.list.partials[kGradPartials], false, false, 1);
  }
  phases.run(kernels.settle, 1, settle);
  if (call.work == ListWork::clip) phases.over_chunks(kernels.scale, ScalePass{list, 1.0, __builtin_inf(), true});
  return phases.error();
}

template <class Run>
Status enter(const UpdateCall& call, DeviceSpace& space, const Launch& where, Run&& run) {
  const Plan plan(call, space.memory);
  if (space.bytes < plan.bytes()) return refuse(where, "the list's memory on the device is too small for it");
  if (blocks_of(call.chunk_count, kWarps) > kMaxBlocks || call.tensor_count > kMaxBlocks)
    return refuse(where, "more than 2^44 elements in one list; pass a part of it at a time");
  const DeviceScope scope(where.device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), where);
  Phases phases(plan, space, where);
  StepPass pass{};
  pass.list = plan.list();
  pass.seed = call.seed, pass.rounds_randomly = call.rounds_randomly, pass.zero_grads = call.zero_grads;
  pass.wants_norms = call.wants_norms;
  pass.clips_units = call.agc_units != nullptr, pass.limits_units = call.max_norm_units != nullptr;
  pass.rule = call.rule, pass.layered = is_factored(call.rule) || rule_kernels(call.rule).measure[0];
  return explain(run(phases, pass), where);
}

}  // namespace
}  // namespace brazen::cuda::tensors

using namespace brazen;
using namespace brazen::cuda;

void brazen_cuda_list_bytes(const UpdateCall* call, int64_t* bytes, int64_t* shadow_bytes) {
  const tensors::Plan plan(*call, nullptr);
  *bytes = plan.bytes(), *shadow_bytes = 2 * plan.table_bytes();
}

Status brazen_cuda_update(const UpdateCall* call, const DeviceStep* device, DeviceSpace* space, const Launch* where) {
  return tensors::enter(*call, *space, *where, [&](tensors::Phases& phases, const tensors::StepPass& pass) {
    return tensors::step(*call, *device, phases, pass);
  });
}

Status brazen_cuda_list(const ListCall* call, DeviceSpace* space, const Launch* where) {
  return tensors::enter(call->list, *space, *where, [&](tensors::Phases& phases, const tensors::StepPass& pass) {
    return tensors::work(*call, phases, pass);
  });
}
