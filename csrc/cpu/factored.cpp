// SPDX-License-Identifier: BSD-3-Clause
// Adafactor and SM3: second moments by axes, and the directions they give. Small tensors are shared out among threads,
// large ones are divided.
#include "factored.h"

#include <algorithm>

#include "factored_kernels.h"
#include "threads.h"
#include "units.h"
#include "work.h"

namespace brazen::cpu {
namespace {

constexpr int64_t kElementPicoseconds = 500;

// Tensors of at least this many elements are worth all threads by themselves; smaller ones are one thread's each.
constexpr int64_t kShared = 256 << 10;
// Elements, about, that a thread claims at once.
constexpr int64_t kClaim = 16 << 10;

// Runs body(i) for all i; shared among threads in claims of `each` where the tensor is.
class Items {
 public:
  explicit Items(bool shared) : shared_(shared) {}

  template <class Body>
  void run(int64_t count, int64_t each, Body&& body) const {
    if (!shared_) {
      for (int64_t i = 0; i < count; ++i) body(i);
      return;
    }
    each = std::max<int64_t>(1, each);
    parallel_for((count + each - 1) / each, [&](int64_t claim) {
      for (int64_t i = claim * each; i < std::min(count, (claim + 1) * each); ++i) body(i);
    });
  }

 private:
  bool shared_;
};

template <class T>
double sum_of_chunks(const KernelTable& table, const Items& items, const T* x, int64_t n) {
  std::vector<double> partials(chunk_count(n));
  items.run(static_cast<int64_t>(partials.size()), kClaim / kChunkRows, [&](int64_t chunk) {
    const int64_t start = chunk * kChunkRows;
    partials[chunk] = table.updates->squares[sizeof(T) == 8](x + start, std::min<int64_t>(kChunkRows, n - start)).sum;
  });
  return merge_chunks(partials.data(), static_cast<int64_t>(partials.size()), 1);
}

template <class T>
double adafactor(const KernelTable& table, const Items& items, const Axes& axes, const void* coefficients, int64_t size,
                 double weights, T* direction) {
  constexpr int type = sizeof(T) == 8;
  const Adafactor<T>& rule = *static_cast<const Adafactor<T>*>(coefficients);
  if (axes.count < 2) {
    items.run(chunk_count(size), kClaim / kChunkRows, [&](int64_t chunk) {
      const int64_t start = chunk * kChunkRows;
      table.factored->adafactor_vector[type](coefficients, static_cast<T*>(axes.data[0]) + start, direction + start,
                                             std::min<int64_t>(kChunkRows, size - start));
    });
    return rule.size(sum_of_chunks(table, items, direction, size), weights, double(size));
  }
  const int64_t rows = axes.extents[axes.count - 2], columns = axes.extents[axes.count - 1];
  const int64_t matrices = size / (rows * columns), row_claim = kClaim / columns;
  T *by_row = static_cast<T*>(axes.data[0]), *by_column = static_cast<T*>(axes.data[1]);
  // Both means of the squares of each matrix enter the averages.
  items.run(matrices * rows, row_claim, [&](int64_t row) {
    by_row[row] =
        rule.blend(by_row[row], T(sum_of_squares(table, direction + row * columns, columns) / double(columns)));
  });
  const int64_t strips = (columns + kColumns - 1) / kColumns;
  items.run(matrices * strips, kClaim / (rows * kColumns), [&](int64_t item) {
    const int64_t matrix = item / strips, first = item % strips * kColumns;
    const int64_t width = std::min<int64_t>(kColumns, columns - first);
    double sums[kColumns];
    column_sums(table, direction + matrix * rows * columns + first, rows, columns, width, sums);
    T* own = by_column + matrix * columns + first;
    for (int64_t j = 0; j < width; ++j) own[j] = rule.blend(own[j], T(sums[j] / double(rows)));
  });
  std::vector<double> means(matrices);
  items.run(matrices, kClaim / rows, [&](int64_t matrix) {
    std::vector<double> wide(by_row + matrix * rows, by_row + (matrix + 1) * rows);
    means[matrix] = merge_chunks(wide.data(), rows, 1) / double(rows);
  });
  items.run(matrices * rows, row_claim, [&](int64_t row) {
    const int64_t matrix = row / rows;
    table.factored->adafactor_row[type](coefficients, double(rule.row_scale(by_row[row], means[matrix])),
                                        by_column + matrix * columns, direction + row * columns, columns);
  });
  return rule.size(sum_of_chunks(table, items, direction, size), weights, double(size));
}

// The new maxima of some rows of a tensor, by its axes.
template <class T>
using Maxima = std::vector<std::vector<T>>;

// Rows [begin, end) in order; `fresh` takes their maxima.
template <class T>
void sm3_rows(const KernelTable& table, const Axes& axes, const void* coefficients, int64_t begin, int64_t end,
              const T* grad, T* momentum, Maxima<T>& fresh) {
  const int last = axes.count - 1;
  const int64_t columns = axes.extents[last];
  std::vector<int64_t> position(axes.count, 0);
  for (int64_t axis = last - 1, rest = begin; axis >= 0; rest /= axes.extents[axis], --axis)
    position[axis] = rest % axes.extents[axis];
  for (int64_t row = begin; row < end; ++row) {
    double least = std::numeric_limits<double>::infinity();
    for (int axis = 0; axis < last; ++axis)
      least = math::minimum(least, double(static_cast<const T*>(axes.data[axis])[position[axis]]));
    const double largest =
        table.factored->sm3_row[sizeof(T) == 8](least, axes.data[last], fresh[last].data(), grad + row * columns,
                                                momentum + row * columns, coefficients, columns);
    for (int axis = 0; axis < last; ++axis) {
      T& kept = fresh[axis][position[axis]];
      kept = math::maximum(kept, T(largest));
    }
    for (int axis = last - 1; axis >= 0 && ++position[axis] == axes.extents[axis]; --axis) position[axis] = 0;
  }
}

// A maximum has the same bits however the rows are dealt out.
template <class T>
double sm3(const KernelTable& table, const Items& items, const Axes& axes, const void* coefficients, int64_t size,
           const T* grad, T* momentum) {
  const int64_t rows = size / axes.extents[axes.count - 1];
  constexpr int64_t kParts = 8;
  const int64_t parts = size >= kShared && rows > kParts ? kParts : 1;
  std::vector<Maxima<T>> fresh(parts, Maxima<T>(axes.count));
  for (Maxima<T>& part : fresh)
    for (int axis = 0; axis < axes.count; ++axis) part[axis].assign(axes.extents[axis], T(0));
  items.run(parts, 1, [&](int64_t part) {
    sm3_rows(table, axes, coefficients, rows * part / parts, rows * (part + 1) / parts, grad, momentum, fresh[part]);
  });
  for (int axis = 0; axis < axes.count; ++axis) {
    T* kept = static_cast<T*>(axes.data[axis]);
    std::copy(fresh[0][axis].begin(), fresh[0][axis].end(), kept);
    for (int64_t part = 1; part < parts; ++part)
      for (int64_t i = 0; i < axes.extents[axis]; ++i) kept[i] = math::maximum(kept[i], fresh[part][axis][i]);
  }
  return static_cast<const Sm3<T>*>(coefficients)->size(0, 0, 0);
}

template <class T>
double one_tensor(const UpdateCall& call, const Step& step, int64_t index, const Items& items) {
  const TensorEntry& tensor = call.tensors[index];
  const KernelTable& table = kernels();
  constexpr int type = sizeof(T) == 8;
  const bool by_rows = is_adafactor(call.rule);
  T* state = reinterpret_cast<T*>(tensor.data[kFirstState]);
  std::vector<T> apart(by_rows ? 0 : tensor.size);
  T* grads = by_rows ? state : apart.data();
  std::vector<double> weights(chunk_count(tensor.size));
  items.run(static_cast<int64_t>(weights.size()), kClaim / kChunkRows, [&](int64_t chunk) {
    const Tiles<T> tiles;
    const int64_t at = chunk * kTile, n = std::min(kTile, tensor.size - at);
    const UpdateRun run = step.load_tile<T>(tensor, at, n, tiles);
    memcpy(grads + at, run.grad, n * sizeof(T));
    table.updates->scale[type](run.grad_scale, std::numeric_limits<double>::infinity(), grads + at, n);
    weights[chunk] = table.updates->squares[type](run.param, n).sum;
  });
  const void* coefficients = call.groups[tensor.group].coefficients[type];
  const double size = merge_chunks(weights.data(), static_cast<int64_t>(weights.size()), 1);
  return by_rows ? adafactor<T>(table, items, call.axes[index], coefficients, tensor.size, size, state)
                 : sm3<T>(table, items, call.axes[index], coefficients, tensor.size, grads, state);
}

}  // namespace

std::vector<double> factored_directions(const UpdateCall& call, const Step& step) {
  std::vector<double> factors(call.tensor_count, 1.0);
  const bool worth = call.element_count * kElementPicoseconds >= kParallelPicoseconds;
  const auto run_one = [&](int64_t i, const Items& items) {
    factors[i] = call.tensors[i].is_double() ? one_tensor<double>(call, step, i, items)
                                             : one_tensor<float>(call, step, i, items);
  };
  Items(worth).run(call.tensor_count, 1, [&](int64_t i) {
    if (call.tensors[i].size > 0 && call.tensors[i].size < kShared) run_one(i, Items(false));
  });
  for (int64_t i = 0; i < call.tensor_count; ++i)
    if (call.tensors[i].size >= kShared) run_one(i, Items(worth));
  return factors;
}

}  // namespace brazen::cpu
