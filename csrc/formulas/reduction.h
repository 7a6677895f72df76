// SPDX-License-Identifier: BSD-3-Clause
// The one shape every sum has, on every device, layout, instruction set and thread count. Constants and the merging
// order; the loops that load the terms are cpu/'s and cuda/'s.
//
// Row r is the C-order index over the reduced axes. 1,024 consecutive rows are a chunk; inside it, row r belongs to
// lane r mod 32, and a lane adds its rows in order, starting from the first row's lane at +0. The lanes meet in an
// xor-tree (offsets 16, 8, 4, 2, 1) in the compute type. Chunks are merged in float64 in a binary tree aligned to
// powers of two.
//
// Mean and variance have the same shape. A chunk's pivot is the mean of its first 32 rows (one a lane, fewer at the
// end); the lanes add d = x - pivot and d * d in one pass, and the chunks' moments meet in the float64 tree. The pivot
// is a mean of rows of its own chunk, so the variance cannot be lost to an offset of the data: its relative error stays
// below about 1e-5 where only those 32 rows stand out, and near 1e-7 elsewhere.
#pragma once

#include <cstdint>

#include "formula.h"

namespace brazen {

// Number of rows, their mean, and the sum of squared distances from it.
struct Moments {
  double count, mean, squares;
};

inline namespace BRAZEN_TARGET {

inline constexpr int kLanes = 32;
inline constexpr int kChunkRows = 1024;

FORMULA int64_t chunk_count(int64_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }

// Leaves the sum in partials[0]; `stride` is in elements.
FORMULA double merge_chunks(double* partials, int64_t count, int64_t stride) {
  for (int64_t width = 1; width < count; width *= 2)
    for (int64_t i = 0; i + width < count; i += 2 * width) partials[i * stride] += partials[(i + width) * stride];
  return count > 0 ? partials[0] : 0.0;
}

// The pivot of a chunk from the tree's sum of its first rows.
template <class T>
FORMULA T pivot_of(T sum, int64_t rows) {
  return sum / T(rows < kLanes ? rows : kLanes);
}

// A chunk's moments from the tree's sums of d and d * d.
template <class T>
FORMULA Moments chunk_moments(T pivot, T sum, T squares, int64_t rows) {
  const double count = double(rows), shift = double(sum) / count;
  const double about_mean = double(squares) - double(sum) * shift;
  return {count, double(pivot) + shift, about_mean < 0 ? 0.0 : about_mean};
}

// Chan, Golub and LeVeque (1979). An empty side changes nothing.
FORMULA Moments merge_moments(Moments a, Moments b) {
  if (b.count == 0) return a;
  if (a.count == 0) return b;
  const double count = a.count + b.count, delta = b.mean - a.mean;
  return {count, a.mean + delta * (b.count / count),
          a.squares + b.squares + delta * delta * (a.count * b.count / count)};
}

// Leaves the moments of all chunks in chunks[0]; `stride` is in elements.
FORMULA Moments merge_chunk_moments(Moments* chunks, int64_t count, int64_t stride) {
  for (int64_t width = 1; width < count; width *= 2)
    for (int64_t i = 0; i + width < count; i += 2 * width)
      chunks[i * stride] = merge_moments(chunks[i * stride], chunks[(i + width) * stride]);
  return count > 0 ? chunks[0] : Moments{0, 0, 0};
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
