// SPDX-License-Identifier: BSD-3-Clause
// What one instruction set offers: a table of loops over short contiguous runs. It names no instruction set's types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/dtype.h"
#include "../core/registry.h"

namespace brazen::cpu {

// `in` and `out` hold one pointer per array (groups spread out) of `n` elements of the compute type each; an output may
// be the same run as an input, never a shifted one.
using TileKernel = void (*)(const double* parameters, const void* const* in, void* const* out, size_t n);

struct ChainKernels;
struct ChannelKernels;
struct FactoredKernels;
struct MoveKernels;
struct UpdateKernels;
struct RowKernels;
struct ShortRowKernels;

struct KernelTable {
  const char* isa;
  const ChainKernels* chain;
  const ChannelKernels* channels;
  TileKernel kernels[kOperations][kDirections][kComputeTypes];
  TileKernel brief[kOperations];  // forward for bfloat16 storage; null where the float kernel serves
  // Indexed by the 16-bit DTypes.
  void (*widen[2])(const uint16_t* from, float* to, size_t n);
  void (*narrow[2])(const float* from, uint16_t* to, size_t n);
  // Copies past the caches, and fetches `bytes` from each of `ahead` into them.
  void (*stream)(void* to, const void* from, size_t bytes, const char* const* ahead, int ahead_count);
  void (*stream_narrow[2])(void* to, const float* from, size_t n, const char* const* ahead, int ahead_count);
  void (*stream_fence)();
  // The sum of up to 1,024 rows, in the order of formulas/reduction.h.
  float (*sum_float)(const float* rows, size_t n);
  double (*sum_double)(const double* rows, size_t n);
  const UpdateKernels* updates;
  const FactoredKernels* factored;
  const RowKernels* rows;  // row_kernels.h
  const ShortRowKernels* short_rows;
  const MoveKernels* moves;
};

}  // namespace brazen::cpu
