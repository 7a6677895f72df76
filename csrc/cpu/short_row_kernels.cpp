// SPDX-License-Identifier: BSD-3-Clause
// The loops of short_row_kernels.h. Compiled once per instruction set, as kernels.cpp: nothing of std:: may be
// instantiated.
#include "short_row_kernels.h"

#include "../formulas/losses.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

#define EACH_ROW _Pragma("GCC ivdep") for (int row = 0; row < kAbreast; ++row)

// Each row's sum of term(at, row), `at` the number of the column's first element, in the order of formulas/reduction.h:
// a lane takes every kLanes-th column. Lanes without one are +0, and no other lane is ever -0, so adding them is left
// out.
template <class T, class Term>
FORMULA void sum_rows(int64_t columns, T* sums, Term&& term) {
  T lanes[kLanes][kAbreast];
  int64_t used = columns < kLanes ? columns : kLanes;
  for (int64_t column = 0; column < used; ++column) EACH_ROW lanes[column][row] = T(0) + term(column * kAbreast, row);
  for (int64_t column = kLanes; column < columns; ++column)
    EACH_ROW lanes[column % kLanes][row] += term(column * kAbreast, row);
  for (int64_t offset = kLanes / 2; offset > 0; offset /= 2) {
    for (int64_t lane = 0; lane + offset < used; ++lane) EACH_ROW lanes[lane][row] += lanes[lane + offset][row];
    used = used < offset ? used : offset;
  }
  EACH_ROW sums[row] = lanes[0][row];
}

template <class T>
FORMULA void largest_of_rows(const T* x, int64_t columns, T* largest) {
  EACH_ROW largest[row] = lowest<T>();
  for (int64_t column = 0; column < columns; ++column)
    EACH_ROW largest[row] = larger(x[column * kAbreast + row], largest[row]);
}

// e = exp(x - largest), and the rows' sums of it.
template <class T>
FORMULA void exponentials(const T* x, const T* largest, int64_t columns, T* e, T* totals) {
  for (int64_t column = 0; column < columns; ++column) {
    const T* from = x + column * kAbreast;
    T* to = e + column * kAbreast;
    EACH_ROW to[row] = exp_nonpositive(from[row] - largest[row]);
  }
  sum_rows(columns, totals, [=](int64_t at, int row) { return e[at + row]; });
}

template <class T>
void softmax(const T* x, const T*, T* y, int64_t columns) {
  T largest[kAbreast], totals[kAbreast], factors[kAbreast];
  largest_of_rows(x, columns, largest);
  exponentials(x, largest, columns, y, totals);
  EACH_ROW factors[row] = static_cast<T>(1.0 / static_cast<double>(totals[row]));
  for (int64_t column = 0; column < columns; ++column) {
    T* to = y + column * kAbreast;
    EACH_ROW to[row] *= factors[row];
  }
}

template <class T>
void log_softmax(const T* x, const T*, T* y, int64_t columns) {
  T largest[kAbreast], totals[kAbreast], logs[kAbreast];
  largest_of_rows(x, columns, largest);
  sum_rows(columns, totals, [&](int64_t at, int row) { return exp_nonpositive(x[at + row] - largest[row]); });
  EACH_ROW logs[row] = static_cast<T>(math::log(static_cast<double>(totals[row])));
  for (int64_t column = 0; column < columns; ++column) {
    const T* from = x + column * kAbreast;
    T* to = y + column * kAbreast;
    EACH_ROW to[row] = brazen::log_softmax(from[row], largest[row], logs[row]);
  }
}

template <class T>
void softmax_gradient(const T* dy, const T* y, T* dx, int64_t columns) {
  T products[kAbreast];
  sum_rows(columns, products, [=](int64_t at, int row) { return dy[at + row] * y[at + row]; });
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = column * kAbreast;
    EACH_ROW dx[at + row] = brazen::softmax_gradient(dy[at + row], y[at + row], products[row]);
  }
}

template <class T>
void log_softmax_gradient(const T* dy, const T* y, T* dx, int64_t columns) {
  T sums[kAbreast];
  sum_rows(columns, sums, [=](int64_t at, int row) { return dy[at + row]; });
  for (int64_t column = 0; column < columns; ++column) {
    const int64_t at = column * kAbreast;
    EACH_ROW dx[at + row] = brazen::log_softmax_gradient(dy[at + row], y[at + row], sums[row]);
  }
}

template <class T>
void cross_entropy(const ShortRowLosses<T>& rows, int64_t columns) {
  const T *x = rows.logits, *weights = rows.weights;
  T *e = rows.gradient, *losses = rows.losses;
  const bool smooth = rows.share != 0;
  T largest[kAbreast], totals[kAbreast], distances[kAbreast], own_exponentials[kAbreast], own_logits[kAbreast],
      own_weights[kAbreast], slopes[kAbreast], own_pulls[kAbreast];
  largest_of_rows(x, columns, largest);
  exponentials(x, largest, columns, e, totals);
  EACH_ROW distances[row] = 0;
  if (smooth && weights)
    sum_rows(columns, distances,
             [&](int64_t at, int row) { return target_product(weights[at / kAbreast], x[at + row] - largest[row]); });
  else if (smooth)
    sum_rows(columns, distances, [&](int64_t at, int row) { return x[at + row] - largest[row]; });
  for (int row = 0; row < kAbreast; ++row) {
    const int64_t label = rows.labels[row] < 0 ? 0 : rows.labels[row];
    own_logits[row] = x[label * kAbreast + row];
    own_exponentials[row] = e[label * kAbreast + row];
    own_weights[row] = weights ? weights[label] : T(1);
  }
  const double keep = rows.keep, share = rows.share, factor = rows.factor, weight_sum = rows.weight_sum;
  EACH_ROW {
    const double weight = static_cast<double>(own_weights[row]), total = static_cast<double>(totals[row]);
    const double distance = static_cast<double>(own_logits[row]) - static_cast<double>(largest[row]);
    const TargetSums sums = label_sums(keep, share, weight, weight_sum, distance, static_cast<double>(distances[row]));
    losses[row] = static_cast<T>(brazen::cross_entropy(sums, total));
    slopes[row] = static_cast<T>(cross_entropy_slope(factor, sums.targets, total));
    own_pulls[row] = static_cast<T>((keep * weight + share * weight) * factor);
  }
  const T pull = static_cast<T>(share * factor);
  for (int64_t column = 0; column < columns; ++column) {
    T* to = e + column * kAbreast;
    if (!smooth) {
      EACH_ROW to[row] *= slopes[row];
    } else {
      const T own = weights ? weights[column] * pull : pull;
      EACH_ROW to[row] = cross_entropy_gradient(to[row], slopes[row], own);
    }
  }
  for (int row = 0; row < kAbreast; ++row) {
    const int64_t label = rows.labels[row];
    if (label >= 0) {
      e[label * kAbreast + row] = cross_entropy_gradient(own_exponentials[row], slopes[row], own_pulls[row]);
      continue;
    }
    losses[row] = 0;
    for (int64_t column = 0; column < columns; ++column) e[column * kAbreast + row] = 0;
  }
}

#undef EACH_ROW

template <class T>
constexpr ShortRowLoops<T> make_loops() {
  return {softmax<T>, log_softmax<T>, softmax_gradient<T>, log_softmax_gradient<T>, cross_entropy<T>};
}

}  // namespace

// Referenced by name from kernels.cpp.
extern const ShortRowKernels kShortRowKernels;
constinit const ShortRowKernels kShortRowKernels = {make_loops<float>(), make_loops<double>()};

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
