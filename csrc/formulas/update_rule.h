// SPDX-License-Identifier: BSD-3-Clause
// How an optimizer's rule states its name, hyper-parameters and states, and the arithmetic rules share. No rule itself.
#pragma once

#include "math.h"
#include "operation.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

inline constexpr int kMaxHyper = 12;
inline constexpr int kMaxStates = 4;

struct UpdateInfo {
  const char* name;
  Parameter hyper[kMaxHyper];  // the learning rate first
  const char* states[kMaxStates] = {};

  constexpr int hyper_count() const {
    int count = 0;
    while (count < kMaxHyper && hyper[count].name) ++count;
    return count;
  }
  constexpr int state_count() const {
    int count = 0;
    while (count < kMaxStates && states[count]) ++count;
    return count;
  }
};

// What a group of parameters remembers from step to step, part of the saved state.
struct StepMemory {
  double step;     // this one's number, from 1: a skipped step is not counted
  double product;  // of what a rule multiplies up, before this step; starts at 1
};

// x^n by squaring: a fixed sequence of multiplications, so the bits are the same everywhere.
FORMULA_ONCE double power(double x, double n) {
  double result = 1.0;
  for (uint64_t rest = static_cast<uint64_t>(n); rest; rest >>= 1) {
    if (rest & 1) result *= x;
    x *= x;
  }
  return result;
}

FORMULA_ONCE double real_power(double x, double exponent) {
  return exponent == 0 ? 1.0 : math::exp(exponent * math::log(x));
}

// 1 - beta^t: the mass of an exponential average that started at zero.
FORMULA double mass(double beta, double step) { return 1.0 - power(beta, step); }

// A step of 0/0 is no step: without an epsilon, a gradient of zero must not give NaN.
template <class T>
FORMULA T ratio(T numerator, T denominator) {
  const T quotient = numerator / denominator;
  return denominator == 0 ? T(0) : quotient;
}

// -1, 0 or 1; NaN stays NaN.
template <class T>
FORMULA T sign(T x) {
  const T one = math::copysign(T(1), x);
  return x == 0 || x != x ? x : one;
}

// The gradient that a rule sees: scaled, bounded, and joined by the penalties' own. A NaN stays one.
template <class T>
struct Preparation {
  T scale, bound, below, l1, l2;

  // `clip_value` 0: no bound.
  FORMULA static Preparation make(double scale, double clip_value, double l1, double l2) {
    const T bound = opaque(clip_value > 0 ? T(clip_value) : T(__builtin_inf()));
    return {T(scale), bound, opaque(-bound), T(l1), T(l2)};
  }
  FORMULA T held(T grad) const { return math::at_most(bound, math::at_least(below, grad * scale)); }
  FORMULA T operator()(T grad, T param) const { return held(grad) + (l2 * param + l1 * sign(param)); }
};

// An average of the weights takes its share.
template <class T>
struct Averaging {
  T kept, taken;

  FORMULA static Averaging make(double keep) { return {T(keep), T(1 - keep)}; }
  FORMULA T operator()(T mean, T param) const { return kept * mean + taken * param; }
};

// What holds gradients to a bound of their norm; a NaN clips.
FORMULA double clip_factor(double norm, double bound) { return norm <= bound ? 1.0 : bound / norm; }

// Adaptive clipping (Brock 2021) of one unit, from the sums of squares of its gradients and weights.
FORMULA double unit_clip(double agc, double eps, double grads, double weights) {
  const double slope = math::sqrt(grads), size = math::sqrt(weights);
  const double largest = agc * (size < eps ? eps : size);
  return slope <= largest ? 1.0 : largest / slope;
}

// What shrinks one unit's weights to a bound, from their sum of squares.
FORMULA double unit_limit(double bound, double weights) {
  const double norm = math::sqrt(weights);
  return norm > bound ? bound / norm : 1.0;
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
