// SPDX-License-Identifier: BSD-3-Clause
// Moves a run of a strided operand into a contiguous tile of the compute type and back. No arithmetic but conversion.
#pragma once

#include <cstring>

#include "../core/layout.h"
#include "isa.h"
#include "move_kernels.h"

namespace brazen::cpu {

// Where element `index` of the pass lies, and how to go on from there.
class Cursor {
 public:
  Cursor(const Cursor&) = delete;  // half a kilobyte: a copy cost as much as the run it moved
  Cursor& operator=(const Cursor&) = delete;

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
void gather(const MoveKernels& moves, const char* base, Cursor& cursor, Unit* tile, int64_t n) {
  constexpr int kind = move_index(sizeof(Unit));
  cursor.runs(n, [&](int64_t offset, int64_t length, int64_t stride) {
    const char* from = base + offset;
    if (stride == sizeof(Unit)) {
      memcpy(tile, from, length * sizeof(Unit));
    } else if (stride == 2 * sizeof(Unit) && reinterpret_cast<uintptr_t>(from) % sizeof(Unit) == 0) {
      moves.every_second[kind](from, tile, length);
    } else if (stride == 0) {
      Unit value;
      memcpy(&value, from, sizeof(Unit));
      moves.repeat[kind](&value, tile, length);
    } else {
      for (int64_t i = 0; i < length; ++i) memcpy(tile + i, from + i * stride, sizeof(Unit));
    }
    tile += length;
  });
}

template <class Unit>
void scatter(char* base, Cursor& cursor, const Unit* tile, int64_t n) {
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

inline bool naturally_aligned(const char* base, const Operand& operand) {
  return reinterpret_cast<uintptr_t>(base) % itemsize(operand.dtype) == 0;
}

// `n` values of the compute type from one aligned run: the run itself, or `tile` where it has to be widened.
inline const void* use_run(const KernelTable& table, DType dtype, const char* from, int64_t n, void* tile) {
  if (!is_16_bit(dtype)) return from;
  table.widen[static_cast<int>(dtype)](reinterpret_cast<const uint16_t*>(from), static_cast<float*>(tile), n);
  return tile;
}

// The same from anywhere. `first_axis`: axes before it are fixed and already in `base`.
inline const void* gather_run(const KernelTable& table, const Layout& layout, const Operand& operand, const char* base,
                              int first_axis, int64_t index, int64_t n, void* tile, void* narrow_tile) {
  Cursor cursor(layout, operand, first_axis, index);
  switch (itemsize(operand.dtype)) {
    case 4: gather(*table.moves, base, cursor, static_cast<uint32_t*>(tile), n); break;
    case 8: gather(*table.moves, base, cursor, static_cast<uint64_t*>(tile), n); break;
    default:
      gather(*table.moves, base, cursor, static_cast<uint16_t*>(narrow_tile), n);
      table.widen[static_cast<int>(operand.dtype)](static_cast<const uint16_t*>(narrow_tile), static_cast<float*>(tile),
                                                   n);
  }
  return tile;
}

inline void scatter_run(const Layout& layout, const Operand& operand, char* base, int64_t index, int64_t n,
                        const void* tile) {
  Cursor cursor(layout, operand, 0, index);
  switch (itemsize(operand.dtype)) {
    case 1: scatter(base, cursor, static_cast<const uint8_t*>(tile), n); break;
    case 4: scatter(base, cursor, static_cast<const uint32_t*>(tile), n); break;
    case 8: scatter(base, cursor, static_cast<const uint64_t*>(tile), n); break;
    default: scatter(base, cursor, static_cast<const uint16_t*>(tile), n);
  }
}

}  // namespace brazen::cpu
