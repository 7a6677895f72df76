// SPDX-License-Identifier: BSD-3-Clause
// The sum of a chunk's terms in the order of formulas/reduction.h, vectorised over the lanes. For kernel units alone.
#pragma once

#include <cstddef>

#include "../formulas/reduction.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

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
