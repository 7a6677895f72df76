// SPDX-License-Identifier: BSD-3-Clause
// What a batch norm does with the numbers of one channel: coefficients of the forward and the backward pass, running
// statistics, gradients of scale and shift. In float64, rounded once. The sums are reduction.h's.
//
// The forward pass is y = (x - center) * factor + shift. center is the mean rounded to the compute type; what the
// rounding leaves goes into shift, so that data far from 0 lose nothing.
#pragma once

#include <cstdint>

#include "math.h"
#include "reduction.h"

namespace brazen {

// Sums over a channel's rows, d the gradient of the affine result: of d, and of d * (x - center).
struct GradientSums {
  double grad, product;
};

inline namespace BRAZEN_TARGET {

FORMULA GradientSums merge_pair(GradientSums a, GradientSums b) { return {a.grad + b.grad, a.product + b.product}; }

template <class T>
struct ForwardCoefficients {
  T center, factor, shift;
};

FORMULA double inverse_deviation(Moments moments, double epsilon) {
  return 1.0 / math::sqrt(moments.squares / moments.count + epsilon);
}

template <class T>
FORMULA ForwardCoefficients<T> forward_coefficients(Moments moments, double epsilon, double scale, double shift) {
  const double factor = scale * inverse_deviation(moments, epsilon);
  const T center = T(moments.mean);
  return {center, T(factor), T(shift - (moments.mean - double(center)) * factor)};
}

// `momentum` is the weight of the new batch. One value has no unbiased variance: the biased one, 0, stands for it.
template <class T>
FORMULA T running_mean(T old, Moments moments, double momentum) {
  return T(double(old) * (1.0 - momentum) + moments.mean * momentum);
}
template <class T>
FORMULA T running_variance(T old, Moments moments, double momentum, bool unbiased) {
  const double degrees = unbiased && moments.count > 1 ? moments.count - 1 : moments.count;
  return T(double(old) * (1.0 - momentum) + moments.squares / degrees * momentum);
}

// The backward pass of the batch statistics is dx = d * factor + (x - center) * slope + base.
template <class T>
struct BackwardCoefficients {
  T slope, base, dscale, dshift;
};

template <class T>
FORMULA BackwardCoefficients<T> backward_coefficients(Moments moments, GradientSums sums, double epsilon,
                                                      double scale) {
  const double deviation = inverse_deviation(moments, epsilon);
  const double rest = moments.mean - double(T(moments.mean));
  const double product = sums.product - rest * sums.grad;  // about the mean itself
  const double factor = scale * deviation;
  const double slope = -factor * deviation * deviation * product / moments.count;
  return {T(slope), T(-factor * sums.grad / moments.count - rest * slope), T(product * deviation), T(sums.grad)};
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
