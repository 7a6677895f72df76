// SPDX-License-Identifier: BSD-3-Clause
// What one instruction set offers to the operations on rows: loops over a chunk of a row, up to 1,024 elements of the
// compute type. Sums have the order of formulas/reduction.h.
#pragma once

#include <cstddef>
#include <cstdint>

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
};

struct RowKernels {
  RowLoops<float> single;
  RowLoops<double> twice;
};

template <class T>
const RowLoops<T>& loops(const RowKernels& kernels) {
  if constexpr (sizeof(T) == 4)
    return kernels.single;
  else
    return kernels.twice;
}

}  // namespace brazen::cpu
