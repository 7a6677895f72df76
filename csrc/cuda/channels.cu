// SPDX-License-Identifier: BSD-3-Clause
// Launches the reductions over channels: batch statistics, backward sums, merging of what was measured apart, and batch
// norms slab by slab.
#include "channels.h"
#include "slabs.h"

namespace brazen::cuda::channels {

void fill(ChannelWalk& pass, const Layout& layout, const void* centers) {
  pass.channels = channel_count(layout), pass.rows = row_count(layout), pass.chunks = chunk_count(pass.rows);
  pass.ndim = layout.ndim, pass.centers = centers;
  for (int d = 0; d < layout.ndim; ++d)
    if (layout.shape[d] > 1) pass.extents[d].set(layout.shape[d]);
}

// A single row has no axis behind the channel's: its offset is 0.
void copy_strides(int64_t* to, const Layout& layout, const Operand& operand) {
  to[1] = 0;
  for (int d = 0; d < layout.ndim; ++d) to[d] = operand.strides[d];
}

// Of x, or of the gradient and its x.
SumPass stored(const Layout& layout, const void* centers) {
  SumPass pass{};
  fill(pass, layout, centers);
  for (int k = 0; k < 2; ++k) {
    const Operand& operand = layout.operands[k < layout.operand_count ? k : 0];
    pass.data[k] = static_cast<const char*>(operand.data);
    pass.dtypes[k] = operand.dtype;
    copy_strides(pass.strides[k], layout, operand);
  }
  return pass;
}

// Of the gradient that a backward pass computes, and x.
GradientPass computed(const ChainCall& call, const void* centers) {
  const Layout& layout = call.layout;
  const Roles roles(call);
  GradientPass pass{};
  fill(pass, layout, centers);
  roles.fill(pass.chain, call, layout);
  for (auto& strides : pass.strides)
    for (int d = 0; d < layout.ndim || d < 2; ++d) strides[d] = 0;
  for (int64_t& stride : pass.coefficient_strides) stride = 0;
  for (int k = 0; k < roles.count(); ++k) {
    const Operand& operand = layout.operands[k];
    if (roles[k] < kArrayInputs || roles[k] == kIndex)
      copy_strides(pass.strides[roles[k] == kIndex ? kArrayInputs : roles[k]], layout, operand);
    else if (roles[k] >= kCenter)
      pass.coefficient_strides[roles[k] - kCenter] = operand.strides[0];
  }
  return pass;
}

// Memory of a call, given back in the order of its stream.
class Workspace {
 public:
  Workspace(size_t bytes, void* stream) : stream_(static_cast<cudaStream_t>(stream)) {
    error_ = cudaMallocAsync(&memory_, bytes ? bytes : 1, stream_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* memory() const { return memory_; }
  cudaError_t error() const { return error_; }
  cudaError_t release(cudaError_t before) {
    if (error_ != cudaSuccess) return error_;
    const cudaError_t freed = cudaFreeAsync(memory_, stream_);
    return before == cudaSuccess ? freed : before;
  }

 private:
  cudaStream_t stream_;
  void* memory_ = nullptr;
  cudaError_t error_;
};

bool side_by_side(const Layout& layout) {
  bool columns = layout.shape[0] > 1;
  for (int k = 0; k < layout.operand_count; ++k)
    columns = columns && layout.operands[k].strides[0] == itemsize(layout.operands[k].dtype);
  return columns;
}

template <class T, class Result, class To>
cudaError_t finish_all(Result* partials, int64_t channels, int64_t count, int64_t first, const To& to, void* stream) {
  FinishPass<Result, To> pass{partials, count, first, to};
  return launch(finish<T, Result, To>, channels, kFinishThreads, stream, pass);
}

template <class T, class Result, class Pass, class To>
cudaError_t reduce(Pass pass, SumKernels<Pass> kernels, bool columns, int64_t first, const To& to, void* stream) {
  Workspace workspace(pass.channels * pass.chunks * sizeof(Result), stream);
  if (workspace.error() != cudaSuccess) return workspace.error();
  pass.partials = workspace.memory();
  cudaError_t error = cudaSuccess;
  if (pass.chunks > 0)
    error = columns ? launch(kernels.columns, pass.chunks * blocks_of(pass.channels, kLanes),
                             Pass::column_warps * kLanes, stream, pass)
                    : launch(kernels.rows, blocks_of(pass.channels * pass.chunks, kWarps), kThreads, stream, pass);
  if (error == cudaSuccess)
    error = finish_all<T>(static_cast<Result*>(workspace.memory()), pass.channels, pass.chunks, first, to, stream);
  return workspace.release(error);
}

// The channels of the layout are those of `to` from `first` on.
template <class T, class Result, class To>
cudaError_t reduce(const Layout& layout, const void* centers, int64_t first, const To& to, void* stream) {
  return reduce<T, Result>(stored(layout, centers), kSumKernels<T, Result, SumPass>, side_by_side(layout), first, to,
                           stream);
}

// The sums of dy's and x's layout; the gradient is computed where `gradient` is given.
template <class T, class To>
cudaError_t reduce_gradient(const Layout& arrays, const ChainCall* gradient, const void* centers, int64_t first,
                            const To& to, void* stream) {
  if (!gradient) return reduce<T, GradientSums>(arrays, centers, first, to, stream);
  return reduce<T, GradientSums>(computed(*gradient, centers), gradient_kernels(sizeof(T) == sizeof(double)),
                                 side_by_side(arrays), first, to, stream);
}

// Some channels of a call whose axis 0 they are.
ChainCall part_of(const ChainCall& call, int64_t first, int64_t count) {
  ChainCall part = call;
  narrow(part.layout, first, count);
  return part;
}

// The pass over the elements. What was just read from its beginning to its end is read again from its end.
cudaError_t apply(ChainCall call, bool just_read, const Launch& where) {
  call.reversed = just_read;
  call.layout.simplify(true, call.layout.operand_count - 1);
  return run(call, where);
}

// Calls run(first, count) for each slab of channels.
template <class Run>
cudaError_t for_each_slab(const Layout& layout, int arrays, int device, Run&& run) {
  cudaError_t error = cudaSuccess;
  const int64_t channels = channel_count(layout);
  const int64_t together = slab_channels(layout, arrays, side_by_side(layout), device);
  for (int64_t first = 0; first < channels && error == cudaSuccess; first += together)
    error = run(first, channels - first < together ? channels - first : together);
  return error;
}

// What every entry does before its first launch; `run` is called with the compute type.
template <class Run>
Status enter(const Layout& layout, const Launch& where, Run&& run) {
  if (!aligned(layout)) return refuse(where, kMisaligned);
  const int64_t channels = channel_count(layout);
  if (channels == 0) return Status::ok;
  if (channels * chunk_count(row_count(layout)) > kMaxBlocks)
    return refuse(where, "more than 2^31 chunks of rows; pass a part of the array at a time");
  const DeviceScope scope(where.device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), where);
  return explain(with_compute_type(layout.operands[0].dtype, run), where);
}

// Whether a chain may be given to the kernels; there may be none.
Status check(const ChainCall* chain, const Launch& where) {
  const char* const reason = chain ? why_refused(*chain) : nullptr;
  return reason ? refuse(where, reason) : Status::ok;
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

template <class Result>
cudaError_t merge(const MergeCall& call, void* stream) {
  constexpr int rows = sizeof(Result) / sizeof(double);
  Workspace workspace(call.channels * call.count * sizeof(Result), stream);
  if (workspace.error() != cudaSuccess) return workspace.error();
  cudaError_t error = cudaSuccess;
  for (int64_t first = 0; first < call.count && error == cudaSuccess; first += kPartsTogether) {
    CollectPass pass{};
    pass.first = first, pass.total = call.count, pass.channels = call.channels, pass.rows = rows;
    pass.count = call.count - first < kPartsTogether ? call.count - first : kPartsTogether;
    pass.partials = static_cast<double*>(workspace.memory());
    for (int64_t k = 0; k < pass.count; ++k) pass.parts[k] = call.parts[first + k];
    error = launch(collect, blocks_of(call.channels * pass.count, kThreads), kThreads, stream, pass);
  }
  Result* partials = static_cast<Result*>(workspace.memory());
  if (error == cudaSuccess) {
    if constexpr (rows == 3) {
      ForwardResults to{};
      to.channels = call.channels, to.from = MomentsFrom::batch, to.moments = call.result;
      error = finish_all<double>(partials, call.channels, call.count, 0, to, stream);
    } else {
      const PlainResults to{call.channels, call.result, {}, {}};
      error = finish_all<double>(partials, call.channels, call.count, 0, to, stream);
    }
  }
  return workspace.release(error);
}

}  // namespace brazen::cuda::channels

using namespace brazen;
using namespace brazen::cuda;

Status brazen_cuda_statistics(const StatisticsCall* call, const Launch* where) {
  return channels::enter(call->layout, *where, [&]<class T>() {
    ForwardResults to{};
    to.channels = channel_count(call->layout), to.from = MomentsFrom::batch, to.moments = call->moments;
    return channels::reduce<T, Moments>(call->layout, nullptr, 0, to, where->stream);
  });
}

Status brazen_cuda_channel_sums(const ChannelSumsCall* call, const Launch* where) {
  const ChainCall* gradient = call->computed ? &call->gradient : nullptr;
  const Status status = channels::check(gradient, *where);
  if (status != Status::ok) return status;
  return channels::enter(call->arrays, *where, [&]<class T>() {
    const channels::PlainResults to{channel_count(call->arrays), nullptr, call->product, call->sum};
    return channels::reduce_gradient<T>(call->arrays, gradient, nullptr, 0, to, where->stream);
  });
}

Status brazen_cuda_merge(const MergeCall* call, const Launch* where) {
  if (call->channels == 0) return Status::ok;
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  return explain(call->are_moments ? channels::merge<Moments>(*call, where->stream)
                                   : channels::merge<GradientSums>(*call, where->stream),
                 *where);
}

Status brazen_cuda_batch_norm(const BatchNormCall* call, const Launch* where) {
  const Layout& layout = call->chain.layout;
  const Status status = channels::check(&call->chain, *where);
  if (status != Status::ok) return status;
  return channels::enter(layout, *where, [&]<class T>() {
    ForwardResults to = call->results;
    if (to.from != MomentsFrom::batch) {
      const cudaError_t error = launch(channels::apply_moments<T>, blocks_of(to.channels, channels::kFinishThreads),
                                       channels::kFinishThreads, where->stream, to);
      return error == cudaSuccess ? channels::apply(call->chain, false, *where) : error;
    }
    Layout x;
    x.set_shape(layout.ndim, layout.shape);
    x.add(layout.operands[0].data, layout.operands[0].dtype, layout.operands[0].strides);
    merge_rows(x);
    return channels::for_each_slab(x, 1, where->device, [&](int64_t first, int64_t count) {
      Layout slab = x;
      narrow(slab, first, count);
      const cudaError_t error = channels::reduce<T, Moments>(slab, nullptr, first, to, where->stream);
      return error == cudaSuccess ? channels::apply(channels::part_of(call->chain, first, count), true, *where) : error;
    });
  });
}

Status brazen_cuda_batch_norm_backward(const BatchNormBackwardCall* call, const Launch* where) {
  const ChainCall* gradient = call->computed && call->results.measured ? &call->gradient : nullptr;
  Status status = channels::check(gradient, *where);
  if (status == Status::ok) status = channels::check(call->apply ? &call->chain : nullptr, *where);
  if (status != Status::ok) return status;
  return channels::enter(call->arrays, *where, [&]<class T>() {
    BackwardResults to = call->results;
    if (!to.measured) {
      const cudaError_t error = to.sums
                                    ? launch(channels::apply_sums<T>, blocks_of(to.channels, channels::kFinishThreads),
                                             channels::kFinishThreads, where->stream, to)
                                    : cudaSuccess;
      return error == cudaSuccess && call->apply ? channels::apply(call->chain, false, *where) : error;
    }
    const auto sums = [&](const Layout& arrays, const ChainCall* computed, int64_t first) {
      const T* const centers = static_cast<const T*>(call->coefficients) + first;
      return channels::reduce_gradient<T>(arrays, computed, centers, first, to, where->stream);
    };
    if (!call->apply) return sums(call->arrays, gradient, 0);
    return channels::for_each_slab(call->arrays, 2, where->device, [&](int64_t first, int64_t count) {
      Layout arrays = call->arrays;
      narrow(arrays, first, count);
      ChainCall computed;
      if (gradient) computed = channels::part_of(*gradient, first, count);
      const cudaError_t error = sums(arrays, gradient ? &computed : nullptr, first);
      return error == cudaSuccess ? channels::apply(channels::part_of(call->chain, first, count), true, *where) : error;
    });
  });
}
