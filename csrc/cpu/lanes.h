// SPDX-License-Identifier: BSD-3-Clause
// The sum of a chunk's terms in the order of formulas/reduction.h, vectorised over the lanes, and their largest. For
// kernel units alone.
#pragma once

#include <cstddef>

#include "../formulas/reduction.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

enum class Merged { sum, largest };

// Of 32 lanes, halves first, within registers: through memory it took longer than the sums of a chunk themselves (AVX2
// still takes the largest one by one). Every lane takes part to the end, only the first is read.
template <Merged result, class T>
FORMULA T merge(const T* lanes) {
  constexpr int half = kLanes / 2;
  static_assert(half == 16, "the places below are written out");
  typedef T Half __attribute__((vector_size(half * sizeof(T))));
  using Place = typename math::bits_of<T>::type;
  typedef Place Places __attribute__((vector_size(half * sizeof(Place))));
  Half low, high;
  __builtin_memcpy(&low, lanes, sizeof(low));
  __builtin_memcpy(&high, lanes + half, sizeof(high));
  const auto join = [&](const Half& other) __attribute__((always_inline)) {
    if constexpr (result == Merged::sum)
      low += other;
    else
      low = low > other ? low : other;
  };
  join(high);
  join(__builtin_shuffle(low, Places{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7}));
  join(__builtin_shuffle(low, Places{4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11}));
  join(__builtin_shuffle(low, Places{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13}));
  join(__builtin_shuffle(low, Places{1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14}));
  return low[0];
}

template <class T>
FORMULA T merge_lanes(const T* lanes) {
  return merge<Merged::sum>(lanes);
}

template <class T>
FORMULA T largest_lane(const T* lanes) {
  return merge<Merged::largest>(lanes);
}

// Calls add(lane, i, inside) for the elements i < n in the order of the lanes, and at the end once for the lanes left
// over too, whose element is not inside and whose term is to be +0: that changes no sum which began at +0.
template <class Add>
FORMULA void each_lane(size_t n, Add&& add) {
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) add(lane, row + lane, true);
  }
  const int left = static_cast<int>(n - row);
  if (left == 0) return;
#pragma GCC ivdep
  for (int lane = 0; lane < kLanes; ++lane) add(lane, row + lane, lane < left);
}

// The sum of term(i), i < n.
template <class T, class Term>
FORMULA T sum_of(size_t n, Term&& term) {
  T lanes[kLanes] = {};
  each_lane(n, [&](int lane, size_t i, bool inside) { lanes[lane] += inside ? term(i) : T(0); });
  return merge_lanes(lanes);
}

}  // namespace
}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
