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

constexpr size_t kLineBytes = 64;

// A line of the caches in vector registers.
#if defined(__AVX512BW__)
using Vector = __m512i;
#elif defined(__AVX__)
using Vector = __m256i;
#elif defined(__x86_64__)
using Vector = __m128i;
#else
struct Vector {
  char bytes[kLineBytes];
};
#endif
struct Line {
  static constexpr size_t parts = kLineBytes / sizeof(Vector);
  Vector part[parts];
};

inline Line load_line(const char* from) {
  Line line;
  for (size_t i = 0; i < Line::parts; ++i) memcpy(&line.part[i], from + i * sizeof(Vector), sizeof(Vector));
  return line;
}

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

inline __m512i bfloat16_line(const float* from) {
  alignas(64) static constexpr uint16_t kUpperWords[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                           23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                           45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i upper = _mm512_load_si512(kUpperWords);
  return _mm512_permutex2var_epi16(rounded_bfloat16(from), upper, rounded_bfloat16(from + 16));
}
#endif

void narrow_bfloat16(const float* from, uint16_t* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512BW__)
  constexpr size_t kHalves = kLineBytes / sizeof(uint16_t);
  for (; i + kHalves <= n; i += kHalves) _mm512_storeu_si512(to + i, bfloat16_line(from + i));
#endif
#pragma GCC ivdep
  for (; i < n; ++i) to[i] = to_bfloat16(from[i]);
}

void widen_float16(const uint16_t* from, float* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512BW__)
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
  for (; i < n; ++i) to[i] = from_float16(from[i]);
}

#if defined(__AVX512BW__)
inline __m256i rounded_float16(const float* from) {
  const __m512 x = _mm512_loadu_ps(from);
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512 canonical = _mm512_mask_mov_ps(x, is_nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
  return _mm512_cvtps_ph(canonical, _MM_FROUND_TO_NEAREST_INT);
}

inline __m512i float16_line(const float* from) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(rounded_float16(from)), rounded_float16(from + 16), 1);
}
#endif

void narrow_float16(const float* from, uint16_t* to, size_t n) {
  size_t i = 0;
#if defined(__AVX512BW__)
  for (; i + 16 <= n; i += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), rounded_float16(from + i));
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

// A line past the caches.
inline void stream_line(char* to, const Line& line) {
  for (size_t i = 0; i < Line::parts; ++i) {
    Vector* at = reinterpret_cast<Vector*>(to) + i;
#if defined(__AVX512BW__)
    _mm512_stream_si512(at, line.part[i]);
#elif defined(__AVX__)
    _mm256_stream_si256(at, line.part[i]);
#elif defined(__x86_64__)
    _mm_stream_si128(at, line.part[i]);
#else
    *at = line.part[i];
#endif
  }
}

inline void fetch(const char* from) {
#if defined(__x86_64__)
  _mm_prefetch(from, _MM_HINT_T0);
#else
  (void)from;
#endif
}

// Stores that skip the caches save the read of the line they replace: 8 bytes an element instead of 12. Meanwhile the
// next tile's inputs are fetched, one line for each line stored: without that, memory alternates between bursts of
// reads and of writes (relu 0.87 of a plain copy without, 0.94 with; two Zen 5 cores). copy(at, bytes) brings less than
// a line, line(at) is a whole one.
template <class Copy, class MakeLine>
inline void stream_lines(char* to, size_t bytes, const char* const* ahead, int ahead_count, Copy&& copy,
                         MakeLine&& line) {
  size_t done = -reinterpret_cast<uintptr_t>(to) % kLineBytes;
  if (done > bytes) done = bytes;
  copy(0, done);
  for (; done + kLineBytes <= bytes; done += kLineBytes) {
    for (int k = 0; k < ahead_count; ++k) fetch(ahead[k] + done);
    stream_line(to + done, line(done));
  }
  copy(done, bytes - done);
}

void stream(void* to, const void* from, size_t bytes, const char* const* ahead, int ahead_count) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  stream_lines(
      target, bytes, ahead, ahead_count, [&](size_t at, size_t n) { memcpy(target + at, source + at, n); },
      [&](size_t at) { return load_line(source + at); });
}

// Of float32 that is narrowed on the way: a line at a time in registers, or some of them in L1.
template <DType format>
void stream_narrow(void* to, const float* from, size_t n, const char* const* ahead, int ahead_count) {
  constexpr size_t item = sizeof(uint16_t);
  const auto narrow = format == DType::bfloat16 ? narrow_bfloat16 : narrow_float16;
  uint16_t* target = static_cast<uint16_t*>(to);
#if defined(__AVX512BW__)
  const auto copy = [&](size_t at, size_t bytes) { narrow(from + at / item, target + at / item, bytes / item); };
  const auto line = [&](size_t at) {
    const float* wide = from + at / item;
    return Line{{format == DType::bfloat16 ? bfloat16_line(wide) : float16_line(wide)}};
  };
  stream_lines(static_cast<char*>(to), n * item, ahead, ahead_count, copy, line);
#else
  constexpr size_t kTile = 1024;
  constexpr int kMost = 8;  // more inputs than that are not fetched
  alignas(kLineBytes) uint16_t tile[kTile];
  const char* fetched[kMost];
  const int count = ahead_count < kMost ? ahead_count : kMost;
  for (size_t done = 0; done < n; done += kTile) {
    const size_t length = n - done < kTile ? n - done : kTile;
    for (int k = 0; k < count; ++k) fetched[k] = ahead[k] + done * item;
    narrow(from + done, tile, length);
    stream(target + done, tile, length * item, fetched, count);
  }
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
