// SPDX-License-Identifier: BSD-3-Clause
// Layer, RMS, group and instance norm, forward, and the lengths of rows. The backward pass is row_norm_gradients.cpp's.
#include "row_norms.h"

#include "float_state.h"
#include "row_access.h"
#include "row_channels.h"
#include "row_claims.h"
#include "row_kernels.h"
#include "rows.h"

namespace brazen::cpu {
namespace {

template <class T>
class Forward {
 public:
  explicit Forward(const RowNormCall& call) : call_(call), columns_(call.arrays.columns.size) {
    if (channels_.exist() && call.has_scale) scales_ = channels_.values<T>(call, 1);
    if (channels_.exist() && call.has_shift) shifts_ = channels_.values<T>(call, call.has_scale ? 2 : 1);
  }

  void run() const {
    const FloatState guard;
    claim_rows(call_.arrays, call_.output(), call_.fresh, call_.arrays.size() * kNormPicoseconds)
        .each([&](int64_t begin, int64_t end) { rows(begin, end); });
  }

 private:
  void rows(int64_t begin, int64_t end) const {
    int next = 1;
    const auto take = [&](bool there) { return there ? next++ : 0; };
    const int at_add = take(call_.has_add), at_scale = take(call_.has_scale), at_shift = take(call_.has_shift);
    const int inputs = next, at_sum = take(call_.has_add), at_y = next;
    RowSource<T> x(call_.arrays, 0), addend(call_.arrays, at_add), scale(call_.arrays, at_scale),
        shift(call_.arrays, at_shift);
    RowSink<T> sum(call_.arrays, at_sum, inputs), y(call_.arrays, at_y, inputs);
    y.write_in_order();
    const bool scaled = call_.has_scale && !channels_.exist(), shifted = call_.has_shift && !channels_.exist();
    const bool hold = columns_ <= kWholeRow;
    Arena arena;
    T* work = nullptr;
    for (int round = 0; round < 2; ++round) {
      x.take(arena), y.take(arena);
      if (call_.has_add) addend.take(arena), sum.take(arena), work = arena.take<T>(hold ? columns_ : kChunkRows);
      if (scaled) scale.take(arena);
      if (shifted) shift.take(arena);
      if (round == 0) arena.provide();
    }
    for (int64_t row = begin; row < end; ++row) {
      x.seek(row), y.seek(row);
      if (scaled) scale.seek(row);
      if (shifted) shift.seek(row);
      if (call_.has_add) {
        addend.seek(row), sum.seek(row);
        each_chunk(columns_, [&](int64_t start, int64_t n) {
          T* total = hold ? work + start : work;
          add(x.chunk(start, n), addend.chunk(start, n), total, n, sum.dtype());
          memcpy(sum.chunk(start), total, n * sizeof(T));
          sum.store(start, n);
        });
      }
      // What is normalised: x, or the sum as it is kept.
      const auto input = [&](int64_t start, int64_t n) -> const T* {
        if (!call_.has_add) return x.chunk(start, n);
        if (hold) return work + start;
        add(x.chunk(start, n), addend.chunk(start, n), work, n, sum.dtype());
        return work;
      };
      const RowStatistics<T> statistics = measure(input);
      if (call_.centred) static_cast<T*>(call_.means)[row] = statistics.center;
      static_cast<T*>(call_.inverse_deviations)[row] = statistics.deviation;
      const char* ahead[2];
      int ahead_count = 0;
      if (y.streamed() && row + 1 < end) {
        if (const char* at = x.ahead(row + 1)) ahead[ahead_count++] = at;
        if (const char* at = call_.has_add ? addend.ahead(row + 1) : nullptr) ahead[ahead_count++] = at;
      }
      each_chunk(columns_, [&](int64_t start, int64_t n) {
        if (channels_.exist())
          channels_.each(row, start, n, [&](int64_t channel, int64_t first, int64_t count) {
            norms_.normalize_channel(input(first, count), statistics, scales_.data() ? &scales_[channel] : nullptr,
                                     shifts_.data() ? &shifts_[channel] : nullptr, y.chunk(start) + (first - start),
                                     count);
          });
        else
          norms_.normalize(input(start, n), statistics, scaled ? scale.chunk(start, n) : nullptr,
                           shifted ? shift.chunk(start, n) : nullptr, y.chunk(start), n);
        const char* next_line[2] = {};
        for (int k = 0; k < ahead_count; ++k) next_line[k] = ahead[k] + start * itemsize(x.dtype());
        y.store(start, n, next_line, ahead_count);
      });
    }
    y.finish();
    if (y.streamed() || sum.streamed()) table_.stream_fence();
  }

  // Rounded to the storage of the sum: the backward pass sees no more of it.
  void add(const T* x, const T* addend, T* sum, int64_t n, DType dtype) const {
    norms_.add(x, addend, sum, n);
    if (!is_16_bit(dtype)) return;
    uint16_t narrow[kChunkRows];
    table_.narrow[static_cast<int>(dtype)](reinterpret_cast<const float*>(sum), narrow, n);
    table_.widen[static_cast<int>(dtype)](narrow, reinterpret_cast<float*>(sum), n);
  }

  template <class Input>
  RowStatistics<T> measure(Input&& input) const {
    if (!call_.centred) {
      const double squares =
          sum_chunks(columns_, [&](int64_t start, int64_t n) { return norms_.squares(input(start, n), n); });
      return rms_statistics<T>(squares, static_cast<double>(columns_), call_.epsilon);
    }
    ChunkTree<Moments> tree;
    each_chunk(columns_, [&](int64_t start, int64_t n) { tree.push(norms_.moments(input(start, n), n)); });
    return row_statistics<T>(tree.total(), call_.epsilon);
  }

  const RowNormCall& call_;
  const int64_t columns_;
  const RowChannels channels_{call_};
  std::vector<T> scales_, shifts_;
  const KernelTable& table_ = kernels();
  const NormLoops<T>& norms_ = norm_loops<T>(*kernels().rows);
};

template <class T>
void measure_lengths(const RowLengthsCall& call) {
  const FloatState guard;
  const NormLoops<T>& norms = norm_loops<T>(*kernels().rows);
  const int64_t columns = call.arrays.columns.size;
  const UnitClaims claims(call.arrays.rows.size, columns, 0, false, call.arrays.size() * 60);
  claims.each([&](int64_t begin, int64_t end) {
    RowSource<T> x(call.arrays, 0, true);
    Arena arena;
    for (int round = 0; round < 2; ++round) {
      x.take(arena);
      if (round == 0) arena.provide();
    }
    for (int64_t row = begin; row < end; ++row) {
      x.seek(row);
      const double squares =
          sum_chunks(columns, [&](int64_t start, int64_t n) { return norms.squares(x.chunk(start, n), n); });
      static_cast<T*>(call.results)[row] = static_cast<T>(math::sqrt(squares));
    }
  });
}

}  // namespace

void run(const RowNormCall& call) {
  if (call.direction == Direction::backward) return run_norm_backward(call);
  call.is_double() ? Forward<double>(call).run() : Forward<float>(call).run();
}

void run(const RowLengthsCall& call) {
  call.is_double() ? measure_lengths<double>(call) : measure_lengths<float>(call);
}

}  // namespace brazen::cpu
