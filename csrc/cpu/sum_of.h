// SPDX-License-Identifier: BSD-3-Clause
// The sum of a chunk's terms in the order of formulas/reduction.h, vectorised over the lanes. For kernel units alone.
#pragma once

#include <cstddef>

#include "../formulas/reduction.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

// The sum of term(i), i < n.
template <class T, class Term>
FORMULA T sum_of(size_t n, Term&& term) {
  T lanes[kLanes] = {};
  size_t row = 0;
  for (; row + kLanes <= n; row += kLanes) {
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += term(row + lane);
  }
  for (int lane = 0; row < n; ++row, ++lane) lanes[lane] += term(row);
  return merge_lanes(lanes);
}

}  // namespace
}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
