// SPDX-License-Identifier: BSD-3-Clause
// Adafactor and SM3: second moments by axes, and the directions they give. A tensor is one thread's, tensors are shared
// out.
#include "factored.h"

#include <algorithm>

#include "factored_kernels.h"
#include "threads.h"
#include "units.h"
#include "work.h"

namespace brazen::cpu {
namespace {

constexpr int64_t kElementPicoseconds = 500;

// Both means of the squares of one matrix enter the averages.
template <class T>
void average_axes(const KernelTable& table, const Adafactor<T>& rule, const T* grad, int64_t rows, int64_t columns,
                  T* row_average, T* column_average) {
  for (int64_t row = 0; row < rows; ++row)
    row_average[row] =
        rule.blend(row_average[row], T(sum_of_squares(table, grad + row * columns, columns) / double(columns)));
  std::vector<double> sums(columns);
  column_sums(table, grad, rows, columns, sums.data());
  for (int64_t j = 0; j < columns; ++j) column_average[j] = rule.blend(column_average[j], T(sums[j] / double(rows)));
}

template <class T>
double adafactor(const KernelTable& table, const Axes& axes, const void* coefficients, int64_t size, double weights,
                 T* direction) {
  constexpr int type = sizeof(T) == 8;
  const Adafactor<T>& rule = *static_cast<const Adafactor<T>*>(coefficients);
  if (axes.count < 2) {
    table.factored->adafactor_vector[type](coefficients, axes.data[0], direction, size);
    return rule.size(sum_of_squares(table, direction, size), weights, double(size));
  }
  const int64_t rows = axes.extents[axes.count - 2], columns = axes.extents[axes.count - 1];
  T *row_average = static_cast<T*>(axes.data[0]), *column_average = static_cast<T*>(axes.data[1]);
  for (int64_t matrix = 0; matrix < size / (rows * columns); ++matrix) {
    T* at = direction + matrix * rows * columns;
    T *by_row = row_average + matrix * rows, *by_column = column_average + matrix * columns;
    average_axes(table, rule, at, rows, columns, by_row, by_column);
    std::vector<double> wide(by_row, by_row + rows);
    const double mean = merge_chunks(wide.data(), rows, 1) / double(rows);
    for (int64_t row = 0; row < rows; ++row)
      table.factored->adafactor_row[type](coefficients, double(rule.row_scale(by_row[row], mean)), by_column,
                                          at + row * columns, columns);
  }
  return rule.size(sum_of_squares(table, direction, size), weights, double(size));
}

template <class T>
double sm3(const KernelTable& table, const Axes& axes, const void* coefficients, int64_t size, const T* grad,
           T* momentum) {
  const int last = axes.count - 1;
  const int64_t columns = axes.extents[last];
  std::vector<std::vector<T>> fresh(axes.count);
  for (int axis = 0; axis < axes.count; ++axis) fresh[axis].assign(axes.extents[axis], T(0));
  std::vector<int64_t> position(axes.count, 0);
  for (int64_t start = 0; start < size; start += columns) {
    double least = std::numeric_limits<double>::infinity();
    for (int axis = 0; axis < last; ++axis)
      least = math::minimum(least, double(static_cast<const T*>(axes.data[axis])[position[axis]]));
    const double largest = table.factored->sm3_row[sizeof(T) == 8](
        least, axes.data[last], fresh[last].data(), grad + start, momentum + start, coefficients, columns);
    for (int axis = 0; axis < last; ++axis) {
      T& kept = fresh[axis][position[axis]];
      kept = math::maximum(kept, T(largest));
    }
    for (int axis = last - 1; axis >= 0 && ++position[axis] == axes.extents[axis]; --axis) position[axis] = 0;
  }
  for (int axis = 0; axis < axes.count; ++axis)
    std::copy(fresh[axis].begin(), fresh[axis].end(), static_cast<T*>(axes.data[axis]));
  return double(static_cast<const Sm3<T>*>(coefficients)->lr);
}

template <class T>
double one_tensor(const UpdateCall& call, const Step& step, int64_t index) {
  const TensorEntry& tensor = call.tensors[index];
  const KernelTable& table = kernels();
  constexpr int type = sizeof(T) == 8;
  const bool by_rows = is_adafactor(call.rule);
  T* state = reinterpret_cast<T*>(tensor.data[kFirstState]);
  std::vector<T> apart(by_rows ? 0 : tensor.size);
  T* grads = by_rows ? state : apart.data();
  std::vector<double> weights(chunk_count(tensor.size));
  const Tiles<T> tiles;
  for (int64_t at = 0; at < tensor.size; at += kTile) {
    const int64_t n = std::min(kTile, tensor.size - at);
    const UpdateRun run = step.load_tile<T>(tensor, at, n, tiles);
    memcpy(grads + at, run.grad, n * sizeof(T));
    table.updates->scale[type](run.grad_scale, std::numeric_limits<double>::infinity(), grads + at, n);
    weights[at / kTile] = table.updates->squares[type](run.param, n).sum;
  }
  const void* coefficients = call.groups[tensor.group].coefficients[type];
  const double size = merge_chunks(weights.data(), static_cast<int64_t>(weights.size()), 1);
  return by_rows ? adafactor<T>(table, call.axes[index], coefficients, tensor.size, size, state)
                 : sm3<T>(table, call.axes[index], coefficients, tensor.size, grads, state);
}

}  // namespace

std::vector<double> factored_directions(const UpdateCall& call, const Step& step) {
  std::vector<double> factors(call.tensor_count, 1.0);
  auto body = [&](int64_t i) {
    const TensorEntry& tensor = call.tensors[i];
    if (tensor.size == 0) return;
    factors[i] = tensor.is_double() ? one_tensor<double>(call, step, i) : one_tensor<float>(call, step, i);
  };
  if (call.element_count * kElementPicoseconds >= kParallelPicoseconds) {
    parallel_for(call.tensor_count, body);
  } else {
    for (int64_t i = 0; i < call.tensor_count; ++i) body(i);
  }
  return factors;
}

}  // namespace brazen::cpu
