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

// Random values take four elements a block in float, two in double: a value's word has its width, low half first.
template <class T>
inline constexpr int kValuesPerBlock = sizeof(T) == 4 ? 4 : 2;

template <class T>
struct WordOf {
  using type = uint32_t;
};
template <>
struct WordOf<double> {
  using type = uint64_t;
};
template <class T>
using Word = typename WordOf<T>::type;

// The word of a block's value `index`.
FORMULA uint32_t word(const PhiloxBlock& block, int index, float) { return block.words[index]; }
FORMULA uint64_t word(const PhiloxBlock& block, int index, double) {
  return block.words[2 * index] | uint64_t(block.words[2 * index + 1]) << 32;
}

// In [0, 1), every value a multiple of 2^-24 or 2^-53.
FORMULA float uniform(uint32_t word) { return float(word >> 8) * 0x1p-24f; }
FORMULA double uniform(uint64_t word) { return double(word >> 11) * 0x1p-53; }

// A point of the plane by Box and Muller (1958): radius from one word, angle from another.
template <class T>
struct NormalPair {
  T even, odd;
};

// The angle is 2 pi * word / 2^32, reduced exactly to the nearest quarter turn before it is rounded.
template <class T>
FORMULA NormalPair<T> normal_pair(T radius, T angle, uint32_t quarter) {
  const T sine = math::detail::sin_reduced(angle, T(0)), cosine = math::detail::cos_reduced(angle, T(0));
  const T x = (quarter & 1u) != 0u ? sine : cosine, y = (quarter & 1u) != 0u ? cosine : sine;
  return {radius * (((quarter + 1u) & 2u) != 0u ? -x : x), radius * ((quarter & 2u) != 0u ? -y : y)};
}

// The words of two neighbouring elements give both their values. At most 5.77 standard deviations.
FORMULA NormalPair<float> normal(uint32_t first, uint32_t second) {
  const float u = (float(first >> 9) + 0.5f) * 0x1p-23f;
  const uint32_t quarter = (second + 0x20000000u) >> 30;
  const float angle = float(int32_t(second - (quarter << 30))) * 0x1.921fb6p-30f;  // 2 pi / 2^32
  return normal_pair(math::sqrt(-2.0f * math::log(u)), angle, quarter);
}

// At most 8.57 standard deviations.
FORMULA NormalPair<double> normal(uint64_t first, uint64_t second) {
  const double u = (double(first >> 12) + 0.5) * 0x1p-52;
  const uint64_t quarter = (second + 0x2000000000000000u) >> 62;
  const double angle = double(int64_t(second - (quarter << 62))) * 0x1.921fb54442d18p-62;  // 2 pi / 2^64
  return normal_pair(math::sqrt(-2.0 * math::log(u)), angle, uint32_t(quarter));
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
