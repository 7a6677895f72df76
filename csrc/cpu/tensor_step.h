// SPDX-License-Identifier: BSD-3-Clause
// What happens to one piece of one tensor in a step: its arrays as tiles of the compute type, the rule, and what
// follows the rule. No thread.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "noise.h"
#include "runs.h"
#include "scratch.h"
#include "tiles.h"

namespace brazen::cpu {

inline constexpr int64_t kTile = kChunkRows;

// A thread's tiles: one for each role, and a few that stages write.
template <class T>
struct Tiles {
  static constexpr int kPrepared = kRoles, kBefore = kRoles + 1, kNarrow = kRoles + 2, kCount = kRoles + 3;
  unsigned char* memory = thread_scratch(kCount * kTile * sizeof(T));

  T* operator[](int number) const { return reinterpret_cast<T*>(memory) + number * kTile; }
  float* narrow() const { return reinterpret_cast<float*>((*this)[kNarrow]); }
};

inline char* address(const TensorEntry& tensor, int role, int64_t index) {
  return tensor.data[role] + index * itemsize(tensor.dtype(role));
}

template <class T>
T* load(const KernelTable& table, const TensorEntry& tensor, int role, int64_t index, int64_t n,
        const Tiles<T>& tiles) {
  return load_run(table, tensor.dtype(role), address(tensor, role, index), n, tiles[role], tiles.narrow());
}

template <class T>
const T* load_grad(const KernelTable& table, const TensorEntry& tensor, int64_t index, int64_t n,
                   const Tiles<T>& tiles) {
  if (!tensor.grad_layout) return load(table, tensor, kGrad, index, n, tiles);
  const Layout& layout = *tensor.grad_layout;
  Cursor cursor(layout, layout.operands[0], 0, index);
  T* packed = tiles[kGrad];
  switch (itemsize(tensor.dtype(kGrad))) {
    case 2:
      gather(*table.moves, tensor.data[kGrad], cursor, reinterpret_cast<uint16_t*>(tiles[Tiles<T>::kPrepared]), n);
      break;
    case 4:
      gather(*table.moves, tensor.data[kGrad], cursor, reinterpret_cast<uint32_t*>(tiles[Tiles<T>::kPrepared]), n);
      break;
    default:
      gather(*table.moves, tensor.data[kGrad], cursor, reinterpret_cast<uint64_t*>(tiles[Tiles<T>::kPrepared]), n);
  }
  return load_run(table, tensor.dtype(kGrad), tiles[Tiles<T>::kPrepared], n, packed, tiles.narrow());
}

inline void zero_grad(const TensorEntry& tensor, int64_t index, int64_t n) {
  const int64_t item = itemsize(tensor.dtype(kGrad));
  if (!tensor.grad_layout) {
    memset(address(tensor, kGrad, index), 0, n * item);
    return;
  }
  Cursor cursor(*tensor.grad_layout, tensor.grad_layout->operands[0], 0, index);
  cursor.runs(n, [&](int64_t offset, int64_t length, int64_t stride) {
    for (int64_t i = 0; i < length; ++i) memset(tensor.data[kGrad] + offset + i * stride, 0, item);
  });
}

class Step {
 public:
  Step(const UpdateCall& call, double clip, const double* factors, double* weight_partials, double* update_partials)
      : call_(call), clip_(clip), factors_(factors), weights_(weight_partials), updates_(update_partials) {
    Updates::for_each<float>([&]<class Rule>(int number) {
      if (number == call.rule) states_ = Rule::info.state_count();
    });
  }

  void operator()(const Piece& piece) const {
    const TensorEntry& tensor = call_.tensors[piece.tensor];
    if (is_direct(tensor))
      run_direct(tensor, piece);
    else if (tensor.is_double())
      run_tiles<double>(tensor, piece);
    else
      run_tiles<float>(tensor, piece);
  }

  // The first pass of a layerwise rule.
  void measure(const Piece& piece, double* first, double* second) const {
    const TensorEntry& tensor = call_.tensors[piece.tensor];
    if (tensor.is_double())
      measure_tiles<double>(tensor, piece, first, second);
    else
      measure_tiles<float>(tensor, piece, first, second);
  }

  double scale_of(const GroupStep& group) const {
    return group.clips != 0 ? call_.grad_scale * clip_ : call_.grad_scale;
  }

  // What follows the rule, where that had to wait for the tensor as a whole.
  void finish(const Piece& piece) const {
    const TensorEntry& tensor = call_.tensors[piece.tensor];
    if (tensor.is_double())
      finish_tiles<double>(tensor, piece);
    else
      finish_tiles<float>(tensor, piece);
  }

  // One factor a unit of each tensor, before the penalties; empty where a tensor has none.
  void set_unit_factors(const std::vector<std::vector<double>>* factors) { unit_factors_ = factors; }

  // What the rule sees of one tile; the prepared gradient where the options ask for one.
  template <class T>
  UpdateRun load_tile(const TensorEntry& tensor, int64_t index, int64_t n, const Tiles<T>& tiles) const {
    const GroupStep& group = call_.groups[tensor.group];
    UpdateRun run{load(table_, tensor, kParam, index, n, tiles),
                  load_grad(table_, tensor, index, n, tiles),
                  {},
                  static_cast<size_t>(n),
                  scale_of(group),
                  group.decay,
                  1};
    for (int k = 0; k < states_; ++k) run.states[k] = load(table_, tensor, kFirstState + k, index, n, tiles);
    const int64_t number = &tensor - call_.tensors;
    if (unit_factors_ && !(*unit_factors_)[number].empty()) {
      T* grad = tiles[Tiles<T>::kPrepared];
      GroupStep bounds, penalties;
      bounds.clip_value = group.clip_value;
      penalties.l1 = group.l1, penalties.l2 = group.square_penalty();
      table_.updates->prepare[sizeof(T) == 8](bounds, run, grad);
      const UnitView& view = call_.agc_units[number];
      for (int64_t i = 0; i < n; ++i) grad[i] *= T((*unit_factors_)[number][(index + i) / view.inner % view.units]);
      run.grad = grad;
      run.grad_scale = 1;
      if (penalties.prepares()) table_.updates->prepare[sizeof(T) == 8](penalties, run, grad);
    } else if (group.prepares()) {
      table_.updates->prepare[sizeof(T) == 8](group, run, tiles[Tiles<T>::kPrepared]);
      run.grad = tiles[Tiles<T>::kPrepared];
      run.grad_scale = 1;
    }
    return run;
  }

 private:
  // Every array can be handed to the kernel as it lies, and nothing but the rule is asked for.
  bool is_direct(const TensorEntry& tensor) const {
    bool same = !tensor.grad_layout && !tensor.data[kAverage] && !tensor.data[kCopy] && !call_.zero_grads && !weights_;
    const uint8_t dtype = tensor.dtypes[kParam];
    same = same && dtype >= static_cast<uint8_t>(DType::float32) && tensor.dtypes[kGrad] == dtype;
    for (int k = 0; k < states_; ++k) same = same && tensor.dtypes[kFirstState + k] == dtype;
    const bool units = unit_factors_ && !(*unit_factors_)[&tensor - call_.tensors].empty();
    return same && !units && !call_.groups[tensor.group].prepares();
  }

  void run_direct(const TensorEntry& tensor, const Piece& piece) const {
    const GroupStep& group = call_.groups[tensor.group];
    const int type = tensor.is_double();
    const int64_t offset = piece.begin * (type ? 8 : 4);
    UpdateRun run{tensor.data[kParam] + offset,
                  tensor.data[kGrad] + offset,
                  {},
                  static_cast<size_t>(piece.end - piece.begin),
                  scale_of(group),
                  group.decay,
                  factor_of(piece.tensor)};
    for (int k = 0; k < states_; ++k) run.states[k] = tensor.data[kFirstState + k] + offset;
    table_.updates->update[call_.rule][type](group.coefficients[type], run);
  }

  template <class T>
  void run_tiles(const TensorEntry& tensor, const Piece& piece) const {
    const Tiles<T> tiles;
    for (int64_t index = piece.begin; index < piece.end; index += kTile)
      run_tile(tensor, index, std::min(kTile, piece.end - index), factor_of(piece.tensor), tiles);
  }

  template <class T>
  void store_states(const TensorEntry& tensor, const UpdateRun& run, int64_t index, const Tiles<T>& tiles) const {
    for (int k = 0; k < states_; ++k)
      store(tensor, kFirstState + k, index, run.n, static_cast<const T*>(run.states[k]), tiles);
  }

  template <class T>
  void measure_tiles(const TensorEntry& tensor, const Piece& piece, double* first, double* second) const {
    const Tiles<T> tiles;
    constexpr int type = sizeof(T) == 8;
    const void* coefficients = call_.groups[tensor.group].coefficients[type];
    for (int64_t index = piece.begin; index < piece.end; index += kTile) {
      const UpdateRun run = load_tile(tensor, index, std::min(kTile, piece.end - index), tiles);
      const LayerSums sums = table_.updates->measure[call_.rule][type](coefficients, run);
      const int64_t chunk = tensor.first_chunk + index / kTile;
      first[chunk] = sums.first, second[chunk] = sums.second;
      store_states(tensor, run, index, tiles);
    }
  }

  template <class T>
  void run_tile(const TensorEntry& tensor, int64_t index, int64_t n, double factor, const Tiles<T>& tiles) const {
    const GroupStep& group = call_.groups[tensor.group];
    constexpr int type = sizeof(T) == 8;
    const UpdateKernels& kernels = *table_.updates;
    UpdateRun run = load_tile(tensor, index, n, tiles);
    run.factor = factor;
    T* param = static_cast<T*>(run.param);
    if (weights_) memcpy(tiles[Tiles<T>::kBefore], param, n * sizeof(T));
    kernels.update[call_.rule][type](group.coefficients[type], run);
    store_states(tensor, run, index, tiles);
    store(tensor, kParam, index, n, param, tiles);
    // What follows sees the parameter as it is stored.
    if (is_16_bit(tensor.dtype(kParam))) param = load(table_, tensor, kParam, index, n, tiles);
    if (!call_.max_norm_units) finish_tile(tensor, index, n, param, tiles);
    if (weights_) {
      const int64_t chunk = tensor.first_chunk + index / kTile;
      weights_[chunk] = kernels.squares[type](tiles[Tiles<T>::kBefore], n).sum;
      updates_[chunk] = kernels.difference_squares[type](param, tiles[Tiles<T>::kBefore], n).sum;
    }
  }

  template <class T>
  void finish_tiles(const TensorEntry& tensor, const Piece& piece) const {
    const Tiles<T> tiles;
    for (int64_t index = piece.begin; index < piece.end; index += kTile) {
      const int64_t n = std::min(kTile, piece.end - index);
      finish_tile(tensor, index, n, load(table_, tensor, kParam, index, n, tiles), tiles);
    }
  }

  template <class T>
  void finish_tile(const TensorEntry& tensor, int64_t index, int64_t n, T* param, const Tiles<T>& tiles) const {
    const GroupStep& group = call_.groups[tensor.group];
    constexpr int type = sizeof(T) == 8;
    if (tensor.data[kAverage]) {
      T* mean = load(table_, tensor, kAverage, index, n, tiles);
      table_.updates->average[type](group.average_keep, param, mean, n);
      store(tensor, kAverage, index, n, mean, tiles);
    }
    if (tensor.data[kCopy]) store(tensor, kCopy, index, n, param, tiles);
    if (call_.zero_grads) zero_grad(tensor, index, n);
  }

  template <class T>
  void store(const TensorEntry& tensor, int role, int64_t index, int64_t n, const T* tile,
             const Tiles<T>& tiles) const {
    const DType dtype = tensor.dtype(role);
    if constexpr (sizeof(T) == 4) {
      if (call_.rounds_randomly && is_16_bit(dtype) && role != kCopy) {
        const RandomKey key = rounding_key(call_.seed, call_.groups[tensor.group], &tensor - call_.tensors, role);
        uint16_t* to = reinterpret_cast<uint16_t*>(address(tensor, role, index));
        return table_.updates->narrow_randomly[static_cast<int>(dtype)](tile, draw_pieces(table_, key, index, n), to,
                                                                        n);
      }
    }
    store_run(table_, tensor.dtype(role), address(tensor, role, index), n, tile, tiles.narrow());
  }

  double factor_of(int64_t tensor) const { return factors_ ? factors_[tensor] : 1; }
  const UpdateCall& call_;
  const KernelTable& table_ = kernels();
  double clip_;
  const double* factors_;       // one a tensor, of a layerwise rule; else null
  double *weights_, *updates_;  // null where no norms are wanted
  const std::vector<std::vector<double>>* unit_factors_ = nullptr;
  int states_ = 0;
};

}  // namespace brazen::cpu
