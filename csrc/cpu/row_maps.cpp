// SPDX-License-Identifier: BSD-3-Clause
// Rows to rows: softmax, its logarithm and sparsemax, forward and backward.
#include "float_state.h"
#include "row_access.h"
#include "row_claims.h"
#include "row_kernels.h"
#include "rows.h"
#include "short_rows.h"

namespace brazen::cpu {
namespace {

template <class T>
class Maps {
 public:
  explicit Maps(const RowMapCall& call) : call_(call), columns_(call.arrays.columns.size) {}

  void run() const {
    const FloatState guard;
    const bool forward = call_.direction == Direction::forward;
    const UnitClaims claims =
        claim_rows(call_.arrays, forward ? 1 : 2, call_.fresh, call_.arrays.size() * kPicoseconds);
    if (call_.operation != kSparsemax && ShortRows<T>::fits(call_.arrays, forward ? 64 : 48)) {
      UnitClaims bundles = claims;
      bundles.round_up(kAbreast);
      return bundles.each([&](int64_t begin, int64_t end) { short_rows(begin, end); });
    }
    claims.each([&](int64_t begin, int64_t end) { forward ? forward_rows(begin, end) : backward_rows(begin, end); });
  }

 private:
  static constexpr int64_t kPicoseconds = 250;

  // Both directions: forward there is one input.
  void short_rows(int64_t begin, int64_t end) const {
    const ShortRowLoops<T>& loops = short_loops<T>(*table_.short_rows);
    const bool forward = call_.direction == Direction::forward, log = call_.operation == kLogSoftmax;
    const auto loop = forward ? (log ? loops.log_softmax : loops.softmax)
                              : (log ? loops.log_softmax_gradient : loops.softmax_gradient);
    const int inputs = forward ? 1 : 2;
    ShortRows<T> arrays[3] = {{call_.arrays, 0}, {call_.arrays, 1}, {call_.arrays, inputs}};
    const int64_t elements = ShortRows<T>::elements(columns_);
    Arena arena;
    T* bundles[3] = {};
    for (int round = 0; round < 2; ++round) {
      for (int k = 0; k < 3; ++k) arrays[k].take(arena), bundles[k] = arena.take<T>(elements);
      if (round == 0) arena.provide();
    }
    // The last bundle may have fewer rows.
    for (T* bundle : bundles) std::fill(bundle, bundle + elements, T(0));
    for (int64_t row = begin; row < end; row += kAbreast) {
      const int64_t count = std::min<int64_t>(kAbreast, end - row);
      for (int k = 0; k < inputs; ++k) arrays[k].load(row, count, bundles[k]);
      loop(bundles[0], bundles[1], bundles[2], columns_);
      arrays[2].store(row, count, bundles[2]);
    }
  }

  void forward_rows(int64_t begin, int64_t end) const {
    RowSource<T> x(call_.arrays, 0);
    RowSink<T> y(call_.arrays, 1, 1);
    const bool hold = columns_ <= kWholeRow;
    x.read_until(end), y.write_until(end);
    Arena arena;
    T* work = nullptr;
    for (int round = 0; round < 2; ++round) {
      x.take(arena), y.take(arena);
      work = arena.take<T>(hold ? columns_ : kChunkRows);
      if (round == 0) arena.provide();
    }
    for (int64_t row = begin; row < end; ++row) {
      x.seek(row), y.seek(row);
      const char* ahead = y.streamed() && row + 1 < end ? x.ahead(row + 1) : nullptr;
      forward_row(x, y, hold, work, ahead);
    }
    y.finish();
    if (y.streamed()) table_.stream_fence();
  }

  void forward_row(const RowSource<T>& x, RowSink<T>& y, bool hold, T* work, const char* ahead) const {
    T largest = lowest<T>();
    each_chunk(columns_,
               [&](int64_t start, int64_t n) { largest = larger(loops_.largest(x.chunk(start, n), n), largest); });
    const auto store = [&](auto&& compute) {
      each_chunk(columns_, [&](int64_t start, int64_t n) {
        compute(start, n, y.chunk(start));
        const char* next = ahead ? ahead + start * itemsize(x.dtype()) : nullptr;
        y.store(start, n, &next, next ? 1 : 0);
      });
    };
    if (call_.operation == kSparsemax) {
      const T threshold = find_threshold(x, largest);
      return store(
          [&](int64_t start, int64_t n, T* to) { loops_.sparsemax(x.chunk(start, n), largest, threshold, to, n); });
    }
    const double total = sum_chunks(columns_, [&](int64_t start, int64_t n) {
      return loops_.exponentials(x.chunk(start, n), largest, work + (hold ? start : 0), n);
    });
    if (call_.operation == kLogSoftmax) {
      const T log_total = static_cast<T>(math::log(total));
      return store(
          [&](int64_t start, int64_t n, T* to) { loops_.log_softmax(x.chunk(start, n), largest, log_total, to, n); });
    }
    const T factor = static_cast<T>(1.0 / total);
    store([&](int64_t start, int64_t n, T* to) {
      if (!hold) loops_.exponentials(x.chunk(start, n), largest, work, n);
      loops_.scale(work + (hold ? start : 0), factor, to, n);
    });
  }

  T find_threshold(const RowSource<T>& x, T largest) const {
    T threshold = -1;
    for (double before = __builtin_inf();;) {
      const TwoSums sums = two_sums<T>(columns_, [&](int64_t start, int64_t n, T* chunk) {
        loops_.sparsemax_sums(x.chunk(start, n), largest, threshold, chunk, n);
      });
      if (sums.second >= before) return threshold;
      threshold = static_cast<T>(sparsemax_threshold(sums.first, sums.second));
      before = sums.second;
    }
  }

  void backward_rows(int64_t begin, int64_t end) const {
    RowSource<T> dy(call_.arrays, 0), y(call_.arrays, 1);
    RowSink<T> dx(call_.arrays, 2, 2);
    dy.read_until(end), y.read_until(end), dx.write_until(end);
    Arena arena;
    for (int round = 0; round < 2; ++round) {
      dy.take(arena), y.take(arena), dx.take(arena);
      if (round == 0) arena.provide();
    }
    for (int64_t row = begin; row < end; ++row) {
      dy.seek(row), y.seek(row), dx.seek(row);
      const char* next[2] = {nullptr, nullptr};
      if (dx.streamed() && row + 1 < end) next[0] = dy.ahead(row + 1), next[1] = y.ahead(row + 1);
      backward_row(dy, y, dx, next);
    }
    dx.finish();
    if (dx.streamed()) table_.stream_fence();
  }

  void backward_row(const RowSource<T>& dy, const RowSource<T>& y, RowSink<T>& dx, const char* const* next) const {
    const auto store = [&](auto&& compute) {
      each_chunk(columns_, [&](int64_t start, int64_t n) {
        compute(start, n, dx.chunk(start));
        const char* ahead[2];
        int count = 0;
        for (int k = 0; k < 2; ++k)
          if (next[k]) ahead[count++] = next[k] + start * itemsize(dx.dtype());
        dx.store(start, n, ahead, count);
      });
    };
    if (call_.operation == kSoftmax) {
      const T product = static_cast<T>(sum_chunks(columns_, [&](int64_t start, int64_t n) {
        return loops_.products(dy.chunk(start, n), y.chunk(start, n), n);
      }));
      store([&](int64_t start, int64_t n, T* to) {
        loops_.softmax_gradient(dy.chunk(start, n), y.chunk(start, n), product, to, n);
      });
    } else if (call_.operation == kLogSoftmax) {
      const T sum = static_cast<T>(
          sum_chunks(columns_, [&](int64_t start, int64_t n) { return loops_.sum(dy.chunk(start, n), n); }));
      store([&](int64_t start, int64_t n, T* to) {
        loops_.log_softmax_gradient(dy.chunk(start, n), y.chunk(start, n), sum, to, n);
      });
    } else {
      const TwoSums sums = two_sums<T>(columns_, [&](int64_t start, int64_t n, T* chunk) {
        loops_.sparsemax_gradient_sums(dy.chunk(start, n), y.chunk(start, n), chunk, n);
      });
      const T mean = static_cast<T>(sums.first / sums.second);
      store([&](int64_t start, int64_t n, T* to) {
        loops_.sparsemax_gradient(dy.chunk(start, n), y.chunk(start, n), mean, to, n);
      });
    }
  }

  const RowMapCall& call_;
  const int64_t columns_;
  const KernelTable& table_ = kernels();
  const RowLoops<T>& loops_ = loops<T>(*kernels().rows);
};

}  // namespace

void run(const RowMapCall& call) { call.is_double() ? Maps<double>(call).run() : Maps<float>(call).run(); }

}  // namespace brazen::cpu
