// SPDX-License-Identifier: BSD-3-Clause
// Sums over rows in the order of formulas/reduction.h: a warp for each chunk, then a tree over the chunks.
#include "../formulas/reduction.h"
#include "index.h"
#include "partials.h"

// A namespace with a name: an anonymous one would put the build folder's hash into the kernels' names.
namespace brazen::cuda::sums {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kLanes;
constexpr int kOperands = 2;

// Kernel parameters, plain data.
struct SumPass {
  int64_t groups, rows, chunks;
  int32_t kept, ndim;
  Divisor<uint64_t> extents[kMaxDims];
  int64_t strides[kOperands][kMaxDims];
  const char* data[kOperands];
  DType dtypes[kOperands];
  SumTarget target;
};

// Neighbouring warps take neighbouring groups of one chunk: where groups are an array's fastest axis, they share lines.
template <class Op, class T>
__global__ void __launch_bounds__(kThreads, 4) sum_chunks(const __grid_constant__ SumPass pass) {
  const int64_t work = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (work >= pass.groups * pass.chunks) return;
  const int lane = threadIdx.x % kLanes;
  const int64_t group = work % pass.groups, chunk = work / pass.groups;
  int64_t bases[kOperands] = {};
  locate<kOperands>(static_cast<uint64_t>(group), 0, pass.kept, pass.extents, pass.strides, bases);

  constexpr int unrolled = sizeof(T) == sizeof(float) ? 8 : 1;  // no speed is asked of float64
  T sum = 0;
#pragma unroll 1
  for (int step = 0; step < kChunkRows / kLanes; step += unrolled) {
    T terms[unrolled];
#pragma unroll
    for (int i = 0; i < unrolled; ++i) {
      const int64_t row = chunk * kChunkRows + (step + i) * kLanes + lane;
      terms[i] = 0;
      if (row >= pass.rows) continue;
      int64_t offsets[kOperands] = {bases[0], bases[1]};
      locate<kOperands>(static_cast<uint64_t>(row), pass.kept, pass.ndim, pass.extents, pass.strides, offsets);
      terms[i] = Op::forward(load_element<T>(pass.data[0] + offsets[0], pass.dtypes[0]),
                             load_element<T>(pass.data[1] + offsets[1], pass.dtypes[1]));
    }
    // A row past the end adds +0, which changes no sum: one that starts at +0 never becomes -0.
#pragma unroll
    for (int i = 0; i < unrolled; ++i) sum += terms[i];
  }
  sum = add_lanes(sum);
  if (lane == 0) store_sum(pass.target, group, chunk, pass.chunks, static_cast<double>(sum));
}

using SumKernel = void (*)(SumPass);

SumKernel sum_kernel(const ElementwiseCall& terms) {
  if (terms.operation != kPreluAlpha) return nullptr;
  return terms.is_double() ? sum_chunks<PreluAlpha<double>, double> : sum_chunks<PreluAlpha<float>, float>;
}

void fill(SumPass& pass, const Layout& layout, int kept) {
  pass.groups = pass.rows = 1;
  pass.kept = kept, pass.ndim = layout.ndim;
  for (int d = 0; d < layout.ndim; ++d) {
    (d < kept ? pass.groups : pass.rows) *= layout.shape[d];
    if (layout.shape[d] > 1) pass.extents[d].set(layout.shape[d]);
  }
  pass.chunks = chunk_count(pass.rows);
  for (int k = 0; k < layout.operand_count; ++k) {
    pass.data[k] = static_cast<const char*>(layout.operands[k].data);
    pass.dtypes[k] = layout.operands[k].dtype;
    for (int d = 0; d < layout.ndim; ++d) pass.strides[k][d] = layout.operands[k].strides[d];
  }
}

cudaError_t reduce(SumKernel kernel, SumPass& pass, const SumTarget& results, void* stream) {
  if (pass.chunks == 0) return merge_all(nullptr, nullptr, pass.groups, 0, results, stream);
  pass.target = results;
  const int64_t blocks = blocks_of(pass.groups * pass.chunks, kWarps);
  if (pass.chunks == 1) return launch(kernel, blocks, kThreads, stream, pass);

  const int64_t doubles = pass.groups * pass.chunks + partials_above(pass.groups, pass.chunks);
  void* workspace = nullptr;
  cudaError_t error = cudaMallocAsync(&workspace, doubles * sizeof(double), static_cast<cudaStream_t>(stream));
  if (error != cudaSuccess) return error;
  double* partials = static_cast<double*>(workspace);
  pass.target = {partials, nullptr, DType::float64, 1.0};
  error = launch(kernel, blocks, kThreads, stream, pass);
  if (error == cudaSuccess)
    error = merge_all(partials, partials + pass.groups * pass.chunks, pass.groups, pass.chunks, results, stream);
  const cudaError_t freed = cudaFreeAsync(workspace, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? freed : error;
}

Status run(const ReductionCall& call, const Launch& where) {
  const Layout& layout = call.terms.layout;
  const SumKernel kernel = sum_kernel(call.terms);
  if (!kernel || layout.operand_count != kOperands) return refuse(where, "this build sums no such terms");
  if (!aligned(layout)) return refuse(where, kMisaligned);
  SumPass pass{};
  fill(pass, layout, call.kept);
  if (pass.groups == 0) return Status::ok;
  if (blocks_of(pass.groups * (pass.chunks ? pass.chunks : 1), kWarps) > kMaxBlocks)
    return refuse(where, "more than 2^31 blocks of rows; pass a part of the array at a time");
  const DeviceScope scope(where.device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), where);
  return explain(
      reduce(kernel, pass, {nullptr, static_cast<char*>(call.results), call.result_dtype, 1.0}, where.stream), where);
}

}  // namespace brazen::cuda::sums

brazen::cuda::Status brazen_cuda_reduction(const brazen::ReductionCall* call, const brazen::cuda::Launch* where) {
  return brazen::cuda::sums::run(*call, *where);
}
