// SPDX-License-Identifier: BSD-3-Clause
// Losses of one number a row: the labels are read first, then every row is loaded, summed and replaced by its gradient.
#include <memory>

#include "../formulas/losses.h"
#include "float_state.h"
#include "row_access.h"
#include "row_claims.h"
#include "row_kernels.h"
#include "rows.h"
#include "short_rows.h"

namespace brazen::cpu {
namespace {

int64_t read_label(const char* from, DType dtype) {
  int32_t narrow;
  int64_t wide;
  switch (dtype) {
    case DType::int32: memcpy(&narrow, from, sizeof narrow); return narrow;
    case DType::int64: memcpy(&wide, from, sizeof wide); return wide;
    default: return static_cast<unsigned char>(*from);
  }
}

int64_t class_of(const RowLossCall& call, const RowPlace& labels, int64_t row) {
  return class_of_label(read_label(labels.base(row), labels.dtype()), call.ignores, call.ignored,
                        call.arrays.columns.size);
}

template <class T>
class Losses {
 public:
  explicit Losses(const RowLossCall& call)
      : call_(call),
        rows_(call.arrays.rows.size),
        columns_(call.arrays.columns.size),
        keep_(1.0 - call.smoothing),
        share_(columns_ ? call.smoothing / static_cast<double>(columns_) : 0.0) {}

  int64_t run() {
    const FloatState guard;
    read_weights();
    double counted = static_cast<double>(rows_);
    if (!call_.soft) {
      const int64_t bad = count(counted);
      if (bad >= 0) return bad;
    }
    const double factor = call_.reduction == Reduction::mean ? mean_factor(counted) : 1.0;
    factor_ = call_.grad_scale * factor;

    // A claim of 1,024 rows needs no list of all rows' losses; where that is too few claims, the list is short.
    const bool kept = call_.reduction == Reduction::none;
    const bool listed = columns_ >= kLeastListed || kept;
    const int64_t chunks = chunk_count(rows_);
    std::unique_ptr<T[]> losses;
    std::unique_ptr<double[]> partials(new double[std::max<int64_t>(1, chunks)]);
    if (listed && !kept) losses.reset(new T[rows_]);
    T* const list = kept ? static_cast<T*>(call_.losses) : losses.get();
    UnitClaims claims = claim_rows(call_.arrays, call_.gradient(), call_.fresh, picoseconds());
    if (!listed) claims.set_each(kChunkRows);
    if (listed && is_short()) claims.round_up(kAbreast);
    claims.each([&](int64_t begin, int64_t end) {
      T chunk[kChunkRows];
      T* to = listed ? list + begin : chunk;
      row_losses(begin, end, to);
      if (!listed) partials[begin / kChunkRows] = loops_.sum(chunk, end - begin);
    });
    if (kept) return -1;
    if (listed)
      for (int64_t i = 0; i < chunks; ++i)
        partials[i] = loops_.sum(list + i * kChunkRows, std::min<int64_t>(kChunkRows, rows_ - i * kChunkRows));
    const double total = merge_chunks(partials.get(), chunks, 1) * factor;
    *static_cast<T*>(call_.losses) = static_cast<T>(total);
    return -1;
  }

 private:
  static constexpr int64_t kLeastListed = 64;

  int64_t picoseconds() const { return call_.arrays.size() * 300; }

  void read_weights() {
    if (!call_.weighted) return;
    weights_.reset(new T[std::max<int64_t>(1, columns_)]);
    const RowPlace place(call_.arrays, 2);
    const Layout& columns = call_.arrays.columns;
    uint16_t narrow[kChunkRows];
    each_chunk(columns_, [&](int64_t start, int64_t n) {
      gather_run(table_, columns, columns.operands[2], place.base(0), 0, start, n, weights_.get() + start, narrow);
    });
    weight_sum_ = sum_chunks(columns_, [&](int64_t start, int64_t n) { return loops_.sum(weights_.get() + start, n); });
  }

  // The rows that count, or their labels' weights; returns the first bad label's row.
  int64_t count(double& counted) const {
    const RowPlace labels(call_.arrays, 1);
    T chunk[kChunkRows];
    int64_t bad = -1, rows = 0;
    const double sum = sum_chunks(rows_, [&](int64_t start, int64_t n) {
      for (int64_t i = 0; i < n; ++i) {
        const int64_t label = class_of(call_, labels, start + i);
        if (label == kBadLabel && bad < 0) bad = start + i;
        chunk[i] = label >= 0 && call_.weighted ? weights_[label] : T(0);
        rows += label >= 0;
      }
      return call_.weighted ? loops_.sum(chunk, n) : T(0);
    });
    counted = call_.weighted ? sum : static_cast<double>(rows);
    return bad;
  }

  // Softmax cross-entropy of a few classes with a label for each row. Many rows at once took a third of the time at 33
  // classes, half at 64; and a third at 150 that lie across memory (softmax likewise, its gradient up to 48; one thread
  // of a Zen 5).
  bool is_short() const {
    return call_.operation == kSoftmaxCrossEntropy && !call_.soft && ShortRows<T>::fits(call_.arrays, 64);
  }

  void short_losses(int64_t begin, int64_t end, T* losses) const {
    const ShortRowLoops<T>& loops = short_loops<T>(*table_.short_rows);
    ShortRows<T> logits(call_.arrays, 0), gradient(call_.arrays, call_.gradient());
    const RowPlace labels(call_.arrays, 1);
    const int64_t elements = ShortRows<T>::elements(columns_);
    Arena arena;
    T *x = nullptr, *slopes = nullptr;
    for (int round = 0; round < 2; ++round) {
      logits.take(arena), gradient.take(arena);
      x = arena.take<T>(elements), slopes = arena.take<T>(elements);
      if (round == 0) arena.provide();
    }
    // The last bundle may have fewer rows.
    std::fill(x, x + elements, T(0));
    int64_t classes[kAbreast] = {};
    T of_bundle[kAbreast];
    const ShortRowLosses<T> bundle{x,        classes, weights_.get(), call_.weighted ? weight_sum_ : double(columns_),
                                   keep_,    share_,  factor_,        slopes,
                                   of_bundle};
    for (int64_t row = begin; row < end; row += kAbreast) {
      const int64_t count = std::min<int64_t>(kAbreast, end - row);
      for (int64_t i = 0; i < count; ++i) classes[i] = class_of(call_, labels, row + i);
      logits.load(row, count, x);
      loops.cross_entropy(bundle, columns_);
      std::copy(of_bundle, of_bundle + count, losses + (row - begin));
      gradient.store(row, count, slopes);
    }
  }

  void row_losses(int64_t begin, int64_t end, T* losses) const {
    if (is_short()) return short_losses(begin, end, losses);
    RowSource<T> logits(call_.arrays, 0), targets(call_.arrays, call_.soft ? 1 : 0);
    RowSink<T> gradient(call_.arrays, call_.gradient(), call_.gradient());
    const RowPlace labels(call_.arrays, 1);
    const bool hold = columns_ <= kWholeRow;
    logits.read_until(end), gradient.write_until(end);
    if (call_.soft) targets.read_until(end);
    Arena arena;
    T *exponentials = nullptr, *scratch = nullptr;
    for (int round = 0; round < 2; ++round) {
      logits.take(arena);
      if (call_.soft) targets.take(arena), scratch = arena.take<T>(kChunkRows);
      gradient.take(arena);
      exponentials = arena.take<T>(hold ? columns_ : kChunkRows);
      if (round == 0) arena.provide();
    }
    for (int64_t row = begin; row < end; ++row) {
      gradient.seek(row);
      const int64_t label = call_.soft ? 0 : class_of(call_, labels, row);
      if (label == kIgnoredLabel) {
        losses[row - begin] = 0;
        each_chunk(columns_, [&](int64_t start, int64_t n) {
          T* to = gradient.chunk(start);
          for (int64_t i = 0; i < n; ++i) to[i] = 0;
          gradient.store(start, n);
        });
        continue;
      }
      logits.seek(row);
      if (call_.soft) targets.seek(row);
      const char* ahead = gradient.streamed() && row + 1 < end ? logits.ahead(row + 1) : nullptr;
      const Row at{logits, targets, gradient, label, hold, exponentials, scratch, ahead};
      double loss;
      switch (call_.operation) {
        case kMulticlassHinge: loss = hinge_row(at); break;
        case kKlDivergence: loss = divergence_row(at); break;
        default: loss = cross_entropy_row(at);
      }
      losses[row - begin] = static_cast<T>(loss);
    }
    gradient.finish();
    if (gradient.streamed()) table_.stream_fence();
  }

  const T* target_chunk(const RowSource<T>& targets, int64_t start, int64_t n, T* scratch) const {
    const T* labels = targets.chunk(start, n);
    if (!call_.weighted && call_.smoothing == 0) return labels;
    loops_.soft_targets(labels, call_.weighted ? weights_.get() + start : nullptr, static_cast<T>(keep_),
                        static_cast<T>(share_), scratch, n);
    return scratch;
  }

  // One row's arrays.
  struct Row {
    const RowSource<T>&logits, &targets;
    RowSink<T>& gradient;
    int64_t label;
    bool hold;  // `work` has room for the whole row, else for a chunk
    T *work, *scratch;
    const char* ahead;  // the next row of logits, or null

    void store(int64_t start, int64_t n) const {
      const char* next = ahead ? ahead + start * itemsize(logits.dtype()) : nullptr;
      gradient.store(start, n, &next, next ? 1 : 0);
    }
  };

  double hinge_row(const Row& row) const {
    const T own = row.logits.at(row.label), margin = static_cast<T>(call_.margin);
    const TwoSums sums = two_sums<T>(columns_, [&](int64_t start, int64_t n, T* chunk) {
      loops_.hinge(row.logits.chunk(start, n), own, margin, row.label - start, row.work + (row.hold ? start : 0), chunk,
                   n);
    });
    const T own_gradient = static_cast<T>(-sums.second * factor_);
    each_chunk(columns_, [&](int64_t start, int64_t n) {
      T* excess = row.work + (row.hold ? start : 0);
      T unused[2];
      const int64_t at = row.label - start;
      if (!row.hold) loops_.hinge(row.logits.chunk(start, n), own, margin, at, excess, unused, n);
      T* to = row.gradient.chunk(start);
      loops_.hinge_gradient(excess, static_cast<T>(factor_), to, n);
      if (at >= 0 && at < n) to[at] = own_gradient;
      row.store(start, n);
    });
    return sums.first;
  }

  double divergence_row(const Row& row) const {
    return sum_chunks(columns_, [&](int64_t start, int64_t n) {
      const T sum = loops_.divergence(row.logits.chunk(start, n), row.targets.chunk(start, n), call_.log_targets,
                                      static_cast<T>(factor_), row.gradient.chunk(start), n);
      row.store(start, n);
      return sum;
    });
  }

  double cross_entropy_row(const Row& row) const {
    const auto& [logits, targets, gradient, label, hold, exponentials, scratch, ahead] = row;
    T largest = lowest<T>();
    each_chunk(columns_,
               [&](int64_t start, int64_t n) { largest = larger(loops_.largest(logits.chunk(start, n), n), largest); });
    const double total = sum_chunks(columns_, [&](int64_t start, int64_t n) {
      return loops_.exponentials(logits.chunk(start, n), largest, exponentials + (hold ? start : 0), n);
    });

    TargetSums sums;
    const bool smooth = call_.smoothing != 0;
    double own = 0;
    if (call_.soft) {
      sums.targets = sum_chunks(
          columns_, [&](int64_t start, int64_t n) { return loops_.sum(target_chunk(targets, start, n, scratch), n); });
      sums.product = sum_chunks(columns_, [&](int64_t start, int64_t n) {
        return loops_.target_products(target_chunk(targets, start, n, scratch), logits.chunk(start, n), largest, n);
      });
    } else {
      const double weight = call_.weighted ? static_cast<double>(weights_[label]) : 1.0;
      const double distance = static_cast<double>(logits.at(label)) - static_cast<double>(largest);
      double distances = 0;
      if (smooth)
        distances = sum_chunks(columns_, [&](int64_t start, int64_t n) {
          return loops_.distances(logits.chunk(start, n), largest, call_.weighted ? weights_.get() + start : nullptr,
                                  n);
        });
      sums = label_sums(keep_, share_, weight, call_.weighted ? weight_sum_ : static_cast<double>(columns_), distance,
                        distances);
      own = keep_ * weight + share_ * weight;
    }

    const T slope = static_cast<T>(cross_entropy_slope(factor_, sums.targets, total));
    const T pull = static_cast<T>(call_.soft ? factor_ : share_ * factor_);
    const T own_pull = static_cast<T>(own * factor_);
    each_chunk(columns_, [&](int64_t start, int64_t n) {
      const T* e = exponentials + (hold ? start : 0);
      if (!hold) loops_.exponentials(logits.chunk(start, n), largest, exponentials, n);
      T* to = gradient.chunk(start);
      const int64_t at = label - start;
      const T own_exponential = !call_.soft && at >= 0 && at < n ? e[at] : T(0);
      if (call_.soft)
        loops_.pull_each(e, slope, target_chunk(targets, start, n, scratch), pull, to, n);
      else if (!smooth)
        loops_.scale(e, slope, to, n);
      else if (call_.weighted)
        loops_.pull_each(e, slope, weights_.get() + start, pull, to, n);
      else
        loops_.pull(e, slope, pull, to, n);
      if (!call_.soft && at >= 0 && at < n) to[at] = cross_entropy_gradient(own_exponential, slope, own_pull);
      row.store(start, n);
    });
    return cross_entropy(sums, total);
  }

  const RowLossCall& call_;
  const int64_t rows_, columns_;
  const double keep_, share_;
  const KernelTable& table_ = kernels();
  const RowLoops<T>& loops_ = loops<T>(*kernels().rows);
  std::unique_ptr<T[]> weights_;
  double weight_sum_ = 0, factor_ = 0;
};

}  // namespace

int64_t run(const RowLossCall& call) {
  return call.is_double() ? Losses<double>(call).run() : Losses<float>(call).run();
}

}  // namespace brazen::cpu
