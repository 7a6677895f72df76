// SPDX-License-Identifier: BSD-3-Clause
// Philox on several blocks at once, one in each 64-bit lane: the 32 x 32 -> 64 multiplication of a lane's low half is
// one instruction, which no plain loop gets from GCC 12 (dropout's pieces 0.28 ns an element on AVX-512 from one, 0.15
// so).
#pragma once

#include "../formulas/random.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {

#if defined(__AVX512F__)
inline constexpr int kPhiloxLanes = 8;
#elif defined(__AVX2__)
inline constexpr int kPhiloxLanes = 4;
#else
inline constexpr int kPhiloxLanes = 2;
#endif
typedef uint64_t Lanes __attribute__((vector_size(8 * kPhiloxLanes)));

// Of the lanes' low halves.
[[gnu::always_inline]] inline Lanes multiply_low(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// The low half of words[k][lane] is word k of the lane's block; what stands above is not.
struct PhiloxLanes {
  Lanes words[4];
};

// As `philox` of formulas/random.h, for the blocks first, first + stride, ...
[[gnu::always_inline]] inline PhiloxLanes philox_lanes(RandomKey key, uint64_t first, uint64_t stride) {
  const Lanes zero = {};
  Lanes a = zero + first;
  for (int lane = 0; lane < kPhiloxLanes; ++lane) a[lane] += lane * stride;
  Lanes b = a >> 32, c = zero + key.step, d = zero + key.site;
  uint32_t low = uint32_t(key.seed), high = uint32_t(key.seed >> 32);
  const Lanes first_factor = zero + 0xD2511F53u, second_factor = zero + 0xCD9E8D57u;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Lanes first_product = multiply_low(first_factor, a), second_product = multiply_low(second_factor, c);
    a = second_product >> 32 ^ b ^ low, b = second_product;
    c = first_product >> 32 ^ d ^ high, d = first_product;
    low += 0x9E3779B9u, high += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
