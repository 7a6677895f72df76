// SPDX-License-Identifier: BSD-3-Clause
// One elementwise call or chain on tiles that fit into L1: where each array's tile lies, what is copied, converted or
// streamed. No thread and no formula here.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "../core/call.h"
#include "chain.h"
#include "noise.h"
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
inline constexpr int kFewArrays = kMaxOperands;
inline constexpr int kMaxArrays = 72;  // dy + 64 pieces and spare: the kernels' flattened pointer lists

class Pass {
 public:
  explicit Pass(const ElementwiseCall& call);
  explicit Pass(const ChainCall& call);
  Pass(const Pass&) = delete;

  // `beyond`: while results leave for memory, the inputs so many elements further on are fetched for whoever is next.
  void operator()(int64_t begin, int64_t end, int64_t beyond = 0) const {
    if (direct_)
      run_direct(begin, end);
    else
      run_tiles(begin, end, beyond);
    if (streams_) table_.stream_fence();
  }

  // The inputs of the tile at hand. It lies in the thread's scratch, so between two calls of `compute` with it no other
  // pass may run on the thread.
  struct Tiles {
    unsigned char* scratch = nullptr;
    const void* in[kMaxArrays];
    int64_t phases[kMaxArrays];  // where a repeating operand's tile begins; -1: not gathered yet
  };
  // The outputs of elements [begin, begin + n) in the compute type, at most kTileElements of them, into tiles of the
  // caller's; no array is written. For chains.
  void compute(Tiles& tiles, int64_t begin, int64_t n, void* const* out) const;
  // Asks memory for the inputs of [begin, begin + n), at most a row, where they lie in runs.
  void fetch(int64_t begin, int64_t n) const;

  int picoseconds() const { return program_->picoseconds(); }
  // Whether an input lies in the order of the pass, and which element is at an address in it.
  bool is_packed(int input) const { return arrays_[input].access == Access::packed; }
  int64_t index_of(int input, const char* address) const {
    return (address - arrays_[input].base) / arrays_[input].size;
  }

 private:
  enum class Access {
    packed,    // one run of memory in the order of the pass
    rows,      // each row of the last axis is a run
    uniform,   // one value for all
    periodic,  // nothing but the last axes matters, and they are short: one gathered tile serves many
    along,     // one value along each row, and rows are long: a tile of it serves the row
    single,    // a chain's coefficient that is one value for the tile
    noise,     // drawn, not read
    paired,    // two outputs that alternate in one run: stored by the second
    strided,   // anything else: gathered and scattered
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

  void add_arrays(const Operand& operand, bool is_output);
  void finish();
  Access access_of(const Operand& operand, const char* base) const;
  int64_t period_of(const Operand& operand) const;
  bool is_pair(const Operand& operand) const;
  void begin(Tiles& tiles) const;
  static void repeat(unsigned char* tile, int64_t filled, int64_t wanted);
  void load(Tiles& tiles, const Place& at, int64_t n) const;
  void apply(const void* const* in, void* const* out, int64_t n, unsigned char* scratch) const;
  const void* draw_noise(const Array& array, const Place& at, int64_t n, unsigned char* tile,
                         unsigned char* spare) const;
  // Tiles: one for each array, one for narrow elements, and those of the chain.
  int64_t tile_bytes() const { return (kTileElements + kDrawSlack) * compute_size_; }
  int64_t scratch_bytes() const { return (count_ + 1 + ChainProgram::kWorkTiles) * tile_bytes(); }
  bool aliases_input(const char* base) const;
  void run_direct(int64_t begin, int64_t end) const;
  void run_tiles(int64_t begin, int64_t end, int64_t beyond) const;
  Place place(int64_t index) const;
  char* address(const Array& array, const Place& at) const;
  int wanted_next(const Place& at, int64_t n, int64_t end, int64_t beyond, const char** ahead) const;
  int inputs_at(int64_t index, const char** ahead) const;
  // Every row is the same: it stays in the caches.
  bool repeats(const Operand& operand) const { return layout_.ndim > 1 && operand.strides[0] == 0; }
  void store(const Array& array, const Place& at, int64_t n, const void* tile, void* narrow_tile,
             const char* const* ahead, int ahead_count) const;
  // `spare`: the tile for narrow elements and the chain's.
  void store_pair(const Array& first, int64_t index, int64_t n, const void* const* tiles, unsigned char* spare,
                  const char* const* ahead, int ahead_count) const;

  const Layout& layout_;
  const KernelTable& table_ = kernels();
  TileKernel kernel_ = nullptr;
  std::optional<ChainProgram> program_;
  const double* parameters_ = nullptr;
  double group_parameters_[kMaxParameters];
  std::vector<Array> many_arrays_;
  Array few_arrays_[kFewArrays];
  Array* arrays_ = few_arrays_;
  int inputs_ = 0, count_ = 0;
  int64_t compute_size_;
  int64_t row_;         // elements of the last axis where tiles keep to its rows, else 0
  int64_t period_ = 0;  // elements after which all that is periodic repeats itself; 0 where nothing is
  int64_t tile_ = kTileElements;
  bool single_ = false;  // a chain's coefficients are one value for the tile
  bool direct_ = true;   // every array can be handed to the kernel as it lies
  bool streams_ = false;
  bool cheap_;
};

}  // namespace brazen::cpu
