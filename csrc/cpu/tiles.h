// SPDX-License-Identifier: BSD-3-Clause
// Moves a run of a strided operand into a contiguous tile of the compute type and back. No arithmetic but conversion.
#pragma once

#include <cstring>

#include "../core/layout.h"
#include "isa.h"

namespace brazen::cpu {

// Where element `index` of the pass lies, and how to go on from there.
class Cursor {
 public:
  Cursor(const Layout& layout, const Operand& operand, int first_axis, int64_t index)
      : layout_(layout), operand_(operand), first_(first_axis), offset_(0) {
    for (int d = layout.ndim - 1; d >= first_; --d) {
      position_[d] = index % layout.shape[d];
      index /= layout.shape[d];
      offset_ += position_[d] * operand.strides[d];
    }
  }

  // Calls body(bytes offset, elements, stride) for runs along the last axis until `n` elements have passed.
  template <class Body>
  void runs(int64_t n, Body&& body) {
    const int last = layout_.ndim - 1;
    if (last < first_) return body(offset_, n, int64_t{0});
    while (n > 0) {
      const int64_t left = layout_.shape[last] - position_[last];
      const int64_t length = left < n ? left : n;
      body(offset_, length, operand_.strides[last]);
      n -= length;
      advance(last, length);
    }
  }

 private:
  void advance(int axis, int64_t steps) {
    position_[axis] += steps;
    offset_ += steps * operand_.strides[axis];
    while (position_[axis] == layout_.shape[axis] && axis > first_) {
      offset_ -= position_[axis] * operand_.strides[axis];
      position_[axis] = 0;
      --axis;
      ++position_[axis];
      offset_ += operand_.strides[axis];
    }
  }

  const Layout& layout_;
  const Operand& operand_;
  int first_;
  int64_t offset_;
  int64_t position_[kMaxDims];
};

template <class Unit>
void gather(const char* base, Cursor cursor, Unit* tile, int64_t n) {
  cursor.runs(n, [&](int64_t offset, int64_t length, int64_t stride) {
    const char* from = base + offset;
    if (stride == sizeof(Unit)) {
      memcpy(tile, from, length * sizeof(Unit));
    } else if (stride == 0) {
      Unit value;
      memcpy(&value, from, sizeof(Unit));
      for (int64_t i = 0; i < length; ++i) tile[i] = value;
    } else {
      for (int64_t i = 0; i < length; ++i) memcpy(tile + i, from + i * stride, sizeof(Unit));
    }
    tile += length;
  });
}

template <class Unit>
void scatter(char* base, Cursor cursor, const Unit* tile, int64_t n) {
  cursor.runs(n, [&](int64_t offset, int64_t length, int64_t stride) {
    char* to = base + offset;
    if (stride == sizeof(Unit)) {
      memcpy(to, tile, length * sizeof(Unit));
    } else {
      for (int64_t i = 0; i < length; ++i) memcpy(to + i * stride, tile + i, sizeof(Unit));
    }
    tile += length;
  });
}

// `first_axis`: axes before it are fixed and already in `base`. Returns a pointer to `n` values of the compute type:
// the array itself where it can be used in place, else `tile`.
inline const void* load_tile(const KernelTable& table, const Layout& layout, const Operand& operand, const char* base,
                             int first_axis, bool contiguous, int64_t index, int64_t n, void* tile, void* narrow_tile) {
  const int64_t size = itemsize(operand.dtype);
  if (!is_16_bit(operand.dtype)) {
    // A misaligned array is copied too: the kernels' types promise their natural alignment.
    if (contiguous && reinterpret_cast<uintptr_t>(base) % size == 0) return base + index * size;
    const Cursor cursor(layout, operand, first_axis, index);
    if (size == 4)
      gather(base, cursor, static_cast<uint32_t*>(tile), n);
    else
      gather(base, cursor, static_cast<uint64_t*>(tile), n);
    return tile;
  }
  const uint16_t* from = reinterpret_cast<const uint16_t*>(base) + index;
  if (!contiguous || reinterpret_cast<uintptr_t>(base) % size != 0) {
    gather(base, Cursor(layout, operand, first_axis, index), static_cast<uint16_t*>(narrow_tile), n);
    from = static_cast<const uint16_t*>(narrow_tile);
  }
  table.widen[static_cast<int>(operand.dtype)](from, static_cast<float*>(tile), n);
  return tile;
}

}  // namespace brazen::cpu
