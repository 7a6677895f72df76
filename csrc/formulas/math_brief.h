// SPDX-License-Identifier: BSD-3-Clause
// Cheaper float activations for bfloat16 storage, rounded correctly for all 65,536 inputs; float storage must not use
// them.
#pragma once

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {
namespace math {
namespace brief {

namespace detail {

// Clamped as an integer, one instruction where a float clamp costs two; a NaN becomes `bound`.
FORMULA float magnitude_below(float bound, float x) {
  const uint32 magnitude = bits(x) & 0x7fffffffu;
  return from_bits<float>(magnitude < bits(bound) ? magnitude : bits(bound));
}

inline constexpr float kShift = 0x1p24f, kUnshift = 0x1p-24f;

// exp(-a) * 2^24 for 0 <= a <= 100: the factor keeps it normal. ln2 in one piece costs up to 2^-21.8 at the far end.
// 10 slots.
FORMULA float shifted_decay(float a) {
  const float shifter = 0x1.8p23f + 127.0f + 24.0f;
  const float k = fma(a, -0x1.715476p+0f, shifter);
  const float r = fma(k - shifter, 0x1.62e43p-1f, a);  // -r of the usual reduction
  float p = -0x1.0fa36ep-7f;
  p = fma(p, r, 0x1.573caap-5f);
  p = fma(p, r, -0x1.555a7ep-3f);
  p = fma(p, r, 0x1.fffdcp-2f);
  p = fma(p, r, -0x1.fffff6p-1f);
  p = fma(p, r, 1.0f);
  return p * from_bits<float>(bits(k) << 23);
}

// factor / (1 + exp(-v)); the factor of a negative v is not far below it, so that neither overflows.
FORMULA float times_sigmoid(float factor, float v) {
  const float decay = shifted_decay(magnitude_below(100.0f, v));
  const float quotient = (v < 0.0f ? decay : kShift) / fma(decay, kUnshift, 1.0f);
  return factor * (quotient * kUnshift);
}

}  // namespace detail

// 14 slots and a division. Rational minimax in x^2, relative error 2^-22.7 up to 3.56; 1 in bfloat16 from there on.
FORMULA float tanh(float x) {
  const float a = at_most(3.56f, abs(x));
  const float s = a * a;
  const float numerator = fma(fma(0x1.d9add4p-10f, s, 0x1.e6ae56p-4f), s, 1.0f);
  const float denominator = fma(fma(fma(0x1.439e0ap-14f, s, 0x1.3a749ap-6f), s, 0x1.cf00a6p-2f), s, 1.0f);
  return copysign(a * numerator / denominator, x);
}

// 1 / (1 + exp(-x)). 19 slots and a division.
FORMULA float sigmoid(float x) { return detail::times_sigmoid(x == x ? 1.0f : x, x); }

// x * sigmoid(x). 19 slots and a division.
FORMULA float silu(float x) { return detail::times_sigmoid(at_least(-100.0f, x), x); }

// x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), where Phi(-a) = exp(-a^2 / 2) * T(a) and T is a rational minimax,
// relative error 2^-21.2 up to 14. The square of a bfloat16 is exact.
// 26 slots and a division.
FORMULA float gelu(float x) {
  const float a = detail::magnitude_below(14.0f, x);
  const float decay = detail::shifted_decay(0.5f * a * a);
  const float numerator = fma(fma(fma(0x1.149c3p-6f, a, 0x1.e70bf8p-4f), a, 0x1.719efep-2f), a, 0.5f);
  const float denominator =
      fma(fma(fma(fma(0x1.5ab8b4p-5f, a, 0x1.30ffa6p-2f), a, 0x1.e6af14p-1f), a, 0x1.8510dp+0f), a, 1.0f);
  return fma(a * decay * numerator / denominator, -detail::kUnshift, at_least(0.0f, x));
}

// 0.5 * x * (1 + tanh(u)) = x * sigmoid(2u), u = sqrt(2 / pi) * (x + 0.044715 * x^3).
// 22 slots and a division.
FORMULA float gelu_tanh(float x) {
  const float square = x * x;
  const float v = x * fma(square, 0x1.2444f2p-4f, 0x1.988454p+0f);
  return detail::times_sigmoid(at_least(-11.0f, x), v);
}

}  // namespace brief
}  // namespace math
}  // namespace BRAZEN_TARGET
}  // namespace brazen
