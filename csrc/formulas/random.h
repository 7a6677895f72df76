// SPDX-License-Identifier: BSD-3-Clause
// Philox4x32-10 (Salmon et al., 2011) and how its words become the random values of an element. No state, no loop.
//
// Key = seed, low word first. Counter = (block low, block high, step, site). An element's block and words depend only
// on its index in the whole batch, so layout, threads, device and dtype do not matter.
#pragma once

#include <cstdint>

#include "math.h"

namespace brazen {

// Which draws these are; `site` carries its domain (dropout, initialisation, ...) in the top 8 bits.
struct RandomKey {
  uint64_t seed;
  uint32_t step, site;
};

inline namespace BRAZEN_TARGET {

struct PhiloxBlock {
  uint32_t words[4];
};

FORMULA uint32_t high_product(uint32_t a, uint32_t b) { return static_cast<uint32_t>(uint64_t(a) * b >> 32); }

FORMULA PhiloxBlock philox(RandomKey key, uint64_t block) {
  uint32_t a = uint32_t(block), b = uint32_t(block >> 32), c = key.step, d = key.site;
  uint32_t low = uint32_t(key.seed), high = uint32_t(key.seed >> 32);
#ifdef __CUDACC__
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint32_t first_high = high_product(0xD2511F53u, a), first_low = 0xD2511F53u * a;
    const uint32_t second_high = high_product(0xCD9E8D57u, c), second_low = 0xCD9E8D57u * c;
    a = second_high ^ b ^ low, b = second_low;
    c = first_high ^ d ^ high, d = first_low;
    low += 0x9E3779B9u, high += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

// Dropout: eight elements a block, 16 bits each, low half of word 0 first.
inline constexpr int kPiecesPerBlock = 8;

FORMULA uint32_t piece(const PhiloxBlock& block, int index) {
  return block.words[index / 2] >> (16 * (index % 2)) & 0xffffu;
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
