// SPDX-License-Identifier: BSD-3-Clause
// What noise does to one element, forward and backward. No generator, no loop.
#pragma once

#include "math.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// A dropped element is +0 whatever it was, NaN and infinity too.
template <class T>
FORMULA T drop(T value, bool kept, T scale) {
  return kept ? value * scale : T(0);
}

// Alpha dropout (Klambauer et al., 2017): the dropped take the saturation value, and all are moved back to mean 0 and
// variance 1.
template <class T>
FORMULA T drop_to(T value, bool kept, T scale, T kept_shift, T dropped) {
  return kept ? math::fma(value, scale, kept_shift) : dropped;
}

template <class T>
FORMULA T multiply_noise(T value, T normal, T deviation) {
  return value * math::fma(normal, deviation, T(1));
}

template <class T>
FORMULA T add_noise(T value, T normal, T deviation) {
  return math::fma(normal, deviation, value);
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
