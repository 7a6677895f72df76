// SPDX-License-Identifier: BSD-3-Clause
// One elementwise call on tiles that fit into L1: where each array's tile lies, what is copied, converted or streamed.
// No thread and no formula here.
#pragma once

#include <algorithm>
#include <vector>

#include "../core/call.h"
#include "scratch.h"
#include "tiles.h"

namespace brazen::cpu {

inline constexpr int64_t kTileElements = 1024;
// Rows shorter than this are gathered into whole tiles; longer ones are tiled one by one, in place.
inline constexpr int64_t kRowElements = 128;
// Formulas below this cost wait for memory: they fetch the next tile while storing this one. Above it the fetches would
// only delay the stores (tanh: 0.82 of a plain copy with them, 0.85 without).
inline constexpr int64_t kCheapPicoseconds = 150;
// Outputs past this size go past the caches (measured: 1 MiB of L2 and a share of 32 MiB L3 a core).
inline constexpr int64_t kStreamBytes = 8 << 20;
inline constexpr int kMaxArrays = 72;  // dy + 64 pieces and spare: the kernels' flattened pointer lists

class Pass {
 public:
  explicit Pass(const ElementwiseCall& call);
  Pass(const Pass&) = delete;

  void operator()(int64_t begin, int64_t end) const {
    if (direct_)
      run_direct(begin, end);
    else
      run_tiles(begin, end);
    if (streams_) table_.stream_fence();
  }

 private:
  enum class Access {
    packed,   // one run of memory in the order of the pass
    rows,     // each row of the last axis is a run
    uniform,  // one value for all
    strided,  // anything else: gathered and scattered
  };

  struct Array {
    const Operand* operand;
    char* base;
    int64_t size;  // bytes of an element
    Access access;
    bool streamed;

    bool is_run() const { return access <= Access::rows; }
  };

  // Where a tile begins; row and column only where tiles keep to rows. Small, for it is copied with every tile: a block
  // copy waits for the streamed stores before it (relu 0.25 ns an element instead of 0.17).
  struct Place {
    int64_t index, row, column;
  };

  Access access_of(const Operand& operand, const char* base) const;
  bool aliases_input(const char* base) const;
  void run_direct(int64_t begin, int64_t end) const;
  void run_tiles(int64_t begin, int64_t end) const;
  Place place(int64_t index) const;
  char* address(const Array& array, const Place& at) const;
  int next_inputs(const Place& next, const char** ahead) const;
  void store(const Array& array, const Place& at, int64_t n, const void* tile, void* narrow_tile,
             const char* const* ahead, int ahead_count) const;

  const Layout& layout_;
  const KernelTable& table_ = kernels();
  TileKernel kernel_;
  const double* parameters_;
  double group_parameters_[kMaxParameters];
  std::vector<Array> many_arrays_;
  Array few_arrays_[8];
  Array* arrays_ = few_arrays_;
  int inputs_ = 0, count_ = 0;
  int64_t compute_size_;
  int64_t row_;         // elements of the last axis where tiles keep to its rows, else 0
  bool direct_ = true;  // every array can be handed to the kernel as it lies
  bool streams_ = false;
  bool cheap_;
};

}  // namespace brazen::cpu
