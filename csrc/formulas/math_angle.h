// SPDX-License-Identifier: BSD-3-Clause
// Sine and cosine in float and double for every argument; no other function belongs here.
#pragma once

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {
namespace math {

namespace detail {

using int64 = long long;

// The high half of a 128-bit product.
FORMULA uint64 multiply_high(uint64 a, uint64 b) {
#ifdef __CUDA_ARCH__
  return __umul64hi(a, b);
#else
  __extension__ using uint128 = unsigned __int128;
  return uint64((uint128(a) * b) >> 64);
#endif
}

// |x| = quadrant * pi/2 + high + low, |high| <= pi/4; low is below half an ulp of high.
template <class T>
struct Angle {
  uint32 quadrant;
  T high, low;
};

// Payne and Hanek, "Radian reduction for trigonometric functions" (1983): an argument is an integer times a
// power of two, so the digits of 2/pi that contribute whole turns are skipped and 96 of them suffice. No float
// is nearer to a multiple of pi/2 than 2^-30 of a quadrant; 62 fraction bits leave 32 of them.
FORMULA Angle<float> reduce_angle(float x) {
  // 32 zeros, then 2/pi.
  static constexpr uint32 digits[8] = {0u,          0xa2f9836eu, 0x4e441529u, 0xfc2757d1u,
                                       0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu};
  const uint32 pattern = bits(x) & 0x7fffffffu;
  const uint32 exponent = pattern >> 23;
  const uint32 first = exponent < 126u ? 0u : exponent - 120u;
  const uint32 word = (first >> 5) & 7u, shift = first & 31u;
  const uint64 mantissa = (pattern & 0x7fffffu) | 0x800000u;
  const uint64 high_pair = uint64(digits[word]) << 32 | digits[word + 1];
  const uint64 low_pair = uint64(digits[word + 2]) << 32 | digits[word + 3];
  const uint32 w0 = uint32((high_pair << shift) >> 32);
  const uint32 w1 = uint32(((high_pair << 32 | low_pair >> 32) << shift) >> 32);
  const uint32 w2 = uint32((low_pair << shift) >> 32);
  const uint64 turns = ((mantissa * w0) << 32) + mantissa * w1 + ((mantissa * w2) >> 32);
  const uint64 rounded = turns + 0x2000000000000000u;
  const double fraction = double(int64(turns - (rounded & 0xc000000000000000u)));
  const double r = fraction * 0x1.921fb54442d18p-62;
  const float high = float(r);
  const bool small = pattern < 0x3f490fdbu;  // pi/4
  return {small ? 0u : uint32(rounded >> 62), small ? from_bits<float>(pattern) : high,
          small ? 0.0f : float(r - double(high))};
}

FORMULA Angle<double> reduce_angle(double x) {
  // 64 zeros, then 2/pi.
  static constexpr uint64 digits[20] = {0u,
                                        0xa2f9836e4e441529u,
                                        0xfc2757d1f534ddc0u,
                                        0xdb6295993c439041u,
                                        0xfe5163abdebbc561u,
                                        0xb7246e3a424dd2e0u,
                                        0x06492eea09d1921cu,
                                        0xfe1deb1cb129a73eu,
                                        0xe88235f52ebb4484u,
                                        0xe99c7026b45f7e41u,
                                        0x3991d639835339f4u,
                                        0x9c845f8bbdf9283bu,
                                        0x1ff897ffde05980fu,
                                        0xef2f118b5a0a6d1fu,
                                        0x6d367ecf27cb09b7u,
                                        0x4f463f669e5fea2du,
                                        0x7527bac7ebe5f17bu,
                                        0x3d0739f78a5292eau,
                                        0x6bfb5fb11f8d5d08u,
                                        0x56033046fc7b6babu};
  const uint64 pattern = bits(x) & 0x7fffffffffffffffu;
  const uint32 exponent = uint32(pattern >> 52);
  const uint32 first = exponent < 1022u ? 0u : exponent - 1013u;
  const uint32 word = (first >> 6) & 31u, shift = first & 63u;
  const uint64 mantissa = (pattern & 0xfffffffffffffu) | 0x10000000000000u;
  // Two shifts, because a shift by 64 is undefined.
  const uint64 w0 = digits[word] << shift | (digits[word + 1] >> 1) >> (63u - shift);
  const uint64 w1 = digits[word + 1] << shift | (digits[word + 2] >> 1) >> (63u - shift);
  const uint64 w2 = digits[word + 2] << shift | (digits[word + 3] >> 1) >> (63u - shift);
  const uint64 product_low = mantissa * w1;
  const uint64 turns_low = product_low + multiply_high(mantissa, w2);
  const uint64 turns = mantissa * w0 + multiply_high(mantissa, w1) + (turns_low < product_low ? 1u : 0u);
  const uint64 rounded = turns + 0x2000000000000000u;
  const int64 integer = int64(turns - (rounded & 0xc000000000000000u));
  // Fraction * 2^126 = leading * 2^64 + trailing.
  const double leading = double(integer);
  const double trailing = fma(double(integer - int64(leading)), 0x1p64, double(turns_low));
  const double sum = fma(leading, 0x1p64, trailing);
  const double rest = trailing - fma(leading, -0x1p64, sum);
  const double half_pi = 0x1.921fb54442d18p-126, half_pi_low = 0x1.1a62633145c07p-180;
  const double high = sum * half_pi;
  const double low = fma(sum, half_pi_low, fma(rest, half_pi, fma(sum, half_pi, -high)));
  const bool small = pattern < 0x3fe921fb54442d18u;  // pi/4
  return {small ? 0u : uint32(rounded >> 62), small ? from_bits<double>(pattern) : high, small ? 0.0 : low};
}

FORMULA float sin_reduced(float r, float low) {
  const float s = r * r;
  float p = -1.9518085173331201076507568359375e-4f;
  p = fma(p, s, 8.332188241183757781982421875e-3f);
  p = fma(p, s, -0.16666655242443084716796875f);
  return r + fma(p * s, r, low);
}

FORMULA float cos_reduced(float r, float low) {
  const float s = r * r;
  float p = 2.4543653125874698162078857421875e-5f;
  p = fma(p, s, -1.38882710598409175872802734375e-3f);
  p = fma(p, s, 4.1666664183139801025390625e-2f);
  const float h = 0.5f * s;
  const float w = 1.0f - h;
  return w + (((1.0f - w) - h) + fma(p, s * s, -r * low));
}

FORMULA double sin_reduced(double r, double low) {
  const double s = r * r;
  double p = 1.589580555010235890945988237503102603886961929902099655009806156158447265625e-10;
  p = fma(p, s, -2.5050740180718870259272639912810822230379377751887659542262554168701171875e-8);
  p = fma(p, s, 2.75573135704982826767184267424681820762527040205895900726318359375e-6);
  p = fma(p, s, -1.984126982943172233433276673783568547910545021295547485351562500e-4);
  p = fma(p, s, 8.33333333332189792053146248917983029969036579132080078125e-3);
  p = fma(p, s, -0.1666666666666662965923251249478198587894439697265625);
  return r + fma(p * s, r, low);
}

FORMULA double cos_reduced(double r, double low) {
  const double s = r * r;
  double p = -1.13814442020418343742351948927131986832872456716359010897576808929443359375e-11;
  p = fma(p, s, 2.0876126488025171051130763157956116149449599106446839869022369384765625e-9);
  p = fma(p, s, -2.755731715202244886601772033696278185743722133338451385498046875e-7);
  p = fma(p, s, 2.480158729844881749138259252607241478472133167088031768798828125e-5);
  p = fma(p, s, -1.38888888888870549488674388527442715712822973728179931640625e-3);
  p = fma(p, s, 4.1666666666666664353702035030923874117434024810791015625e-2);
  const double h = 0.5 * s;
  const double w = 1.0 - h;
  return w + (((1.0 - w) - h) + fma(p, s * s, -r * low));
}

// The sine of a quadrant later than |x|'s by `quarter_turns`, NaN for an infinite or NaN x.
template <class T>
FORMULA T sin_shifted(T x, uint32 quarter_turns) {
  const Angle<T> angle = reduce_angle(x);
  const uint32 quadrant = angle.quadrant + quarter_turns;
  const T sine = sin_reduced(angle.high, angle.low), cosine = cos_reduced(angle.high, angle.low);
  const T y = (quadrant & 1u) != 0u ? cosine : sine;
  const T result = (quadrant & 2u) != 0u ? -y : y;
  return abs(x) < T(__builtin_inff()) ? result : T(__builtin_nanf(""));
}

}  // namespace detail

// At most 0.89 ulp, all 2^32 inputs.
FORMULA float sin(float x) {
  const float y = detail::sin_shifted(x, 0u);
  return from_bits<float>(bits(y) ^ (bits(x) & 0x80000000u));
}
// At most 0.98 ulp, 10^8 random inputs.
FORMULA double sin(double x) {
  const double y = detail::sin_shifted(x, 0u);
  return from_bits<double>(bits(y) ^ (bits(x) & 0x8000000000000000u));
}

// At most 0.90 ulp, all 2^32 inputs.
FORMULA float cos(float x) { return detail::sin_shifted(x, 1u); }
// At most 1.02 ulp, 10^8 random inputs.
FORMULA double cos(double x) { return detail::sin_shifted(x, 1u); }

}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
