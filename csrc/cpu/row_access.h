// SPDX-License-Identifier: BSD-3-Clause
// A row of an operand as chunks of the compute type, read and written wherever the array lies. No formula here.
#pragma once

#include <algorithm>

#include "../core/rows.h"
#include "../formulas/normalization.h"
#include "../formulas/reduction.h"
#include "pass.h"
#include "row_panels.h"
#include "scratch.h"
#include "tiles.h"

namespace brazen::cpu {

// Rows up to this long are widened or gathered once; longer ones again in every pass over them.
inline constexpr int64_t kWholeRow = 1 << 16;
// Rows claimed at once hold at least this many elements.
inline constexpr int64_t kClaimElements = 1 << 15;

// Calls body(start, n) for the chunks of a row.
template <class Body>
void each_chunk(int64_t columns, Body&& body) {
  for (int64_t start = 0; start < columns; start += kChunkRows)
    body(start, std::min<int64_t>(kChunkRows, columns - start));
}

inline double merge_pair(double a, double b) { return a + b; }
inline Moments merge_pair(Moments a, Moments b) { return merge_moments(a, b); }
inline RowGradientSums merge_pair(RowGradientSums a, RowGradientSums b) {
  return {a.grad + b.grad, a.product + b.product};
}

// Chunks one after another, merged in float64 in a binary tree aligned to powers of two, as merge_chunks and
// merge_chunk_moments do it, but without a list of all chunks.
template <class Value>
class ChunkTree {
 public:
  void push(Value value) {
    int level = 0;
    for (; count_ >> level & 1; ++level) value = merge_pair(open_[level], value);
    open_[level] = value;
    ++count_;
  }

  // What is left joins from the right, as the lonely last subtrees do.
  Value total() const {
    Value sum{};
    bool any = false;
    for (int level = 0; count_ >> level; ++level) {
      if (!(count_ >> level & 1)) continue;
      sum = any ? merge_pair(open_[level], sum) : open_[level];
      any = true;
    }
    return sum;
  }

 private:
  Value open_[54];  // open_[k]: a finished subtree of 2^k chunks, where bit k of `count_` is set
  int64_t count_ = 0;
};

// The sum over a row of body(start, n), a chunk's sum in the compute type.
template <class Body>
double sum_chunks(int64_t columns, Body&& body) {
  ChunkTree<double> tree;
  each_chunk(columns, [&](int64_t start, int64_t n) { tree.push(static_cast<double>(body(start, n))); });
  return tree.total();
}

// Two sums at once: body(start, n, sums) writes a chunk's.
struct TwoSums {
  double first, second;
};
template <class T, class Body>
TwoSums two_sums(int64_t columns, Body&& body) {
  ChunkTree<double> first, second;
  each_chunk(columns, [&](int64_t start, int64_t n) {
    T sums[2];
    body(start, n, sums);
    first.push(static_cast<double>(sums[0]));
    second.push(static_cast<double>(sums[1]));
  });
  return {first.total(), second.total()};
}

// Where one operand's rows lie.
class RowPlace {
 public:
  RowPlace(const RowsLayout& arrays, int operand)
      : rows_(arrays.rows),
        columns_(arrays.columns),
        row_(rows_.operands[operand]),
        column_(columns_.operands[operand]) {
    run_ = columns_.contiguous(column_);
    aligned_ = naturally_aligned(static_cast<const char*>(row_.data), row_);
    for (int d = 0; d < rows_.ndim; ++d) aligned_ = aligned_ && row_.strides[d] % itemsize(row_.dtype) == 0;
  }

  char* base(int64_t row) const {
    char* at = static_cast<char*>(row_.data);
    for (int d = rows_.ndim - 1; d > 0; --d) {
      at += row % rows_.shape[d] * row_.strides[d];
      row /= rows_.shape[d];
    }
    return rows_.ndim ? at + row * row_.strides[0] : at;
  }

  const char* address(int64_t row, int64_t column) const {
    const char* at = base(row);
    for (int d = columns_.ndim - 1; d >= 0; --d) {
      at += column % columns_.shape[d] * column_.strides[d];
      column /= columns_.shape[d];
    }
    return at;
  }

  DType dtype() const { return row_.dtype; }
  // Every row is one run that the kernels' types may point into.
  bool is_run() const { return run_ && aligned_; }

 protected:
  // From now on rows are read or written through a panel, where that pays: there they are runs.
  bool take_panel(int64_t end) {
    if (is_run() || !aligned_ || columns_.size > kWholeRow || !RowPanel::fits(rows_, row_, columns_)) return false;
    for (int d = 0; d < columns_.ndim; ++d)
      if (column_.strides[d] % itemsize(column_.dtype)) return false;
    panel_ = RowPanel(rows_, columns_, column_, end);
    return run_ = true;
  }

  const Layout &rows_, &columns_;
  const Operand &row_, &column_;
  bool run_, aligned_;
  RowPanel panel_;
};

// Scratch memory handed out piece by piece, each on a cache line of its own.
class Arena {
 public:
  template <class T>
  T* take(int64_t elements) {
    unsigned char* at = memory_ ? memory_ + used_ : nullptr;
    used_ += (elements * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(at);
  }
  // The first round of takes measures; then the memory is there for the second.
  void provide() { memory_ = thread_scratch(used_), used_ = 0; }

 private:
  unsigned char* memory_ = nullptr;
  size_t used_ = 0;
};

template <class T>
class RowSource : public RowPlace {
 public:
  // `by_chunks`: each chunk is read once, so that no row is held as a whole.
  RowSource(const RowsLayout& arrays, int operand, bool by_chunks = false) : RowPlace(arrays, operand) {
    in_place_ = is_run() && itemsize(dtype()) == sizeof(T);
    whole_ = !in_place_ && columns_.size <= kWholeRow && !by_chunks;
    bool fixed = true;
    for (int d = 0; d < rows_.ndim; ++d) fixed = fixed && row_.strides[d] == 0;
    once_ = fixed && whole_;
  }

  // The rows up to `end` are read in order, and may lie across memory. Before take().
  void read_until(int64_t end) {
    if (!take_panel(end)) return;
    in_place_ = itemsize(dtype()) == sizeof(T);
    whole_ = whole_ && !in_place_;
    once_ = false;
  }

  void take(Arena& arena) {
    if (panel_.exists()) panel_.set_memory(arena.take<char>(panel_.bytes()));
    if (in_place_) return;
    tile_ = arena.take<T>(whole_ ? columns_.size : kChunkRows);
    if (!is_run() && is_16_bit(dtype())) narrow_ = arena.take<uint16_t>(kChunkRows);
    loaded_ = false;
  }

  void seek(int64_t row) {
    if (panel_.exists()) {
      if (!panel_.holds(row)) panel_.move(row, base(row)), panel_.load();
      base_ = panel_.address(row);
    } else {
      base_ = base(row);
    }
    if (!whole_ || (once_ && loaded_)) return;
    each_chunk(columns_.size, [&](int64_t start, int64_t n) { fetch(start, n, tile_ + start); });
    loaded_ = true;
  }

  // Valid until the next call, unless the row is held as a whole.
  const T* chunk(int64_t start, int64_t n) const {
    if (in_place_) return reinterpret_cast<const T*>(base_) + start;
    if (whole_) return tile_ + start;
    return fetch(start, n, tile_);
  }

  T at(int64_t column) const { return *chunk(column, 1); }

  // Where the row's memory begins, if it is a run worth fetching ahead.
  const char* ahead(int64_t row) const {
    return is_run() && !panel_.exists() && row < rows_.size ? base(row) : nullptr;
  }

 private:
  // `tile` is filled, but for a run of the compute type.
  const T* fetch(int64_t start, int64_t n, T* tile) const {
    const KernelTable& table = kernels();
    if (is_run() && is_16_bit(dtype()))
      use_run(table, dtype(), base_ + start * itemsize(dtype()), n, tile);
    else
      gather_run(table, columns_, column_, base_, 0, start, n, tile, narrow_);
    return tile;
  }

  bool in_place_, whole_, once_, loaded_ = false;
  char* base_ = nullptr;
  T* tile_ = nullptr;
  uint16_t* narrow_ = nullptr;
};

template <class T>
class RowSink : public RowPlace {
 public:
  // `inputs`: operands before this one are read, and a result in place is not streamed.
  RowSink(const RowsLayout& arrays, int operand, int inputs) : RowPlace(arrays, operand) {
    const int64_t row_bytes = columns_.size * itemsize(dtype());
    bool apart = true;
    for (int k = 0; k < inputs; ++k) apart = apart && arrays.rows.operands[k].data != row_.data;
    streamed_ = is_run() && apart && row_bytes >= kShortestStream && rows_.size * row_bytes >= kStreamBytes;
    in_place_ = is_run() && !streamed_ && itemsize(dtype()) == sizeof(T);
  }

  bool streamed() const { return streamed_; }

  // The rows up to `end` are written in order, every one, and may lie across memory. Before take(); finish() at the
  // end.
  void write_until(int64_t end) {
    if (take_panel(end)) in_place_ = itemsize(dtype()) == sizeof(T);
    write_in_order();
  }

  // Rows are written one after another, every one: short ones that lie so too leave the tile together. finish() at the
  // end.
  void write_in_order() {
    if (streamed_ && rows_.consecutive(row_, columns_.size * itemsize(dtype())))
      together_ = std::max<int64_t>(1, kChunkRows / columns_.size);
  }

  void finish() {
    if (panel_.holds_any()) panel_.store();
    if (held_ > 0) flush(nullptr, 0);
  }

  void take(Arena& arena) {
    if (panel_.exists()) panel_.set_memory(arena.take<char>(panel_.bytes()));
    if (in_place_) return;
    tile_ = arena.take<T>(kChunkRows);
    if (is_16_bit(dtype())) narrow_ = arena.take<uint16_t>(kChunkRows);
  }

  void seek(int64_t row) {
    if (!panel_.exists()) {
      if (held_ == 0) base_ = base(row);
      return;
    }
    if (!panel_.holds(row)) finish(), panel_.move(row, base(row));
    base_ = panel_.address(row);
  }

  // Where to put a chunk: the array itself, or a tile that store() brings there.
  T* chunk(int64_t start) const {
    return in_place_ ? reinterpret_cast<T*>(base_) + start : tile_ + held_ * columns_.size;
  }

  // `ahead`: where as many bytes will be read soon, when the next chunk is.
  void store(int64_t start, int64_t n, const char* const* ahead = nullptr, int ahead_count = 0) {
    if (in_place_) return;
    if (together_ == 1) return bring(start, n, ahead, ahead_count);
    if (++held_ == together_) flush(ahead, ahead_count);
  }

 private:
  // Stores past the caches write whole lines: short rows have too few.
  static constexpr int64_t kShortestStream = 512;

  void flush(const char* const* ahead, int ahead_count) {
    bring(0, held_ * columns_.size, ahead, ahead_count);
    held_ = 0;
  }

  void bring(int64_t start, int64_t n, const char* const* ahead, int ahead_count) const {
    const KernelTable& table = kernels();
    char* to = base_ + start * itemsize(dtype());
    const void* from = tile_;
    if (is_16_bit(dtype())) {
      const float* wide = reinterpret_cast<const float*>(tile_);
      const int format = static_cast<int>(dtype());
      if (streamed_) return table.stream_narrow[format](to, wide, n, ahead, ahead_count);
      table.narrow[format](wide, is_run() ? reinterpret_cast<uint16_t*>(to) : narrow_, n);
      if (is_run()) return;
      from = narrow_;
    }
    if (streamed_)
      table.stream(to, from, n * itemsize(dtype()), ahead, ahead_count);
    else if (is_run())
      memcpy(to, from, n * itemsize(dtype()));
    else
      scatter_run(columns_, column_, base_, start, n, from);
  }

  bool streamed_, in_place_;
  int64_t together_ = 1, held_ = 0;  // rows that leave the tile at once, and those in it
  char* base_ = nullptr;
  T* tile_ = nullptr;
  uint16_t* narrow_ = nullptr;
};

}  // namespace brazen::cpu
