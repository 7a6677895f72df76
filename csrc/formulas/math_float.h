// SPDX-License-Identifier: BSD-3-Clause
// Elementary float functions but sine and cosine, branch-free; double ones are in math_double.h.
#pragma once

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {
namespace math {

namespace detail {

inline constexpr float kLog2e = 0x1.715476p+0f;
inline constexpr float kLn2 = 0x1.62e43p-1f;
inline constexpr float kLn2Low = -0x1.05c61p-29f;

// exp(r) - 1, |r| <= 0.3475.
FORMULA float expm1_reduced(float r) {
  const float square = r * r;
  const float low = fma(0x1.55548ap-3f, r, 0x1.fffff8p-2f);
  const float high = fma(0x1.68744ep-10f, square, fma(0x1.123e78p-7f, r, 0x1.555b7cp-5f));
  return fma(fma(high, square, low), square, r);
}

// log(1 + f), -1/4 <= f < 1/2.
FORMULA float log1p_reduced(float f) {
  const float square = f * f;
  const float low = fma(fma(0x1.99214cp-3f, f, -0x1.ffdd56p-3f), square, fma(0x1.5555e6p-2f, f, -0x1.000014p-1f));
  const float high = fma(fma(0x1.bb0e58p-5f, f, -0x1.ee2a32p-4f), square, fma(0x1.32e558p-3f, f, -0x1.588c7ep-3f));
  return fma(fma(high, square * square, low), square, f);
}

// x = n * ln2 + r, |r| <= 0.3475; n + offset stands in the low bits of `shifted`.
struct Reduced {
  float r;
  uint32 shifted;
};

// 1.5 * 2^23 + offset: adding it rounds to an integer and leaves that plus the offset in the low bits.
FORMULA Reduced reduce_exponent(float x, float offset) {
  const float shifter = 0x1.8p23f + offset;
  const float k = fma(x, kLog2e, shifter);
  const float n = k - shifter;
  return {fma(n, -kLn2Low, fma(n, -kLn2, x)), bits(k)};
}

// 2^n as a product of two normal numbers, -252 <= n <= 254, from n + 254 in the low nine bits.
struct SplitScale {
  float half, other;
};
FORMULA SplitScale split_scale(uint32 shifted) {
  const uint32 half = (shifted << 22) & 0x7f800000u;
  return {from_bits<float>(half), from_bits<float>((shifted << 23) - half)};
}

// exp(-|x|) as scale + scale * rest.
struct Decay {
  float scale, rest;
};
FORMULA Decay decay(float x) {
  // Made 2^24 times too large and then reduced exactly, because 2^-149 has no exponent field.
  const Reduced reduced = reduce_exponent(at_least(-104.0f, -abs(x)), 127.0f + 24.0f);
  return {from_bits<float>(reduced.shifted << 23) * 0x1p-24f, expm1_reduced(reduced.r)};
}

}  // namespace detail

// For |x| <= 87 only.
FORMULA float exp_bounded(float x) {
  const detail::Reduced reduced = detail::reduce_exponent(x, 127.0f);
  const float scale = from_bits<float>(reduced.shifted << 23);
  return fma(detail::expm1_reduced(reduced.r), scale, scale);
}

// exp(-a) * 2^40 for 0 <= a <= 110. The factor keeps it normal: a product with it is rounded once, when kUnlift is
// multiplied in last.
FORMULA float lifted_decay(float a) {
  const detail::Reduced reduced = detail::reduce_exponent(-a, 127.0f + 40.0f);
  const float scale = from_bits<float>(reduced.shifted << 23);
  return fma(detail::expm1_reduced(reduced.r), scale, scale);
}

// At most 1.02 ulp, all 2^32 inputs.
FORMULA float exp(float x) {
  // Clamped as integers, two instructions where float compares cost six; that loses a NaN, restored below.
  const uint32 from_below = bits(x) < 0xc2d00000u ? bits(x) : 0xc2d00000u;          // -104
  const int clamped = int(from_below) < 0x42b20000 ? int(from_below) : 0x42b20000;  // 89
  const detail::Reduced reduced = detail::reduce_exponent(from_bits<float>(uint32(clamped)), 254.0f);
  const detail::SplitScale split = detail::split_scale(reduced.shifted);
  const float y = (1.0f + detail::expm1_reduced(reduced.r)) * split.half * split.other;
  return x == x ? y : x;
}

// At most 1.50 ulp, all 2^32 inputs.
FORMULA float expm1(float x) {
  const uint32 from_below = bits(x) < 0xc1c80000u ? bits(x) : 0xc1c80000u;          // -25
  const int clamped = int(from_below) < 0x42b20000 ? int(from_below) : 0x42b20000;  // 89
  const detail::Reduced reduced = detail::reduce_exponent(from_bits<float>(uint32(clamped)), 126.0f);
  const float half_scale = from_bits<float>(reduced.shifted << 23);
  const float y = fma(detail::expm1_reduced(reduced.r), half_scale, half_scale - 0.5f) * 2.0f;
  // Not `<`: a NaN takes x.
  return abs(x) >= 0x1p-25f ? y : x;
}

// At most 1.34 ulp, all 2^32 inputs.
FORMULA float log(float x) {
  const bool subnormal = x < 0x1p-126f;
  const uint32 pattern = bits(subnormal ? x * 0x1p24f : x) - 0x3f400000u;  // 3/4 <= mantissa < 3/2
  const float mantissa = from_bits<float>((pattern & 0x7fffffu) + 0x3f400000u);
  const float exponent = float(int((pattern + 0x40000000u) >> 23)) - (subnormal ? 152.0f : 128.0f);
  float y = fma(exponent, detail::kLn2, detail::log1p_reduced(mantissa - 1.0f));
  y = x > 0.0f ? y : (x == 0.0f ? -__builtin_inff() : __builtin_nanf(""));
  return x == __builtin_inff() ? x : y;
}

// At most 1.44 ulp, all 2^32 inputs.
FORMULA float log1p(float x) {
  // 1 + x = 2^n * (1 + f) with f rounded once, 3/4 <= 1 + f < 3/2.
  const uint32 exponent = (bits(x + 1.0f) - 0x3f400000u) & 0xff800000u;
  const float quadruple_scale = from_bits<float>(0x40800000u - exponent);
  const float f = from_bits<float>(bits(x) - exponent) + fma(0.25f, quadruple_scale, -1.0f);
  const float n = float(int((exponent + 0x40000000u) >> 23)) - 128.0f;
  float y = fma(n, detail::kLn2, detail::log1p_reduced(f));
  y = x > -1.0f ? y : (x == -1.0f ? -__builtin_inff() : __builtin_nanf(""));
  y = x == __builtin_inff() ? x : y;
  return abs(x) < 0x1p-25f ? x : y;
}

// At most 1.24 ulp, all 2^32 inputs.
FORMULA float tanh(float x) {
  const float magnitude = abs(x);
  // Clamped as an integer; a NaN leaves through `small`.
  const uint32 clamped = bits(magnitude) < 0x41200000u ? bits(magnitude) : 0x41200000u;  // 10
  // exp(2a) with ln2 in one piece: where its error shows, the quotient below is tiny.
  const float a = from_bits<float>(clamped);
  const float shifter = 0x1.8p23f + 127.0f;
  const float k = fma(a, 2.0f * detail::kLog2e, shifter);
  const float r = fma(k - shifter, -detail::kLn2, a + a);
  const float scale = from_bits<float>(bits(k) << 23);
  const float large = 1.0f - 2.0f / fma(detail::expm1_reduced(r), scale, scale + 1.0f);

  const float s = x * x;
  const float high = fma(-0x1.828776p-8f, s * s, fma(0x1.54c3c2p-6f, s, -0x1.b89abap-5f));
  const float p = fma(high, s * s, fma(0x1.1109bep-3f, s, -0x1.55553ep-2f));
  const float small = fma(p * s, x, x);
  return copysign(magnitude > 0.6f ? large : small, x);
}

// At most 1.36 ulp, all 2^32 inputs.
FORMULA float erf(float x) {
  const float magnitude = abs(x);
  // Clamped as an integer; a NaN leaves through `small`.
  const uint32 clamped =
      bits(magnitude) < 0x4079999au ? bits(magnitude) : 0x4079999au;  // 3.9, where the polynomial gives 1
  // erf at the centre is a float to within 2^-36.
  const float t = from_bits<float>(clamped) - 0x1.37feb2p+1f, t2 = t * t, t4 = t2 * t2;
  const float q0 = fma(fma(-0x1.5e7722p-7f, t, 0x1.609efap-7f), t2, fma(-0x1.d9e7dcp-8f, t, 0x1.84cc0cp-9f));
  const float q1 = fma(fma(0x1.d91888p-12f, t, 0x1.94a6bap-12f), t2, fma(-0x1.8cdaa2p-9f, t, 0x1.d812f8p-8f));
  const float q2 = fma(fma(-0x1.368ee4p-17f, t, 0x1.d3c54ep-16f), t2, fma(0x1.815f76p-15f, t, -0x1.47b6f2p-12f));
  const float large = fma(fma(fma(q2, t4, q1), t4, q0), t, 0x1.ffb5bap-1f);

  const float s = x * x, s2 = s * s;
  const float p_low = fma(fma(-0x1.b7cb3ep-6f, s, 0x1.ce2a54p-4f), s2, fma(-0x1.81273p-2f, s, 0x1.06eba8p-3f));
  const float p_high = fma(fma(0x1.2f637p-14f, s, -0x1.9a1e44p-11f), s, 0x1.52a24ap-8f);
  const float small = fma(fma(p_high, s2 * s2, p_low), x, x);
  return copysign(magnitude > 1.0f ? large : small, x);
}

// 1 / (1 + exp(-x)). At most 1.87 ulp, all 2^32 inputs.
FORMULA float sigmoid(float x) {
  const detail::Decay e = detail::decay(x);
  const float sum = e.scale + 1.0f;
  const float denominator = fma(e.rest, e.scale, sum);
  // What the denominator's rounding lost is taken out of the small numerator instead: 2.02 ulp without.
  const float lost = fma(e.rest, e.scale, sum - denominator);
  return (x < 0.0f ? fma(e.rest - lost, e.scale, e.scale) : 1.0f) / denominator;
}

// log(1 + exp(x)). At most 2.00 ulp, all 2^32 inputs.
FORMULA float softplus(float x) {
  const detail::Decay decay = detail::decay(x);
  const float e = fma(decay.rest, decay.scale, decay.scale);
  const float e2 = e * e, e4 = e2 * e2;
  const float low = fma(fma(0x1.934142p-3f, e, -0x1.ff2136p-3f), e2, fma(0x1.554da4p-2f, e, -0x1.ffffdp-2f));
  const float high = fma(fma(0x1.492c9p-6f, e, -0x1.d695d8p-5f), e2, fma(0x1.b4872ap-4f, e, -0x1.3a2fa4p-3f));
  const float p = fma(fma(-0x1.afc06ep-9f, e4, high), e4, low);
  return at_least(0.0f, x) + fma(p * e, e, e);
}

// Standard normal distribution function; absolute, not relative, accuracy in the negative tail.
// At most 1.38 * 2^-24 or ulp, whichever is more, all 2^32 inputs.
FORMULA float normal_cdf(float x) { return fma(0.5f, erf(x * 0x1.6a09e6p-1f), 0.5f); }

// Standard normal density. The factor is part of the exponent, where it costs no rounding.
// At most 1.59 ulp, all 2^32 inputs.
FORMULA float normal_pdf(float x) {
  const float bounded = at_most(14.5f, abs(x));  // 0 from 14.3 on
  const float square = bounded * bounded, lost = fma(bounded, bounded, -square);
  const float log_factor = -0x1.d67f1cp-1f, log_factor_low = -0x1.0c97d6p-26f;
  const float shifter = 0x1.8p23f + 254.0f;
  const float k = fma(fma(square, -0.5f, log_factor), detail::kLog2e, shifter);
  const float n = k - shifter;
  const float low = fma(n, -detail::kLn2Low, fma(lost, -0.5f, log_factor_low));
  const float r = (fma(n, -detail::kLn2, -0.5f * square) + log_factor) + low;
  const detail::SplitScale split = detail::split_scale(bits(k));
  return (1.0f + detail::expm1_reduced(r)) * split.half * split.other;
}

}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
