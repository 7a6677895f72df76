// SPDX-License-Identifier: BSD-3-Clause
// Sums of squares by rows, columns and units of one tensor, and the bounds that need them. Sums in the order of
// formulas/reduction.h.
#pragma once

#include <algorithm>
#include <vector>

#include "factored_kernels.h"
#include "tensor_step.h"

namespace brazen::cpu {

template <class T>
double sum_of_squares(const KernelTable& table, const T* x, int64_t n) {
  std::vector<double> partials(chunk_count(n));
  for (int64_t start = 0; start < n; start += kChunkRows)
    partials[start / kChunkRows] =
        table.updates->squares[sizeof(T) == 8](x + start, std::min<int64_t>(kChunkRows, n - start)).sum;
  return merge_chunks(partials.data(), static_cast<int64_t>(partials.size()), 1);
}

// Of the first `width` of `columns` columns.
template <class T>
void column_sums(const KernelTable& table, const T* x, int64_t rows, int64_t columns, int64_t width, double* sums) {
  const int64_t chunks = chunk_count(rows);
  std::vector<double> partials(chunks * kColumns);
  for (int64_t first = 0; first < width; first += kColumns) {
    const int64_t strip = std::min<int64_t>(kColumns, width - first);
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      table.factored->column_squares[sizeof(T) == 8](x + chunk * kChunkRows * columns + first,
                                                     std::min<int64_t>(kChunkRows, rows - chunk * kChunkRows), columns,
                                                     strip, partials.data() + chunk * kColumns);
    for (int64_t j = 0; j < strip; ++j) sums[first + j] = merge_chunks(partials.data() + j, chunks, kColumns);
  }
}

// The factors of adaptive clipping, for Step::set_unit_factors; empty where no group asks for it.
std::vector<std::vector<double>> agc_factors(const UpdateCall& call, const Step& step);

// Shrinks the units whose norm is over their group's max_norm.
void limit_units(const UpdateCall& call);

}  // namespace brazen::cpu
