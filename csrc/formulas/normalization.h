// SPDX-License-Identifier: BSD-3-Clause
// Layer, RMS, group and instance norm: what follows a row's sums, in float64 and rounded once, and what one element
// becomes. No loop, no machine.
//
// Forward, xhat = (x - center) * (deviation + low) + rest. center and deviation are rounded to the compute type; rest
// and low are what the roundings leave: rows far from 0 lose nothing, and a row's error is no common factor. Then y =
// xhat * scale + shift. Backward takes the rounded numbers.
#pragma once

#include "affine.h"
#include "reduction.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

template <class T>
struct RowStatistics {
  T center, deviation, low, rest;  // deviation: 1 / sqrt(variance + epsilon)
};

// Of a row of no elements, and of all of a NaN: NaN.
template <class T>
FORMULA RowStatistics<T> row_statistics(Moments moments, double epsilon) {
  const double deviation = 1.0 / math::sqrt(moments.squares / moments.count + epsilon);
  const T center = T(moments.mean);
  return {center, T(deviation), T(deviation - double(T(deviation))), T((double(center) - moments.mean) * deviation)};
}

// Without a mean: `squares` is the sum of squares.
template <class T>
FORMULA RowStatistics<T> rms_statistics(double squares, double count, double epsilon) {
  const double deviation = 1.0 / math::sqrt(squares / count + epsilon);
  return {T(0), T(deviation), T(deviation - double(T(deviation))), T(0)};
}

template <class T>
FORMULA T normalized(T x, const RowStatistics<T>& row) {
  const T distance = x - row.center;
  return math::fma(distance, row.deviation, math::fma(distance, row.low, row.rest));
}

// xhat as the backward pass has it.
template <class T>
FORMULA T normalized(T x, T center, T deviation) {
  return (x - center) * deviation;
}

// Sums over a row, d the gradient of xhat: of d, and of d * xhat.
struct RowGradientSums {
  double grad, product;
};

// A channel's share of its row's, from sums of dy and dy * xhat: d is dy times the channel's scale.
template <class T>
FORMULA RowGradientSums scaled_sums(const RowGradientSums& of_channel, T scale) {
  return {of_channel.grad * double(scale), of_channel.product * double(scale)};
}

// dx = d * deviation + (x - center) * slope + base, as corrected_grad computes it.
template <class T>
struct RowCorrection {
  T slope, base;
};

template <class T>
FORMULA RowCorrection<T> row_correction(const RowGradientSums& sums, double count, T deviation, bool centred) {
  const double factor = double(deviation);
  return {T(-factor * factor * (sums.product / count)), centred ? T(-factor * (sums.grad / count)) : T(0)};
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
