// SPDX-License-Identifier: BSD-3-Clause
// How much a thread claims at once, and when a second thread pays. No array is read.
#pragma once

#include <algorithm>

#include "../core/rows.h"
#include "row_access.h"
#include "threads.h"
#include "work.h"

namespace brazen::cpu {

// `count` units of `elements` elements each: rows, or chunks of one row.
class UnitClaims {
 public:
  // `item_bytes`: of an element that is written.
  UnitClaims(int64_t count, int64_t elements, int64_t item_bytes, bool fresh, int64_t picoseconds)
      : count_(count), serial_(picoseconds < kParallelPicoseconds || thread_count() == 1) {
    elements = std::max<int64_t>(1, elements);
    const int64_t bytes = elements * item_bytes;
    // Two threads that first touch one huge page of a fresh result wait for each other.
    const bool huge = fresh && count * bytes >= 2 * kStreamBytes;
    const int64_t fair = std::clamp(count * elements / (4 * thread_count()), kClaimElements, 8 * kClaimElements);
    each_ = std::max<int64_t>(1, huge ? kHugePage / bytes : fair / elements);
  }

  // The caller's own number of units a claim.
  void set_each(int64_t units) { each_ = units; }

  // Claims are whole multiples of `units`.
  void round_up(int64_t units) { each_ = (each_ + units - 1) / units * units; }

  // Calls body(begin, end) for ranges of units.
  template <class Body>
  void each(Body&& body) const {
    const int64_t claims = (count_ + each_ - 1) / each_;
    auto one = [&](int64_t i) { body(i * each_, std::min(count_, (i + 1) * each_)); };
    if (serial_)
      for (int64_t i = 0; i < claims; ++i) one(i);
    else
      parallel_for(claims, one);
  }

 private:
  static constexpr int64_t kHugePage = 2 << 20;

  int64_t count_, each_;
  bool serial_;
};

// `count` rows of `arrays`; `output` is the operand that is written.
inline UnitClaims claim_rows(const RowsLayout& arrays, int64_t count, int output, bool fresh, int64_t picoseconds) {
  const Operand& row = arrays.rows.operands[output];
  UnitClaims claims(count, arrays.columns.size, itemsize(row.dtype), fresh, picoseconds);
  if (RowPanel::fits(arrays.rows, row, arrays.columns)) claims.round_up(RowPanel::together(arrays.columns, row));
  return claims;
}

inline UnitClaims claim_rows(const RowsLayout& arrays, int output, bool fresh, int64_t picoseconds) {
  return claim_rows(arrays, arrays.rows.size, output, fresh, picoseconds);
}

}  // namespace brazen::cpu
