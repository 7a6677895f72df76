// SPDX-License-Identifier: BSD-3-Clause
// The index space of one pass and where each operand's elements lie in it; merging axes. It reads no element.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "dtype.h"

namespace brazen {

inline constexpr int kMaxDims = 64;      // NumPy's own limit
inline constexpr int kMaxOperands = 11;  // a chain's backward pass with all its coefficients (chain.h)

// An array seen from a pass. `count` > 1 makes it a group: the pass sees `count` arrays, each `step` bytes after the
// last (the two halves of a GLU, the pieces of a maxout).
struct Operand {
  void* data;
  DType dtype;
  int32_t count;
  int64_t step;
  int64_t strides[kMaxDims];  // bytes; 0 where the operand is broadcast
};

// Plain data without constructors: only the first `ndim` and `operand_count` entries are ever written.
struct Layout {
  int32_t ndim;
  int32_t operand_count;
  int64_t size;
  int64_t shape[kMaxDims];
  Operand operands[kMaxOperands];

  void set_shape(int dims, const int64_t* extents) {
    ndim = dims;
    operand_count = 0;
    size = 1;
    for (int d = 0; d < dims; ++d) size *= shape[d] = extents[d];
  }

  Operand& add(void* data, DType dtype, const int64_t* strides, int32_t count = 1, int64_t step = 0) {
    Operand& operand = operands[operand_count++];
    operand.data = data, operand.dtype = dtype, operand.count = count, operand.step = step;
    for (int d = 0; d < ndim; ++d) operand.strides[d] = strides[d];
    return operand;
  }

  // Makes the fewest axes that still describe every operand. With `reorder`, axes are sorted and flipped so that
  // operand `leader` is walked in memory order; without, the logical C order is kept (reductions, random numbers).
  void simplify(bool reorder, int leader);

  // True where the strides, in `unit`s, count the elements in the order of the pass.
  bool consecutive(const Operand& operand, int64_t unit) const {
    for (int d = ndim - 1; d >= 0; --d) {
      if (operand.strides[d] != unit) return false;
      unit *= shape[d];
    }
    return true;
  }

  // True where the operand is one run of memory in the order of the pass.
  bool contiguous(const Operand& operand) const { return size <= 1 || consecutive(operand, itemsize(operand.dtype)); }

 private:
  void move_axis(int to, int from) {
    shape[to] = shape[from];
    for (int k = 0; k < operand_count; ++k) operands[k].strides[to] = operands[k].strides[from];
  }

  void swap_axes(int a, int b) {
    const int64_t extent = shape[a];
    shape[a] = shape[b], shape[b] = extent;
    for (int k = 0; k < operand_count; ++k) {
      int64_t* strides = operands[k].strides;
      const int64_t stride = strides[a];
      strides[a] = strides[b], strides[b] = stride;
    }
  }
};

inline void Layout::simplify(bool reorder, int leader) {
  int kept = 0;
  for (int d = 0; d < ndim; ++d)
    if (shape[d] != 1) move_axis(kept++, d);
  ndim = kept;
  if (size == 0) return;

  if (reorder) {
    for (int d = 0; d < ndim; ++d) {
      if (operands[leader].strides[d] >= 0) continue;
      for (int k = 0; k < operand_count; ++k) {
        Operand& operand = operands[k];
        operand.data = static_cast<char*>(operand.data) + (shape[d] - 1) * operand.strides[d];
        operand.strides[d] = -operand.strides[d];
      }
    }
    for (int d = 1; d < ndim; ++d)  // insertion sort: stable, and arrays are nearly always sorted already
      for (int e = d; e > 0 && operands[leader].strides[e - 1] < operands[leader].strides[e]; --e) swap_axes(e - 1, e);
  }

  int last = 0;
  for (int d = 1; d < ndim; ++d) {
    bool mergeable = true;
    for (int k = 0; k < operand_count && mergeable; ++k)
      mergeable = operands[k].strides[last] == operands[k].strides[d] * shape[d];
    if (mergeable) {
      shape[last] *= shape[d];
      for (int k = 0; k < operand_count; ++k) operands[k].strides[last] = operands[k].strides[d];
    } else {
      move_axis(++last, d);
    }
  }
  if (ndim > 0) ndim = last + 1;
}

}  // namespace brazen
