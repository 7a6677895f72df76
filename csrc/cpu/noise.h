// SPDX-License-Identifier: BSD-3-Clause
// What a chain draws for a run of elements, from their indices in the whole batch. It does nothing to a value.
#pragma once

#include "../core/chain.h"
#include "isa.h"

namespace brazen::cpu {

// Elements a drawing may write past its end: whole blocks, several at once.
inline constexpr int64_t kDrawSlack = 16;

// The pieces (dropout) or normals of the elements first, first + stride, ... in `tile`, which holds n + kDrawSlack; the
// result points into it, or to what the next drawing of the thread overwrites. At most 1,024 elements.
const void* draw(const KernelTable& table, const Chain& chain, bool is_double, int64_t first, int64_t stride, int64_t n,
                 void* tile);

// Uniform or normal values, likewise.
const void* draw_values(const KernelTable& table, RandomKey key, bool is_normal, bool is_double, int64_t first,
                        int64_t stride, int64_t n, void* tile);

// The pieces of the elements first, first + 1, ..., at most 1,024, until the thread draws again.
const uint16_t* draw_pieces(const KernelTable& table, RandomKey key, int64_t first, int64_t n);

// The 64-bit words float64 values are made of.
const void* draw_long_words(const KernelTable& table, RandomKey key, int64_t first, int64_t n, void* tile);

}  // namespace brazen::cpu
