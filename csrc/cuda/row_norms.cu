// SPDX-License-Identifier: BSD-3-Clause
// Layer, RMS, group and instance norm and the lengths of rows: a block for each row. The gradients of scale and shift:
// a block for 32 columns and a chunk of rows, or, of channels, what each row's block has summed; then a tree.
#include <algorithm>

#include "../formulas/normalization.h"
#include "rows.h"

namespace brazen::cuda::norms {

constexpr int kBlock = kRowWarps * kLanes;
// A part of the samples takes two launches: parts are not made smaller than this.
#if !defined(BRAZEN_CHANNEL_BYTES)
#define BRAZEN_CHANNEL_BYTES (4 << 20)
#endif
constexpr int64_t kChannelBytes = BRAZEN_CHANNEL_BYTES;

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
    each_column(
        columns, [&](int64_t column) { return TwoOf<T>{x.load(column), add.load(column)}; },
        [&](int64_t column, const TwoOf<T>& of) { sum.store(column, of.first + of.second); });
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
  struct Element {
    T value, scale, shift;
  };
  each_column(
      columns,
      [&](int64_t column) {
        return Element{input.load(column), pass.scale >= 0 ? scale.load(column) : T(1),
                       pass.shift >= 0 ? shift.load(column) : T(0)};
      },
      [&](int64_t column, const Element& at) {
        T result = normalized(at.value, statistics);
        if (pass.scale >= 0 && pass.shift >= 0)
          result = affine<false, true, true>(result, T(0), at.scale, at.shift);
        else if (pass.scale >= 0)
          result = affine<false, true, false>(result, T(0), at.scale, T(0));
        else if (pass.shift >= 0)
          result = affine<false, false, true>(result, T(0), T(0), at.shift);
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
  int64_t first_row;
  int64_t channels, groups;  // of channels in each sample, of which a row is one group; 0 channels: a row has none
  int64_t positions;         // of a channel
  int64_t count, chunks;     // columns or channels, and what is kept of each: chunks of rows, or samples
  Shares* partials;          // null where nobody wants them
};

// The sums of each channel of a row, kept where they are wanted, and from them the row's own.
template <class T>
__device__ __forceinline__ RowGradientSums sum_channels(const GradientsPass& pass, const GradientRow<T>& of,
                                                        int64_t row) {
  const int64_t a_row = pass.channels / pass.groups, sample = (row - pass.first_row) / pass.groups;
  const int64_t first_channel = row % pass.groups * a_row;
  __shared__ Sums<2> open[kTreeLevels];
  Tree<Sums<2>> tree{open};
#pragma unroll 1
  for (int64_t channel = 0; channel < a_row; ++channel) {
    const int64_t first = channel * pass.positions;
    const Sums<2> own = sum_row<2, T>(pass.positions, [&](int64_t position, T* terms) {
      terms[0] = of.dy.load(first + position);
      terms[1] = terms[0] * of.xhat(first + position);
    });
    if (threadIdx.x != 0) continue;
    const RowGradientSums share = scaled_sums({own.at[0], own.at[1]}, of.scaled ? of.scale.load(first) : T(1));
    tree.push({share.grad, share.product});
    if (pass.partials) pass.partials[(first_channel + channel) * pass.chunks + sample] = {own.at[1], own.at[0]};
  }
  __shared__ Sums<2> total;
  if (threadIdx.x == 0) total = tree.total();
  __syncthreads();
  return {total.at[0], total.at[1]};
}

template <class T>
__global__ void __launch_bounds__(kBlock, 4) norm_gradients(const __grid_constant__ GradientsPass pass) {
  const NormPass& norm = pass.norm;
  const int64_t row = pass.first_row + blockIdx.x, columns = norm.shape.columns;
  const GradientRow<T> of(norm, row);
  const RowView<T> dx(norm.shape, norm.output, row);
  RowGradientSums sums;
  if (pass.channels > 0) {
    sums = sum_channels(pass, of, row);
  } else {
    const Sums<2> both = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
      terms[0] = of.grad(column);
      terms[1] = terms[0] * of.xhat(column);
    });
    sums = {both.at[0], both.at[1]};
  }
  const RowCorrection<T> correction = row_correction(sums, static_cast<double>(columns), of.deviation, norm.centred);
  each_column(
      columns, [&](int64_t column) { return TwoOf<T>{of.grad(column), of.x.load(column)}; },
      [&](int64_t column, const TwoOf<T>& at) {
        dx.store(column,
                 corrected_grad(at.first, at.second, of.center, of.deviation, correction.slope, correction.base));
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
    pass.partials[column * pass.chunks + chunk] = {static_cast<double>(scale), static_cast<double>(shift)};
}

struct SharesPass {
  Shares* partials;  // `each` a column or channel, of which `merged` are there
  int64_t each, merged;
  Shares* kept;  // where the merged ones go, kept_each apart; null: into the gradients
  int64_t kept_each;
  void *dscale, *dshift;
  DType dscale_dtype, dshift_dtype;
  int32_t dscale_bytes, dshift_bytes;  // of an element
};

// A warp for each column or channel.
template <class T>
__global__ void __launch_bounds__(kLanes) merge_shares(const __grid_constant__ SharesPass pass) {
  const int64_t index = blockIdx.x;
  Shares* own = pass.partials + index * pass.each;
  merge_in_place(own, pass.merged);
  if (threadIdx.x != 0) return;
  const Shares shares = pass.merged ? own[0] : Shares{};
  if (pass.kept) {
    pass.kept[index * pass.kept_each] = shares;
    return;
  }
  if (pass.dscale)
    store_element(static_cast<char*>(pass.dscale) + index * pass.dscale_bytes, pass.dscale_dtype, T(shares.at[0]));
  if (pass.dshift)
    store_element(static_cast<char*>(pass.dshift) + index * pass.dshift_bytes, pass.dshift_dtype, T(shares.at[1]));
}

// Some samples' channel sums at once, and the chunks of all rows.
template <class T>
class Backward {
 public:
  Backward(const RowNormCall& call, const NormPass& norm, const Launch& where) : call_(call), where_(where) {
    const int64_t rows = norm.shape.rows, columns = norm.shape.columns;
    pass_.norm = norm;
    pass_.channels = call.channels, pass_.groups = call.groups;
    pass_.positions = call.channels ? columns / (call.channels / call.groups) : 0;
    pass_.count = call.channels ? call.channels : columns;
    together_ = call.channels ? call.samples_at_once(kChannelBytes) : 0;
    pass_.chunks = call.channels ? std::min(call.samples(), together_) : chunk_count(rows);
    parts_ = call.channels ? blocks_of(call.samples(), together_) : 1;
    shares_ = {nullptr,
               pass_.chunks,
               pass_.chunks,
               nullptr,
               parts_,
               call.dscale,
               call.dshift,
               call.dscale_dtype,
               call.dshift_dtype,
               static_cast<int32_t>(itemsize(call.dscale_dtype)),
               static_cast<int32_t>(itemsize(call.dshift_dtype))};
  }

  cudaError_t run() {
    const int64_t rows = pass_.norm.shape.rows;
    if ((!call_.dscale && !call_.dshift) || pass_.count == 0) return gradients(0, rows);
    const cudaStream_t stream = static_cast<cudaStream_t>(where_.stream);
    const int64_t partials = pass_.count * pass_.chunks, kept = parts_ > 1 ? pass_.count * parts_ : 0;
    void* memory = nullptr;
    cudaError_t error = cudaMallocAsync(&memory, (partials + kept + 1) * sizeof(Shares), stream);
    if (error != cudaSuccess) return error;
    pass_.partials = shares_.partials = static_cast<Shares*>(memory);
    error = call_.channels ? by_channels(kept ? pass_.partials + partials : nullptr) : by_columns();
    const cudaError_t freed = cudaFreeAsync(memory, stream);
    return error == cudaSuccess ? freed : error;
  }

 private:
  cudaError_t gradients(int64_t first, int64_t rows) {
    pass_.first_row = first;
    return rows ? launch(norm_gradients<T>, rows,
                         row_threads(pass_.channels ? pass_.positions : pass_.norm.shape.columns), where_.stream, pass_)
                : cudaSuccess;
  }

  cudaError_t merge() { return launch(merge_shares<T>, pass_.count, kLanes, where_.stream, shares_); }

  // The sums before the rows: dx may lie over dy or x.
  cudaError_t by_columns() {
    const int64_t blocks = pass_.chunks * blocks_of(pass_.count, kLanes);
    cudaError_t error = blocks ? launch(sum_columns<T>, blocks, kBlock, where_.stream, pass_) : cudaSuccess;
    if (error == cudaSuccess) error = gradients(0, pass_.norm.shape.rows);
    return error == cudaSuccess ? merge() : error;
  }

  cudaError_t by_channels(Shares* kept) {
    const int64_t samples = call_.samples();
    cudaError_t error = cudaSuccess;
    for (int64_t part = 0; part < parts_ && error == cudaSuccess; ++part) {
      shares_.merged = std::min(together_, samples - part * together_);
      shares_.kept = kept ? kept + part : nullptr;
      error = gradients(part * together_ * call_.groups, shares_.merged * call_.groups);
      if (error == cudaSuccess && kept) error = merge();
    }
    if (error != cudaSuccess) return error;
    if (kept) shares_.partials = kept, shares_.each = shares_.merged = parts_, shares_.kept = nullptr;
    if (samples == 0) shares_.merged = 0;
    return merge();
  }

  const RowNormCall& call_;
  const Launch& where_;
  GradientsPass pass_{};
  SharesPass shares_;
  int64_t parts_, together_;
};

template <class T>
cudaError_t run(const RowNormCall& call, NormPass& pass, const Launch& where) {
  if (call.direction == Direction::backward) return Backward<T>(call, pass, where).run();
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
