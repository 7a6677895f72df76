// SPDX-License-Identifier: BSD-3-Clause
// 16-bit runs to and from float32, and copies past the caches, for the instruction set being compiled. Included by
// kernels.cpp alone. The intrinsics give the bits of formulas/storage.h; a test compares all 65,536 and a sample of
// 2^32.
#pragma once

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../formulas/reduction.h"
#include "../formulas/storage.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

void widen_bfloat16(const uint16_t* from, float* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512BW__)
  // One permutation puts 16 halves into the upper words, instead of a widening and a shift.
  const __m512i upper = _mm512_set_epi32(15 << 16, 14 << 16, 13 << 16, 12 << 16, 11 << 16, 10 << 16, 9 << 16, 8 << 16,
                                         7 << 16, 6 << 16, 5 << 16, 4 << 16, 3 << 16, 2 << 16, 1 << 16, 0);
  for (; i + 16 <= n; i += 16) {
    const __m512i halves = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
    _mm512_storeu_si512(to + i, _mm512_maskz_permutexvar_epi16(0xaaaaaaaau, upper, halves));
  }
#endif
#pragma GCC ivdep
  for (; i < n; ++i) to[i] = from_bfloat16(from[i]);
}

#if defined(__AVX512BW__)
// The rounded half in the upper word of each lane.
inline __m512i rounded_bfloat16(const float* from) {
  const __m512i u = _mm512_loadu_si512(from);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(_mm512_castsi512_ps(u), _mm512_castsi512_ps(u), _CMP_UNORD_Q);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(0x7fc00000));
}
#endif

void narrow_bfloat16(const float* from, uint16_t* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512BW__)
  alignas(64) static constexpr uint16_t kUpperWords[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                           23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                           45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i upper = _mm512_load_si512(kUpperWords);
  for (; i + 32 <= n; i += 32)
    _mm512_storeu_si512(to + i,
                        _mm512_permutex2var_epi16(rounded_bfloat16(from + i), upper, rounded_bfloat16(from + i + 16)));
#endif
#pragma GCC ivdep
  for (; i < n; ++i) to[i] = to_bfloat16(from[i]);
}

void widen_float16(const uint16_t* from, float* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
  for (; i < n; ++i) to[i] = from_float16(from[i]);
}

void narrow_float16(const float* from, uint16_t* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16) {
    const __m512 x = _mm512_loadu_ps(from + i);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    const __m512 canonical = _mm512_mask_mov_ps(x, is_nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm512_cvtps_ph(canonical, _MM_FROUND_TO_NEAREST_INT));
  }
#elif defined(__F16C__)
  const __m256 quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
  for (; i + 8 <= n; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i);
    const __m256 canonical = _mm256_blendv_ps(x, quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), _mm256_cvtps_ph(canonical, _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (; i < n; ++i) to[i] = to_float16(from[i]);
}

// Stores that skip the caches save the read of the line they replace: 8 bytes an element instead of 12. Meanwhile the
// next tile's inputs are fetched, one line for each line stored: without that, memory alternates between bursts of
// reads and of writes (relu 0.87 of a plain copy without, 0.94 with; two Zen 5 cores).
void stream(void* to, const void* from, size_t bytes, const char* const* ahead, int ahead_count) {
#if defined(__x86_64__)
#if defined(__AVX512F__)
  using Vector = __m512i;
#elif defined(__AVX__)
  using Vector = __m256i;
#else
  using Vector = __m128i;
#endif
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  size_t head = -reinterpret_cast<uintptr_t>(target) % sizeof(Vector);
  if (head > bytes) head = bytes;
  memcpy(target, source, head);
  size_t done = head;
  for (; done + sizeof(Vector) <= bytes; done += sizeof(Vector)) {
    Vector line;
    memcpy(&line, source + done, sizeof(Vector));
    if (done % 64 == head % 64)
      for (int k = 0; k < ahead_count; ++k) _mm_prefetch(ahead[k] + done, _MM_HINT_T0);
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<Vector*>(target + done), line);
#elif defined(__AVX__)
    _mm256_stream_si256(reinterpret_cast<Vector*>(target + done), line);
#else
    _mm_stream_si128(reinterpret_cast<Vector*>(target + done), line);
#endif
  }
  memcpy(target + done, source + done, bytes - done);
#else
  (void)ahead, (void)ahead_count;
  memcpy(to, from, bytes);
#endif
}

void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace
}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
