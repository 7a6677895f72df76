// SPDX-License-Identifier: BSD-3-Clause
// Rows of an operand too short to fill vectors (the classes of a segmentation), kAbreast at a time as the kernels of
// short_row_kernels.h take them, wherever the array lies. No formula.
#pragma once

#include "row_access.h"
#include "short_row_kernels.h"

namespace brazen::cpu {

// to[column][row] = from[row][column], each with its own pitch in elements. Through blocks of four by four in
// registers: one element at a time, the moves cost more than softmax' arithmetic.
template <class T>
void transpose(const T* from, int64_t from_pitch, int64_t rows, int64_t columns, T* to, int64_t to_pitch) {
  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (int64_t row = 0; row < whole_rows; row += 4) {
    for (int64_t column = 0; column < whole_columns; column += 4) {
      Four a, b, c, d;
      const T* at = from + row * from_pitch + column;
      memcpy(&a, at, sizeof a), memcpy(&b, at + from_pitch, sizeof b);
      memcpy(&c, at + 2 * from_pitch, sizeof c), memcpy(&d, at + 3 * from_pitch, sizeof d);
      const Four low = __builtin_shufflevector(a, b, 0, 4, 1, 5), high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four lower = __builtin_shufflevector(c, d, 0, 4, 1, 5), higher = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      a = __builtin_shufflevector(low, lower, 0, 1, 4, 5), b = __builtin_shufflevector(low, lower, 2, 3, 6, 7);
      c = __builtin_shufflevector(high, higher, 0, 1, 4, 5), d = __builtin_shufflevector(high, higher, 2, 3, 6, 7);
      T* into = to + column * to_pitch + row;
      memcpy(into, &a, sizeof a), memcpy(into + to_pitch, &b, sizeof b);
      memcpy(into + 2 * to_pitch, &c, sizeof c), memcpy(into + 3 * to_pitch, &d, sizeof d);
    }
  }
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; ++column)
      to[column * to_pitch + row] = from[row * from_pitch + column];
}

template <class T>
class ShortRows : public RowPlace {
 public:
  // Whether rows up to `longest` are worth it, or longer ones that lie across memory. It never reaches a result.
  static bool fits(const RowsLayout& arrays, int64_t longest) {
    if (lies_across(arrays, 0)) longest = kLongestAcross;
    return arrays.columns.size > 1 && arrays.columns.size <= longest && arrays.rows.size >= kFewest;
  }
  // A bundle's, with a few lines between neighbours: a power of two apart, stores would be taken for what loads wait
  // for.
  static int64_t elements(int64_t columns) { return columns * kAbreast + kSpare; }

  ShortRows(const RowsLayout& arrays, int operand) : RowPlace(arrays, operand) {
    if (!aligned_) return;
    if (lies_across(arrays, operand) && column_.strides[0] % itemsize(dtype()) == 0)
      order_ = Order::across;
    else if (run_ && rows_.ndim == 1 && row_.strides[0] == columns_.size * itemsize(dtype()))
      order_ = Order::packed;
  }

  void take(Arena& arena) {
    values_ = arena.take<T>(elements(columns_.size));
    narrow_ = arena.take<uint16_t>(elements(columns_.size));
  }

  // Rows beyond `count` of the bundle are left as they are.
  void load(int64_t row, int64_t count, T* bundle) const {
    if (order_ == Order::across)
      return each_run(row, count, [&](char* from, int64_t column, int64_t first, int64_t n) {
        T* to = bundle + column * kAbreast + first;
        const void* values = use_run(table_, dtype(), from, n, to);
        if (values != to) memcpy(to, values, n * sizeof(T));
      });
    const int64_t columns = columns_.size;
    const T* from = values_;
    if (order_ == Order::packed)
      from = static_cast<const T*>(use_run(table_, dtype(), base(row), count * columns, values_));
    else
      for (int64_t i = 0; i < count; ++i)
        gather_run(table_, columns_, column_, base(row + i), 0, 0, columns, values_ + i * columns, narrow_);
    transpose(from, columns, count, columns, bundle, kAbreast);
  }

  void store(int64_t row, int64_t count, const T* bundle) const {
    if (order_ == Order::across)
      return each_run(row, count, [&](char* to, int64_t column, int64_t first, int64_t n) {
        write(to, bundle + column * kAbreast + first, n);
      });
    const int64_t columns = columns_.size;
    const bool straight = order_ == Order::packed && itemsize(dtype()) == sizeof(T);
    T* to = straight ? reinterpret_cast<T*>(base(row)) : values_;
    transpose(bundle, kAbreast, columns, count, to, columns);
    if (straight) return;
    if (order_ == Order::packed) return write(base(row), values_, count * columns);
    const void* from = values_;
    if (is_16_bit(dtype())) {
      write(reinterpret_cast<char*>(narrow_), values_, count * columns);
      from = narrow_;
    }
    for (int64_t i = 0; i < count; ++i)
      scatter_run(columns_, column_, base(row + i), 0, columns,
                  static_cast<const char*>(from) + i * columns * itemsize(dtype()));
  }

 private:
  enum class Order {
    across,   // neighbouring rows side by side: runs of one column
    packed,   // all elements of all rows in order
    strided,  // anything else
  };
  static constexpr int64_t kLongestAcross = 160, kFewest = 8, kSpare = 80;

  static bool lies_across(const RowsLayout& arrays, int operand) {
    const Layout& rows = arrays.rows;
    const Operand& row = rows.operands[operand];
    return arrays.columns.ndim == 1 && rows.ndim > 0 && row.strides[rows.ndim - 1] == itemsize(row.dtype);
  }

  // Calls body(address, column, first row of the bundle, rows) for runs of neighbouring rows.
  template <class Body>
  void each_run(int64_t row, int64_t count, Body&& body) const {
    const int64_t inner = rows_.shape[rows_.ndim - 1];
    for (int64_t first = 0; first < count;) {
      const int64_t n = std::min(count - first, inner - (row + first) % inner);
      char* at = base(row + first);
      for (int64_t column = 0; column < columns_.size; ++column, at += column_.strides[0]) body(at, column, first, n);
      first += n;
    }
  }

  void write(char* to, const T* from, int64_t n) const {
    if constexpr (sizeof(T) == 4)
      if (is_16_bit(dtype())) return table_.narrow[static_cast<int>(dtype())](from, reinterpret_cast<uint16_t*>(to), n);
    memcpy(to, from, n * sizeof(T));
  }

  const KernelTable& table_ = kernels();
  Order order_ = Order::strided;
  T* values_ = nullptr;
  uint16_t* narrow_ = nullptr;
};

}  // namespace brazen::cpu
