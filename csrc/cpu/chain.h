// SPDX-License-Identifier: BSD-3-Clause
// A chain's stages on one tile after another, and the driver of a whole chain.
#pragma once

#include "../core/chain.h"
#include "chain_kernels.h"
#include "isa.h"

namespace brazen::cpu {

// The stages of a call, looked up once. `in` and `out` are tiles in the order of core/chain.h, index drawn already.
class ChainProgram {
 public:
  static constexpr int kWorkTiles = 2;

  ChainProgram(const ChainCall& call, const KernelTable& table);

  // With `single`, a coefficient is one value for the tile, else one for each element. `work` holds kWorkTiles tiles of
  // `tile_bytes`.
  void operator()(const void* const* in, void* const* out, size_t n, bool single, unsigned char* work,
                  int64_t tile_bytes) const {
    if (direction_ == Direction::forward)
      forward(in, out, n, single, work);
    else
      backward(in, out, n, single, work, tile_bytes);
  }

  // Which input is the drawn noise (-1: none), and which inputs are coefficients (bits).
  int noise_input() const { return noise_; }
  uint32_t coefficients() const { return coefficients_; }
  const Chain& chain() const { return chain_; }
  bool is_double() const { return type_ == 1; }
  // Of one element, as OperationInfo's costs are.
  int picoseconds() const { return picoseconds_; }

 private:
  void forward(const void* const* in, void* const* out, size_t n, bool single, unsigned char* work) const;
  void backward(const void* const* in, void* const* out, size_t n, bool single, unsigned char* work,
                int64_t tile_bytes) const;
  const void* at(const void* const* in, int k) const { return k < 0 ? nullptr : in[k]; }

  const Chain& chain_;
  const ChainKernels& kernels_;
  Direction direction_;
  int type_;
  int parts_ = 0;  // the affine kernel's
  int x_, center_ = -1, factor_ = -1, shift_ = -1, add_ = -1, add_after_ = -1, slope_ = -1, base_ = -1, noise_ = -1;
  uint32_t coefficients_ = 0;
  TileKernel activation_ = nullptr, activation_backward_ = nullptr;
  int picoseconds_;
};

void run(const ChainCall& call);

void run(const FillCall& call);

}  // namespace brazen::cpu
