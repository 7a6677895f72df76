// SPDX-License-Identifier: BSD-3-Clause
// What a sum of rows by index is told: the gradient of a table whose rows were looked up. It reads no element.
#pragma once

#include <cstdint>

#include "../formulas/formula.h"
#include "dtype.h"

namespace brazen {

// out[i, :] is the sum of x[p, :] over all p whose index is i, in the order of p, from +0 on. An index outside 0 … rows
// - 1 adds nothing. All arrays are contiguous.
struct IndexedRowsCall {
  int64_t positions, rows, columns;
  DType index_dtype;  // int32, int64 or uint8
  DType dtype;        // of x
  DType out_dtype;    // float32 or float64: the compute type of x
  const void* indices;
  const void* x;
  void* out;

  int64_t work() const { return positions * columns + rows * columns; }
};

// The index at a position.
FORMULA int64_t index_at(const void* indices, DType dtype, int64_t position) {
  if (dtype == DType::int64) return static_cast<const int64_t*>(indices)[position];
  if (dtype == DType::int32) return static_cast<const int32_t*>(indices)[position];
  return static_cast<const uint8_t*>(indices)[position];
}

}  // namespace brazen
