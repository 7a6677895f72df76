// SPDX-License-Identifier: BSD-3-Clause
// The channels within the rows of group and instance norm: a row is one of its sample's groups, its channels one after
// another. No formula here.
#pragma once

#include <vector>

#include "../core/rows.h"
#include "row_access.h"

namespace brazen::cpu {

class RowChannels {
 public:
  explicit RowChannels(const RowNormCall& call)
      : groups_(call.groups),
        a_row_(call.channels / call.groups),
        positions_(a_row_ ? call.arrays.columns.size / a_row_ : 0) {}

  // Not where a row's columns are what scale and shift have one each of.
  bool exist() const { return a_row_ > 0; }
  int64_t a_row() const { return a_row_; }
  int64_t positions() const { return positions_; }
  int64_t first_of(int64_t row) const { return row % groups_ * a_row_; }

  // Calls body(channel, first column, columns) for the runs of one channel each in part of a row.
  template <class Body>
  void each(int64_t row, int64_t start, int64_t n, Body&& body) const {
    int64_t channel = start / positions_;
    for (int64_t at = start; at < start + n; ++channel) {
      const int64_t end = std::min(start + n, (channel + 1) * positions_);
      body(first_of(row) + channel, at, end - at);
      at = end;
    }
  }

  // Of an operand that has one value a channel.
  template <class T>
  std::vector<T> values(const RowNormCall& call, int operand) const {
    const RowPlace place(call.arrays, operand);
    const KernelTable& table = kernels();
    std::vector<T> values(groups_ * a_row_);
    for (int64_t group = 0; group < groups_ && positions_ > 0 && call.arrays.rows.size > 0; ++group)
      for (int64_t channel = 0; channel < a_row_; ++channel) {
        const char* from = place.address(group, channel * positions_);
        T* value = &values[group * a_row_ + channel];
        uint16_t narrow;
        if (is_16_bit(place.dtype()))
          memcpy(&narrow, from, sizeof narrow),
              use_run(table, place.dtype(), reinterpret_cast<char*>(&narrow), 1, value);
        else
          memcpy(value, from, sizeof(T));
      }
    return values;
  }

 private:
  int64_t groups_, a_row_, positions_;
};

}  // namespace brazen::cpu
