// SPDX-License-Identifier: BSD-3-Clause
// The one shape every sum has, on every device, layout, instruction set and thread count. Constants and the merging
// order; the loops that load the terms are cpu/'s and cuda/'s.
//
// Row r is the C-order index over the reduced axes. 1,024 consecutive rows are a chunk; inside it, row r belongs to
// lane r mod 32, and a lane adds its rows in order, starting from the first row's lane at +0. The lanes meet in an
// xor-tree (offsets 16, 8, 4, 2, 1) in the compute type. Chunks are merged in float64 in a binary tree aligned to
// powers of two.
#pragma once

#include <cstdint>

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

inline constexpr int kLanes = 32;
inline constexpr int kChunkRows = 1024;

FORMULA int64_t chunk_count(int64_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }

// Leaves the sum in lanes[0]. Addition commutes, so every lane of a shuffling warp holds the same bits.
template <class T>
FORMULA T merge_lanes(T* lanes) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    for (int lane = 0; lane < offset; ++lane) lanes[lane] += lanes[lane + offset];
  return lanes[0];
}

// Leaves the sum in partials[0]; `stride` is in elements.
FORMULA double merge_chunks(double* partials, int64_t count, int64_t stride) {
  for (int64_t width = 1; width < count; width *= 2)
    for (int64_t i = 0; i + width < count; i += 2 * width) partials[i * stride] += partials[(i + width) * stride];
  return count > 0 ? partials[0] : 0.0;
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
