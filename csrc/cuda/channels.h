// SPDX-License-Identifier: BSD-3-Clause
// Kernels over the channels of an array: chunk sums in the lanes of formulas/reduction.h, merged in its tree, and what
// follows from them. The gradient is a stored array here.
#pragma once

#include "../core/batch_norm.h"
#include "index.h"
#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda::channels {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kLanes;
constexpr int kFinishThreads = 128;
constexpr int kColumnThreads = kLanes * kLanes;

// Kernel parameters, plain data. Axis 0 is the channel; operand 0 is x, or the gradient, whose x is operand 1.
struct SumPass {
  int64_t channels, rows, chunks;
  int32_t ndim;
  Divisor<uint64_t> extents[kMaxDims];
  int64_t strides[2][kMaxDims];
  const char* data[2];
  DType dtypes[2];
  const void* centers;  // one a channel, of the compute type; null: 0
  void* partials;       // Moments or GradientSums, chunks() a channel
};

// One lane's sums.
template <class T, class Result>
struct LaneSums;

template <class T>
struct LaneSums<T, Moments> {
  static constexpr int operands = 1;
  T about, first = 0, second = 0;

  FORMULA void add(const T* values) {
    const T distance = values[0] - about;
    first += distance;
    second = math::fma(distance, distance, second);
  }
  FORMULA static Moments result(T pivot, T first, T second, int64_t rows) {
    return chunk_moments(pivot, first, second, rows);
  }
};

template <class T>
struct LaneSums<T, GradientSums> {
  static constexpr int operands = 2;
  T about, first = 0, second = 0;

  FORMULA void add(const T* values) {
    first += values[0];
    second = math::fma(values[0], values[1] - about, second);
  }
  FORMULA static GradientSums result(T, T first, T second, int64_t) { return {double(first), double(second)}; }
};

template <class T>
FORMULA T center_of(const SumPass& pass, int64_t channel) {
  return pass.centers ? static_cast<const T*>(pass.centers)[channel] : T(0);
}

template <int operands, class T>
FORMULA void load_row(const SumPass& pass, int64_t channel, int64_t row, T* values) {
  int64_t offsets[operands];
#pragma unroll
  for (int k = 0; k < operands; ++k) offsets[k] = channel * pass.strides[k][0];
  locate<operands>(static_cast<uint64_t>(row), 1, pass.ndim, pass.extents, pass.strides, offsets);
#pragma unroll
  for (int k = 0; k < operands; ++k) values[k] = load_element<T>(pass.data[k] + offsets[k], pass.dtypes[k]);
}

// A warp for each chunk of a channel: for rows that lie side by side, and for any other layout.
template <class T, class Result>
__global__ void __launch_bounds__(kThreads) sum_rows(const __grid_constant__ SumPass pass) {
  using Sums = LaneSums<T, Result>;
  constexpr int operands = Sums::operands;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (work >= pass.channels * pass.chunks) return;
  const int lane = threadIdx.x % kLanes;
  const int64_t channel = work % pass.channels, chunk = work / pass.channels, start = chunk * kChunkRows;
  const int64_t n = pass.rows - start < kChunkRows ? pass.rows - start : kChunkRows;
  Sums sums;
  if constexpr (operands == 1) {
    T first[1] = {0};
    if (lane < n) load_row<1>(pass, channel, start + lane, first);
    sums.about = pivot_of(add_lanes(first[0]), n);
  } else {
    sums.about = center_of<T>(pass, channel);
  }
  constexpr int unrolled = 4;
#pragma unroll 1
  for (int64_t row = lane; row < n; row += unrolled * kLanes) {
    T values[unrolled][operands];
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) load_row<operands>(pass, channel, start + row + i * kLanes, values[i]);
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) sums.add(values[i]);
  }
  const T first = add_lanes(sums.first), second = add_lanes(sums.second);
  if (lane == 0)
    static_cast<Result*>(pass.partials)[channel * pass.chunks + chunk] = Sums::result(sums.about, first, second, n);
}

// The sum over the lanes, which are the warps of the block here; every warp gets it.
template <class T>
__device__ __forceinline__ T add_warps(T (*lanes)[kLanes], T value) {
  const int lane = threadIdx.x / kLanes, column = threadIdx.x % kLanes;
  __syncthreads();
  lanes[lane][column] = value;
#pragma unroll 1
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    __syncthreads();
    if (lane < offset) lanes[lane][column] += lanes[lane + offset][column];
  }
  __syncthreads();
  return lanes[0][column];
}

// A block for a chunk of 32 channels that lie side by side: a warp is a lane of the chunk, its threads are channels.
template <class T, class Result>
__global__ void __launch_bounds__(kColumnThreads) sum_columns(const __grid_constant__ SumPass pass) {
  using Sums = LaneSums<T, Result>;
  constexpr int operands = Sums::operands;
  __shared__ T lanes[kLanes][kLanes];
  const int64_t blocks = (pass.channels + kLanes - 1) / kLanes;
  const int64_t chunk = blockIdx.x / blocks, start = chunk * kChunkRows;
  const int64_t channel = blockIdx.x % blocks * kLanes + threadIdx.x % kLanes;
  const int64_t n = pass.rows - start < kChunkRows ? pass.rows - start : kChunkRows;
  const int lane = threadIdx.x / kLanes;
  const bool inside = channel < pass.channels;
  Sums sums;
  if constexpr (operands == 1) {
    T first[1] = {0};
    if (inside && lane < n) load_row<1>(pass, channel, start + lane, first);
    sums.about = pivot_of(add_warps(lanes, first[0]), n);
  } else {
    sums.about = inside ? center_of<T>(pass, channel) : T(0);
  }
  constexpr int unrolled = 4;
#pragma unroll 1
  for (int64_t row = lane; inside && row < n; row += unrolled * kLanes) {
    T values[unrolled][operands];
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) load_row<operands>(pass, channel, start + row + i * kLanes, values[i]);
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) sums.add(values[i]);
  }
  const T first = add_warps(lanes, sums.first);
  const T second = add_warps(lanes, sums.second);
  if (inside && lane == 0)
    static_cast<Result*>(pass.partials)[channel * pass.chunks + chunk] = Sums::result(sums.about, first, second, n);
}

// Where sums go that nothing follows from.
struct PlainResults {
  int64_t channels;
  double* sums;  // (2, channels), or null
  ChannelVector product, sum;
};

template <class T>
FORMULA void settle(const PlainResults& to, int64_t channel, GradientSums sums) {
  if (to.sums) to.sums[channel] = sums.grad, to.sums[to.channels + channel] = sums.product;
  set_value(to.product, channel, T(sums.product));
  set_value(to.sum, channel, T(sums.grad));
}

FORMULA Moments merge_pair(Moments a, Moments b) { return merge_moments(a, b); }
FORMULA GradientSums merge_pair(GradientSums a, GradientSums b) { return {a.grad + b.grad, a.product + b.product}; }

template <class Result, class To>
struct FinishPass {
  Result* partials;
  int64_t count;  // a channel's
  To to;
};

// A block for each channel: the tree over its chunks, then what follows.
template <class T, class Result, class To>
__global__ void __launch_bounds__(kFinishThreads) finish(const __grid_constant__ FinishPass<Result, To> pass) {
  const int64_t channel = blockIdx.x;
  Result* own = pass.partials + channel * pass.count;
#pragma unroll 1
  for (int64_t width = 1; width < pass.count; width *= 2) {
#pragma unroll 1
    for (int64_t i = threadIdx.x * 2 * width; i + width < pass.count; i += kFinishThreads * 2 * width)
      own[i] = merge_pair(own[i], own[i + width]);
    __syncthreads();
  }
  if (threadIdx.x == 0) settle<T>(pass.to, channel, pass.count ? own[0] : Result{});
}

// What follows from moments or sums that are given: a thread for each channel.
template <class T>
__global__ void __launch_bounds__(kFinishThreads) apply_moments(const __grid_constant__ ForwardResults to) {
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (channel < to.channels) settle<T>(to, channel, given_moments<T>(to, channel));
}
template <class T>
__global__ void __launch_bounds__(kFinishThreads) apply_sums(const __grid_constant__ BackwardResults to) {
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * kFinishThreads + threadIdx.x;
  if (channel < to.channels) settle<T>(to, channel, given_sums(to, channel));
}

// Arrays of moments or sums, one after another, as partials of their channels.
constexpr int kPartsTogether = 64;
struct CollectPass {
  const double* parts[kPartsTogether];
  int64_t first, count, total, channels;
  int32_t rows;  // 3 or 2
  double* partials;
};
__global__ void __launch_bounds__(kThreads) collect(const __grid_constant__ CollectPass pass) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= pass.channels * pass.count) return;
  const int64_t channel = at % pass.channels, part = at / pass.channels;
  for (int row = 0; row < pass.rows; ++row)
    pass.partials[(channel * pass.total + pass.first + part) * pass.rows + row] =
        pass.parts[part][row * pass.channels + channel];
}

}  // namespace brazen::cuda::channels
