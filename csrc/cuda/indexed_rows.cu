// SPDX-License-Identifier: BSD-3-Clause
// Sums of rows by index: a warp for a few rows of the result and 128 of their columns, which looks through all indices
// for its own. So the order is that of the positions, nothing is sorted, and no room is needed.
#include "../core/indexed_rows.h"
#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda::indexed {

constexpr int kWarps = 4, kBlock = kWarps * kLanes;
constexpr int kPerLane = 4, kColumns = kPerLane * kLanes;
// Rows of a warp: few while that fills the device, more where each would look for too little.
constexpr int64_t kMostRows = 32, kFullDevice = 8192;
// Rows of x under way.
constexpr int kAdded = 2;

struct IndexedPass {
  IndexedRowsCall call;
  int64_t tiles, rows_each;  // of columns; of a warp
  int64_t item;              // bytes of an element of x
};

// One row's columns in registers, written back when another row's turn comes.
template <class T>
struct Sum {
  const IndexedPass& pass;
  int64_t column, row = -1;
  T at[kPerLane] = {};

  __device__ __forceinline__ T* place(int64_t of, int k) const {
    return static_cast<T*>(pass.call.out) + of * pass.call.columns + column + k * kLanes;
  }
  __device__ __forceinline__ bool inside(int k) const { return column + k * kLanes < pass.call.columns; }

  __device__ __forceinline__ void put_back() const {
    if (row < 0) return;
#pragma unroll
    for (int k = 0; k < kPerLane; ++k)
      if (inside(k)) *place(row, k) = at[k];
  }

  __device__ __forceinline__ void turn_to(int64_t next) {
    if (next == row) return;
    put_back();
    row = next;
#pragma unroll
    for (int k = 0; k < kPerLane; ++k) at[k] = inside(k) ? *place(row, k) : T(0);
  }

  __device__ __forceinline__ void load(int64_t position, T* of) const {
    const int64_t start = position * pass.call.columns + column;
    const char* x = static_cast<const char*>(pass.call.x);
#pragma unroll
    for (int k = 0; k < kPerLane; ++k)
      of[k] = inside(k) ? load_element<T>(x + (start + k * kLanes) * pass.item, pass.call.dtype) : T(0);
  }
};

// Which of the warp's rows the index at a position is, or -1.
__device__ __forceinline__ int own_row(const IndexedRowsCall& call, int64_t position, int64_t begin, int64_t end) {
  if (position >= call.positions) return -1;
  const int64_t index = index_at(call.indices, call.index_dtype, position);
  return index >= begin && index < end ? static_cast<int>(index - begin) : -1;
}

template <class T>
__global__ void __launch_bounds__(kBlock, 6) sum_rows(const __grid_constant__ IndexedPass pass) {
  const IndexedRowsCall& call = pass.call;
  const int lane = threadIdx.x % kLanes;
  const int64_t warp = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  const int64_t begin = warp / pass.tiles * pass.rows_each;
  const int64_t end = begin + pass.rows_each < call.rows ? begin + pass.rows_each : call.rows;
  Sum<T> sum{pass, warp % pass.tiles * kColumns + lane};
#pragma unroll 1
  for (int64_t row = begin; row < end; ++row)
#pragma unroll
    for (int k = 0; k < kPerLane; ++k)
      if (sum.inside(k)) *sum.place(row, k) = T(0);

  int own = own_row(call, lane, begin, end);
#pragma unroll 1
  for (int64_t first = 0; first < call.positions; first += kLanes) {
    const int next = own_row(call, first + kLanes + lane, begin, end);
    unsigned found = __ballot_sync(kAllLanes, own >= 0);
#pragma unroll 1
    while (found) {
      T terms[kAdded][kPerLane];
      int rows[kAdded];
#pragma unroll
      for (int j = 0; j < kAdded; ++j) {
        const int at = found ? __ffs(static_cast<int>(found)) - 1 : lane;
        rows[j] = __shfl_sync(kAllLanes, found ? own : -1, at);
        if (found) sum.load(first + at, terms[j]);
        found &= found - 1;
      }
#pragma unroll
      for (int j = 0; j < kAdded; ++j) {
        if (rows[j] < 0) continue;
        sum.turn_to(begin + rows[j]);
#pragma unroll
        for (int k = 0; k < kPerLane; ++k) sum.at[k] += terms[j][k];
      }
    }
    own = next;
  }
  sum.put_back();
}

}  // namespace brazen::cuda::indexed

brazen::cuda::Status brazen_cuda_indexed_rows(const brazen::IndexedRowsCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::indexed;
  if (call->rows == 0 || call->columns == 0) return Status::ok;
  const bool is_double = call->out_dtype == brazen::DType::float64;
  const auto misplaced = [](const void* data, brazen::DType dtype) {
    return reinterpret_cast<uintptr_t>(data) % brazen::itemsize(dtype) != 0;
  };
  if (misplaced(call->x, call->dtype) || misplaced(call->out, call->out_dtype) ||
      misplaced(call->indices, call->index_dtype))
    return refuse(*where, kMisaligned);
  IndexedPass pass{*call, blocks_of(call->columns, kColumns), 1, brazen::itemsize(call->dtype)};
  while (pass.rows_each < kMostRows && call->rows / pass.rows_each * pass.tiles > kFullDevice) pass.rows_each *= 2;
  const int64_t blocks = blocks_of(blocks_of(call->rows, pass.rows_each) * pass.tiles, kWarps);
  if (blocks > kMaxBlocks) return refuse(*where, "more than 2^31 blocks of rows; pass a part of the table at a time");
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  return explain(launch(is_double ? sum_rows<double> : sum_rows<float>, blocks, kBlock, where->stream, pass), *where);
}
