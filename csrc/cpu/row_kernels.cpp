// SPDX-License-Identifier: BSD-3-Clause
// The loops of row_kernels.h. Compiled once per instruction set, as kernels.cpp: nothing of std:: may be instantiated.
#include "row_kernels.h"

#include "lanes.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

template <class T>
T sum(const T* x, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return x[i]; });
}

template <class T>
T largest(const T* x, size_t n) {
  T lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = lowest<T>();
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    _Pragma("GCC ivdep") for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = larger(x[i + lane], lanes[lane]);
  }
  const int left = static_cast<int>(n - i);
  if (left > 0) {
    _Pragma("GCC ivdep") for (int lane = 0; lane < kLanes; ++lane) lanes[lane] =
        larger(lane < left ? x[i + lane] : lowest<T>(), lanes[lane]);
  }
  return largest_lane(lanes);
}

template <class T>
T exponentials(const T* x, T center, T* e, size_t n) {
  EACH_ELEMENT e[i] = exp_nonpositive(x[i] - center);
  return sum(e, n);
}

template <class T>
T distances(const T* x, T center, const T* weights, size_t n) {
  if (weights) return sum_of<T>(n, [=](size_t i) { return target_product(weights[i], x[i] - center); });
  return sum_of<T>(n, [=](size_t i) { return x[i] - center; });
}

template <class T>
T target_products(const T* targets, const T* x, T center, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return target_product(targets[i], x[i] - center); });
}

template <class T>
void soft_targets(const T* labels, const T* weights, T keep, T share, T* targets, size_t n) {
  if (weights)
    EACH_ELEMENT targets[i] = soft_target(labels[i], weights[i], keep, share);
  else
    EACH_ELEMENT targets[i] = soft_target(labels[i], T(1), keep, share);
}

template <class T>
void scale(const T* x, T factor, T* y, size_t n) {
  EACH_ELEMENT y[i] = x[i] * factor;
}

template <class T>
void pull(const T* e, T slope, T pull, T* y, size_t n) {
  EACH_ELEMENT y[i] = cross_entropy_gradient(e[i], slope, pull);
}

template <class T>
void pull_each(const T* e, T slope, const T* targets, T pull, T* y, size_t n) {
  EACH_ELEMENT y[i] = cross_entropy_gradient(e[i], slope, targets[i] * pull);
}

template <class T>
void hinge(const T* x, T own, T margin, int64_t label, T* excess, T* sums, size_t n) {
  EACH_ELEMENT excess[i] = hinge_excess(x[i], own, margin);
  if (label >= 0 && label < static_cast<int64_t>(n)) excess[label] = 0;
  sums[0] = sum(excess, n);
  sums[1] = sum_of<T>(n, [=](size_t i) { return hinge_slope(excess[i]); });
}

template <class T>
void hinge_gradient(const T* excess, T factor, T* y, size_t n) {
  EACH_ELEMENT y[i] = hinge_slope(excess[i]) * factor;
}

template <class T>
T divergence(const T* x, const T* targets, bool log_targets, T factor, T* y, size_t n) {
  T terms[kChunkRows];
  if (log_targets) {
    EACH_ELEMENT {
      const T target = math::exp(targets[i]);
      terms[i] = brazen::divergence(target, targets[i], x[i]);
      y[i] = -target * factor;
    }
  } else {
    EACH_ELEMENT {
      const T target = targets[i];
      terms[i] = brazen::divergence(target, math::log(target), x[i]);
      y[i] = -target * factor;
    }
  }
  return sum(terms, n);
}

template <class T>
T products(const T* dy, const T* y, size_t n) {
  return sum_of<T>(n, [=](size_t i) { return dy[i] * y[i]; });
}

template <class T>
void softmax_gradient(const T* dy, const T* y, T product, T* dx, size_t n) {
  EACH_ELEMENT dx[i] = brazen::softmax_gradient(dy[i], y[i], product);
}

template <class T>
void log_softmax(const T* x, T largest, T log_total, T* y, size_t n) {
  EACH_ELEMENT y[i] = brazen::log_softmax(x[i], largest, log_total);
}

template <class T>
void log_softmax_gradient(const T* dy, const T* y, T sum, T* dx, size_t n) {
  EACH_ELEMENT dx[i] = brazen::log_softmax_gradient(dy[i], y[i], sum);
}

template <class T>
void sparsemax_sums(const T* x, T largest, T threshold, T* sums, size_t n) {
  sums[0] = sum_of<T>(n, [=](size_t i) { return sparsemax_distance(x[i] - largest, threshold); });
  sums[1] = sum_of<T>(n, [=](size_t i) { return sparsemax_inside(x[i] - largest, threshold); });
}

template <class T>
void sparsemax(const T* x, T largest, T threshold, T* y, size_t n) {
  EACH_ELEMENT y[i] = brazen::sparsemax(x[i] - largest, threshold);
}

template <class T>
void sparsemax_gradient_sums(const T* dy, const T* y, T* sums, size_t n) {
  sums[0] = sum_of<T>(n, [=](size_t i) { return y[i] == 0 ? T(0) : dy[i]; });
  sums[1] = sum_of<T>(n, [=](size_t i) { return y[i] == 0 ? T(0) : T(1); });
}

template <class T>
void sparsemax_gradient(const T* dy, const T* y, T mean, T* dx, size_t n) {
  EACH_ELEMENT dx[i] = brazen::sparsemax_gradient(dy[i], y[i], mean);
}

template <class Op, class T>
void element_losses(const double* parameters, const T* x, const T* targets, const T* weights, T factor, T* losses,
                    T* gradient, size_t n) {
  const Op op = make<Op, T>(parameters);
  if (weights) {
    EACH_ELEMENT {
      const LossOf<T> of = op.of(x[i], targets[i], weights[i]);
      losses[i] = of.loss;
      gradient[i] = of.slope * factor;
    }
  } else {
    EACH_ELEMENT {
      const LossOf<T> of = op.of(x[i], targets[i], T(1));
      losses[i] = of.loss;
      gradient[i] = of.slope * factor;
    }
  }
}

#undef EACH_ELEMENT

template <class T>
constexpr RowLoops<T> make_loops() {
  RowLoops<T> made{};
  made.sum = sum<T>;
  made.largest = largest<T>;
  made.exponentials = exponentials<T>;
  made.distances = distances<T>;
  made.target_products = target_products<T>;
  made.soft_targets = soft_targets<T>;
  made.scale = scale<T>;
  made.pull = pull<T>;
  made.pull_each = pull_each<T>;
  made.hinge = hinge<T>;
  made.hinge_gradient = hinge_gradient<T>;
  made.divergence = divergence<T>;
  made.products = products<T>;
  made.softmax_gradient = softmax_gradient<T>;
  made.log_softmax = log_softmax<T>;
  made.log_softmax_gradient = log_softmax_gradient<T>;
  made.sparsemax_sums = sparsemax_sums<T>;
  made.sparsemax = sparsemax<T>;
  made.sparsemax_gradient_sums = sparsemax_gradient_sums<T>;
  made.sparsemax_gradient = sparsemax_gradient<T>;
  ElementLosses::for_each<T>([&]<class Op>(int i) { made.element_losses[i] = element_losses<Op, T>; });
  return made;
}

}  // namespace

extern const NormLoops<float> kNormsSingle;
extern const NormLoops<double> kNormsTwice;

// Referenced by name from kernels.cpp.
extern const RowKernels kRowKernels;
constinit const RowKernels kRowKernels = {make_loops<float>(), make_loops<double>(), &kNormsSingle, &kNormsTwice};

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
