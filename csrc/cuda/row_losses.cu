// SPDX-License-Identifier: BSD-3-Clause
// Losses: labels are counted on the device, every row is summed and replaced by its gradient, the rows' losses are
// summed. Nothing waits for the device: a label out of range makes its row's loss and gradient NaN, and the first of
// them is told to the host (label_report.h).
#include <algorithm>

#include "label_report.h"
#include "rows.h"

namespace brazen::cuda::losses {

constexpr int kBlock = kRowWarps * kLanes;

// A block sums the labels or losses of so many rows, an aligned part of the tree; another block merges the groups.
constexpr int64_t kGroupRows = int64_t{kRowWarps} * kChunkRows;
struct Group {
  double sum;
  int64_t bad;  // the first row whose label is out of range; the number of rows where there is none
};
FORMULA Group merge_pair(const Group& a, const Group& b) { return {a.sum + b.sum, a.bad < b.bad ? a.bad : b.bad}; }

// What the device finds out for itself: how much the labels count, as the kernels after need it.
struct Workspace {
  double counted, weights;
};

struct LossPass {
  RowsShape shape;
  int32_t soft, weighted, ignores, log_targets, gradient;
  Reduction reduction;
  int64_t ignored;
  double keep, share, smoothing, margin, grad_scale;
  Workspace* workspace;
  Group* groups;
  int64_t group_count;
  void* losses;  // one a row
  LabelReport* report;
  LabelError label_error;  // all but the row and its label
};

__device__ __forceinline__ int64_t read_label(const LossPass& pass, int64_t row) {
  const char* from = RowView<float>(pass.shape, 1, row).base;
  if (pass.shape.dtypes[1] == DType::int32) return *reinterpret_cast<const int32_t*>(from);
  if (pass.shape.dtypes[1] == DType::int64) return *reinterpret_cast<const int64_t*>(from);
  return *reinterpret_cast<const uint8_t*>(from);
}

__device__ __forceinline__ int64_t label_of(const LossPass& pass, int64_t row) {
  return class_of_label(read_label(pass, row), pass.ignores, pass.ignored, pass.shape.columns);
}

// Of the threads of a block, the smallest number of all; thread 0 has it.
__device__ __forceinline__ int64_t smallest_of_block(int64_t value) {
  __shared__ int64_t warps[kRowWarps];
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    const int64_t other = __shfl_xor_sync(kAllLanes, value, offset);
    value = other < value ? other : value;
  }
  if (threadIdx.x % kLanes == 0) warps[threadIdx.x / kLanes] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (unsigned warp = 1; warp < blockDim.x / kLanes; ++warp) value = warps[warp] < value ? warps[warp] : value;
  return value;
}

// The sum of terms(row) over the block's group of rows.
template <class T, class Terms>
__device__ __forceinline__ double sum_group(int64_t rows, Terms&& terms) {
  const int64_t first = int64_t{blockIdx.x} * kGroupRows, left = rows - first;
  return sum_row<1, T>(left < kGroupRows ? left : kGroupRows,
                       [&](int64_t row, T* term) { term[0] = terms(first + row); })
      .at[0];
}

// By one block: what all labels add up to, or their weights; the class weights; and the first label out of range.
template <class T>
__device__ __forceinline__ void settle_labels(const LossPass& pass, const Group& all) {
  const RowView<T> weights(pass.shape, pass.weighted ? 2 : 0, 0);
  double sum = static_cast<double>(pass.shape.columns);
  if (pass.weighted)
    sum = sum_row<1, T>(pass.shape.columns, [&](int64_t column, T* term) { term[0] = weights.load(column); }).at[0];
  if (threadIdx.x != 0) return;
  *pass.workspace = {all.sum, sum};
  if (all.bad >= pass.shape.rows) return;
  LabelError error = pass.label_error;
  error.row = all.bad, error.label = read_label(pass, all.bad);
  tell(pass.report, error);
}

// A block for each group of rows; a single one settles what follows.
template <class T>
__global__ void __launch_bounds__(kBlock, 4) count_labels(const __grid_constant__ LossPass pass) {
  const RowView<T> weights(pass.shape, pass.weighted ? 2 : 0, 0);
  const int64_t left = pass.shape.rows - int64_t{blockIdx.x} * kGroupRows;
  Group group{static_cast<double>(left < kGroupRows ? left : kGroupRows), pass.shape.rows};
  if (!pass.soft) {
    int64_t bad = pass.shape.rows;
    group.sum = sum_group<T>(pass.shape.rows, [&](int64_t row) {
      const int64_t label = label_of(pass, row);
      if (label == kBadLabel && row < bad) bad = row;
      return label < 0 ? T(0) : (pass.weighted ? weights.load(label) : T(1));
    });
    group.bad = smallest_of_block(bad);
  }
  if (pass.group_count == 1)
    settle_labels<T>(pass, group);
  else if (threadIdx.x == 0)
    pass.groups[blockIdx.x] = group;
}

template <class T>
__global__ void __launch_bounds__(kBlock, 4) merge_labels(const __grid_constant__ LossPass pass) {
  merge_in_place(pass.groups, pass.group_count);
  settle_labels<T>(pass, pass.groups[0]);
}

template <class T>
struct LossRow {
  const LossPass& pass;
  const RowView<T> logits, targets, weights, gradient;
  int64_t columns, row, label;
  double factor;

  __device__ __forceinline__ LossRow(const LossPass& of, int64_t at)
      : pass(of),
        logits(of.shape, 0, at),
        targets(of.shape, 1, at),
        weights(of.shape, of.weighted ? 2 : 0, at),
        gradient(of.shape, of.gradient, at),
        columns(of.shape.columns),
        row(at),
        label(of.soft ? 0 : label_of(of, at)),
        factor(of.grad_scale * (of.reduction == Reduction::mean ? mean_factor(of.workspace->counted) : 1.0)) {}

  __device__ __forceinline__ T target(int64_t column) const {
    const T label_there = targets.load(column);
    if (!pass.weighted && pass.smoothing == 0) return label_there;
    return soft_target(label_there, pass.weighted ? weights.load(column) : T(1), T(pass.keep), T(pass.share));
  }

  // What a row of no or of a wrong label becomes.
  __device__ __forceinline__ double constant(T value) const {
    each_column(columns, [&](int64_t column) { gradient.store(column, value); });
    return static_cast<double>(value);
  }

  __device__ __forceinline__ double hinge() const {
    const T own = logits.load(label), margin = T(pass.margin);
    const Sums<2> sums = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
      terms[0] = column == label ? T(0) : hinge_excess(logits.load(column), own, margin);
      terms[1] = hinge_slope(terms[0]);
    });
    const T slope = T(factor), own_gradient = T(-sums.at[1] * factor);
    each_column(
        columns, [&](int64_t column) { return logits.load(column); },
        [&](int64_t column, T at) {
          const T excess = column == label ? T(0) : hinge_excess(at, own, margin);
          gradient.store(column, column == label ? own_gradient : hinge_slope(excess) * slope);
        });
    return sums.at[0];
  }

  // The gradient may lie over x or the targets: each element is read before it is written.
  __device__ __forceinline__ double divergence() const {
    const T slope = T(factor);
    return sum_row<1, T>(columns,
                         [&](int64_t column, T* term) {
                           const T given = targets.load(column);
                           const T probability = pass.log_targets ? math::exp(given) : given;
                           term[0] = brazen::divergence(probability, pass.log_targets ? given : math::log(given),
                                                        logits.load(column));
                           gradient.store(column, -probability * slope);
                         })
        .at[0];
  }

  __device__ __forceinline__ double cross_entropy() const {
    const T largest = largest_of(logits, columns);
    const double total = sum_row<1, T>(columns, [&](int64_t column, T* term) {
                           term[0] = exp_nonpositive(logits.load(column) - largest);
                         }).at[0];
    const bool smooth = pass.smoothing != 0;
    TargetSums sums;
    double own = 0;
    if (pass.soft) {
      const Sums<2> both = sum_row<2, T>(columns, [&](int64_t column, T* terms) {
        terms[0] = target(column);
        terms[1] = target_product(terms[0], logits.load(column) - largest);
      });
      sums = {both.at[0], both.at[1]};
    } else {
      const double weight = pass.weighted ? static_cast<double>(weights.load(label)) : 1.0;
      double distances = 0;
      if (smooth)
        distances = sum_row<1, T>(columns, [&](int64_t column, T* term) {
                      const T distance = logits.load(column) - largest;
                      term[0] = pass.weighted ? target_product(weights.load(column), distance) : distance;
                    }).at[0];
      sums = label_sums(pass.keep, pass.share, weight, pass.workspace->weights,
                        static_cast<double>(logits.load(label)) - static_cast<double>(largest), distances);
      own = pass.keep * weight + pass.share * weight;
    }
    const T slope = T(cross_entropy_slope(factor, sums.targets, total));
    const T pull = T(pass.soft ? factor : pass.share * factor), own_pull = T(own * factor);
    // The label's logit may be overwritten below.
    __syncthreads();
    each_column(
        columns,
        [&](int64_t column) {
          const bool weighted = smooth && pass.weighted;
          return TwoOf<T>{logits.load(column), pass.soft ? target(column) : (weighted ? weights.load(column) : T(1))};
        },
        [&](int64_t column, const TwoOf<T>& at) {
          const T e = exp_nonpositive(at.first - largest);
          T result;
          if (pass.soft || (smooth && column != label))
            result = cross_entropy_gradient(e, slope, at.second * pull);
          else if (column == label)
            result = cross_entropy_gradient(e, slope, own_pull);
          else
            result = e * slope;
          gradient.store(column, result);
        });
    return brazen::cross_entropy(sums, total);
  }
};

template <int operation, class T>
__global__ void __launch_bounds__(kBlock, 4) row_losses(const __grid_constant__ LossPass pass) {
  const LossRow<T> row(pass, blockIdx.x);
  double loss;
  if (row.label < 0)
    loss = row.constant(row.label == kIgnoredLabel ? T(0) : T(__builtin_nanf("")));
  else if constexpr (operation == kMulticlassHinge)
    loss = row.hinge();
  else if constexpr (operation == kKlDivergence)
    loss = row.divergence();
  else
    loss = row.cross_entropy();
  if (threadIdx.x == 0) static_cast<T*>(pass.losses)[row.row] = T(loss);
}

template <class T>
auto loss_kernel(int operation) -> void (*)(LossPass) {
  if (operation == kMulticlassHinge) return row_losses<kMulticlassHinge, T>;
  if (operation == kKlDivergence) return row_losses<kKlDivergence, T>;
  return row_losses<kSoftmaxCrossEntropy, T>;
}

struct TotalPass {
  const void* losses;
  int64_t rows;
  Reduction reduction;
  const Workspace* workspace;
  Group* groups;
  int64_t group_count;
  void* result;
};

template <class T>
__device__ __forceinline__ void settle_total(const TotalPass& pass, double total) {
  const double factor = pass.reduction == Reduction::mean ? mean_factor(pass.workspace->counted) : 1.0;
  if (threadIdx.x == 0) *static_cast<T*>(pass.result) = T(total * factor);
}

template <class T>
__global__ void __launch_bounds__(kBlock) total_loss(const __grid_constant__ TotalPass pass) {
  const T* losses = static_cast<const T*>(pass.losses);
  const double sum = sum_group<T>(pass.rows, [&](int64_t row) { return losses[row]; });
  if (pass.group_count == 1)
    settle_total<T>(pass, sum);
  else if (threadIdx.x == 0)
    pass.groups[blockIdx.x] = {sum, 0};
}

template <class T>
__global__ void __launch_bounds__(kBlock) merge_losses(const __grid_constant__ TotalPass pass) {
  merge_in_place(pass.groups, pass.group_count);
  settle_total<T>(pass, pass.groups[0].sum);
}

// A launch of `each` over the groups of rows, and of `together` over the groups where there are several.
template <class Pass>
cudaError_t launch_groups(void (*each)(Pass), void (*together)(Pass), int threads, void* stream, Pass& pass) {
  const cudaError_t error = launch(each, pass.group_count, threads, stream, pass);
  return error == cudaSuccess && pass.group_count > 1 ? launch(together, 1, kBlock, stream, pass) : error;
}

template <class T>
cudaError_t run(const RowLossCall& call, LossPass& pass, const Launch& where) {
  const bool kept = call.reduction == Reduction::none;
  const int64_t rows = pass.shape.rows;
  pass.group_count = rows > kGroupRows ? (rows + kGroupRows - 1) / kGroupRows : 1;
  const int64_t bytes = sizeof(Workspace) + pass.group_count * sizeof(Group) + (kept ? 0 : rows * sizeof(T));
  const cudaStream_t stream = static_cast<cudaStream_t>(where.stream);
  void* memory = nullptr;
  cudaError_t error = cudaMallocAsync(&memory, bytes, stream);
  if (error != cudaSuccess) return error;
  pass.workspace = static_cast<Workspace*>(memory);
  pass.groups = reinterpret_cast<Group*>(pass.workspace + 1);
  pass.losses = kept ? call.losses : pass.groups + pass.group_count;
  error = launch_groups(count_labels<T>, merge_labels<T>, row_threads(std::max(rows, pass.shape.columns)), where.stream,
                        pass);
  if (error == cudaSuccess && rows > 0)
    error = launch(loss_kernel<T>(call.operation), rows, row_threads(pass.shape.columns), where.stream, pass);
  if (error == cudaSuccess && !kept) {
    TotalPass total{pass.losses, rows, call.reduction, pass.workspace, pass.groups, pass.group_count, call.losses};
    error = launch_groups(total_loss<T>, merge_losses<T>, row_threads(rows), where.stream, total);
  }
  const cudaError_t freed = cudaFreeAsync(memory, stream);
  return error == cudaSuccess ? freed : error;
}

}  // namespace brazen::cuda::losses

brazen::cuda::Status brazen_cuda_row_loss(const brazen::RowLossCall* call, const brazen::cuda::Launch* where) {
  using namespace brazen::cuda;
  using namespace brazen::cuda::losses;
  LossPass pass{};
  if (!fill(pass.shape, call->arrays)) return refuse(*where, kTooManyAxes);
  if (!aligned(call->arrays.rows) || !aligned(call->arrays.columns)) return refuse(*where, kMisaligned);
  if (pass.shape.rows > kMaxBlocks) return refuse(*where, kTooManyRows);
  pass.soft = call->soft, pass.weighted = call->weighted;
  pass.ignores = call->ignores, pass.ignored = call->ignored, pass.log_targets = call->log_targets;
  pass.gradient = call->gradient(), pass.reduction = call->reduction;
  pass.smoothing = call->smoothing, pass.margin = call->margin, pass.grad_scale = call->grad_scale;
  pass.keep = 1.0 - call->smoothing;
  pass.share = call->smoothing / static_cast<double>(pass.shape.columns);
  pass.label_error = call->label_error, pass.report = nullptr;
  const DeviceScope scope(where->device);
  cudaError_t error = scope.error();
  if (error == cudaSuccess && !call->soft) error = find_label_report(where->device, pass.report);
  if (error != cudaSuccess) return explain(error, *where);
  return explain(call->is_double() ? run<double>(*call, pass, *where) : run<float>(*call, pass, *where), *where);
}

int32_t brazen_cuda_take_label_error(int32_t device, brazen::LabelError* error) {
  return brazen::cuda::take(device, *error);
}
