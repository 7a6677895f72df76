// SPDX-License-Identifier: BSD-3-Clause
// What one instruction set offers for rows too short to fill vectors: loops over kAbreast rows at once, each operation
// one over the rows. Element c of row r stands at [c * kAbreast + r]. The bits are those of the loops over single rows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace brazen::cpu {

inline constexpr int kAbreast = 32;

// Softmax cross-entropy with a label for each row.
template <class T>
struct ShortRowLosses {
  const T* logits;
  const int64_t* labels;  // a class, or kIgnoredLabel
  const T* weights;       // one a class, or null
  double weight_sum, keep, share, factor;
  T* gradient;  // apart from the logits
  T* losses;    // one a row
};

// Each takes all kAbreast rows, of `columns` elements of at most kChunkRows.
template <class T>
struct ShortRowLoops {
  void (*softmax)(const T* x, const T* unused, T* y, int64_t columns);
  void (*log_softmax)(const T* x, const T* unused, T* y, int64_t columns);
  void (*softmax_gradient)(const T* dy, const T* y, T* dx, int64_t columns);
  void (*log_softmax_gradient)(const T* dy, const T* y, T* dx, int64_t columns);
  void (*cross_entropy)(const ShortRowLosses<T>& rows, int64_t columns);
};

struct ShortRowKernels {
  ShortRowLoops<float> single;
  ShortRowLoops<double> twice;
};

template <class T>
const ShortRowLoops<T>& short_loops(const ShortRowKernels& kernels) {
  if constexpr (sizeof(T) == 4)
    return kernels.single;
  else
    return kernels.twice;
}

}  // namespace brazen::cpu
