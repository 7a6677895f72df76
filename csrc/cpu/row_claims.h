// SPDX-License-Identifier: BSD-3-Clause
// How many rows a thread claims at once, and when a second thread pays. No array is read.
#pragma once

#include <algorithm>

#include "../core/rows.h"
#include "row_access.h"
#include "threads.h"
#include "work.h"

namespace brazen::cpu {

class Claims {
 public:
  // `output` is the operand that is written.
  Claims(const RowsLayout& arrays, int output, bool fresh, int64_t picoseconds)
      : rows_(arrays.rows.size), serial_(picoseconds < kParallelPicoseconds || thread_count() == 1) {
    const int64_t columns = std::max<int64_t>(1, arrays.columns.size);
    const int64_t row_bytes = columns * itemsize(arrays.rows.operands[output].dtype);
    // Two threads that first touch one huge page of a fresh result wait for each other.
    const bool huge = fresh && rows_ * row_bytes >= 2 * kStreamBytes;
    const int64_t elements = std::clamp(arrays.size() / (4 * thread_count()), kClaimElements, 8 * kClaimElements);
    each_ = std::max<int64_t>(1, huge ? kHugePage / row_bytes : elements / columns);
  }

  // The caller's own number of rows a claim.
  void set_rows(int64_t rows) { each_ = rows; }

  template <class Body>
  void each(Body&& body) const {
    const int64_t claims = (rows_ + each_ - 1) / each_;
    auto one = [&](int64_t i) { body(i * each_, std::min(rows_, (i + 1) * each_)); };
    if (serial_)
      for (int64_t i = 0; i < claims; ++i) one(i);
    else
      parallel_for(claims, one);
  }

 private:
  static constexpr int64_t kHugePage = 2 << 20;

  int64_t rows_, each_;
  bool serial_;
};

}  // namespace brazen::cpu
