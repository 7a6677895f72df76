// SPDX-License-Identifier: BSD-3-Clause
// Rows that lie across memory, their neighbours side by side (softmax over an axis that is not the last): some of them
// at a time are turned into runs in L2, so that every cache line is read and written once. No formula, no conversion.
#pragma once

#include <algorithm>
#include <cstring>

#include "../core/layout.h"

namespace brazen::cpu {

// One operand's rows. Which rows a panel holds never reaches a result.
class RowPanel {
 public:
  // Whether the operand lies so, and has more than a few rows side by side.
  static bool fits(const Layout& rows, const Operand& row, const Layout& columns) {
    const int64_t item = itemsize(row.dtype);
    return rows.ndim > 0 && columns.ndim == 1 && columns.size > 1 && rows.shape[rows.ndim - 1] >= kFewest &&
           row.strides[rows.ndim - 1] == item;
  }

  // How many rows are taken together: whole cache lines of them, as long as they stay in L2.
  static int64_t together(const Layout& columns, const Operand& row) {
    const int64_t item = itemsize(row.dtype), line = kLineBytes / item;
    return std::clamp(kPanelBytes / (columns.size * item) / line * line, line, 4 * line);
  }

  RowPanel() = default;
  // Rows from `end` on are left alone: they are another thread's.
  RowPanel(const Layout& rows, const Layout& columns, const Operand& column, int64_t end)
      : item_(itemsize(column.dtype)),
        columns_(columns.size),
        stride_(column.strides[0]),
        inner_(rows.shape[rows.ndim - 1]),
        together_(together(columns, column)),
        // An odd number of lines: rows a power of two apart would share the sets of a cache.
        pitch_((((columns_ * item_ + kLineBytes - 1) / kLineBytes) | 1) * kLineBytes),
        end_(end) {}

  bool exists() const { return together_ > 0; }
  int64_t bytes() const { return together_ * pitch_; }
  void set_memory(char* memory) { memory_ = memory, count_ = 0; }

  bool holds(int64_t row) const { return row >= first_ && row < first_ + count_; }
  bool holds_any() const { return count_ > 0; }
  char* address(int64_t row) const { return memory_ + (row - first_) * pitch_; }

  // The panel's rows begin with `row`, which lies at `at`.
  void move(int64_t row, char* at) {
    first_ = row, at_ = at;
    count_ = std::min({together_, inner_ - row % inner_, end_ - row});
  }

  void load() {
    each_unit([&]<class Unit>() {
      for (int64_t column = 0; column < columns_; ++column) {
        const Unit* from = reinterpret_cast<const Unit*>(at_ + column * stride_);
        char* to = memory_ + column * item_;
        for (int64_t row = 0; row < count_; ++row) *reinterpret_cast<Unit*>(to + row * pitch_) = from[row];
      }
    });
  }

  void store() const {
    each_unit([&]<class Unit>() {
      for (int64_t column = 0; column < columns_; ++column) {
        Unit* to = reinterpret_cast<Unit*>(at_ + column * stride_);
        const char* from = memory_ + column * item_;
        for (int64_t row = 0; row < count_; ++row) to[row] = *reinterpret_cast<const Unit*>(from + row * pitch_);
      }
    });
  }

 private:
  static constexpr int64_t kLineBytes = 64, kPanelBytes = 32 << 10, kFewest = 4;

  template <class Body>
  void each_unit(Body&& body) const {
    switch (item_) {
      case 2: return body.template operator()<uint16_t>();
      case 4: return body.template operator()<uint32_t>();
      default: return body.template operator()<uint64_t>();
    }
  }

  int64_t item_ = 0, columns_ = 0, stride_ = 0, inner_ = 1, together_ = 0, pitch_ = 0, end_ = 0;
  int64_t first_ = 0, count_ = 0;
  char *at_ = nullptr, *memory_ = nullptr;
};

}  // namespace brazen::cpu
