// SPDX-License-Identifier: BSD-3-Clause
// Calls of the operations that work on rows: what the CPU drivers and the CUDA library's C ABI both receive.
#pragma once

#include "../formulas/losses.h"
#include "layout.h"
#include "registry.h"

namespace brazen {

// The axes that number the rows, and those a row's elements lie along, in C order each. Operand k has its base address
// in rows.operands[k]; it is broadcast along axes of stride 0.
struct RowsLayout {
  Layout rows, columns;

  bool is_double() const { return rows.operands[0].dtype == DType::float64; }

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

inline constexpr int kMaxDevices = 64;  // CUDA devices that a process may number

// A label out of range, as an error tells it: its position in the labels' shape, which is `row` in C order.
struct LabelError {
  static constexpr int kMaxAxes = 8;
  int32_t operation;  // among RowLosses
  int32_t axes;       // -1: more than `shape` holds
  int64_t shape[kMaxAxes];
  int64_t row, label, classes;
  int64_t ignored;
  int32_t ignores;
};

// The losses of one number a row, as in RowLosses (formulas/losses.h).
inline constexpr int kSoftmaxCrossEntropy = 0, kMulticlassHinge = 1, kKlDivergence = 2;

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
  int32_t log_targets;  // kl_divergence's targets are logarithms
  double grad_scale;
  void* losses;            // of the compute type: one, or one a row, contiguous in C order
  LabelError label_error;  // for a GPU: all of it but the row and its label
  RowsLayout arrays;

  int gradient() const { return 2 + weighted; }
  bool is_double() const { return arrays.is_double(); }
};

// A loss of one number an element, and the gradient of its reduction. No axis numbers rows: the elements of the whole
// array are one row, in C order. The operands: x, targets, then the weights of positive targets where there are any,
// then the gradient.
struct ElementLossCall {
  int32_t operation;  // among ElementLosses
  Reduction reduction;
  int32_t weighted, fresh;
  double parameters[2];
  double grad_scale;
  void* losses;  // as above, one or one an element
  RowsLayout arrays;

  int gradient() const { return 2 + weighted; }
  bool is_double() const { return arrays.is_double(); }
};

// Rows to rows, as in RowMaps: x -> y, or dy, y -> dx.
inline constexpr int kSoftmax = 0, kLogSoftmax = 1, kSparsemax = 2;

struct RowMapCall {
  int32_t operation;
  Direction direction;
  int32_t fresh;
  RowsLayout arrays;

  bool is_double() const { return arrays.is_double(); }
};

// Layer and RMS norm (a row: the last axes) and group and instance norm (a row: a run of channels of one sample). The
// operands, absent ones left out:
//   forward:  x, add, scale, shift -> sum (of x and add, where there is add), y
//   backward: dy, x, scale -> dx
struct RowNormCall {
  Direction direction;
  int32_t centred;  // no mean is subtracted where 0
  int32_t has_add, has_scale, has_shift;
  int32_t fresh;
  double epsilon;
  // Of the compute type, one a row, contiguous in C order: written forward, read backward. No means if not centred.
  void *means, *inverse_deviations;
  // Backward: contiguous, or null: one a column, summed over all rows; or, where
  // there are `channels` in each sample, a row being one of the sample's `groups` of them, one a channel, summed over
  // its positions and the samples.
  void *dscale, *dshift;
  DType dscale_dtype, dshift_dtype;
  int64_t channels, groups;
  RowsLayout arrays;

  int output() const { return arrays.rows.operand_count - 1; }
  bool is_double() const { return arrays.is_double(); }

  int64_t samples() const { return arrays.rows.size / groups; }
  // How many samples' channel sums are kept until they are merged: an aligned part of the tree over the samples, in
  // `bytes` or a 64th of x.
  int64_t samples_at_once(int64_t bytes) const {
    const int64_t kept = channels * 2 * sizeof(double);
    const int64_t x = arrays.rows.size * arrays.columns.size * itemsize(arrays.rows.operands[output()].dtype);
    int64_t together = 32;
    while (together < samples() && 2 * together * kept <= (x / 64 > bytes ? x / 64 : bytes)) together *= 2;
    return together;
  }
};

// The Euclidean norm of every row of the only operand.
struct RowLengthsCall {
  void* results;  // of the compute type, one a row, contiguous in C order
  RowsLayout arrays;

  bool is_double() const { return arrays.is_double(); }
};

}  // namespace brazen
