// SPDX-License-Identifier: BSD-3-Clause
// What one instruction set offers to the operations on rows: loops over a chunk of a row, up to 1,024 elements of the
// compute type. Sums have the order of formulas/reduction.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../formulas/losses.h"
#include "../formulas/normalization.h"

namespace brazen::cpu {

// An output may be the same run as an input, never a shifted one.
template <class T>
struct RowLoops {
  T (*sum)(const T* x, size_t n);
  T (*largest)(const T* x, size_t n);
  // e = exp(x - center); returns their sum.
  T (*exponentials)(const T* x, T center, T* e, size_t n);
  // The sum of x - center, each times its weight where there are weights.
  T (*distances)(const T* x, T center, const T* weights, size_t n);
  // The sum of t * (x - center).
  T (*target_products)(const T* targets, const T* x, T center, size_t n);
  // t = w * (keep * q + share)
  void (*soft_targets)(const T* labels, const T* weights, T keep, T share, T* targets, size_t n);
  // y = x * factor
  void (*scale)(const T* x, T factor, T* y, size_t n);
  // y = e * slope - pull
  void (*pull)(const T* e, T slope, T pull, T* y, size_t n);
  // y = e * slope - t * pull
  void (*pull_each)(const T* e, T slope, const T* targets, T pull, T* y, size_t n);
  // The excess of every class but the label's, at `label` in the run or outside it, and the sums of it and its slopes.
  void (*hinge)(const T* x, T own, T margin, int64_t label, T* excess, T* sums, size_t n);
  // y = slope of excess * factor
  void (*hinge_gradient)(const T* excess, T factor, T* y, size_t n);
  // Returns the sum of t * (log t - x), and writes -t * factor.
  T (*divergence)(const T* x, const T* targets, bool log_targets, T factor, T* y, size_t n);
  // The sum of dy * y.
  T (*products)(const T* dy, const T* y, size_t n);
  void (*softmax_gradient)(const T* dy, const T* y, T product, T* dx, size_t n);
  void (*log_softmax)(const T* x, T largest, T log_total, T* y, size_t n);
  void (*log_softmax_gradient)(const T* dy, const T* y, T sum, T* dx, size_t n);
  // Sums over the elements whose distance from `largest` is above the threshold: of the distances, and of ones.
  void (*sparsemax_sums)(const T* x, T largest, T threshold, T* sums, size_t n);
  void (*sparsemax)(const T* x, T largest, T threshold, T* y, size_t n);
  // Sums over the elements where y is not 0: of dy, and of ones.
  void (*sparsemax_gradient_sums)(const T* dy, const T* y, T* sums, size_t n);
  void (*sparsemax_gradient)(const T* dy, const T* y, T mean, T* dx, size_t n);
  // Losses of one number an element, and their slopes times a factor; one for each of ElementLosses. `weights` is null
  // or a run.
  void (*element_losses[ElementLosses::size])(const double* parameters, const T* x, const T* targets, const T* weights,
                                              T factor, T* losses, T* gradient, size_t n);
};

// Loops of the norms, in a unit of their own.
template <class T>
struct NormLoops {
  Moments (*moments)(const T* x, size_t n);
  T (*squares)(const T* x, size_t n);
  void (*add)(const T* x, const T* y, T* sum, size_t n);
  // `scale` and `shift` may be null; a run of `n` each.
  void (*normalize)(const T* x, RowStatistics<T> row, const T* scale, const T* shift, T* y, size_t n);
  // The same of one channel, which has one of each.
  void (*normalize_channel)(const T* x, RowStatistics<T> row, const T* scale, const T* shift, T* y, size_t n);
  // Sums of d and of d * xhat, d = dy * scale.
  void (*gradient_sums)(const T* dy, const T* x, T center, T deviation, const T* scale, T* sums, size_t n);
  // Unless they are null, adds dy * xhat to dscale and dy to dshift.
  void (*gradient)(const T* dy, const T* x, T center, T deviation, const T* scale, RowCorrection<T> correction, T* dx,
                   T* dscale, T* dshift, size_t n);
  // dx of one channel.
  void (*gradient_channel)(const T* dy, const T* x, T center, T deviation, T scale, RowCorrection<T> correction, T* dx,
                           size_t n);
};

struct RowKernels {
  RowLoops<float> single;
  RowLoops<double> twice;
  const NormLoops<float>* norms_single;
  const NormLoops<double>* norms_twice;
};

template <class T>
const RowLoops<T>& loops(const RowKernels& kernels) {
  if constexpr (sizeof(T) == 4)
    return kernels.single;
  else
    return kernels.twice;
}

template <class T>
const NormLoops<T>& norm_loops(const RowKernels& kernels) {
  if constexpr (sizeof(T) == 4)
    return *kernels.norms_single;
  else
    return *kernels.norms_twice;
}

}  // namespace brazen::cpu
