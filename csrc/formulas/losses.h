// SPDX-License-Identifier: BSD-3-Clause
// Losses and the softmax kinds: what one element or one row contributes, its gradient, and the list of them all. No
// loop, no machine.
//
// A row's sums have the shape of reduction.h: lanes and their tree in the compute type, chunks in float64. What follows
// a row's sums is a handful of operations in float64, rounded once.
#pragma once

#include "activations.h"
#include "reduction.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// exp(x) for x <= 0; 0 where that is below exp(-87), 1.6e-38 (exp(-708), 3.3e-308, in double). A NaN stays one.
FORMULA float exp_nonpositive(float x) { return x < -87.0f ? 0.0f : math::exp_bounded(x); }
FORMULA double exp_nonpositive(double x) { return x < -708.0 ? 0.0 : math::exp_bounded(x); }

// The largest element, `so_far` among them. A NaN may be lost: the sum of exponentials keeps it.
template <class T>
FORMULA T larger(T x, T so_far) {
  return x > so_far ? x : so_far;
}

template <class T>
FORMULA T lowest() {
  return T(-__builtin_inf());
}

// Softmax cross-entropy of one row with targets t_j:
//   loss = sum_j t_j * (log(total) - (x_j - largest))        gradient_j = factor * (sum_i t_i * p_j - t_j)
// where total is the sum of exp(x_j - largest). For a label y, t_y = keep * w_y, and share * w_j is added to every t_j:
// keep is 1 - smoothing, share smoothing / classes, w the class weights. For soft labels q, t_j = w_j * (keep * q_j +
// share).
struct TargetSums {
  double targets;  // sum of t_j
  double product;  // sum of t_j * (x_j - largest)
};

FORMULA TargetSums label_sums(double keep, double share, double weight, double weights, double distance,
                              double distances) {
  const double own = keep * weight;
  return {own + share * weights, own * distance + share * distances};
}

FORMULA double cross_entropy(const TargetSums& sums, double total) {
  return sums.targets * math::log(total) - sums.product;
}

// A soft label's target, and its share of the second sum: nothing where the target is 0, be x_j infinite or not.
template <class T>
FORMULA T soft_target(T label, T weight, T keep, T share) {
  return weight * math::fma(keep, label, share);
}
template <class T>
FORMULA T target_product(T target, T distance) {
  return target == 0 ? T(0) : target * distance;
}

// The gradient of an element from its exponential: `slope` is factor * targets / total, `pull` factor * t_j.
template <class T>
FORMULA T cross_entropy_gradient(T exponential, T slope, T pull) {
  return math::fma(exponential, slope, -pull);
}
FORMULA double cross_entropy_slope(double factor, double targets, double total) { return factor * targets / total; }

// What a label says: a class, nothing (its row counts for nothing), or an error.
inline constexpr int64_t kIgnoredLabel = -1, kBadLabel = -2;

FORMULA int64_t class_of_label(int64_t label, bool ignores, int64_t ignored, int64_t classes) {
  return ignores && label == ignored ? kIgnoredLabel : (label < 0 || label >= classes ? kBadLabel : label);
}

// What every gradient is multiplied by. Nothing counted (all labels ignored): loss and gradient are 0.
FORMULA double mean_factor(double counted) { return counted == 0 ? 0.0 : 1.0 / counted; }

}  // namespace BRAZEN_TARGET
}  // namespace brazen
