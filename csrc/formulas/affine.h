// SPDX-License-Identifier: BSD-3-Clause
// The affine stage of a chain, one element: scale, bias, and a batch norm's normalising, with its gradient. No loop.
#pragma once

#include "math.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// (x - center) * factor + shift, of which any part may be absent. What is absent is not computed with a neutral value:
// -0 + 0 is +0.
template <bool has_center, bool has_factor, bool has_shift, class T>
FORMULA T affine(T x, T center, T factor, T shift) {
  const T centered = has_center ? x - center : x;
  if constexpr (has_factor && has_shift)
    return math::fma(centered, factor, shift);
  else if constexpr (has_factor)
    return centered * factor;
  else if constexpr (has_shift)
    return centered + shift;
  else
    return centered;
}

// A batch norm's dx: the batch's mean and variance move with x, which slope and base account for.
template <class T>
FORMULA T corrected_grad(T grad, T x, T center, T factor, T slope, T base) {
  return math::fma(grad, factor, math::fma(x - center, slope, base));
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
