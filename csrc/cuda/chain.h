// SPDX-License-Identifier: BSD-3-Clause
// What a chain's kernels are given: its operands by role, its stages as data; and its launches. No kernel here.
#pragma once

#include "../core/chain.h"
#include "cut.h"
#include "index.h"
#include "launch.h"

namespace brazen::cuda {

// Operands have fixed places in the kernels' parameters, so that every access to them is a constant's.
enum Role {
  kValue,  // x
  kAdd,
  kOther,  // add_after; backward dy
  kFirstOut,
  kSecondOut,  // y; backward dadd, dx
  kCenter,
  kFactor,
  kShift,
  kSlope,
  kBase,
  kIndex,
  kRoles,
};
inline constexpr int kArrayInputs = kFirstOut;
inline constexpr int kArrays = kCenter;  // what has all elements; the coefficients follow
inline constexpr int kCoefficients = kIndex - kCenter;

enum Number { kParameters, kNoiseScale = kParameters + kMaxParameters, kKeptShift, kDropped, kNumbers };

// A chain as its kernels see it, plain data.
struct ChainStages {
  char* data[kRoles];  // null where absent; not the index's
  DType dtype;
  Direction direction;
  int32_t activation;  // -1: none
  Noise noise;
  bool moves;  // alpha dropout, forward
  uint32_t keep_threshold;
  RandomKey key;
  uint64_t first_index;
  float numbers[kNumbers];
  double wide_numbers[kNumbers];
};

// The roles of a call's operands, in their order.
class Roles {
 public:
  explicit Roles(const ChainCall& call);

  int count() const { return count_; }
  Role operator[](int k) const { return roles_[k]; }
  // Whether the call holds what its chain speaks of.
  bool fit(const ChainCall& call) const;
  // All but where the operands lie along the axes.
  void fill(ChainStages& stages, const ChainCall& call, const Layout& layout) const;

 private:
  Role roles_[kMaxOperands];
  int count_ = 0;
};

// Kernel parameters. Elements are numbered in C order of the pass; strides are bytes, the index's elements.
struct ChainPass : ChainStages {
  uint32_t first, end;
  int32_t ndim;
  bool reversed;
  Divisor<uint32_t> extents[kAxes];
  int64_t strides[kRoles][kAxes];
};

__device__ __forceinline__ uint32_t block_of(const ChainPass& pass) {
  return pass.reversed ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
}

// How the coefficients of a vector are read.
enum class Spread : int32_t {
  uniform,  // one for all its elements
  vectors,  // a vector of them
  each,     // one by one
};

// Which runs of elements that begin at a multiple of their length have consecutive indices, the first a multiple too.
enum class IndexRuns : int32_t {
  none,
  quads,   // of four
  blocks,  // of eight
};

struct ChainVectorPass : ChainPass {
  uint32_t vectors;
  bool streaming;
  bool dense;        // every array is one run of memory in the order of the pass
  bool dense_index;  // indices are consecutive in the order of the pass
  IndexRuns index_runs;
  Spread spread;
  // The channel of element e: (e / inner) % channels. All coefficients have the same.
  bool has_inner, wraps;
  Divisor<uint32_t> inner, channels;
  int64_t channel_strides[kCoefficients];
};

using ChainVectorKernel = void (*)(ChainVectorPass);
using ChainElementKernel = void (*)(ChainPass);

inline constexpr int kChainThreads = 256;
// Vectors of each array a thread has under way.
constexpr int chain_slots(Direction direction, bool wide) { return wide || direction == Direction::forward ? 2 : 1; }

// Why a call's arrays cannot be its chain's; null where they can.
const char* why_refused(const ChainCall& call);
// The launches of a call that is not refused, on the current device.
cudaError_t run(const ChainCall& call, const Launch& where);

ChainVectorKernel chain_vector_kernel(Direction direction);
ChainElementKernel chain_element_kernel(bool is_double);

}  // namespace brazen::cuda
