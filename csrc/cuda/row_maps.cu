// SPDX-License-Identifier: BSD-3-Clause
// Rows to rows (softmax, its logarithm, sparsemax), and the losses of one number an element.
#include "partials.h"
#include "rows.h"

namespace brazen::cuda::maps {

constexpr int kBlock = kRowWarps * kLanes;

struct MapPass {
  RowsShape shape;
  int32_t operation;
};

// Room for four blocks: left to itself, ptxas 13.0 spills for sm_120 to make room for six.
template <class T>
__global__ void __launch_bounds__(kBlock, 4) map_rows(const __grid_constant__ MapPass pass) {
  const RowView<T> x(pass.shape, 0, blockIdx.x), y(pass.shape, 1, blockIdx.x);
  const int64_t columns = pass.shape.columns;
  const T largest = largest_of(x, columns);
  if (pass.operation == kSparsemax) {
    T threshold = -1;
    for (double before = __builtin_inf();;) {
      const Sums<2> sums = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
        const T distance = x.load(column) - largest;
        terms[0] = sparsemax_distance(distance, threshold);
        terms[1] = sparsemax_inside(distance, threshold);
      });
      if (sums.at[1] >= before) break;
      threshold = T(sparsemax_threshold(sums.at[0], sums.at[1]));
      before = sums.at[1];
    }
    each_column(
        columns, [&](int64_t column) { return x.load(column); },
        [&](int64_t column, T at) { y.store(column, sparsemax(at - largest, threshold)); });
    return;
  }
  const double total = sum_row<1, T>(columns, [&](int64_t column, T* term) {
                         term[0] = exp_nonpositive(x.load(column) - largest);
                       }).at[0];
  const T log_total = T(math::log(total)), factor = T(1.0 / total);
  each_column(
      columns, [&](int64_t column) { return x.load(column); },
      [&](int64_t column, T at) {
        y.store(column, pass.operation == kLogSoftmax ? log_softmax(at, largest, log_total)
                                                      : exp_nonpositive(at - largest) * factor);
      });
}

template <class T>
__global__ void __launch_bounds__(kBlock) map_gradients(const __grid_constant__ MapPass pass) {
  const RowView<T> dy(pass.shape, 0, blockIdx.x), y(pass.shape, 1, blockIdx.x), dx(pass.shape, 2, blockIdx.x);
  const int64_t columns = pass.shape.columns;
  const Sums<2> sums = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
    const T grad = dy.load(column), value = y.load(column);
    const bool outside = pass.operation == kSparsemax && value == 0;
    terms[0] = pass.operation == kSoftmax ? grad * value : (outside ? T(0) : grad);
    terms[1] = outside ? T(0) : T(1);
  });
  const T sum = T(pass.operation == kSparsemax ? sums.at[0] / sums.at[1] : sums.at[0]);
  each_column(
      columns, [&](int64_t column) { return TwoOf<T>{dy.load(column), y.load(column)}; },
      [&](int64_t column, const TwoOf<T>& of) {
        const T grad = of.first, value = of.second;
        dx.store(column, pass.operation == kSoftmax      ? softmax_gradient(grad, value, sum)
                         : pass.operation == kLogSoftmax ? log_softmax_gradient(grad, value, sum)
                                                         : sparsemax_gradient(grad, value, sum));
      });
}

struct LossesPass {
  RowsShape shape;
  int32_t operation, weighted, gradient;
  double parameters[2];
  double factor;
  double* partials;  // one a chunk, or null
  void* losses;      // one an element, or null
};

// A warp for a chunk.
template <class T>
__global__ void __launch_bounds__(kBlock) element_losses(const __grid_constant__ LossesPass pass) {
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / kLanes;
  const int64_t start = chunk * kChunkRows;
  if (start >= pass.shape.columns) return;
  const int64_t n = pass.shape.columns - start < kChunkRows ? pass.shape.columns - start : int64_t{kChunkRows};
  const RowView<T> x(pass.shape, 0, 0), targets(pass.shape, 1, 0), weights(pass.shape, pass.weighted ? 2 : 0, 0),
      gradient(pass.shape, pass.gradient, 0);
  const T factor = T(pass.factor);
  T lane = 0;
  // The next element is under way while this one is computed.
  struct Element {
    T value, target, weight;
  } next{};
  const auto load = [&](int64_t i) {
    const int64_t at = start + i;
    return Element{x.load(at), targets.load(at), pass.weighted ? weights.load(at) : T(1)};
  };
  if (threadIdx.x % kLanes < n) next = load(threadIdx.x % kLanes);
#pragma unroll 1
  for (int64_t i = threadIdx.x % kLanes; i < n; i += kLanes) {
    const int64_t at = start + i;
    const Element element = next;
    if (i + kLanes < n) next = load(i + kLanes);
    LossOf<T> of{};
    ElementLosses::for_each<T>([&]<class Op>(int operation) {
      if (operation == pass.operation)
        of = make<Op, T>(pass.parameters).of(element.value, element.target, element.weight);
    });
    gradient.store(at, of.slope * factor);
    if (pass.losses) static_cast<T*>(pass.losses)[at] = of.loss;
    lane += of.loss;
  }
  if (!pass.partials) return;
  lane = add_lanes(lane);
  if (threadIdx.x % kLanes == 0) pass.partials[chunk] = static_cast<double>(lane);
}

template <class T>
cudaError_t run(const ElementLossCall& call, LossesPass& pass, double factor, const Launch& where) {
  const int64_t chunks = chunk_count(pass.shape.columns), blocks = (chunks + kRowWarps - 1) / kRowWarps;
  if (call.reduction == Reduction::none) {
    pass.losses = call.losses, pass.partials = nullptr;
    return blocks ? launch(element_losses<T>, blocks, kBlock, where.stream, pass) : cudaSuccess;
  }
  const cudaStream_t stream = static_cast<cudaStream_t>(where.stream);
  void* memory = nullptr;
  cudaError_t error = cudaMallocAsync(&memory, (chunks + partials_above(1, chunks) + 1) * sizeof(double), stream);
  if (error != cudaSuccess) return error;
  pass.losses = nullptr, pass.partials = static_cast<double*>(memory);
  if (blocks) error = launch(element_losses<T>, blocks, kBlock, where.stream, pass);
  if (error == cudaSuccess)
    error =
        merge_all(pass.partials, pass.partials + chunks, 1, chunks,
                  {nullptr, static_cast<char*>(call.losses), sizeof(T) == 8 ? DType::float64 : DType::float32, factor},
                  where.stream);
  const cudaError_t freed = cudaFreeAsync(memory, stream);
  return error == cudaSuccess ? freed : error;
}

}  // namespace brazen::cuda::maps

brazen::cuda::Status brazen_cuda_row_map(const brazen::RowMapCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::maps;
  MapPass pass{};
  if (!fill(pass.shape, call->arrays)) return refuse(*where, kTooManyAxes);
  if (!aligned(call->arrays.rows) || !aligned(call->arrays.columns)) return refuse(*where, kMisaligned);
  if (pass.shape.rows > kMaxBlocks) return refuse(*where, kTooManyRows);
  pass.operation = call->operation;
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  const bool forward = call->direction == brazen::Direction::forward;
  auto kernel = call->is_double() ? (forward ? map_rows<double> : map_gradients<double>)
                                  : (forward ? map_rows<float> : map_gradients<float>);
  return explain(launch(kernel, pass.shape.rows, row_threads(pass.shape.columns), where->stream, pass), *where);
}

brazen::cuda::Status brazen_cuda_element_loss(const brazen::ElementLossCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::maps;
  LossesPass pass{};
  if (!fill(pass.shape, call->arrays)) return refuse(*where, kTooManyAxes);
  if (!aligned(call->arrays.rows) || !aligned(call->arrays.columns)) return refuse(*where, kMisaligned);
  const double factor =
      call->reduction == brazen::Reduction::mean ? brazen::mean_factor(static_cast<double>(pass.shape.columns)) : 1.0;
  pass.operation = call->operation, pass.weighted = call->weighted, pass.gradient = call->gradient();
  pass.parameters[0] = call->parameters[0], pass.parameters[1] = call->parameters[1];
  pass.factor = call->grad_scale * factor;
  const DeviceScope scope(where->device);
  if (scope.error() != cudaSuccess) return explain(scope.error(), *where);
  return explain(call->is_double() ? run<double>(*call, pass, factor, *where) : run<float>(*call, pass, factor, *where),
                 *where);
}
