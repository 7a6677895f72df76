// SPDX-License-Identifier: BSD-3-Clause
// Every activation of one argument: value and derivative of one element, and the registry. No loop, no machine.
//
// NaN must come out where NaN goes in, so comparisons are written to fall through to x. Where a limit at infinity would
// be inf * 0, the argument is clamped at a point beyond which the result no longer changes. docs/numbers.md
// lists the derivatives at the kinks.
//
// `brief` stands for `forward` where x and y are bfloat16: cheaper, and correctly rounded for all 65,536 inputs.
#pragma once

#include "math.h"
#include "math_brief.h"
#include "operation.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// `low` up to and including `edge`, `high` above it, NaN for NaN.
template <class T>
FORMULA T step(T x, T edge, T low, T high) {
  return x > edge ? high : (x <= edge ? low : x);
}

template <class T>
FORMULA T clamp(T x, T low, T high) {
  return math::at_most(high, math::at_least(low, x));
}

// A constant interval, clamping in two instructions.
template <class T>
struct Interval {
  T low, high;
  FORMULA Interval(double from, double to) : low(opaque(T(from))), high(opaque(T(to))) {}
  FORMULA T clamp(T x) const { return math::at_most(high, math::at_least(low, x)); }
};

// 1 inside the open interval (low, high), 0 outside, NaN for NaN.
template <class T>
FORMULA T inside(T x, T low, T high) {
  return x <= low ? T(0) : (x >= high ? T(0) : (x > low ? T(1) : x));
}

// exp(-|x|) and 1 / (1 + exp(-|x|)): all that sigmoid's relatives and their derivatives need, without cancellation. The
// exponential is kept lifted by a power of two, so that its subnormal values do not cost the product its digits.
template <class T>
struct Logistic {
  static constexpr T limit = sizeof(T) == 4 ? T(110) : T(760);  // x exp(-x) is 0 from here on
  static constexpr T unlift = sizeof(T) == 4 ? T(0x1p-40) : T(0x1p-100);
  T tail, inverse;

  FORMULA explicit Logistic(T x)
      : tail(math::lifted_decay(math::at_most(limit, math::abs(x)))), inverse(T(1) / math::fma(tail, unlift, T(1))) {}
  // factor * sigmoid(x), for the x given above.
  FORMULA T times(T factor, T x) const { return factor * (x < 0 ? tail * inverse : inverse) * (x < 0 ? unlift : T(1)); }
  // sigmoid(x) for slopes: closer around 0, without the relative accuracy of the negative tail.
  FORMULA T blunt(T x) const { return x < 0 ? T(1) - inverse : inverse; }
  // p (1 - p) with the smaller p: around 0, where its own slope vanishes, the errors of p cancel.
  FORMULA T derivative() const {
    const T lifted = tail * inverse;
    return lifted * (T(1) - lifted * unlift) * unlift;
  }
};

template <class T>
struct Linear {
  static constexpr OperationInfo info{"linear", 40, 40};
  static constexpr bool unit_slope = true;  // the gradient is dy, and x is not read
  FORMULA T forward(T x) const { return x; }
  FORMULA T derivative(T) const { return T(1); }
};

template <class T>
struct Relu {
  static constexpr OperationInfo info{"relu", 40, 60};
  T zero = opaque(T(0));
  FORMULA T forward(T x) const { return math::at_least(zero, x); }
  FORMULA T derivative(T x) const { return step(x, T(0), T(0), T(1)); }
};

template <class T>
struct Relu6 {
  static constexpr OperationInfo info{"relu6", 40, 70};
  Interval<T> range{0, 6};
  FORMULA T forward(T x) const { return range.clamp(x); }
  FORMULA T derivative(T x) const { return inside(x, T(0), T(6)); }
};

template <class T>
struct LeakyRelu {
  static constexpr OperationInfo info{"leaky_relu", 40, 60, {{"alpha", 0.01}}};
  T alpha;
  FORMULA T forward(T x) const { return x > 0 ? x : alpha * x; }
  FORMULA T derivative(T x) const { return step(x, T(0), alpha, T(1)); }
};

template <class T>
struct Elu {
  static constexpr OperationInfo info{"elu", 130, 135, {{"alpha", 1.0}}};
  T alpha;
  FORMULA T forward(T x) const { return x > 0 ? x : alpha * math::expm1(x); }
  FORMULA T derivative(T x) const { return x > 0 ? T(1) : alpha * math::exp(x); }
};

template <class T>
struct Celu {
  static constexpr OperationInfo info{"celu", 160, 170, {{"alpha", 1.0, Domain::positive}}};
  T alpha;
  FORMULA T forward(T x) const { return x > 0 ? x : alpha * math::expm1(x / alpha); }
  FORMULA T derivative(T x) const { return x > 0 ? T(1) : math::exp(x / alpha); }
};

template <class T>
struct Selu {
  static constexpr OperationInfo info{"selu", 140, 130};
  static constexpr T scale = T(1.0507009873554804934193349852946);
  static constexpr T scale_alpha = T(1.7580993408473768599402175208123);
  FORMULA T forward(T x) const { return x > 0 ? scale * x : scale_alpha * math::expm1(x); }
  FORMULA T derivative(T x) const { return x > 0 ? scale : scale_alpha * math::exp(x); }
};

// x times the normal distribution function (Hendrycks and Gimpel, 2016). Below `far` the product is under half a unit
// of the error that cancellation in 1 + erf leaves, and is taken as 0.
template <class T>
struct Gelu {
  static constexpr OperationInfo info{"gelu", 230, 345};
  static constexpr T far = sizeof(T) == 4 ? T(-5.6) : T(-8.5);
  static constexpr T flat = sizeof(T) == 4 ? T(13) : T(37);  // the density underflows against the function
  Interval<T> curved{-flat, flat};
  FORMULA T forward(T x) const { return x < far ? T(0) : x * math::normal_cdf(x); }
  FORMULA static float brief(float x) { return math::brief::gelu(x); }
  FORMULA T derivative(T x) const {
    const T near = curved.clamp(x);
    const T density = math::exp_bounded(T(-0.5) * near * near) * T(0.39894228040143267793994605993438);
    return math::fma(near, near == x ? density : T(0), x < far ? T(0) : math::normal_cdf(near));
  }
};

// The tanh approximation of gelu, written as x * sigmoid(2u) so that the negative tail keeps its relative accuracy.
template <class T>
struct GeluTanh {
  static constexpr OperationInfo info{"gelu_tanh", 290, 310};
  static constexpr T twice_sqrt_2_over_pi = T(1.5957691216057307117597842397375);
  static constexpr T cubic = T(0.044715);
  FORMULA static T twice_u(T x) { return twice_sqrt_2_over_pi * x * math::fma(cubic, x * x, T(1)); }
  FORMULA T forward(T x) const {
    const T near = clamp(x, T(-40), T(40));
    const T u2 = twice_u(near);
    return Logistic<T>(u2).times(math::at_least(T(-40), x), u2);
  }
  FORMULA static float brief(float x) { return math::brief::gelu_tanh(x); }
  FORMULA T derivative(T x) const {
    const T near = clamp(x, T(-40), T(40));
    const T u2 = twice_u(near);
    const Logistic<T> logistic(u2);
    const T slope = near * twice_sqrt_2_over_pi * math::fma(3 * cubic, near * near, T(1));
    return math::fma(slope, logistic.derivative(), logistic.blunt(u2));
  }
};

template <class T>
struct Silu {
  static constexpr OperationInfo info{"silu", 190, 260};
  FORMULA T forward(T x) const { return Logistic<T>(x).times(math::at_least(-Logistic<T>::limit, x), x); }
  FORMULA static float brief(float x) { return math::brief::silu(x); }
  FORMULA T derivative(T x) const {
    const T near = clamp(x, -Logistic<T>::limit, Logistic<T>::limit);
    const Logistic<T> logistic(near);
    return math::fma(near, logistic.derivative(), logistic.blunt(near));
  }
};

// x * tanh(softplus(x)) = x * n / (n + 2) with n = e(e + 2), e = exp(x) (Misra, 2019). Beyond 40 the ratio is 1.
template <class T>
struct Mish {
  static constexpr OperationInfo info{"mish", 220, 340};
  FORMULA T forward(T x) const {
    const T e = math::exp(x > 40 ? T(40) : x);
    const T n = e * (e + 2);
    return (x < -800 ? T(-800) : x) * (n / (n + 2));
  }
  FORMULA T derivative(T x) const {
    const T near = clamp(x, T(-800), T(40));
    const T e = math::exp(near);
    const T n = e * (e + 2);
    const T inverse = T(1) / (n + 2);
    return math::fma(near, 4 * e * (1 + e) * inverse * inverse, n * inverse);
  }
};

template <class T>
struct Sigmoid {
  static constexpr OperationInfo info{"sigmoid", 190, 170};
  FORMULA T forward(T x) const { return math::sigmoid(x); }
  FORMULA static float brief(float x) { return math::brief::sigmoid(x); }
  FORMULA T derivative(T x) const { return Logistic<T>(x).derivative(); }
};

template <class T>
struct LogSigmoid {
  static constexpr OperationInfo info{"log_sigmoid", 280, 190};
  FORMULA T forward(T x) const { return -math::softplus(-x); }
  FORMULA T derivative(T x) const { return math::sigmoid(-x); }
};

template <class T>
struct Tanh {
  static constexpr OperationInfo info{"tanh", 180, 190};
  FORMULA T forward(T x) const { return math::tanh(x); }
  // 4 e / (1 + e)^2 with e = exp(-2|x|): 1 - tanh^2 would be 0 from x = 9 on.
  FORMULA static float brief(float x) { return math::brief::tanh(x); }
  FORMULA T derivative(T x) const { return 4 * Logistic<T>(2 * x).derivative(); }
};

template <class T>
struct Softplus {
  static constexpr OperationInfo info{"softplus", 260, 190};
  FORMULA T forward(T x) const { return math::softplus(x); }
  FORMULA T derivative(T x) const { return math::sigmoid(x); }
};

template <class T>
struct Softsign {
  static constexpr OperationInfo info{"softsign", 80, 50};
  // x / (1 + |x|) is 1 long before this bound; it keeps inf / inf away.
  static constexpr T far = T(1e30);
  FORMULA T forward(T x) const {
    const T near = clamp(x, -far, far);
    return near / (T(1) + math::abs(near));
  }
  FORMULA T derivative(T x) const {
    const T magnitude = math::abs(x);
    return T(1) / math::fma(magnitude, magnitude + 2, T(1));
  }
};

// (x + sqrt(x^2 + b)) / 2; for x < 0 by the conjugate, which does not cancel. Sums are of halves, which cannot
// overflow.
template <class T>
struct Squareplus {
  // Up to 1e10 b is lost in x^2 from `far` on; b = 0 would be relu, with 0 / 0 for its slope at 0.
  static constexpr OperationInfo info{"squareplus", 130, 150, {{"b", 4.0, Domain::positive, 1e10}}};
  T b;
  static constexpr T far = sizeof(T) == 4 ? T(1e15) : T(1e150);  // beyond it x^2 + b rounds to x^2, and would overflow
  static constexpr T largest = sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);
  FORMULA T root(T magnitude) const {
    return magnitude > far ? magnitude : math::sqrt(math::fma(magnitude, magnitude, b));
  }
  FORMULA T forward(T x) const {
    const T magnitude = math::abs(x);
    const T over = root(magnitude);
    return x > -1 ? T(0.5) * x + T(0.5) * over : T(0.25) * b / (T(0.5) * magnitude + T(0.5) * over);
  }
  FORMULA T derivative(T x) const {
    const T magnitude = math::at_most(largest, math::abs(x));
    const T over = root(magnitude);
    const T mean = T(0.5) * magnitude + T(0.5) * over;
    const T near = T(0.5) * math::copysign(magnitude, x) + T(0.5) * over;
    return (x > -1 ? near : T(0.25) * b) / (x > -1 ? over : over * mean);
  }
};

template <class T>
struct Exponential {
  static constexpr OperationInfo info{"exponential", 130, 120};
  FORMULA T forward(T x) const { return math::exp(x); }
  FORMULA T derivative(T x) const { return math::exp(x); }
};

template <class T>
struct HardSigmoid {
  static constexpr OperationInfo info{"hard_sigmoid", 50, 60};
  Interval<T> range{0, 6};
  static constexpr T sixth = T(1) / T(6);
  FORMULA T forward(T x) const { return range.clamp(x + 3) * sixth; }
  FORMULA T derivative(T x) const { return inside(x, T(-3), T(3)) * sixth; }
};

template <class T>
struct HardTanh {
  static constexpr OperationInfo info{"hard_tanh", 40, 70};
  Interval<T> range{-1, 1};
  FORMULA T forward(T x) const { return range.clamp(x); }
  FORMULA T derivative(T x) const { return inside(x, T(-1), T(1)); }
};

template <class T>
struct HardSilu {
  static constexpr OperationInfo info{"hard_silu", 60, 60};
  Interval<T> range{0, 6};
  T edge = opaque(T(-3));
  FORMULA T forward(T x) const { return math::at_least(edge, x) * (range.clamp(x + 3) * (T(1) / T(6))); }
  FORMULA T derivative(T x) const { return x <= -3 ? T(0) : (x >= 3 ? T(1) : (2 * x + 3) * (T(1) / T(6))); }
};

template <class T>
struct HardShrink {
  static constexpr OperationInfo info{"hard_shrink", 50, 60, {{"threshold", 0.5, Domain::not_negative}}};
  T threshold;
  FORMULA T forward(T x) const { return math::abs(x) <= threshold ? T(0) : x; }
  FORMULA T derivative(T x) const { return step(math::abs(x), threshold, T(0), T(1)); }
};

template <class T>
struct SoftShrink {
  static constexpr OperationInfo info{"soft_shrink", 70, 60, {{"threshold", 0.5, Domain::not_negative}}};
  T threshold;
  FORMULA T forward(T x) const { return math::abs(x) <= threshold ? T(0) : (x < 0 ? x + threshold : x - threshold); }
  FORMULA T derivative(T x) const { return step(math::abs(x), threshold, T(0), T(1)); }
};

template <class T>
struct TanhShrink {
  static constexpr OperationInfo info{"tanh_shrink", 190, 180};
  FORMULA T forward(T x) const { return x - math::tanh(x); }
  FORMULA T derivative(T x) const {
    const T t = math::tanh(x);
    return t * t;
  }
};

template <class T>
struct Threshold {
  static constexpr OperationInfo info{
      "threshold", 50, 80, {{"threshold", kRequired}, {"value", kRequired, Domain::any}}};
  T threshold, value;
  FORMULA T forward(T x) const { return x <= threshold ? value : x; }
  FORMULA T derivative(T x) const { return step(x, threshold, T(0), T(1)); }
};

template <class T>
struct SparsePlus {
  static constexpr OperationInfo info{"sparse_plus", 80, 40};
  Interval<T> range{-1, 1};
  FORMULA T forward(T x) const {
    const T lifted = range.clamp(x) + 1;
    return x >= 1 ? x : T(0.25) * lifted * lifted;
  }
  FORMULA T derivative(T x) const { return T(0.5) * (range.clamp(x) + 1); }
};

template <class T>
struct SparseSigmoid {
  static constexpr OperationInfo info{"sparse_sigmoid", 50, 60};
  Interval<T> range{-1, 1};
  FORMULA T forward(T x) const { return T(0.5) * (range.clamp(x) + 1); }
  FORMULA T derivative(T x) const { return T(0.5) * inside(x, T(-1), T(1)); }
};

using Activations = OperationList<Linear, Relu, Relu6, LeakyRelu, Elu, Celu, Selu, Gelu, GeluTanh, Silu, Mish, Sigmoid,
                                  LogSigmoid, Tanh, Softplus, Softsign, Squareplus, Exponential, HardSigmoid, HardTanh,
                                  HardSilu, HardShrink, SoftShrink, TanhShrink, Threshold, SparsePlus, SparseSigmoid>;

}  // namespace BRAZEN_TARGET
}  // namespace brazen
