// SPDX-License-Identifier: BSD-3-Clause
// Layer, RMS, group and instance norm and the lengths of rows: a block for each row; the gradients of scale and shift
// by sums over rows in the order of formulas/reduction.h.
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
      T sum_of_distances = 0, squares = 0;
#pragma unroll 1
      for (int64_t i = lane; i < n; i += kLanes) {
        const T distance = input.load(start + i) - pivot;
        sum_of_distances += distance;
        squares += distance * distance;
      }
      return chunk_moments(pivot, add_lanes(sum_of_distances), add_lanes(squares), n);
    });
    statistics = row_statistics<T>(moments, pass.epsilon);
  } else {
    const Sums<1> squares = sum_row<1, T>(columns, [&](int64_t column, T* term) {
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

template <class T>
__global__ void __launch_bounds__(kBlock) norm_gradients(const __grid_constant__ NormPass pass) {
  const int64_t row = blockIdx.x, columns = pass.shape.columns;
  const GradientRow<T> of(pass, row);
  const RowView<T> dx(pass.shape, pass.output, row);
  const Sums<2> sums = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
    terms[0] = of.grad(column);
    terms[1] = terms[0] * of.xhat(column);
  });
  const RowCorrection<T> correction =
      row_correction({sums.at[0], sums.at[1]}, static_cast<double>(columns), of.deviation, pass.centred);
  each_column(columns, [&](int64_t column) {
    dx.store(column, corrected_grad(of.grad(column), of.x.load(column), of.center, of.deviation, correction.slope,
                                    correction.base));
  });
}

// Of scale and shift.
struct ColumnPass {
  NormPass norm;
  int64_t channels, groups, positions;  // 0 channels: one sum a column
  void *dscale, *dshift;
  DType dscale_dtype, dshift_dtype;
  int32_t dscale_bytes, dshift_bytes;  // of an element
};

template <class T>
__device__ __forceinline__ void store_sums(const ColumnPass& pass, int64_t index, const Sums<2>& sums) {
  if (threadIdx.x != 0) return;
  if (pass.dscale)
    store_element(static_cast<char*>(pass.dscale) + index * pass.dscale_bytes, pass.dscale_dtype, T(sums.at[0]));
  if (pass.dshift)
    store_element(static_cast<char*>(pass.dshift) + index * pass.dshift_bytes, pass.dshift_dtype, T(sums.at[1]));
}

// What one element adds to the gradients of scale and shift.
template <class T>
__device__ __forceinline__ void share(const NormPass& pass, int64_t row, int64_t column, T* terms) {
  const RowView<T> dy(pass.shape, 0, row), x(pass.shape, 1, row);
  const T center = pass.centred ? static_cast<const T*>(pass.means)[row] : T(0);
  terms[1] = dy.load(column);
  terms[0] = terms[1] * normalized(x.load(column), center, static_cast<const T*>(pass.deviations)[row]);
}

// A block for each column: a warp takes a chunk of rows.
template <class T>
__global__ void __launch_bounds__(kBlock) sum_columns(const __grid_constant__ ColumnPass pass) {
  const int64_t column = blockIdx.x;
  store_sums<T>(pass, column, sum_row<2, T>(pass.norm.shape.rows, [&](int64_t row, T* terms) {
                  share(pass.norm, row, column, terms);
                }));
}

// A block for each channel: sample after sample, its positions the chunks of a sum, the samples a tree.
template <class T>
__global__ void __launch_bounds__(kBlock) sum_channels(const __grid_constant__ ColumnPass pass) {
  __shared__ Sums<2> open[kTreeLevels];
  const int64_t a_row = pass.channels / pass.groups, group = blockIdx.x / a_row;
  const int64_t first = blockIdx.x % a_row * pass.positions, samples = pass.norm.shape.rows / pass.groups;
#pragma unroll 1
  for (int64_t sample = 0; sample < samples; ++sample) {
    const int64_t row = sample * pass.groups + group;
    Sums<2> sums = sum_row<2, T>(pass.positions,
                                 [&](int64_t position, T* terms) { share(pass.norm, row, first + position, terms); });
    if (threadIdx.x != 0) continue;
    int level = 0;
#pragma unroll 1
    for (; sample >> level & 1; ++level) sums = merge_pair(open[level], sums);
    open[level] = sums;
  }
  if (threadIdx.x != 0) return;
  Sums<2> total{};
  bool any = false;
#pragma unroll 1
  for (int level = 0; samples >> level; ++level) {
    if (!(samples >> level & 1)) continue;
    total = any ? merge_pair(open[level], total) : open[level];
    any = true;
  }
  store_sums<T>(pass, blockIdx.x, total);
}

template <class T>
cudaError_t run(const RowNormCall& call, NormPass& pass, const Launch& where) {
  const int threads = row_threads(pass.shape.columns);
  if (call.direction == Direction::forward)
    return pass.shape.rows ? launch(norm_rows<T>, pass.shape.rows, threads, where.stream, pass) : cudaSuccess;
  // The sums first: dx may lie over dy or x.
  if (call.dscale || call.dshift) {
    ColumnPass sums;
    sums.norm = pass;
    sums.channels = call.channels, sums.groups = call.groups;
    const int64_t a_row = call.channels / call.groups;
    sums.positions = a_row ? pass.shape.columns / a_row : 0;
    sums.dscale = call.dscale, sums.dshift = call.dshift;
    sums.dscale_dtype = call.dscale_dtype, sums.dshift_dtype = call.dshift_dtype;
    sums.dscale_bytes = static_cast<int32_t>(itemsize(call.dscale_dtype));
    sums.dshift_bytes = static_cast<int32_t>(itemsize(call.dshift_dtype));
    const int64_t count = call.channels ? call.channels : pass.shape.columns;
    const int64_t terms = call.channels ? sums.positions : pass.shape.rows;
    const cudaError_t error =
        count ? launch(call.channels ? sum_channels<T> : sum_columns<T>, count, row_threads(terms), where.stream, sums)
              : cudaSuccess;
    if (error != cudaSuccess) return error;
  }
  return pass.shape.rows ? launch(norm_gradients<T>, pass.shape.rows, threads, where.stream, pass) : cudaSuccess;
}

struct LengthPass {
  RowsShape shape;
  void* results;
};

template <class T>
__global__ void __launch_bounds__(kBlock) row_lengths(const __grid_constant__ LengthPass pass) {
  const RowView<T> x(pass.shape, 0, blockIdx.x);
  const Sums<1> squares = sum_row<1, T>(pass.shape.columns, [&](int64_t column, T* term) {
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
