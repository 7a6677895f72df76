// SPDX-License-Identifier: BSD-3-Clause
// Calls of the operations that work on rows: what the CPU drivers and the CUDA library's C ABI both receive.
#pragma once

#include "layout.h"

namespace brazen {

// The axes that number the rows, and those a row's elements lie along, in C order each. Operand k has its base address
// in rows.operands[k]; it is broadcast along axes of stride 0.
struct RowsLayout {
  Layout rows, columns;

  // Splits at axis `kept`; `axes` is the order in which the array's axes are read.
  void set_shape(int ndim, int kept, const int64_t* shape, const int* axes) {
    int64_t extents[kMaxDims];
    for (int d = 0; d < ndim; ++d) extents[d] = shape[axes[d]];
    rows.set_shape(kept, extents);
    columns.set_shape(ndim - kept, extents + kept);
  }

  void add(void* data, DType dtype, const int64_t* strides, const int* axes) {
    int64_t ordered[kMaxDims];
    for (int d = 0; d < rows.ndim + columns.ndim; ++d) ordered[d] = strides[axes[d]];
    rows.add(data, dtype, ordered);
    columns.add(data, dtype, ordered + rows.ndim);
  }

  // Call once all operands are there.
  void simplify() {
    rows.simplify(false, 0);
    columns.simplify(false, 0);
  }

  int64_t size() const { return rows.size * columns.size; }
};

enum class Reduction : int32_t { none, sum, mean };

// The losses of one number a row, in the order of RowLosses (formulas/losses.h).
inline constexpr int kSoftmaxCrossEntropy = 0, kMulticlassHinge = 1;

// A loss of one number a row, and the gradient of its reduction. The operands: logits, targets (labels, broadcast along
// the row, or soft labels), then the class weights (broadcast along the rows) where there are any, then the gradient.
struct RowLossCall {
  int32_t operation;  // one of the above
  Reduction reduction;
  int32_t soft, weighted;
  int32_t fresh;    // as in ElementwiseCall
  int32_t ignores;  // whether there is an `ignored` label
  int64_t ignored;
  double smoothing, margin;
  double grad_scale;
  DType loss_dtype;
  void* losses;  // one, or one a row, contiguous in C order
  RowsLayout arrays;

  int gradient() const { return 2 + weighted; }
  bool is_double() const { return arrays.rows.operands[0].dtype == DType::float64; }
};

}  // namespace brazen
