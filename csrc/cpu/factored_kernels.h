// SPDX-License-Identifier: BSD-3-Clause
// The row loops of the factored rules that one instruction set offers.
#pragma once

#include <cstddef>

#include "../core/registry.h"
#include "../core/update.h"

namespace brazen::cpu {

inline constexpr int kColumns = 64;  // columns summed at once: their 32 lanes stay in L1

struct FactoredKernels {
  // Sums of squares of at most kColumns columns over at most 1,024 rows, `stride` elements apart.
  void (*column_squares[kComputeTypes])(const void* x, size_t rows, size_t stride, size_t columns, double* sums);
  // `direction` holds the gradient before, and is a row whose variance is row * columns[i].
  void (*adafactor_row[kComputeTypes])(const void* coefficients, double row, const void* columns, void* direction,
                                       size_t n);
  void (*adafactor_vector[kComputeTypes])(const void* coefficients, void* variance, void* direction, size_t n);
  // One row: `others` is the least maximum of the other axes, `new_last` takes the last axis' new maxima. Returns the
  // row's own.
  double (*sm3_row[kComputeTypes])(double others, const void* last, void* new_last, const void* grad, void* step,
                                   const void* coefficients, size_t n);
};

}  // namespace brazen::cpu
