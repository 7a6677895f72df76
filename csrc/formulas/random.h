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

// The piece of the element `index`, which its block holds, by selects: indexing the words would send them to memory.
FORMULA uint32_t piece_at(const PhiloxBlock& block, uint64_t index) {
  const uint32_t low = (index & 4u) != 0u ? block.words[2] : block.words[0];
  const uint32_t high = (index & 4u) != 0u ? block.words[3] : block.words[1];
  const uint32_t word = (index & 2u) != 0u ? high : low;
  return ((index & 1u) != 0u ? word >> 16 : word) & 0xffffu;
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

// `quarter` quarter turns and `angle` more, which is at most an eighth of a turn either way.
template <class T>
FORMULA NormalPair<T> normal_pair(T radius, T angle, uint32_t quarter) {
  const T sine = math::detail::sin_reduced(angle, T(0)), cosine = math::detail::cos_reduced(angle, T(0));
  const T x = (quarter & 1u) != 0u ? sine : cosine, y = (quarter & 1u) != 0u ? cosine : sine;
  return {radius * (((quarter + 1u) & 2u) != 0u ? -x : x), radius * ((quarter & 2u) != 0u ? -y : y)};
}

// The words of two neighbouring elements give both their values: the even one's the radius, the odd one's the angle,
// 2 pi times its uniform value. The angle is reduced to a quarter turn before anything is rounded. At most 6.77
// standard deviations.
FORMULA NormalPair<float> normal(uint32_t even, uint32_t odd) {
  const float u = float(even) * 0x1p-32f + 0x1p-33f;
  const uint32_t turn = odd >> 8, quarter = (turn + 0x200000u) >> 22;
  const float angle = float(int32_t(turn - (quarter << 22))) * 0x1.921fb6p-22f;  // 2 pi / 2^24
  return normal_pair(math::sqrt(-2.0f * math::log(u)), angle, quarter);
}

// At most 8.66 standard deviations.
FORMULA NormalPair<double> normal(uint64_t even, uint64_t odd) {
  const double u = double(even >> 11) * 0x1p-53 + 0x1p-54;
  const uint64_t turn = odd >> 11, quarter = (turn + 0x4000000000000u) >> 51;
  const double angle = double(int64_t(turn - (quarter << 51))) * 0x1.921fb54442d18p-51;  // 2 pi / 2^53
  return normal_pair(math::sqrt(-2.0 * math::log(u)), angle, uint32_t(quarter));
}

// The value of one element alone; its pair's other one is thrown away.
template <class T>
FORMULA T normal_at(RandomKey key, uint64_t index) {
  const PhiloxBlock block = philox(key, index / kValuesPerBlock<T>);
  Word<T> even = word(block, 0, T()), odd = word(block, 1, T());
  if constexpr (kValuesPerBlock<T> == 4) {
    const bool second = (index & 2u) != 0u;
    even = second ? block.words[2] : even;
    odd = second ? block.words[3] : odd;
  }
  const NormalPair<T> point = normal(even, odd);
  return (index & 1u) != 0u ? point.odd : point.even;
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
