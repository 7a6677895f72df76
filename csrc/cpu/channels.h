// SPDX-License-Identifier: BSD-3-Clause
// Reads the rows of channels from any layout, in chunks of the order of formulas/reduction.h: a chunk of one channel as
// a contiguous run, or rows of channels that lie side by side. No thread, no merging of chunks.
#pragma once

#include <algorithm>

#include "../core/batch_norm.h"
#include "channel_kernels.h"
#include "scratch.h"
#include "tiles.h"

namespace brazen::cpu {

// Gives elements that are computed, not stored: `n` of them from `index` on, in the order of the layout. As many from
// `next` on are wanted next, unless it is below 0.
struct Computed {
  void (*compute)(const void* context, int64_t index, int64_t n, int64_t next, void* tile) = nullptr;
  const void* context = nullptr;
};

// One array of a channel-first layout, as runs of T.
template <class T>
class ChannelSource {
 public:
  ChannelSource(const Layout& layout, const Operand& operand)
      : layout_(layout), operand_(operand), rows_(row_count(layout)) {
    const bool aligned = naturally_aligned(static_cast<const char*>(operand.data), operand);
    const int64_t item = itemsize(operand.dtype);
    bool whole = aligned;
    for (int d = 0; d < layout.ndim; ++d) whole = whole && operand.strides[d] % item == 0;
    one_run_ = whole && (layout.ndim == 1 || operand.strides[layout.ndim - 1] == item);
    row_stride_ = layout.ndim > 1 ? operand.strides[1] : 0;
    columns_ = whole && layout.ndim <= 2 && operand.strides[0] == item && row_stride_ >= 0;
  }

  bool one_run() const { return layout_.ndim <= 2 && one_run_; }
  // Channels lie side by side, and rows evenly.
  bool columns() const { return columns_; }
  bool packed() const { return columns_ && row_stride_ == channel_count(layout_) * itemsize(operand_.dtype); }
  bool direct() const { return !is_16_bit(operand_.dtype) && !computed_.compute; }
  void replace(Computed computed) { computed_ = computed; }
  int64_t row_step() const { return row_stride_ / static_cast<int64_t>(sizeof(T)); }

  // Rows [start, start + n) of a channel; those from element `next` on are wanted next, unless it is below 0. `tile`
  // and `spare` hold 1,024 T each.
  const T* chunk(const KernelTable& table, int64_t channel, int64_t start, int64_t n, int64_t next, T* tile,
                 void* spare) const {
    if (computed_.compute) {
      computed_.compute(computed_.context, channel * rows_ + start, n, next, tile);
      return tile;
    }
    const char* from = address(channel, start);
    if (from) return static_cast<const T*>(use_run(table, operand_.dtype, from, n, tile));
    const char* base = static_cast<const char*>(operand_.data) + channel * operand_.strides[0];
    return static_cast<const T*>(gather_run(table, layout_, operand_, base, 1, start, n, tile, spare));
  }

  // `n` elements from (row, channel) on, row after row; more than one row only of a packed source. The same of row
  // `next_row` are wanted next, unless it is below 0.
  const T* columns(const KernelTable& table, int64_t row, int64_t channel, int64_t n, int64_t next_row, T* tile) const {
    if (computed_.compute) {
      const int64_t channels = channel_count(layout_);
      const int64_t next = next_row < 0 ? next_row : next_row * channels + channel;
      computed_.compute(computed_.context, row * channels + channel, n, next, tile);
      return tile;
    }
    const char* from = static_cast<const char*>(operand_.data) + row * row_stride_ + channel * itemsize(operand_.dtype);
    return static_cast<const T*>(use_run(table, operand_.dtype, from, n, tile));
  }

  // Where a chunk begins that lies in one run, else null. 16-bit runs are shorter than what is fetched for them.
  const char* address(int64_t channel, int64_t start) const {
    if (!one_run_) return nullptr;
    const char* base = static_cast<const char*>(operand_.data) + channel * operand_.strides[0];
    if (layout_.ndim <= 2) return base + start * itemsize(operand_.dtype);
    const int last = layout_.ndim - 1;
    const int64_t n = std::min<int64_t>(kChunkRows, rows_ - start);
    if (start % layout_.shape[last] + n > layout_.shape[last]) return nullptr;
    base += start % layout_.shape[last] * operand_.strides[last];
    int64_t rest = start / layout_.shape[last];
    for (int d = last - 1; d > 0; --d) {
      base += rest % layout_.shape[d] * operand_.strides[d];
      rest /= layout_.shape[d];
    }
    return base;
  }

 private:
  const Layout& layout_;
  const Operand& operand_;
  Computed computed_;
  int64_t rows_, row_stride_;
  bool one_run_, columns_;
};

// The chunk sums of all channels: Result is Moments of x, or GradientSums of a gradient and x. results[channel *
// chunks()
// + chunk].
template <class T, class Result>
class ChannelReduction {
 public:
  ChannelReduction(const Layout& layout, const Operand& x)
      : layout_(layout), x_(layout, x), grad_(layout, x), channels_(channel_count(layout)), rows_(row_count(layout)) {}

  ChannelReduction(const Layout& layout, const Operand& grad, const Operand& x, const T* centers)
      : layout_(layout),
        x_(layout, x),
        grad_(layout, grad),
        centers_(centers),
        channels_(channel_count(layout)),
        rows_(row_count(layout)) {}

  // The gradient is computed, not read.
  void compute_gradient(Computed computed) { grad_.replace(computed); }

  int64_t chunks() const { return chunk_count(rows_); }
  bool columns() const { return channels_ > 1 && x_.columns() && grad_.columns(); }

  // All chunks of one channel, in order.
  void channel(int64_t channel, Result* results) const {
    for (int64_t at = 0; at < chunks(); ++at) results[at] = chunk(channel, at, channel, at + 1);
  }

  // What the calling thread is to read next is fetched meanwhile.
  Result chunk(int64_t channel, int64_t at, int64_t next_channel, int64_t next) const {
    const int64_t start = at * kChunkRows, n = std::min<int64_t>(kChunkRows, rows_ - start);
    T* tiles = reinterpret_cast<T*>(thread_scratch<1>(4 * kChunkRows * sizeof(T)));
    const bool more = next_channel < channels_ && next < chunks();
    const int64_t next_index = more ? next_channel * rows_ + next * kChunkRows : -1;
    const T* x = x_.chunk(table_, channel, start, n, next_index, tiles, tiles + kChunkRows);
    const char* x_ahead = ahead(x_, x, more, next_channel, next);
    if constexpr (kMoments) {
      return kernels_.moments[kType](x, n, x_ahead);
    } else {
      const T* grad =
          grad_.chunk(table_, channel, start, n, next_index, tiles + 2 * kChunkRows, tiles + 3 * kChunkRows);
      return kernels_.sums[kType](grad, x, centers_ + channel, n, ahead(grad_, grad, more, next_channel, next),
                                  x_ahead);
    }
  }

  // Channels side by side are cut into blocks of this width.
  int64_t block_width() const { return narrow() ? channels_ : std::min(channels_, kWide); }
  int64_t blocks() const { return (channels_ + block_width() - 1) / block_width(); }

  // One chunk of a block of channels.
  void block(int64_t at, int64_t block, Result* results) const {
    const int64_t start = at * kChunkRows, n = std::min<int64_t>(kChunkRows, rows_ - start);
    const int64_t first = block * block_width(), width = std::min(block_width(), channels_ - first);
    if (narrow())
      packed_block(start, n, results + at);
    else
      wide_block(start, n, first, width, results + first * chunks() + at);
  }

 private:
  static constexpr bool kMoments = sizeof(Result) == sizeof(Moments);
  static constexpr int kType = sizeof(T) == 8;
  // Narrower rows are taken 32 at a time, as one run: their lanes' sums fit into L1.
  static constexpr int64_t kNarrow = 64;
  static constexpr int64_t kWide = 1024;

  bool narrow() const { return channels_ <= kNarrow && x_.packed() && grad_.packed(); }

  static const char* ahead(const ChannelSource<T>& source, const T* now, bool more, int64_t channel, int64_t chunk) {
    const char* next = more && source.direct() ? source.address(channel, chunk * kChunkRows) : nullptr;
    return next ? next : reinterpret_cast<const char*>(now);
  }

  // Adds `count` rows, `between` apart, to the sums of one lane, or of 32 of a narrow block.
  void add_rows(int64_t row, int64_t between, int64_t count, int64_t channel, int64_t width, const T* about, T* sums,
                T* tiles) const {
    const int64_t together = x_.direct() && grad_.direct() ? count : 1;
    for (int64_t done = 0; done < count; done += together) {
      const int64_t next = done + together < count ? row + (done + together) * between : -1;
      const T* x = x_.columns(table_, row + done * between, channel, width, next, tiles);
      const int64_t x_step = between * x_.row_step();
      if constexpr (kMoments) {
        kernels_.add_moments[kType](x, x_step, together, width, about, sums, sums + width);
      } else {
        const T* grad = grad_.columns(table_, row + done * between, channel, width, next, tiles + width);
        kernels_.add_sums[kType](grad, between * grad_.row_step(), x, x_step, together, width, about, sums,
                                 sums + width);
      }
    }
  }

  void finish(const T* pivots, const T* sums, int64_t width, int64_t apart, int64_t n, Result* results) const {
    if constexpr (kMoments)
      kernels_.finish[kType](pivots, sums, sums + apart, n, width, results, chunks());
    else
      for (int64_t i = 0; i < width; ++i) results[i * chunks()] = {double(sums[i]), double(sums[apart + i])};
  }

  void spread(T* values, int64_t width) const {  // to all 32 lanes
    for (int64_t copies = 1; copies < kLanes; copies *= 2)
      memcpy(values + copies * width, values, copies * width * sizeof(T));
  }

  void merge_narrow(T* lanes, int64_t width) const {
    for (int64_t half = kLanes / 2; half > 0; half /= 2) kernels_.add[kType](lanes, lanes + half * width, half * width);
  }

  void packed_block(int64_t start, int64_t n, Result* results) const {
    const int64_t run = kLanes * channels_;
    T* about = reinterpret_cast<T*>(thread_scratch<1>(5 * run * sizeof(T)));
    T *sums = about + run, *tiles = sums + 2 * run;
    const int64_t first = std::min<int64_t>(kLanes, n);
    if constexpr (kMoments) {
      const T* rows = x_.columns(table_, start, 0, first * channels_, -1, tiles);
      memcpy(about, rows, first * channels_ * sizeof(T));
      std::fill(about + first * channels_, about + run, T(0));
      merge_narrow(about, channels_);
      kernels_.pivots[kType](about, n, channels_);
    } else {
      memcpy(about, centers_, channels_ * sizeof(T));
    }
    spread(about, channels_);
    std::fill(sums, sums + 2 * run, T(0));
    const int64_t whole = n / kLanes;
    add_rows(start, kLanes, whole, 0, run, about, sums, tiles);
    if (const int64_t left = n - whole * kLanes) {
      // The two sums lie a whole run apart also for a part of the lanes.
      add_part(start + whole * kLanes, left, about, sums, run, tiles);
    }
    merge_narrow(sums, channels_);
    merge_narrow(sums + run, channels_);
    finish(about, sums, channels_, run, n, results);
  }

  void add_part(int64_t row, int64_t count, const T* about, T* sums, int64_t apart, T* tiles) const {
    const int64_t width = count * channels_;
    const T* x = x_.columns(table_, row, 0, width, -1, tiles);
    if constexpr (kMoments) {
      kernels_.add_moments[kType](x, 0, 1, width, about, sums, sums + apart);
    } else {
      const T* grad = grad_.columns(table_, row, 0, width, -1, tiles + apart);
      kernels_.add_sums[kType](grad, 0, x, 0, 1, width, about, sums, sums + apart);
    }
  }

  // Lane after lane, so that only one lane's sums are in use; the lanes come in the order in which the xor-tree takes
  // them (bits reversed), so that those waiting for their partner are a stack of at most six.
  void wide_block(int64_t start, int64_t n, int64_t first, int64_t width, Result* results) const {
    constexpr int kDepth = 6;
    T* about = reinterpret_cast<T*>(thread_scratch<1>((2 * kDepth + 3) * width * sizeof(T)));
    T *stack = about + width, *tiles = stack + 2 * kDepth * width;
    if constexpr (kMoments) {
      each_lane(
          [&](int lane, int slot) {
            T* to = stack + slot * width;
            if (lane < n)
              memcpy(to, x_.columns(table_, start + lane, first, width, -1, tiles), width * sizeof(T));
            else
              std::fill(to, to + width, T(0));
          },
          [&](int slot) { kernels_.add[kType](stack + (slot - 1) * width, stack + slot * width, width); });
      memcpy(about, stack, width * sizeof(T));
      kernels_.pivots[kType](about, n, width);
    } else {
      memcpy(about, centers_ + first, width * sizeof(T));
    }
    each_lane(
        [&](int lane, int slot) {
          T* sums = stack + 2 * slot * width;
          std::fill(sums, sums + 2 * width, T(0));
          if (lane < n)
            add_rows(start + lane, kLanes, (n - lane + kLanes - 1) / kLanes, first, width, about, sums, tiles);
        },
        [&](int slot) { kernels_.add[kType](stack + 2 * (slot - 1) * width, stack + 2 * slot * width, 2 * width); });
    finish(about, stack, width, width, n, results);
  }

  template <class Lane, class Merge>
  static void each_lane(Lane&& fill, Merge&& merge) {
    int waiting = 0;
    for (int turn = 0; turn < kLanes; ++turn) {
      int lane = 0;
      for (int bit = 0; bit < 5; ++bit) lane |= (turn >> bit & 1) << (4 - bit);
      fill(lane, waiting++);
      for (int bits = turn; bits & 1; bits >>= 1) merge(--waiting);
    }
  }

  const Layout& layout_;
  const KernelTable& table_ = kernels();
  const ChannelKernels& kernels_ = *table_.channels;
  ChannelSource<T> x_, grad_;
  const T* centers_ = nullptr;
  int64_t channels_, rows_;
};

}  // namespace brazen::cpu
