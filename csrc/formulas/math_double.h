// SPDX-License-Identifier: BSD-3-Clause
// Elementary double functions but sine and cosine, branch-free; float ones are in math_float.h.
#pragma once

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {
namespace math {

namespace detail {

inline constexpr double kLog2eDouble = 0x1.71547652b82fep+0;
inline constexpr double kLn2Double = 0x1.62e42fefa39efp-1;
inline constexpr double kLn2LowDouble = 0x1.abc9e3b39803fp-56;

// x = n * ln2 + r + low, |r| <= 0.3475; n + offset stands in the low bits of `shifted`.
struct ReducedDouble {
  double r, low;
  uint64 shifted;
};

// 1.5 * 2^52 + offset: adding it rounds to an integer and leaves that plus the offset in the low bits.
FORMULA ReducedDouble reduce_exponent(double x, double offset) {
  const double shifter = 0x1.8p52 + offset;
  const double k = fma(x, kLog2eDouble, shifter);
  const double n = k - shifter;
  const double leading = fma(n, -kLn2Double, x);
  const double r = fma(n, -kLn2LowDouble, leading);
  return {r, fma(n, -kLn2LowDouble, leading - r), bits(k)};
}

// 2^n as a product of two normal numbers, -2044 <= n <= 2046, from n + 2046 in the low twelve bits.
struct SplitScaleDouble {
  double half, other;
};
FORMULA SplitScaleDouble split_scale(uint64 shifted) {
  const uint64 half = (shifted << 51) & 0x7ff0000000000000u;
  return {from_bits<double>(half), from_bits<double>((shifted << 52) - half)};
}

// exp(r + low) - 1. Without `low` expm1 reaches 1.94 ulp.
FORMULA double expm1_reduced(double r, double low) {
  double p = 2.505578309886783939414392377402485134751941586728207767009735107421875e-8;
  p = fma(p, r, 2.762654703605717647035117622011934912507058470309946346282958984375e-7);
  p = fma(p, r, 2.75574024504380803491146965933378254476338042877614498138427734375e-6);
  p = fma(p, r, 2.480150396904618780090194529730496242436812829430103302001953125e-5);
  p = fma(p, r, 1.98412697233793836569526458646350874915787709712982177734375e-4);
  p = fma(p, r, 1.38888889326938143840839412490595350391231477260589599609375e-3);
  p = fma(p, r, 8.33333333338809496837473744790258933790028095245361328125e-3);
  p = fma(p, r, 4.16666666665730101026809961695107631385326385498046875e-2);
  p = fma(p, r, 0.166666666666665908014266506143030710518360137939453125);
  p = fma(p, r, 0.50000000000000055511151231257827021181583404541015625);
  return r + fma(p, r * r, low);
}

// log(1 + f) - f, sqrt(1/2) <= 1 + f < sqrt(2).
FORMULA double log1p_tail(double f) {
  const double s = f / (2.0 + f);
  const double z = s * s;
  double p = 0.1479801752785691870795217176034930162131786346435546875;
  p = fma(p, z, 0.1531385544536467413490044009449775330722332000732421875);
  p = fma(p, z, 0.181835714957766902966085353909875266253948211669921875);
  p = fma(p, z, 0.2222219844397249344236655588247231207787990570068359375);
  p = fma(p, z, 0.28571428743564608598859422652273319941759109497070312);
  p = fma(p, z, 0.399999999994097132915982228951179422438144683837890625);
  p = fma(p, z, 0.66666666666667351304198518846533261239528656005859375);
  const double h = 0.5 * f * f;
  return fma(s, fma(p, z, h), -h);
}

}  // namespace detail

// For |x| <= 708 only.
FORMULA double exp_bounded(double x) {
  const detail::ReducedDouble reduced = detail::reduce_exponent(x, 1023.0);
  const double scale = from_bits<double>(reduced.shifted << 52);
  return fma(detail::expm1_reduced(reduced.r, reduced.low), scale, scale);
}

// exp(-a) * 2^100 for 0 <= a <= 760, as the float one.
FORMULA double lifted_decay(double a) {
  const detail::ReducedDouble reduced = detail::reduce_exponent(-a, 1023.0 + 100.0);
  const double scale = from_bits<double>(reduced.shifted << 52);
  return fma(detail::expm1_reduced(reduced.r, reduced.low), scale, scale);
}

// At most 0.89 ulp, 10^8 random inputs.
FORMULA double exp(double x) {
  const detail::ReducedDouble reduced = detail::reduce_exponent(at_most(710.0, at_least(-746.0, x)), 2046.0);
  const detail::SplitScaleDouble split = detail::split_scale(reduced.shifted);
  return (1.0 + detail::expm1_reduced(reduced.r, reduced.low)) * split.half * split.other;
}

// At most 1.69 ulp, 10^8 random inputs.
FORMULA double expm1(double x) {
  const detail::ReducedDouble reduced = detail::reduce_exponent(at_most(710.0, at_least(-50.0, x)), 1022.0);
  const double half_scale = from_bits<double>(reduced.shifted << 52);
  const double y = fma(detail::expm1_reduced(reduced.r, reduced.low), half_scale, half_scale - 0.5) * 2.0;
  return abs(x) < 0x1p-54 ? x : y;
}

// At most 0.86 ulp, 10^8 random inputs.
FORMULA double log(double x) {
  const bool small = x < 0x1p-1022;
  const uint64 pattern = bits(small ? x * 0x1p54 : x) - 0x3fe6a09e667f3bcdu;  // sqrt(1/2) <= mantissa < sqrt(2)
  const double mantissa = from_bits<double>((pattern & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu);
  const double biased = from_bits<double>(((pattern + 0x4000000000000000u) >> 52) | 0x4330000000000000u);
  const double exponent = biased - (small ? 0x1p52 + 1078.0 : 0x1p52 + 1024.0);
  const double f = mantissa - 1.0;
  const double tail = fma(exponent, detail::kLn2LowDouble, detail::log1p_tail(f));
  double y = fma(exponent, detail::kLn2Double, f + tail);
  y = x > 0.0 ? y : (x == 0.0 ? -__builtin_inf() : __builtin_nan(""));
  return x == __builtin_inf() ? x : y;
}

// At most 0.89 ulp, 10^8 random inputs.
FORMULA double log1p(double x) {
  const double u = 1.0 + x;
  const uint64 pattern = bits(u) - 0x3fe6a09e667f3bcdu;
  const double mantissa = from_bits<double>((pattern & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu);
  const double biased = from_bits<double>(((pattern + 0x4000000000000000u) >> 52) | 0x4330000000000000u);
  const double exponent = biased - (0x1p52 + 1024.0);
  // 1 + x = u + lost; lost / u is log's first-order correction.
  const double lost = u > 2.0 ? 1.0 - (u - x) : x - (u - 1.0);
  const double f = mantissa - 1.0;
  const double tail = fma(exponent, detail::kLn2LowDouble, detail::log1p_tail(f)) + lost / u;
  double y = fma(exponent, detail::kLn2Double, f + tail);
  y = x > -1.0 ? y : (x == -1.0 ? -__builtin_inf() : __builtin_nan(""));
  y = x == __builtin_inf() ? x : y;
  return abs(x) < 0x1p-54 ? x : y;
}

// At most 1.41 ulp, 10^8 random inputs.
FORMULA double tanh(double x) {
  const double a = at_most(20.0, abs(x));
  const double e = exp_bounded(a + a);
  const double large = 1.0 - 2.0 / (e + 1.0);
  const double s = x * x;
  double p = -1.90158663692373036853411338853447887351595814228057861328125e-5;
  p = fma(p, s, 8.2544425453800771637531687785717081414673593826591968536376953125e-5);
  p = fma(p, s, -2.32845616846291789299450147865384140290149552166452392578125e-4);
  p = fma(p, s, 5.8823495615213720715632624404490560573766171932220458984375e-4);
  p = fma(p, s, -1.45549219464902700182928896310884041082595288753509521484375e-3);
  p = fma(p, s, 3.592084206626219335112271124899052665568888187408447265625e-3);
  p = fma(p, s, -8.86323183081324204868334248885730630718171596527099609375e-3);
  p = fma(p, s, 2.1869488339019589606682103521961835213005542755126953125e-2);
  p = fma(p, s, -5.396825396212813485963266657563508488237857818603515625e-2);
  p = fma(p, s, 0.1333333333332380465918731715646572411060333251953125);
  p = fma(p, s, -0.3333333333333328152292551749269478023052215576171875);
  const double small = fma(p * s, x, x);
  return copysign(abs(x) < 0.56 ? small : large, x);
}

// At most 1.26 ulp, 10^8 random inputs.
FORMULA double erf(double x) {
  const double a = at_most(6.0, abs(x));
  const double s = x * x;
  double p = -7.7686316030097013911536205920684537706843997284522629342973232269287109375e-10;
  p = fma(p, s, 1.37047058123686594677261314373377710033074464490709942535533924102783203125e-8);
  p = fma(p, s, -1.620473300064474570501317496340476509431027807295322418212890625e-7);
  p = fma(p, s, 1.644690437186005724595435663337728016131222830154001712799072265625e-6);
  p = fma(p, s, -1.4924691776601541030205545779185882793171913363039493560791015625e-5);
  p = fma(p, s, 1.2055292366416699612226282045668313003661261573612689971923828125e-4);
  p = fma(p, s, -8.548325882447309516376510174495706451125442981719970703125e-4);
  p = fma(p, s, 5.22397760495082151555035215321875638328492641448974609375e-3);
  p = fma(p, s, -2.68661706429332673706777967481684754602611064910888671875e-2);
  p = fma(p, s, 0.11283791670942668050603430174305685795843601226806640625);
  p = fma(p, s, -0.37612638903183459593292493707299835979938507080078125);
  p = fma(p, s, 0.1283791670955125585606992899556644260883331298828125);
  const double small = fma(p, x, x);
  const double t = a - 2.0;
  double q = 0x1.9bf8384d09b9cp-46;
  q = fma(q, t, -0x1.88d11393e6d40p-42);
  q = fma(q, t, 0x1.5547879e4ca85p-39);
  q = fma(q, t, -0x1.6e80c21f2bc2ep-37);
  q = fma(q, t, 0x1.0713deb8037ecp-35);
  q = fma(q, t, -0x1.3bed41624427dp-35);
  q = fma(q, t, -0x1.19ef667c9fe6bp-32);
  q = fma(q, t, 0x1.5a47c17694e42p-29);
  q = fma(q, t, -0x1.e03fff35a347bp-27);
  q = fma(q, t, 0x1.f0ae511c4b2e8p-25);
  q = fma(q, t, -0x1.73e637252b3acp-23);
  q = fma(q, t, 0x1.b549b8845f936p-23);
  q = fma(q, t, 0x1.060456dc977f6p-19);
  q = fma(q, t, -0x1.5b656f68e5d1dp-16);
  q = fma(q, t, 0x1.1bc3a60834a12p-13);
  q = fma(q, t, -0x1.7ffcfb47105adp-11);
  q = fma(q, t, 0x1.d406b373a0b43p-9);
  q = fma(q, t, -0x1.0dc3b5fb109a1p-6);
  q = fma(q, t, -0x1.d8f5dece92393p-1);
  q = fma(q, t, -0x1.1ac3258a8dc2cp+2);
  q = fma(q, t, -0x1.575b329b1f516p+2);
  const double large = 1.0 - exp_bounded(q);
  return abs(x) < 1.0 ? small : copysign(large, x);
}

// 1 / (1 + exp(-x)). At most 1.86 ulp, 10^8 random inputs.
FORMULA double sigmoid(double x) {
  // Made 2^54 times too large and then reduced exactly, because 2^-1074 has no exponent field.
  const detail::ReducedDouble reduced = detail::reduce_exponent(at_least(-746.0, -abs(x)), 1023.0 + 54.0);
  const double scale = from_bits<double>(reduced.shifted << 52) * 0x1p-54,
               rest = detail::expm1_reduced(reduced.r, reduced.low);
  const double sum = scale + 1.0;
  const double denominator = fma(rest, scale, sum);
  // What the denominator's rounding lost is taken out of the small numerator instead: 2.2 ulp without.
  const double lost = fma(rest, scale, sum - denominator);
  return (x < 0.0 ? fma(rest - lost, scale, scale) : 1.0) / denominator;
}

// log(1 + exp(x)). At most 1.66 ulp, 10^8 random inputs.
FORMULA double softplus(double x) { return at_least(0.0, x) + log1p(exp(-abs(x))); }

// Standard normal distribution function: at most 1.18 * 2^-53 or ulp, whichever is more, 10^8 random inputs.
FORMULA double normal_cdf(double x) { return fma(0.5, erf(x * 0x1.6a09e667f3bcdp-1), 0.5); }

// Standard normal density, its factor in the exponent as in the float one: at most 1.46 ulp, 10^8 random inputs.
FORMULA double normal_pdf(double x) {
  const double bounded = at_most(39.0, abs(x));  // 0 from 38.6 on
  const double square = bounded * bounded, lost = fma(bounded, bounded, -square);
  const double log_factor = -0x1.d67f1c864beb5p-1, log_factor_low = 0x1.65b5a1b7ff5dfp-55;
  const double shifter = 0x1.8p52 + 2046.0;
  const double k = fma(fma(square, -0.5, log_factor), detail::kLog2eDouble, shifter);
  const double n = k - shifter;
  const double low = fma(n, -detail::kLn2LowDouble, fma(lost, -0.5, log_factor_low));
  const double leading = fma(n, -detail::kLn2Double, -0.5 * square) + log_factor;
  const double r = leading + low;
  const detail::SplitScaleDouble split = detail::split_scale(bits(k));
  return (1.0 + detail::expm1_reduced(r, low - (r - leading))) * split.half * split.other;
}

}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
