// SPDX-License-Identifier: BSD-3-Clause
// The row loops of the factored rules. Compiled once per instruction set, each time in a namespace of its own; nothing
// of std:: may be instantiated here.
#include "factored_kernels.h"

namespace brazen::cpu {
inline namespace BRAZEN_TARGET {
namespace {

#define EACH_ELEMENT _Pragma("GCC ivdep") for (size_t i = 0; i < n; ++i)

// Row r belongs to lane r mod 32, as everywhere; the columns are the vector.
template <class T>
void column_squares(const void* run, size_t rows, size_t stride, size_t columns, double* sums) {
  const T* x = static_cast<const T*>(run);
  T lanes[kLanes][kColumns] = {};
  for (size_t row = 0; row < rows; ++row) {
    T* lane = lanes[row % kLanes];
    const T* from = x + row * stride;
#pragma GCC ivdep
    for (size_t j = 0; j < columns; ++j) lane[j] += from[j] * from[j];
  }
  for (int offset = kLanes / 2; offset > 0; offset /= 2)
    for (int lane = 0; lane < offset; ++lane)
#pragma GCC ivdep
      for (size_t j = 0; j < columns; ++j) lanes[lane][j] += lanes[lane + offset][j];
  for (size_t j = 0; j < columns; ++j) sums[j] = static_cast<double>(lanes[0][j]);
}

template <class T>
void adafactor_row(const void* coefficients, double row, const void* column_run, void* direction_run, size_t n) {
  const Adafactor<T> rule = *static_cast<const Adafactor<T>*>(coefficients);
  const T scale = T(row);
  const T* columns = static_cast<const T*>(column_run);
  T* direction = static_cast<T*>(direction_run);
  EACH_ELEMENT direction[i] = rule.direction(direction[i], scale * columns[i]);
}

template <class T>
void adafactor_vector(const void* coefficients, void* variance_run, void* direction_run, size_t n) {
  const Adafactor<T> rule = *static_cast<const Adafactor<T>*>(coefficients);
  T* variance = static_cast<T*>(variance_run);
  T* direction = static_cast<T*>(direction_run);
  EACH_ELEMENT {
    const T g = direction[i], v = rule.blend(variance[i], g * g);
    variance[i] = v;
    direction[i] = rule.direction(g, v);
  }
}

// A maximum has the same bits in any order; a NaN wins.
template <class T>
double sm3_row(double others, const void* last_run, void* new_last_run, const void* grad_run, void* step_run,
               const void* coefficients, size_t n) {
  const Sm3<T> rule = *static_cast<const Sm3<T>*>(coefficients);
  const T bound = T(others);
  const T *last = static_cast<const T*>(last_run), *grad = static_cast<const T*>(grad_run);
  T *fresh = static_cast<T*>(new_last_run), *step = static_cast<T*>(step_run);
  T largest[kLanes] = {};
  const auto one = [&](size_t i, size_t lane) {
    const T g = grad[i], v = rule.variance(math::minimum(bound, last[i]), g);
    fresh[i] = math::maximum(fresh[i], v);
    largest[lane] = math::maximum(largest[lane], v);
    step[i] = rule.direction(step[i], g, v);
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) one(i + lane, lane);
  for (size_t lane = 0; i < n; ++i, ++lane) one(i, lane);
  T result = largest[0];
  for (int lane = 1; lane < kLanes; ++lane) result = math::maximum(result, largest[lane]);
  return static_cast<double>(result);
}

template <class T>
constexpr void register_type(FactoredKernels& table, int type) {
  table.column_squares[type] = column_squares<T>;
  table.adafactor_row[type] = adafactor_row<T>;
  table.adafactor_vector[type] = adafactor_vector<T>;
  table.sm3_row[type] = sm3_row<T>;
}

constexpr FactoredKernels make_table() {
  FactoredKernels table{};
  register_type<float>(table, 0);
  register_type<double>(table, 1);
  return table;
}

}  // namespace

extern const FactoredKernels kFactoredKernels;
constinit const FactoredKernels kFactoredKernels = make_table();

}  // namespace BRAZEN_TARGET
}  // namespace brazen::cpu
