// SPDX-License-Identifier: BSD-3-Clause
// What the kernels over rows share: a block for each row, where its elements lie, and sums over it in the order of
// formulas/reduction.h. No formula.
//
// A block is one warp for rows of one chunk, else eight. A warp takes a chunk, a lane its rows r mod 32; a block's
// eight chunks are an aligned subtree of the tree over the chunks, whose finished subtrees wait in shared memory.
#pragma once

#include "../core/rows.h"
#include "index.h"
#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda {

inline constexpr int kRowAxes = 8;  // on either side, after merging
inline constexpr int kRowOperands = 7;
inline constexpr int kRowWarps = 8;
inline constexpr int kTreeLevels = 50;

// Kernel parameters, plain data.
struct RowsShape {
  int64_t rows, columns;
  int32_t row_axes, column_axes;
  Divisor<uint64_t> row_extents[kRowAxes], column_extents[kRowAxes];
  int64_t row_strides[kRowOperands][kRowAxes], column_strides[kRowOperands][kRowAxes];
  char* data[kRowOperands];
  DType dtypes[kRowOperands];
};

// Fills it in; false where there are more axes than it holds.
inline bool fill(RowsShape& shape, const RowsLayout& arrays) {
  const Layout &rows = arrays.rows, &columns = arrays.columns;
  if (rows.ndim > kRowAxes || columns.ndim > kRowAxes) return false;
  shape.rows = rows.size, shape.columns = columns.size;
  shape.row_axes = rows.ndim, shape.column_axes = columns.ndim;
  for (int d = 0; d < rows.ndim; ++d)
    if (rows.shape[d] > 1) shape.row_extents[d].set(rows.shape[d]);
  for (int d = 0; d < columns.ndim; ++d)
    if (columns.shape[d] > 1) shape.column_extents[d].set(columns.shape[d]);
  for (int k = 0; k < rows.operand_count; ++k) {
    shape.data[k] = static_cast<char*>(rows.operands[k].data);
    shape.dtypes[k] = rows.operands[k].dtype;
    for (int d = 0; d < rows.ndim; ++d) shape.row_strides[k][d] = rows.operands[k].strides[d];
    for (int d = 0; d < columns.ndim; ++d) shape.column_strides[k][d] = columns.operands[k].strides[d];
  }
  return true;
}

inline constexpr const char* kTooManyAxes =
    "the arrays' axes cannot be merged into eight and eight; pass copies of them";
inline constexpr const char* kTooManyRows = "more than 2^31 rows; pass a part of the array at a time";

inline int row_threads(int64_t columns) { return columns > kChunkRows ? kRowWarps * kLanes : kLanes; }

// One row of one operand.
template <class T>
struct RowView {
  const RowsShape& shape;
  int operand;
  char* base;

  // Where there is no axis, its stride is 0: a pass is cleared before it is filled in.
  FORMULA RowView(const RowsShape& of, int k, int64_t row) : shape(of), operand(k), base(of.data[k]) {
    int64_t offset = 0;
    locate<1>(static_cast<uint64_t>(row), 0, of.row_axes, of.row_extents, of.row_strides + k, &offset);
    base += offset;
  }

  FORMULA char* at(int64_t column) const {
    if (shape.column_axes <= 1) return base + column * shape.column_strides[operand][0];
    int64_t offset = 0;
    locate<1>(static_cast<uint64_t>(column), 0, shape.column_axes, shape.column_extents, shape.column_strides + operand,
              &offset);
    return base + offset;
  }

  FORMULA T load(int64_t column) const { return load_element<T>(at(column), shape.dtypes[operand]); }
  FORMULA void store(int64_t column, T value) const { store_element(at(column), shape.dtypes[operand], value); }
};

// Calls body(column) for the thread's columns.
template <class Body>
__device__ __forceinline__ void each_column(int64_t columns, Body&& body) {
#pragma unroll 1
  for (int64_t column = threadIdx.x; column < columns; column += blockDim.x) body(column);
}

// The same of what load(column) found: body(column, value), while the load of the thread's next column is under way. So
// what body writes may lie over what load reads, element for element.
template <class Load, class Body>
__device__ __forceinline__ void each_column(int64_t columns, Load&& load, Body&& body) {
  decltype(load(int64_t{0})) value{};
  int64_t before = -1;
#pragma unroll 1
  for (int64_t column = threadIdx.x; before < columns; column += blockDim.x) {
    decltype(load(int64_t{0})) next{};
    if (column < columns) next = load(column);
    if (before >= 0) body(before, value);
    value = next, before = column;
  }
}

// Two elements of a column.
template <class T>
struct TwoOf {
  T first, second;
};

// Some float64 numbers that merge as one.
template <int count>
struct Sums {
  double at[count];
};
template <int count>
__device__ __forceinline__ Sums<count> merge_pair(Sums<count> a, const Sums<count>& b) {
#pragma unroll
  for (int k = 0; k < count; ++k) a.at[k] += b.at[k];
  return a;
}

// By one thread: values one after another, merged in a binary tree aligned to powers of two, as merge_chunks does it.
template <class Value>
struct Tree {
  Value* open;  // kTreeLevels; open[k] is a finished subtree of 2^k values where bit k of `count` is set
  int64_t count = 0;

  __device__ __forceinline__ void push(Value value) {
    int level = 0;
#pragma unroll 1
    for (; count >> level & 1; ++level) value = merge_pair(open[level], value);
    open[level] = value;
    ++count;
  }

  // What is left joins from the right, as the lonely last subtrees do.
  __device__ __forceinline__ Value total() const {
    Value merged{};
    bool any = false;
#pragma unroll 1
    for (int level = 0; count >> level; ++level) {
      if (!(count >> level & 1)) continue;
      merged = any ? merge_pair(open[level], merged) : open[level];
      any = true;
    }
    return merged;
  }
};

// The merged chunks of a row: chunk(start, n) is computed by a warp, and every lane of it has the result.
template <class Value, class Chunk>
__device__ __forceinline__ Value merge_row(int64_t columns, Chunk&& chunk) {
  __shared__ Value warps[kRowWarps], open[kTreeLevels], merged;
  const int warp = threadIdx.x / kLanes, count = blockDim.x / kLanes;
  Tree<Value> tree{open};
#pragma unroll 1
  for (int64_t first = 0; first < columns; first += int64_t{count} * kChunkRows) {
    const int64_t start = first + int64_t{warp} * kChunkRows, left_here = columns - start;
    // A warp past the end goes along, over nothing: all threads of a block meet at the same places.
    const Value value = chunk(start, left_here < 0 ? 0 : (left_here < kChunkRows ? left_here : int64_t{kChunkRows}));
    if (left_here > 0 && threadIdx.x % kLanes == 0) warps[warp] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
      const int64_t left = chunk_count(columns - first);
      const int here = left < count ? static_cast<int>(left) : count;
#pragma unroll 1
      for (int width = 1; width < here; width *= 2)
#pragma unroll 1
        for (int i = 0; i + width < here; i += 2 * width) warps[i] = merge_pair(warps[i], warps[i + width]);
      tree.push(warps[0]);
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) merged = tree.total();
  __syncthreads();
  const Value result = merged;
  __syncthreads();
  return result;
}

// Terms a lane computes at once, so that their loads are under way together. What is dear to compute is long: two are
// enough. float64 takes one at a time: no speed is asked of it.
template <class T>
inline constexpr int kTermsAtOnce = sizeof(T) == sizeof(float) ? 2 : 1;
template <class T>
inline constexpr int kShortTermsAtOnce = sizeof(T) == sizeof(float) ? 4 : 1;

// A lane's sums of terms(index, out) over its share of `n`: `count` of the compute type, added in order.
template <int count, int at_once, class T, class Terms>
__device__ __forceinline__ void add_terms(int lane, int64_t n, T* sums, Terms&& terms) {
#pragma unroll 1
  for (int64_t first = lane; first < n; first += at_once * kLanes) {
    T of[at_once][count];
#pragma unroll
    for (int i = 0; i < at_once; ++i)
      if (first + i * kLanes < n) terms(first + i * kLanes, of[i]);
#pragma unroll
    for (int i = 0; i < at_once; ++i)
#pragma unroll
      for (int k = 0; k < count; ++k)
        if (first + i * kLanes < n) sums[k] += of[i][k];
  }
}

// Sums over a row of terms(column, out), `count` of the compute type.
template <int count, class T, int at_once = kTermsAtOnce<T>, class Terms>
__device__ __forceinline__ Sums<count> sum_row(int64_t columns, Terms&& terms) {
  return merge_row<Sums<count>>(columns, [&](int64_t start, int64_t n) {
    T lanes[count] = {};
    add_terms<count, at_once>(threadIdx.x % kLanes, n, lanes, [&](int64_t i, T* of) { terms(start + i, of); });
    Sums<count> sums;
#pragma unroll
    for (int k = 0; k < count; ++k) sums.at[k] = static_cast<double>(add_lanes(lanes[k]));
    return sums;
  });
}

// The largest element of a row, as larger() finds it: in any order the same.
template <class T>
__device__ __forceinline__ T largest_of(const RowView<T>& x, int64_t columns) {
  __shared__ T warps[kRowWarps];
  T best = lowest<T>();
#pragma unroll 1
  for (int64_t first = threadIdx.x; first < columns; first += kShortTermsAtOnce<T> * blockDim.x) {
    T of[kShortTermsAtOnce<T>];
#pragma unroll
    for (int i = 0; i < kShortTermsAtOnce<T>; ++i)
      of[i] = first + i * blockDim.x < columns ? x.load(first + i * blockDim.x) : lowest<T>();
#pragma unroll
    for (int i = 0; i < kShortTermsAtOnce<T>; ++i) best = larger(of[i], best);
  }
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) best = larger(__shfl_xor_sync(kAllLanes, best, offset), best);
  if (threadIdx.x % kLanes == 0) warps[threadIdx.x / kLanes] = best;
  __syncthreads();
#pragma unroll 1
  for (int warp = 0; warp < static_cast<int>(blockDim.x / kLanes); ++warp) best = larger(warps[warp], best);
  __syncthreads();
  return best;
}

}  // namespace brazen::cuda
