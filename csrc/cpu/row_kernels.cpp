// SPDX-License-Identifier: BSD-3-Clause
// The loops of row_kernels.h. Compiled once per instruction set, as kernels.cpp: nothing of std:: may be instantiated.
#include "row_kernels.h"

#include "../formulas/losses.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

// The sum of term(i) over a chunk.
template <class T, class Term>
FORMULA T sum_of(size_t n, Term&& term) {
  T lanes[kLanes] = {};
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes) {
    _Pragma("GCC ivdep") for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(row + lane);
  }
  for (int lane = 0; row < n; ++row, ++lane) lanes[lane] += term(row);
  return merge_lanes(lanes);
}

template <class T>
T sum(const T* x, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return x[i]; });
}

template <class T>
T largest(const T* x, size_t n) {
  T lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lowest<T>();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _Pragma("GCC ivdep") for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = larger(x[i + lane], lanes[lane]);
  }
  T best = lowest<T>();
  for (; i < n; ++i) best = larger(x[i], best);
  for (int lane = 0; lane < kLanes; ++lane) best = larger(lanes[lane], best);
  return best;
}

template <class T>
T exponentials(const T* x, T center, T* e, size_t n) {
  EACH_ELEMENT e[i] = exp_nonpositive(x[i] - center);
  return sum(e, n);
}

template <class T>
T distances(const T* x, T center, const T* weights, size_t n) {
  if (weights) return sum_of<T>(n, [=](size_t i) { return target_product(weights[i], x[i] - center); });
  return sum_of<T>(n, [=](size_t i) { return x[i] - center; });
}

template <class T>
T target_products(const T* targets, const T* x, T center, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return target_product(targets[i], x[i] - center); });
}

template <class T>
void soft_targets(const T* labels, const T* weights, T keep, T share, T* targets, size_t n) {
  if (weights)
    EACH_ELEMENT targets[i] = soft_target(labels[i], weights[i], keep, share);
  else
    EACH_ELEMENT targets[i] = soft_target(labels[i], T(1), keep, share);
}

template <class T>
void scale(const T* x, T factor, T* y, size_t n) {
  EACH_ELEMENT y[i] = x[i] * factor;
}

template <class T>
void pull(const T* e, T slope, T pull, T* y, size_t n) {
  EACH_ELEMENT y[i] = cross_entropy_gradient(e[i], slope, pull);
}

template <class T>
void pull_each(const T* e, T slope, const T* targets, T pull, T* y, size_t n) {
  EACH_ELEMENT y[i] = cross_entropy_gradient(e[i], slope, targets[i] * pull);
}

#undef EACH_ELEMENT

template <class T>
constexpr RowLoops<T> make_loops() {
  return {sum<T>,          largest<T>, exponentials<T>, distances<T>, target_products<T>,
          soft_targets<T>, scale<T>,   pull<T>,         pull_each<T>};
}

}  // namespace

// Referenced by name from kernels.cpp.
extern const RowKernels kRowKernels;
constinit const RowKernels kRowKernels = {make_loops<float>(), make_loops<double>()};

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
