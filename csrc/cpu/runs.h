// SPDX-License-Identifier: BSD-3-Clause
// Short contiguous runs of any floating storage type to and from the compute type. No formula, no thread.
#pragma once

#include <cstring>

#include "isa.h"
#include "update_kernels.h"

namespace brazen::cpu {

template <class T>
inline constexpr DType kComputeDType = sizeof(T) == 8 ? DType::float64 : DType::float32;

// `n` values as T: the run itself where it holds them, else in `tile`. `narrow` is room for as many floats.
template <class T>
T* load_run(const KernelTable& table, DType dtype, void* from, size_t n, T* tile, float* narrow) {
  if (dtype == kComputeDType<T>) return static_cast<T*>(from);
  const auto widen = [&](float* to) {
    table.widen[static_cast<int>(dtype)](static_cast<const uint16_t*>(from), to, n);
  };
  if constexpr (sizeof(T) == 4) {
    if (is_16_bit(dtype))
      widen(tile);
    else
      table.updates->to_float(static_cast<const double*>(from), tile, n);
  } else {
    if (is_16_bit(dtype)) widen(narrow);
    table.updates->to_double(is_16_bit(dtype) ? narrow : static_cast<const float*>(from), tile, n);
  }
  return tile;
}

// Rounds once, but twice from float64 to 16 bits.
template <class T>
void store_run(const KernelTable& table, DType dtype, void* to, size_t n, const T* tile, float* narrow) {
  if (dtype == kComputeDType<T>) {
    if (to != tile) memcpy(to, tile, n * sizeof(T));
    return;
  }
  const float* floats;
  if constexpr (sizeof(T) == 4) {
    if (dtype == DType::float64) return table.updates->to_double(tile, static_cast<double*>(to), n);
    floats = tile;
  } else {
    if (dtype == DType::float32) return table.updates->to_float(tile, static_cast<float*>(to), n);
    table.updates->to_float(tile, narrow, n);
    floats = narrow;
  }
  table.narrow[static_cast<int>(dtype)](floats, static_cast<uint16_t*>(to), n);
}

}  // namespace brazen::cpu
