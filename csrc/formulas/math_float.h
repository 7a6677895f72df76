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

// exp(r), |r| <= 0.3475.
FORMULA float exp_reduced(float r) {
  float p = 0x1.68744ep-10f;
  p = fma(p, r, 0x1.123e78p-7f);
  p = fma(p, r, 0x1.555b7cp-5f);
  p = fma(p, r, 0x1.55548ap-3f);
  p = fma(p, r, 0x1.fffff8p-2f);
  p = fma(p, r, 1.0f);
  return fma(p, r, 1.0f);
}

// exp(r) - 1, |r| <= 0.3475.
FORMULA float expm1_reduced(float r) {
  float p = 1.386548508889973163604736328125e-3f;
  p = fma(p, r, 8.366725407540798187255859375e-3f);
  p = fma(p, r, 4.16674949228763580322265625e-2f);
  p = fma(p, r, 0.16666541993618011474609375f);
  p = fma(p, r, 0.4999999701976776123046875f);
  return fma(p, r * r, r);
}

// log(1 + f), |f| <= 1/3 .. 1/2
FORMULA float log1p_reduced(float f) {
  float p = 0.140189588069915771484375f;
  p = fma(p, f, -0.15383188426494598388671875f);
  p = fma(p, f, 0.13997419178485870361328125f);
  p = fma(p, f, -0.1641710102558135986328125f);
  p = fma(p, f, 0.200110614299774169921875f);
  p = fma(p, f, -0.2500774562358856201171875f);
  p = fma(p, f, 0.333332002162933349609375f);
  p = fma(p, f, -0.4999993741512298583984375f);
  return fma(p, f * f, f);
}

}  // namespace detail

// For |x| <= 87 only.
FORMULA float exp_bounded(float x) {
  const float shifter = 0x1.8p23f + 127.0f;
  const float k = fma(x, detail::kLog2e, shifter);
  const float n = k - shifter;
  const float r = fma(n, -detail::kLn2Low, fma(n, -detail::kLn2, x));
  return detail::exp_reduced(r) * from_bits<float>(bits(k) << 23);
}

FORMULA float exp(float x) {
  const float bounded = at_most(89.0f, at_least(-104.0f, x));
  const float shifter = 0x1.8p23f + 254.0f;
  const float k = fma(bounded, detail::kLog2e, shifter);
  const float n = k - shifter;
  const float r = fma(n, -detail::kLn2Low, fma(n, -detail::kLn2, bounded));
  // 2^n as a product of two, so that a subnormal result is rounded once.
  const uint32 half = (bits(k) << 22) & 0x7f800000u;
  const uint32 other = (bits(k) << 23) - half;
  return detail::exp_reduced(r) * from_bits<float>(half) * from_bits<float>(other);
}

FORMULA float expm1(float x) {
  const float bounded = at_most(89.0f, at_least(-25.0f, x));
  const float shifter = 0x1.8p23f + 126.0f;
  const float k = fma(bounded, detail::kLog2e, shifter);
  const float n = k - shifter;
  const float r = fma(n, -detail::kLn2Low, fma(n, -detail::kLn2, bounded));
  const float half_scale = from_bits<float>(bits(k) << 23);
  const float y = fma(detail::expm1_reduced(r), half_scale, half_scale - 0.5f) * 2.0f;
  return abs(x) < 0x1p-25f ? x : y;
}

FORMULA float log(float x) {
  const bool small = x < 0x1p-126f;
  const uint32 pattern = bits(small ? x * 0x1p24f : x) - 0x3f2aaaabu;  // 2/3 <= mantissa < 4/3
  const float mantissa = from_bits<float>((pattern & 0x7fffffu) + 0x3f2aaaabu);
  const float exponent = float(int(((pattern + 0x40000000u) >> 23))) - (small ? 152.0f : 128.0f);
  float y = fma(exponent, detail::kLn2, detail::log1p_reduced(mantissa - 1.0f));
  y = x > 0.0f ? y : (x == 0.0f ? -__builtin_inff() : __builtin_nanf(""));
  return x == __builtin_inff() ? x : y;
}

FORMULA float log1p(float x) {
  const uint32 exponent = (bits(x + 1.0f) - 0x3f2aaaabu) & 0xff800000u;
  const float scale = from_bits<float>(0x40800000u - exponent);
  const float f = from_bits<float>(bits(x) - exponent) + fma(0.25f, scale, -1.0f);
  float y = fma(float(int((exponent + 0x40000000u) >> 23)) - 128.0f, detail::kLn2, detail::log1p_reduced(f));
  y = x > -1.0f ? y : (x == -1.0f ? -__builtin_inff() : __builtin_nanf(""));
  y = x == __builtin_inff() ? x : y;
  return abs(x) < 0x1p-25f ? x : y;
}

FORMULA float tanh(float x) {
  const float a = at_most(10.0f, abs(x));
  const float e = exp_bounded(a + a);
  const float large = 1.0f - 2.0f / (e + 1.0f);
  const float s = x * x;
  float p = -5.8979666791856288909912109375e-3f;
  p = fma(p, s, 2.079862542450428009033203125e-2f);
  p = fma(p, s, -5.37847168743610382080078125e-2f);
  p = fma(p, s, 0.13331936299800872802734375f);
  p = fma(p, s, -0.3333329856395721435546875f);
  const float small = fma(p * s, x, x);
  return copysign(abs(x) < 0.6f ? small : large, x);
}

FORMULA float erf(float x) {
  const float a = at_most(3.93f, abs(x));
  const float s = x * x;
  float p = -5.618017748929560184478759765625e-4f;
  p = fma(p, s, 4.91381622850894927978515625e-3f);
  p = fma(p, s, -2.670751512050628662109375e-2f);
  p = fma(p, s, 0.11280010640621185302734375f);
  p = fma(p, s, -0.376122951507568359375f);
  p = fma(p, s, 0.1283791065216064453125f);
  const float small = fma(p, x, x);
  const float t = a - 2.375f;
  float q = -2.7696035687085895915515720844268798828125e-8f;
  q = fma(q, t, -9.0825842562480829656124114990234375e-6f);
  q = fma(q, t, 3.489078153506852686405181884765625e-5f);
  q = fma(q, t, 2.3301878172787837684154510498046875e-5f);
  q = fma(q, t, -3.346274606883525848388671875e-4f);
  q = fma(q, t, 6.364472210407257080078125e-4f);
  q = fma(q, t, 1.147969232988543808460235595703125e-4f);
  q = fma(q, t, -3.14388261176645755767822265625e-3f);
  q = fma(q, t, 8.363463915884494781494140625e-3f);
  q = fma(q, t, -1.3123032636940479278564453125e-2f);
  q = fma(q, t, 1.3728952966630458831787109375e-2f);
  q = fma(q, t, -9.516722522675991058349609375e-3f);
  q = fma(q, t, 4.0065855719149112701416015625e-3f);
  q = fma(q, t, 0.999217092990875244140625f);
  return abs(x) < 1.0f ? small : copysign(q, x);
}

// 1 / (1 + exp(-x)).
FORMULA float sigmoid(float x) {
  const float e = exp(-abs(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// log(1 + exp(x)).
FORMULA float softplus(float x) {
  const float e = exp(-abs(x));
  float p = -3.29400389455258846282958984375e-3f;
  p = fma(p, e, 2.009119093418121337890625e-2f);
  p = fma(p, e, -5.744449794292449951171875e-2f);
  p = fma(p, e, 0.106574214994907379150390625f);
  p = fma(p, e, -0.1534111797809600830078125f);
  p = fma(p, e, 0.19690181314945220947265625f);
  p = fma(p, e, -0.24957506358623504638671875f);
  p = fma(p, e, 0.333303987979888916015625f);
  p = fma(p, e, -0.4999992847442626953125f);
  return at_least(0.0f, x) + fma(p * e, e, e);
}

// Standard normal distribution function; absolute, not relative, accuracy in the negative tail.
FORMULA float normal_cdf(float x) { return fma(0.5f, erf(x * 0x1.6a09e6p-1f), 0.5f); }

// Standard normal density.
FORMULA float normal_pdf(float x) {
  const float bounded = at_most(20.0f, abs(x));  // 0 from 14.3 on; keeps the square finite
  const float square = bounded * bounded;
  const float lost = fma(bounded, bounded, -square);
  const float y = exp(-0.5f * square) * 0x1.988454p-2f;
  return fma(-0.5f * lost, y, y);
}

}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
