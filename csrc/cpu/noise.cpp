// SPDX-License-Identifier: BSD-3-Clause
// Whole Philox blocks for runs of elements, kept where the next run needs them again.
#include "noise.h"

#include <cstring>

#include "chain_kernels.h"

namespace brazen::cpu {
namespace {

constexpr int64_t kRun = 1024;

// Channels-last memory walks the elements of one row of channels; the seven rows after it need the same blocks. Each
// entry is a range of channels: together up to 4,096 of them.
struct Columns {
  RandomKey key;
  uint64_t first_block = 0, stride = 0;
  int64_t n = 0;
  alignas(64) uint16_t rows[kPiecesPerBlock][kRun + kDrawnTogether];
};

const uint16_t* draw_column_run(const ChainKernels& kernels, RandomKey key, uint64_t first, uint64_t stride,
                                int64_t n) {
  static thread_local Columns entries[4];
  const uint64_t block = first / kPiecesPerBlock, block_stride = stride / kPiecesPerBlock;
  Columns& entry = entries[block / (block_stride * kRun) % 4];
  if (entry.first_block != block || entry.stride != block_stride || entry.n < n || entry.key.seed != key.seed ||
      entry.key.step != key.step || entry.key.site != key.site) {
    kernels.draw_columns(key, block, block_stride, n, entry.rows[0], kRun + kDrawnTogether);
    entry.key = key, entry.first_block = block, entry.stride = block_stride, entry.n = n;
  }
  return entry.rows[first % kPiecesPerBlock];
}

// Up to two values a block, and the lanes that are made beyond the last.
struct Words {
  alignas(64) uint32_t words[2 * kRun + 4 * (2 + kDrawnTogether)];
};

// Those of the blocks first ... last, until the thread draws again.
const Words& draw_words(const ChainKernels& kernels, RandomKey key, int64_t first, int64_t last) {
  static thread_local Words drawn;
  kernels.draw_words(key, first, last - first + 1, drawn.words);
  return drawn;
}

const uint16_t* draw_pieces(const ChainKernels& kernels, RandomKey key, int64_t first, int64_t stride, int64_t n,
                            uint16_t* tile) {
  if (stride == 1) {
    const int64_t block = first / kPiecesPerBlock, last = (first + n - 1) / kPiecesPerBlock;
    const Words& drawn = draw_words(kernels, key, block, last);
    return reinterpret_cast<const uint16_t*>(drawn.words) + first % kPiecesPerBlock;
  } else if (stride == 0) {
    kernels.draw_pieces(key, first, 0, 1, tile);
    for (int64_t i = 1; i < n; ++i) tile[i] = tile[0];
  } else if (stride > 0 && stride % kPiecesPerBlock == 0) {
    return draw_column_run(kernels, key, first, stride, n);
  } else {
    kernels.draw_pieces(key, first, stride, n, tile);
  }
  return tile;
}

}  // namespace

const uint16_t* draw_pieces(const KernelTable& table, RandomKey key, int64_t first, int64_t n) {
  return draw_pieces(*table.chain, key, first, 1, n, nullptr);
}

const void* draw_long_words(const KernelTable& table, RandomKey key, int64_t first, int64_t n, void* tile) {
  const Words& drawn = draw_words(*table.chain, key, first / 2, (first + n - 1) / 2);
  memcpy(tile, drawn.words + 2 * (first % 2), n * sizeof(uint64_t));
  return tile;
}

const void* draw_values(const KernelTable& table, RandomKey key, bool is_normal, bool is_double, int64_t first,
                        int64_t stride, int64_t n, void* tile) {
  const ChainKernels& kernels = *table.chain;
  const int64_t item = is_double ? 8 : 4;
  if (stride == 1) {
    const int64_t per_block = 16 / item, block = first / per_block, last = (first + n - 1) / per_block;
    const int64_t values = (last - block + 1) * per_block;
    const Words& drawn = draw_words(kernels, key, block, last);
    if (is_normal)
      kernels.normal[is_double](drawn.words, values / 2, tile);
    else
      kernels.uniform[is_double](drawn.words, values, tile);
    return static_cast<const char*>(tile) + first % per_block * item;
  }
  const auto each = is_normal ? kernels.normal_each[is_double] : kernels.uniform_each[is_double];
  each(key, first, stride, stride == 0 ? 1 : n, tile);
  if (stride == 0)
    for (int64_t i = 1; i < n; ++i) memcpy(static_cast<char*>(tile) + i * item, tile, item);
  return tile;
}

const void* draw(const KernelTable& table, const Chain& chain, bool is_double, int64_t first, int64_t stride, int64_t n,
                 void* tile) {
  if (chain.noise == Noise::dropout)
    return draw_pieces(*table.chain, chain.key, first, stride, n, static_cast<uint16_t*>(tile));
  return draw_values(table, chain.key, true, is_double, first, stride, n, tile);
}

}  // namespace brazen::cpu
