// SPDX-License-Identifier: BSD-3-Clause
// The FORMULA macro, the per-target namespace and the exact primitives formulas are built from; no approximation lives
// here.
#pragma once

// FORMULA_ONCE is what a kernel calls: of dozens of rules' coefficients, made once a step, the copies would be the
// largest kernel of all.
#ifdef __CUDACC__
#define FORMULA __host__ __device__ __forceinline__
#define FORMULA_ONCE inline __host__ __device__ __noinline__
#else
#define FORMULA [[gnu::always_inline]] inline
#define FORMULA_ONCE FORMULA
#endif

// Names the instruction set a translation unit is compiled for. The linker merges inline functions of
// equal name, so copies for different instruction sets must differ in name.
#ifndef BRAZEN_TARGET
#define BRAZEN_TARGET generic
#endif

namespace brazen {
inline namespace BRAZEN_TARGET {
namespace math {

using uint32 = unsigned int;
using uint64 = unsigned long long;
static_assert(sizeof(uint32) == 4 && sizeof(uint64) == 8);

FORMULA uint32 bits(float x) { return __builtin_bit_cast(uint32, x); }
FORMULA uint64 bits(double x) { return __builtin_bit_cast(uint64, x); }

template <class T>
struct bits_of;
template <>
struct bits_of<float> {
  using type = uint32;
};
template <>
struct bits_of<double> {
  using type = uint64;
};

template <class T>
FORMULA T from_bits(typename bits_of<T>::type pattern) {
  return __builtin_bit_cast(T, pattern);
}

// Correctly rounded on every target: one result is possible.
FORMULA float fma(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}
FORMULA double fma(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __fma_rn(a, b, c);
#else
  return __builtin_fma(a, b, c);
#endif
}

FORMULA float sqrt(float x) {
#ifdef __CUDA_ARCH__
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}
FORMULA double sqrt(double x) {
#ifdef __CUDA_ARCH__
  return __dsqrt_rn(x);
#else
  return __builtin_sqrt(x);
#endif
}

FORMULA float abs(float x) { return from_bits<float>(bits(x) & 0x7fffffffu); }
FORMULA double abs(double x) { return from_bits<double>(bits(x) & 0x7fffffffffffffffu); }

FORMULA float copysign(float magnitude, float sign) {
  return from_bits<float>((bits(magnitude) & 0x7fffffffu) | (bits(sign) & 0x80000000u));
}
FORMULA double copysign(double magnitude, double sign) {
  return from_bits<double>((bits(magnitude) & 0x7fffffffffffffffu) | (bits(sign) & 0x8000000000000000u));
}

// NaN if either argument is. Of two zeros of unlike sign, b.
template <class T>
FORMULA T maximum(T a, T b) {
  const T larger = a > b ? a : b;
  return a != a ? a : larger;
}
template <class T>
FORMULA T minimum(T a, T b) {
  const T smaller = a < b ? a : b;
  return a != a ? a : smaller;
}

// Bounds that let a NaN x through. Written so that they compile to one max or min instruction.
template <class T>
FORMULA T at_least(T bound, T x) {
  return bound > x ? bound : x;
}
template <class T>
FORMULA T at_most(T bound, T x) {
  return bound < x ? bound : x;
}

}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
