// SPDX-License-Identifier: BSD-3-Clause
// The loops of a chain's stages over short contiguous runs, as one instruction set offers them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../core/chain.h"

namespace brazen::cpu {

inline constexpr size_t kDrawnTogether = 8;

// Untyped pointers lead to floats or doubles, by the table's last index. An output may be an input, never a shifted
// one. A coefficient is one value for the run, or one for each element.
struct ChainKernels {
  using Affine = void (*)(const void* x, const void* center, const void* factor, const void* shift, void* y, size_t n);
  // [center + 2 factor + 4 shift][one value for the run][double]
  Affine affine[8][2][kComputeTypes];
  using Correct = void (*)(const void* grad, const void* x, const void* center, const void* factor, const void* slope,
                           const void* base, void* dx, size_t n);
  Correct correct[2][kComputeTypes];
  void (*add[kComputeTypes])(const void* a, const void* b, void* y, size_t n);
  // value -> y through what was drawn: uint16 pieces for dropout, normals of the compute type for the others.
  using NoiseKernel = void (*)(const Chain& chain, const void* value, const void* drawn, void* y, size_t n);
  NoiseKernel noise[kNoises][kDirections][kComputeTypes];
  // The words of consecutive blocks, which are also the pieces of their elements, in order. Both this and draw_columns
  // round n up to a multiple of kDrawnTogether.
  void (*draw_words)(RandomKey key, uint64_t first_block, size_t n, uint32_t* words);
  // The pieces of the blocks first, first + stride, ...: piece k of all of them in row k.
  void (*draw_columns)(RandomKey key, uint64_t first_block, uint64_t stride, size_t n, uint16_t* rows,
                       size_t row_length);
  // One piece each of the elements first, first + stride, ...
  void (*draw_pieces)(RandomKey key, uint64_t first, int64_t stride, size_t n, uint16_t* pieces);
  // Random values of the compute type: of n words in order (normal: n pairs), or of the elements first, first + stride,
  // ...
  using FromWords = void (*)(const void* words, size_t n, void* values);
  using DrawEach = void (*)(RandomKey key, uint64_t first, int64_t stride, size_t n, void* values);
  FromWords uniform[kComputeTypes], normal[kComputeTypes];
  DrawEach uniform_each[kComputeTypes], normal_each[kComputeTypes];
  // 1 where the element's piece is below the threshold, else 0.
  void (*compare)(const uint16_t* pieces, uint32_t threshold, size_t n, uint8_t* kept);
};

}  // namespace brazen::cpu
