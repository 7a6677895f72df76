// SPDX-License-Identifier: BSD-3-Clause
// Layer, RMS, group and instance norm and the lengths of rows: a block for each row. The gradients of scale and shift:
// a block for 32 columns and a chunk of rows, or, of channels, what each row's block has summed; then a tree.
#include "../formulas/normalization.h"
#include "rows.h"

namespace brazen::cuda::norms {

constexpr int kBlock = kRowWarps * kLanes;

struct NormPass {
  RowsShape shape;
  int32_t centred, add, scale, shift, sum, output;  // operands, -1 where absent
  double epsilon;
  void *means, *deviations;
};

// What is normalised: x, or the sum with the residual as it is kept.
template <class T>
__global__ void __launch_bounds__(kBlock) norm_rows(const __grid_constant__ NormPass pass) {
  const int64_t row = blockIdx.x, columns = pass.shape.columns;
  const RowView<T> x(pass.shape, 0, row), add(pass.shape, pass.add < 0 ? 0 : pass.add, row),
      scale(pass.shape, pass.scale < 0 ? 0 : pass.scale, row), shift(pass.shape, pass.shift < 0 ? 0 : pass.shift, row),
      sum(pass.shape, pass.sum < 0 ? 0 : pass.sum, row), y(pass.shape, pass.output, row);
  if (pass.add >= 0) {
    each_column(columns, [&](int64_t column) { sum.store(column, x.load(column) + add.load(column)); });
    __syncthreads();
  }
  const RowView<T> input(pass.shape, pass.add >= 0 ? pass.sum : 0, row);
  RowStatistics<T> statistics;
  if (pass.centred) {
    const Moments moments = merge_row<Moments>(columns, [&](int64_t start, int64_t n) {
      const int lane = threadIdx.x % kLanes;
      const T pivot = pivot_of(add_lanes(lane < n ? T(0) + input.load(start + lane) : T(0)), n);
      T sums[2] = {};  // of distances and their squares
      add_terms<2, kShortTermsAtOnce<T>>(lane, n, sums, [&](int64_t i, T* of) {
        of[0] = input.load(start + i) - pivot;
        of[1] = of[0] * of[0];
      });
      return chunk_moments(pivot, add_lanes(sums[0]), add_lanes(sums[1]), n);
    });
    statistics = row_statistics<T>(moments, pass.epsilon);
  } else {
    const Sums<1> squares = sum_row<1, T, kShortTermsAtOnce<T>>(columns, [&](int64_t column, T* term) {
      const T value = input.load(column);
      term[0] = value * value;
    });
    statistics = rms_statistics<T>(squares.at[0], static_cast<double>(columns), pass.epsilon);
  }
  if (threadIdx.x == 0) {
    if (pass.centred) static_cast<T*>(pass.means)[row] = statistics.center;
    static_cast<T*>(pass.deviations)[row] = statistics.deviation;
  }
  each_column(columns, [&](int64_t column) {
    const T value = normalized(input.load(column), statistics);
    T result = value;
    if (pass.scale >= 0 && pass.shift >= 0)
      result = affine<false, true, true>(value, T(0), scale.load(column), shift.load(column));
    else if (pass.scale >= 0)
      result = affine<false, true, false>(value, T(0), scale.load(column), T(0));
    else if (pass.shift >= 0)
      result = affine<false, false, true>(value, T(0), T(0), shift.load(column));
    y.store(column, result);
  });
}

template <class T>
struct GradientRow {
  const RowView<T> dy, x, scale;
  const bool scaled;
  T center, deviation;

  __device__ __forceinline__ GradientRow(const NormPass& pass, int64_t row)
      : dy(pass.shape, 0, row),
        x(pass.shape, 1, row),
        scale(pass.shape, pass.scale < 0 ? 0 : pass.scale, row),
        scaled(pass.scale >= 0),
        center(pass.centred ? static_cast<const T*>(pass.means)[row] : T(0)),
        deviation(static_cast<const T*>(pass.deviations)[row]) {}

  __device__ __forceinline__ T grad(int64_t column) const {
    const T given = dy.load(column);
    return scaled ? given * scale.load(column) : given;
  }
  __device__ __forceinline__ T xhat(int64_t column) const { return normalized(x.load(column), center, deviation); }
};

// Of one column or channel: what scale's gradient gets, and shift's.
using Shares = Sums<2>;

struct GradientsPass {
  NormPass norm;
  int64_t channels, groups;      // of channels in each sample, of which a row is one group; 0 channels: a row has none
  int64_t positions;             // of a channel
  int64_t count, partials_each;  // columns or channels, and what is summed of each: chunks of rows, or samples
  Shares* partials;              // null where nobody wants them
  void *dscale, *dshift;
  DType dscale_dtype, dshift_dtype;
  int32_t dscale_bytes, dshift_bytes;  // of an element
};

// The sums of each channel of a row, kept where they are wanted, and from them the row's own.
template <class T>
__device__ __forceinline__ RowGradientSums sum_channels(const GradientsPass& pass, const GradientRow<T>& of,
                                                        int64_t row) {
  const int64_t a_row = pass.channels / pass.groups, sample = row / pass.groups;
  const int64_t first_channel = row % pass.groups * a_row;
  __shared__ Sums<2> open[kTreeLevels];
  Tree<Sums<2>> tree{open};
#pragma unroll 1
  for (int64_t channel = 0; channel < a_row; ++channel) {
    const int64_t first = channel * pass.positions;
    const Sums<2> own = sum_row<2, T, kShortTermsAtOnce<T>>(pass.positions, [&](int64_t position, T* terms) {
      terms[0] = of.dy.load(first + position);
      terms[1] = terms[0] * of.xhat(first + position);
    });
    if (threadIdx.x != 0) continue;
    const RowGradientSums share = scaled_sums({own.at[0], own.at[1]}, of.scaled ? of.scale.load(first) : T(1));
    tree.push({share.grad, share.product});
    if (pass.partials) pass.partials[(first_channel + channel) * pass.partials_each + sample] = {own.at[1], own.at[0]};
  }
  __shared__ Sums<2> total;
  if (threadIdx.x == 0) total = tree.total();
  __syncthreads();
  return {total.at[0], total.at[1]};
}

template <class T>
__global__ void __launch_bounds__(kBlock) norm_gradients(const __grid_constant__ GradientsPass pass) {
  const NormPass& norm = pass.norm;
  const int64_t row = blockIdx.x, columns = norm.shape.columns;
  const GradientRow<T> of(norm, row);
  const RowView<T> dx(norm.shape, norm.output, row);
  RowGradientSums sums;
  if (pass.channels > 0) {
    sums = sum_channels(pass, of, row);
  } else {
    const Sums<2> both = sum_row<2, T, kShortTermsAtOnce<T>>(columns, [&](int64_t column, T* terms) {
      terms[0] = of.grad(column);
      terms[1] = terms[0] * of.xhat(column);
    });
    sums = {both.at[0], both.at[1]};
  }
  const RowCorrection<T> correction = row_correction(sums, static_cast<double>(columns), of.deviation, norm.centred);
  each_column(columns, [&](int64_t column) {
    dx.store(column, corrected_grad(of.grad(column), of.x.load(column), of.center, of.deviation, correction.slope,
                                    correction.base));
  });
}

// A block for a chunk of rows of 32 columns: its warps take the chunk's lanes one after another, its threads are
// columns, which lie side by side in most arrays.
template <class T>
__global__ void __launch_bounds__(kBlock) sum_columns(const __grid_constant__ GradientsPass pass) {
  __shared__ T scales[kLanes][kLanes], shifts[kLanes][kLanes];
  const NormPass& norm = pass.norm;
  const int64_t blocks = (pass.count + kLanes - 1) / kLanes;
  const int64_t chunk = blockIdx.x / blocks, start = chunk * kChunkRows;
  const int thread = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t column = blockIdx.x % blocks * kLanes + thread;
  const int64_t left = norm.shape.rows - start, n = left < kChunkRows ? left : kChunkRows;
  const bool inside = column < pass.count;
#pragma unroll 1
  for (int turn = 0; turn < kLanes / kRowWarps; ++turn) {
    const int lane = turn * kRowWarps + warp;
    T sums[2] = {};
    if (inside)
      add_terms<2, kShortTermsAtOnce<T>>(lane, n, sums, [&](int64_t row, T* terms) {
        const RowView<T> dy(norm.shape, 0, start + row), x(norm.shape, 1, start + row);
        const T center = norm.centred ? static_cast<const T*>(norm.means)[start + row] : T(0);
        terms[1] = dy.load(column);
        terms[0] = terms[1] * normalized(x.load(column), center, static_cast<const T*>(norm.deviations)[start + row]);
      });
    scales[lane][thread] = sums[0];
    shifts[lane][thread] = sums[1];
  }
  const T scale = add_columns<kRowWarps>(scales), shift = add_columns<kRowWarps>(shifts);
  if (inside && warp == 0)
    pass.partials[column * pass.partials_each + chunk] = {static_cast<double>(scale), static_cast<double>(shift)};
}

// A warp for each column or channel.
template <class T>
__global__ void __launch_bounds__(kLanes) merge_shares(const __grid_constant__ GradientsPass pass) {
  const int64_t index = blockIdx.x;
  Shares* own = pass.partials + index * pass.partials_each;
  merge_in_place(own, pass.partials_each);
  if (threadIdx.x != 0) return;
  const Shares shares = pass.partials_each ? own[0] : Shares{};
  if (pass.dscale)
    store_element(static_cast<char*>(pass.dscale) + index * pass.dscale_bytes, pass.dscale_dtype, T(shares.at[0]));
  if (pass.dshift)
    store_element(static_cast<char*>(pass.dshift) + index * pass.dshift_bytes, pass.dshift_dtype, T(shares.at[1]));
}

template <class T>
cudaError_t run_backward(const RowNormCall& call, const NormPass& norm, const Launch& where) {
  const int64_t rows = norm.shape.rows, columns = norm.shape.columns;
  const cudaStream_t stream = static_cast<cudaStream_t>(where.stream);
  GradientsPass pass{};
  pass.norm = norm;
  pass.channels = call.channels, pass.groups = call.groups;
  pass.positions = call.channels ? columns / (call.channels / call.groups) : 0;
  pass.count = call.channels ? call.channels : columns;
  pass.partials_each = call.channels ? rows / call.groups : chunk_count(rows);
  pass.dscale = call.dscale, pass.dshift = call.dshift;
  pass.dscale_dtype = call.dscale_dtype, pass.dshift_dtype = call.dshift_dtype;
  pass.dscale_bytes = static_cast<int32_t>(itemsize(call.dscale_dtype));
  pass.dshift_bytes = static_cast<int32_t>(itemsize(call.dshift_dtype));
  const bool shares = (call.dscale || call.dshift) && pass.count > 0;
  cudaError_t error = cudaSuccess;
  if (shares) {
    const int64_t bytes = pass.count * pass.partials_each * sizeof(Shares);
    void* memory = nullptr;
    error = cudaMallocAsync(&memory, bytes ? bytes : 1, stream);
    if (error != cudaSuccess) return error;
    pass.partials = static_cast<Shares*>(memory);
    // Before the rows: dx may lie over dy or x.
    const int64_t blocks = pass.partials_each * ((columns + kLanes - 1) / kLanes);
    if (!call.channels && blocks > 0) error = launch(sum_columns<T>, blocks, kBlock, where.stream, pass);
  }
  if (error == cudaSuccess && rows > 0)
    error = launch(norm_gradients<T>, rows, row_threads(call.channels ? pass.positions : columns), where.stream, pass);
  if (!shares) return error;
  if (error == cudaSuccess) error = launch(merge_shares<T>, pass.count, kLanes, where.stream, pass);
  const cudaError_t freed = cudaFreeAsync(pass.partials, stream);
  return error == cudaSuccess ? freed : error;
}

template <class T>
cudaError_t run(const RowNormCall& call, NormPass& pass, const Launch& where) {
  if (call.direction == Direction::backward) return run_backward<T>(call, pass, where);
  return pass.shape.rows ? launch(norm_rows<T>, pass.shape.rows, row_threads(pass.shape.columns), where.stream, pass)
                         : cudaSuccess;
}

struct LengthPass {
  RowsShape shape;
  void* results;
};

template <class T>
__global__ void __launch_bounds__(kBlock) row_lengths(const __grid_constant__ LengthPass pass) {
  const RowView<T> x(pass.shape, 0, blockIdx.x);
  const Sums<1> squares = sum_row<1, T, kShortTermsAtOnce<T>>(pass.shape.columns, [&](int64_t column, T* term) {
    const T value = x.load(column);
    term[0] = value * value;
  });
  if (threadIdx.x == 0) static_cast<T*>(pass.results)[blockIdx.x] = T(math::sqrt(squares.at[0]));
}

}  // namespace brazen::cuda::norms

brazen::cuda::Status brazen_cuda_row_norm(const brazen::RowNormCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::norms;
  NormPass pass{};
  if (!fill(pass.shape, call->arrays)) return refuse(*where, kTooManyAxes);
  if (!aligned(call->arrays.rows) || !aligned(call->arrays.columns)) return refuse(*where, kMisaligned);
  if (pass.shape.rows > kMaxBlocks || pass.shape.columns > kMaxBlocks) return refuse(*where, kTooManyRows);
  const bool forward = call->direction == brazen::Direction::forward;
  int next = forward ? 1 : 2;
  pass.add = forward && call->has_add ? next++ : -1;
  pass.scale = call->has_scale ? next++ : -1;
  pass.shift = forward && call->has_shift ? next++ : -1;
  pass.sum = forward && call->has_add ? next++ : -1;
  pass.output = call->output();
  pass.centred = call->centred, pass.epsilon = call->epsilon;
  pass.means = call->means, pass.deviations = call->inverse_deviations;
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  return explain(call->is_double() ? run<double>(*call, pass, *where) : run<float>(*call, pass, *where), *where);
}

brazen::cuda::Status brazen_cuda_row_lengths(const brazen::RowLengthsCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::norms;
  LengthPass pass{};
  if (!fill(pass.shape, call->arrays)) return refuse(*where, kTooManyAxes);
  if (!aligned(call->arrays.rows) || !aligned(call->arrays.columns)) return refuse(*where, kMisaligned);
  if (pass.shape.rows > kMaxBlocks) return refuse(*where, kTooManyRows);
  if (pass.shape.rows == 0) return Status::ok;
  pass.results = call->results;
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  auto kernel = call->is_double() ? row_lengths<double> : row_lengths<float>;
  return explain(launch(kernel, pass.shape.rows, row_threads(pass.shape.columns), where->stream, pass), *where);
}
