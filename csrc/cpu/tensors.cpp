// SPDX-License-Identifier: BSD-3-Clause
// One optimizer step on the CPU: an optional pass that measures the gradients, then one that updates everything.
#include "tensors.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "factored.h"
#include "float_state.h"
#include "tensor_step.h"
#include "threads.h"
#include "units.h"
#include "work.h"

namespace brazen::cpu {
namespace {

// What a piece and an element cost at least, Adam in L2: decides only when waking threads pays.
constexpr int64_t kPiecePicoseconds = 20'000, kElementPicoseconds = 150;
constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();

template <class Body>
void each_piece(const UpdateCall& call, Body&& body) {
  auto unit = [&](int64_t number) {
    for (int64_t i = call.units[number]; i < call.units[number + 1]; ++i) body(call.pieces[i]);
  };
  const int64_t picoseconds = call.piece_count * kPiecePicoseconds + call.element_count * kElementPicoseconds;
  if (picoseconds >= kParallelPicoseconds) return parallel_for(call.unit_count, unit);
  for (int64_t number = 0; number < call.unit_count; ++number) unit(number);
}

std::vector<double> layer_factors(const UpdateCall& call, const Step& step) {
  if (is_factored(call.rule)) return factored_directions(call, step);
  if (!kernels().updates->measure[call.rule][0]) return {};
  std::vector<double> first(call.chunk_count), second(call.chunk_count), factors(call.tensor_count, 1.0);
  each_piece(call, [&](const Piece& piece) { step.measure(piece, first.data(), second.data()); });
  for (int64_t i = 0; i < call.tensor_count; ++i) {
    const TensorEntry& tensor = call.tensors[i];
    const int64_t at = tensor.first_chunk, chunks = chunk_count(tensor.size);
    factors[i] = layer_factor(call.rule, call.groups[tensor.group], tensor.is_double(),
                              merge_chunks(first.data() + at, chunks, 1), merge_chunks(second.data() + at, chunks, 1),
                              double(tensor.size), call.tensor_memory[i]);
  }
  return factors;
}

// Chunks of other groups count as +0, which changes no sum.
double group_norm(const UpdateCall& call, int group, const std::vector<double>& partials) {
  std::vector<double> own(partials.size(), 0.0);
  for (int64_t i = 0; i < call.tensor_count; ++i) {
    const TensorEntry& tensor = call.tensors[i];
    if (tensor.group != group) continue;
    const int64_t end = tensor.first_chunk + chunk_count(tensor.size);
    std::copy(partials.begin() + tensor.first_chunk, partials.begin() + end, own.begin() + tensor.first_chunk);
  }
  return std::sqrt(merge_chunks(own.data(), call.chunk_count, 1));
}

// Groups that are not clipped do not count in the norm that clips.
void drop_unclipped(const UpdateCall& call, std::vector<double>& partials) {
  for (int64_t i = 0; i < call.tensor_count; ++i) {
    const TensorEntry& tensor = call.tensors[i];
    if (call.groups[tensor.group].clips != 0) continue;
    std::fill_n(partials.begin() + tensor.first_chunk, chunk_count(tensor.size), 0.0);
  }
}

}  // namespace

bool sum_squares(const UpdateCall& call, double* partials) {
  const FloatState guard;
  const KernelTable& table = kernels();
  std::atomic<bool> finite{true};
  each_piece(call, [&](const Piece& piece) {
    const TensorEntry& tensor = call.tensors[piece.tensor];
    const int type = tensor.dtype(kGrad) == DType::float64;
    for (int64_t index = piece.begin; index < piece.end; index += kTile) {
      const int64_t n = std::min(kTile, piece.end - index);
      const void* grad = type ? static_cast<const void*>(load_grad(table, tensor, index, n, Tiles<double>{}))
                              : load_grad(table, tensor, index, n, Tiles<float>{});
      const SquareSum sum = table.updates->squares[type](grad, n);
      partials[tensor.first_chunk + index / kTile] = sum.sum;
      if (!sum.finite) finite.store(false, std::memory_order_relaxed);
    }
  });
  return finite;
}

namespace {

template <class T>
bool scale_piece(const KernelTable& table, const TensorEntry& tensor, const Piece& piece, double factor, double bound) {
  const Tiles<T> tiles;
  bool finite = true;
  for (int64_t index = piece.begin; index < piece.end; index += kTile) {
    const int64_t n = std::min(kTile, piece.end - index);
    T* grad = load(table, tensor, kGrad, index, n, tiles);
    finite &= table.updates->scale[sizeof(T) == 8](factor, bound, grad, n);
    store_run(table, tensor.dtype(kGrad), address(tensor, kGrad, index), n, grad, tiles.narrow());
  }
  return finite;
}

template <class T>
void average_piece(const KernelTable& table, const TensorEntry& tensor, const Piece& piece, double keep) {
  const Tiles<T> tiles;
  for (int64_t index = piece.begin; index < piece.end; index += kTile) {
    const int64_t n = std::min(kTile, piece.end - index);
    T* mean = load(table, tensor, kAverage, index, n, tiles);
    table.updates->average[sizeof(T) == 8](keep, load(table, tensor, kParam, index, n, tiles), mean, n);
    store_run(table, tensor.dtype(kAverage), address(tensor, kAverage, index), n, mean, tiles.narrow());
  }
}

}  // namespace

bool scale(const UpdateCall& call, double factor, double bound) {
  const FloatState guard;
  const KernelTable& table = kernels();
  std::atomic<bool> finite{true};
  each_piece(call, [&](const Piece& piece) {
    const TensorEntry& tensor = call.tensors[piece.tensor];
    const bool all = tensor.dtype(kGrad) == DType::float64 ? scale_piece<double>(table, tensor, piece, factor, bound)
                                                           : scale_piece<float>(table, tensor, piece, factor, bound);
    if (!all) finite.store(false, std::memory_order_relaxed);
  });
  return finite;
}

void average(const UpdateCall& call, double keep) {
  const FloatState guard;
  const KernelTable& table = kernels();
  each_piece(call, [&](const Piece& piece) {
    const TensorEntry& tensor = call.tensors[piece.tensor];
    if (tensor.is_double())
      average_piece<double>(table, tensor, piece, keep);
    else
      average_piece<float>(table, tensor, piece, keep);
  });
}

UpdateReport run(const UpdateCall& call, GroupReport* groups) {
  const FloatState guard;
  UpdateReport report{kNotMeasured, false};
  const double scale = std::fabs(call.grad_scale);
  double clip = 1;
  if (call.measures() || groups) {
    std::vector<double> partials(call.chunk_count);
    const bool finite = sum_squares(call, partials.data());
    if (groups)
      for (int group = 0; group < call.group_count; ++group)
        groups[group].grad_norm = group_norm(call, group, partials) * scale;
    if (call.clip_norm > 0) drop_unclipped(call, partials);
    report.grad_norm = std::sqrt(merge_chunks(partials.data(), call.chunk_count, 1)) * scale;
    report.skipped = call.skip_nonfinite && !finite;
  }
  if (call.norm_given) report.grad_norm = call.norm * scale;
  if (call.skip_given >= 0) report.skipped = call.skip_given;
  if (call.clip_norm > 0) clip = clip_factor(report.grad_norm, call.clip_norm);
  if (report.skipped) return report;

  for (int group = 0; group < call.group_count; ++group) begin_step(call.rule, call.groups[group]);
  std::vector<double> weights(groups ? call.chunk_count : 0), updates(weights.size());
  Step measuring(call, clip, nullptr, nullptr, nullptr);
  const std::vector<std::vector<double>> unit_factors = agc_factors(call, measuring);
  if (call.agc_units) measuring.set_unit_factors(&unit_factors);
  const std::vector<double> factors = layer_factors(call, measuring);
  Step step(call, clip, factors.empty() ? nullptr : factors.data(), groups ? weights.data() : nullptr, updates.data());
  if (call.agc_units) step.set_unit_factors(&unit_factors);
  each_piece(call, step);
  if (call.max_norm_units) {
    limit_units(call);
    each_piece(call, [&](const Piece& piece) { step.finish(piece); });
  }
  if (groups) {
    for (int group = 0; group < call.group_count; ++group) {
      groups[group].weight_norm = group_norm(call, group, weights);
      groups[group].update_norm = group_norm(call, group, updates);
    }
  }
  return report;
}

}  // namespace brazen::cpu
