// SPDX-License-Identifier: BSD-3-Clause
// Kernels over the channels of an array: chunk sums in the lanes of formulas/reduction.h, merged in its tree, and what
// follows from them.
#pragma once

#include "../core/batch_norm.h"
#include "chain.h"
#include "index.h"
#include "launch.h"
#include "reduce.h"
#include "vector.h"

namespace brazen::cuda::channels {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kLanes;
constexpr int kFinishThreads = 128;

// Kernel parameters, plain data. Axis 0 is the channel.
struct ChannelWalk {
  int64_t channels, rows, chunks;
  int32_t ndim;
  Divisor<uint64_t> extents[kMaxDims];
  const void* centers;  // one a channel, of the compute type; null: 0
  void* partials;       // Moments or GradientSums, chunks a channel
};

// Over stored arrays: x, or the gradient and its x.
struct SumPass : ChannelWalk {
  static constexpr int unrolled = 4;
  static constexpr int column_warps = kLanes;
  static constexpr int blocks_at_once = 1;  // on a multiprocessor, at least
  int64_t strides[2][kMaxDims];
  const char* data[2];
  DType dtypes[2];
};

// The gradient is what a chain's backward pass computes from dy. An activation's derivative takes the registers of a
// block of 1,024 threads, and of loads that run ahead.
inline constexpr int kWalked = kArrayInputs + 1;  // x, add, dy and, last, the index
struct GradientPass : ChannelWalk {
  static constexpr int unrolled = 1;
  static constexpr int column_warps = kWarps;
  static constexpr int blocks_at_once = 3;
  ChainStages chain;
  int64_t strides[kWalked][kMaxDims];
  int64_t coefficient_strides[kCoefficients];
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
FORMULA T center_of(const ChannelWalk& pass, int64_t channel) {
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

// Adds the rows of one lane to its sums.
template <class Pass, class Sums, class T = decltype(Sums::about)>
__device__ __forceinline__ void add_rows(const Pass& pass, int64_t channel, int64_t start, int64_t n, int lane,
                                         Sums& sums) {
  constexpr int unrolled = sizeof(T) == sizeof(float) ? Pass::unrolled : 1;  // no speed is asked of float64
#pragma unroll 1
  for (int64_t row = lane; row < n; row += unrolled * kLanes) {
    T values[unrolled][Sums::operands];
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) load_row<Sums::operands>(pass, channel, start + row + i * kLanes, values[i]);
#pragma unroll
    for (int i = 0; i < unrolled; ++i)
      if (row + i * kLanes < n) sums.add(values[i]);
  }
}

// A warp for each chunk of a channel: for rows that lie side by side, and for any other layout.
template <class T, class Result, class Pass>
__global__ void __launch_bounds__(kThreads, Pass::blocks_at_once) sum_rows(const __grid_constant__ Pass pass) {
  using Sums = LaneSums<T, Result>;
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (work >= pass.channels * pass.chunks) return;
  const int lane = threadIdx.x % kLanes;
  const int64_t channel = work % pass.channels, chunk = work / pass.channels, start = chunk * kChunkRows;
  const int64_t n = pass.rows - start < kChunkRows ? pass.rows - start : kChunkRows;
  Sums sums;
  if constexpr (Sums::operands == 1) {
    T first[1] = {0};
    if (lane < n) load_row<1>(pass, channel, start + lane, first);
    sums.about = pivot_of(add_lanes(first[0]), n);
  } else {
    sums.about = center_of<T>(pass, channel);
  }
  add_rows(pass, channel, start, n, lane, sums);
  const T first = add_lanes(sums.first), second = add_lanes(sums.second);
  if (lane == 0)
    static_cast<Result*>(pass.partials)[channel * pass.chunks + chunk] = Sums::result(sums.about, first, second, n);
}

// A block for a chunk of 32 channels that lie side by side: a warp is a lane of the chunk, or several one after
// another, its threads are channels.
template <class T, class Result, class Pass>
__global__ void __launch_bounds__(Pass::column_warps* kLanes, Pass::blocks_at_once)
    sum_columns(const __grid_constant__ Pass pass) {
  using Sums = LaneSums<T, Result>;
  constexpr int warps = Pass::column_warps;
  __shared__ T firsts[kLanes][kLanes], seconds[kLanes][kLanes];
  const int64_t blocks = (pass.channels + kLanes - 1) / kLanes;
  const int64_t chunk = blockIdx.x / blocks, start = chunk * kChunkRows;
  const int column = threadIdx.x % kLanes;
  const int64_t channel = blockIdx.x % blocks * kLanes + column;
  const int64_t n = pass.rows - start < kChunkRows ? pass.rows - start : kChunkRows;
  const int warp = threadIdx.x / kLanes;
  const bool inside = channel < pass.channels;
  T about;
  if constexpr (Sums::operands == 1) {
    for (int turn = 0; turn < kLanes / warps; ++turn) {
      const int lane = turn * warps + warp;
      T first[1] = {0};
      if (inside && lane < n) load_row<1>(pass, channel, start + lane, first);
      firsts[lane][column] = first[0];
    }
    about = pivot_of(add_columns<warps>(firsts), n);
    __syncthreads();
  } else {
    about = inside ? center_of<T>(pass, channel) : T(0);
  }
#pragma unroll 1
  for (int turn = 0; turn < kLanes / warps; ++turn) {
    const int lane = turn * warps + warp;
    Sums sums;
    sums.about = about;
    if (inside) add_rows(pass, channel, start, n, lane, sums);
    firsts[lane][column] = sums.first;
    seconds[lane][column] = sums.second;
  }
  const T first = add_columns<warps>(firsts), second = add_columns<warps>(seconds);
  if (inside && warp == 0)
    static_cast<Result*>(pass.partials)[channel * pass.chunks + chunk] = Sums::result(about, first, second, n);
}

template <class Pass>
struct SumKernels {
  void (*rows)(Pass);
  void (*columns)(Pass);
};

template <class T, class Result, class Pass>
constexpr SumKernels<Pass> kSumKernels = {sum_rows<T, Result, Pass>, sum_columns<T, Result, Pass>};

// GradientSums of a gradient that is computed.
SumKernels<GradientPass> gradient_kernels(bool is_double);

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

template <class Result, class To>
struct FinishPass {
  Result* partials;
  int64_t count;  // a channel's
  int64_t first;  // the first block's channel
  To to;
};

// A block for each channel: the tree over its chunks, then what follows.
template <class T, class Result, class To>
__global__ void __launch_bounds__(kFinishThreads) finish(const __grid_constant__ FinishPass<Result, To> pass) {
  Result* own = pass.partials + blockIdx.x * pass.count;
  merge_in_place(own, pass.count);
  if (threadIdx.x == 0) settle<T>(pass.to, pass.first + blockIdx.x, pass.count ? own[0] : Result{});
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

}  // namespace brazen::cuda::channels
