// SPDX-License-Identifier: BSD-3-Clause
// Losses and the softmax kinds: what one element or one row contributes, its gradient, and the list of them all. No
// loop, no machine.
//
// A row's sums have the shape of reduction.h: lanes and their tree in the compute type, chunks in float64. What follows
// a row's sums is a handful of operations in float64, rounded once.
#pragma once

#include "math.h"
#include "operation.h"
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

// Multiclass hinge of one class: how far its score exceeds the label's by less than the margin.
template <class T>
FORMULA T hinge_excess(T score, T own, T margin) {
  return math::at_least(T(0), (score - own) + margin);
}
// 1 where there is an excess, 0 at the kink; a NaN stays one.
template <class T>
FORMULA T hinge_slope(T excess) {
  return excess > 0 ? T(1) : excess;
}

// One element of a Kullback-Leibler divergence: t * (log t - x), 0 where t is 0; its gradient is -t.
template <class T>
FORMULA T divergence(T target, T log_target, T log_probability) {
  return target == 0 ? T(0) : target * (log_target - log_probability);
}

// The softmax kinds, from the largest element, and `total` as above or sparsemax' threshold.
template <class T>
FORMULA T softmax_gradient(T dy, T y, T product) {
  return y * (dy - product);
}
template <class T>
FORMULA T log_softmax(T x, T largest, T log_total) {
  return (x - largest) - log_total;
}
template <class T>
FORMULA T log_softmax_gradient(T dy, T y, T sum) {
  return dy - exp_nonpositive(y) * sum;
}

// Sparsemax is max(x - largest - threshold, 0), the threshold so that the row sums to 1 (Martins and Astudillo, 2016).
// Found as Michelot (1986) does: from threshold -1 on, the elements above it give a higher one, until none leaves. A
// NaN counts as above.
template <class T>
FORMULA T sparsemax_inside(T distance, T threshold) {
  return distance <= threshold ? T(0) : T(1);
}
template <class T>
FORMULA T sparsemax_distance(T distance, T threshold) {
  return distance <= threshold ? T(0) : distance;
}
FORMULA double sparsemax_threshold(double sum, double inside) { return (sum - 1.0) / inside; }
template <class T>
FORMULA T sparsemax(T distance, T threshold) {
  return math::at_least(T(0), distance - threshold);
}
template <class T>
FORMULA T sparsemax_gradient(T dy, T y, T mean) {
  return y == 0 ? T(0) : dy - mean;
}

// A loss and its slope, of one element.
template <class T>
struct LossOf {
  T loss, slope;
};

// Losses of one number an element: of(x, target, weight); the weight is sigmoid_cross_entropy's alone.
template <class T>
struct SigmoidCrossEntropy {
  static constexpr OperationInfo info{"sigmoid_cross_entropy", 600, 0};
  FORMULA LossOf<T> of(T x, T target, T weight) const {
    const T tail = math::softplus(-math::abs(x));
    const T positive = target * weight, negative = T(1) - target;
    return {math::fma(positive, math::at_least(T(0), -x) + tail, negative * (math::at_least(T(0), x) + tail)),
            math::fma(negative, math::sigmoid(x), -(positive * math::sigmoid(-x)))};
  }
};

template <class T>
struct Mse {
  static constexpr OperationInfo info{"mse", 60, 0};
  FORMULA LossOf<T> of(T x, T target, T) const {
    const T d = x - target;
    return {d * d, d + d};
  }
};

template <class T>
struct SumOfSquares : Mse<T> {
  static constexpr OperationInfo info{"sum_of_squares", 60, 0};
};

template <class T>
struct HalfSquared {
  static constexpr OperationInfo info{"half_squared", 60, 0};
  FORMULA LossOf<T> of(T x, T target, T) const {
    const T d = x - target;
    return {T(0.5) * d * d, d};
  }
};

template <class T>
struct Mae {
  static constexpr OperationInfo info{"mae", 60, 0};
  FORMULA LossOf<T> of(T x, T target, T) const {
    const T d = x - target;
    return {math::abs(d), d == 0 ? T(0) : (d == d ? math::copysign(T(1), d) : d)};
  }
};

template <class T>
struct Huber {
  static constexpr OperationInfo info{"huber", 80, 0, {{"delta", 1.0}}};
  T delta;
  FORMULA LossOf<T> of(T x, T target, T) const {
    const T d = x - target, size = math::abs(d);
    return {size > delta ? delta * (size - T(0.5) * delta) : T(0.5) * d * d,
            size > delta ? math::copysign(delta, d) : d};
  }
};

using ElementLosses = OperationList<SigmoidCrossEntropy, Mse, SumOfSquares, HalfSquared, Mae, Huber>;

// Operations on whole rows have no formula of one element; these are their names and costs.
#define BRAZEN_ROW_OPERATION(Type, name, forward_cost, backward_cost)       \
  template <class T>                                                        \
  struct Type {                                                             \
    static constexpr OperationInfo info{name, forward_cost, backward_cost}; \
  };
BRAZEN_ROW_OPERATION(SoftmaxCrossEntropy, "softmax_cross_entropy", 300, 0)
BRAZEN_ROW_OPERATION(MulticlassHinge, "multiclass_hinge", 150, 0)
BRAZEN_ROW_OPERATION(KlDivergence, "kl_divergence", 300, 0)
BRAZEN_ROW_OPERATION(Softmax, "softmax", 250, 100)
BRAZEN_ROW_OPERATION(LogSoftmax, "log_softmax", 250, 200)
BRAZEN_ROW_OPERATION(Sparsemax, "sparsemax", 500, 150)
BRAZEN_ROW_OPERATION(LayerNorm, "layer_norm", 150, 250)
BRAZEN_ROW_OPERATION(RmsNorm, "rms_norm", 120, 250)
BRAZEN_ROW_OPERATION(GroupNorm, "group_norm", 200, 300)
BRAZEN_ROW_OPERATION(InstanceNorm, "instance_norm", 200, 300)
BRAZEN_ROW_OPERATION(RowNorms, "row_norms", 60, 0)
#undef BRAZEN_ROW_OPERATION

using RowLosses = OperationList<SoftmaxCrossEntropy, MulticlassHinge, KlDivergence>;
using RowMaps = OperationList<Softmax, LogSoftmax, Sparsemax>;
using RowNormKinds = OperationList<LayerNorm, RmsNorm, GroupNorm, InstanceNorm, RowNorms>;

}  // namespace BRAZEN_TARGET
}  // namespace brazen
