// SPDX-License-Identifier: BSD-3-Clause
// The chain on 16-byte vectors of float32, bfloat16 or float16: eight elements at a time in registers.
#include "chain_stages.h"
#include "vector.h"

// A namespace with a name: an anonymous one would put the build folder's hash into the kernels' names.
namespace brazen::cuda::chains {

constexpr int kQuad = 4;

// Threads past the end load the last vector again and store nothing.
FORMULA uint32_t bounded(uint32_t vector, const ChainVectorPass& pass) {
  return vector < pass.vectors ? vector : pass.vectors - 1;
}

// Where a vector lies in each of `count` arrays.
template <int count>
FORMULA void array_offsets(const ChainVectorPass& pass, int first_role, uint32_t vector, bool wide, int64_t* offsets) {
#pragma unroll
  for (int k = 0; k < count; ++k) offsets[k] = pass.dense ? static_cast<int64_t>(vector) * kVectorBytes : 0;
  if (!pass.dense)
    locate<count>(vector * (wide ? kQuad : kRun), 0, pass.ndim, pass.extents, pass.strides + first_role, offsets);
}

FORMULA uint64_t index_of(const ChainVectorPass& pass, uint32_t element) {
  if (pass.dense_index) return pass.first_index + element;
  int64_t offset = 0;
  locate<1>(element, 0, pass.ndim, pass.extents, pass.strides + kIndex, &offset);
  return pass.first_index + static_cast<uint64_t>(offset);
}

FORMULA uint32_t channel_of(const ChainVectorPass& pass, uint32_t element) {
  const uint32_t channel = pass.has_inner ? divide(element, pass.inner) : element;
  return pass.wraps ? channel - divide(channel, pass.channels) * pass.channels.extent : channel;
}

// One bit for each piece.
FORMULA uint32_t kept_pieces(const PhiloxBlock& block, uint32_t threshold) {
  uint32_t kept = 0;
#pragma unroll
  for (int i = 0; i < kPiecesPerBlock; ++i) kept |= (piece(block, i) < threshold ? 1u : 0u) << i;
  return kept;
}

// Two neighbouring lanes hold the halves of two blocks, a half apart: each has made one, and passes a half of it on.
__device__ __forceinline__ PhiloxBlock exchange_halves(const PhiloxBlock& block, bool odd) {
  const uint32_t low = __shfl_xor_sync(0xffffffffu, odd ? block.words[0] : block.words[2], 1);
  const uint32_t high = __shfl_xor_sync(0xffffffffu, odd ? block.words[1] : block.words[3], 1);
  return {{odd ? low : block.words[0], odd ? high : block.words[1], odd ? block.words[2] : low,
           odd ? block.words[3] : high}};
}

// The bits of all elements of a thread, eight for each run.
template <int half_slots>
__device__ __forceinline__ uint32_t draw_kept(const ChainVectorPass& pass, uint32_t first, bool wide) {
  uint32_t kept = 0;
  if (pass.index_runs == IndexRuns::blocks) {
    const bool odd = threadIdx.x % 2 != 0;
    const int rounds = wide ? 1 : half_slots;
#pragma unroll 1
    for (int round = 0; round < rounds; ++round) {
      const int slot = wide ? (odd ? 1 : 0) : round;
      const uint32_t element = bounded(first + slot * kChainThreads, pass) * (wide ? kQuad : kRun);
      PhiloxBlock block = philox(pass.key, index_of(pass, element) / kPiecesPerBlock);
      if (wide) block = exchange_halves(block, odd);
      kept |= kept_pieces(block, pass.keep_threshold) << (round * kRun);
    }
    return kept;
  }
  uint64_t drawn = ~uint64_t{0};  // no index has this block
  PhiloxBlock block{};
  const int per_vector = wide ? kQuad : kRun, count = wide ? kRun : half_slots * kRun;
#pragma unroll 1
  for (int i = 0; i < count; ++i) {
    const uint32_t vector = bounded(first + (i / per_vector) * kChainThreads, pass);
    const uint64_t index = index_of(pass, vector * per_vector + i % per_vector);
    if (index / kPiecesPerBlock != drawn) block = philox(pass.key, drawn = index / kPiecesPerBlock);
    kept |= (piece_at(block, index) < pass.keep_threshold ? 1u : 0u) << i;
  }
  return kept;
}

// Eight elements: two vectors of float32 a block of threads apart, or one of 16-bit storage.
struct Run {
  const ChainVectorPass& pass;
  const Vector (*raw)[2];
  uint32_t first;  // vector of the run
  int slot;        // of 16-bit storage
  bool wide;
  uint32_t bits;

  FORMULA bool bfloat16() const { return pass.dtype == DType::bfloat16; }

  // The element at which the run's first or second four begin.
  FORMULA uint32_t quad(int half) const {
    return wide ? bounded(first + half * kChainThreads, pass) * kQuad : bounded(first, pass) * kRun + half * kQuad;
  }

  FORMULA void array(Role role, float* value) const {
    if (wide) {
#pragma unroll
      for (int i = 0; i < kRun; ++i) value[i] = math::from_bits<float>(raw[role][i / kQuad].words[i % kQuad]);
      return;
    }
    Vector vector = raw[role][0];
    if (slot == 1) vector = raw[role][1];
    widen_run(vector, bfloat16(), value);
  }

  __device__ __forceinline__ void coefficient(Role role, float* value) const {
    const char* const from = pass.data[role];
    const int64_t stride = pass.channel_strides[role - kCenter];
    const auto load = [&](uint32_t element) {
      return *reinterpret_cast<const float*>(from + static_cast<int64_t>(channel_of(pass, element)) * stride);
    };
    if (pass.spread == Spread::uniform) {
      const float low = load(quad(0)), high = wide ? load(quad(1)) : low;
#pragma unroll
      for (int i = 0; i < kRun; ++i) value[i] = i < kQuad ? low : high;
    } else if (pass.spread == Spread::vectors) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t offset = static_cast<int64_t>(channel_of(pass, quad(half))) * int64_t{sizeof(float)};
        const Vector vector = load_vector(from + offset, false);
#pragma unroll
        for (int i = 0; i < kQuad; ++i) value[half * kQuad + i] = math::from_bits<float>(vector.words[i]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i) value[i] = load(quad(i / kQuad) + i % kQuad);
    }
  }

  FORMULA uint32_t kept() const { return bits; }

  // Four values a block; only with IndexRuns of quads or blocks.
  FORMULA void normals(float* value) const {
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      const PhiloxBlock block = philox(pass.key, index_of(pass, quad(half)) / kValuesPerBlock<float>);
#pragma unroll
      for (int i = 0; i < kQuad; i += 2) {
        const NormalPair<float> point = normal(word(block, i, float()), word(block, i + 1, float()));
        push<kQuad>(value, i, point.even);
        push<kQuad>(value, i + 1, point.odd);
      }
    }
  }

  __device__ __forceinline__ void store(Role role, const float* value) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t vector = first + half * kChainThreads;
      if ((half == 1 && !wide) || vector >= pass.vectors) continue;
      Vector words;
      if (wide) {
#pragma unroll
        for (int i = 0; i < kQuad; ++i) words.words[i] = math::bits(value[half * kQuad + i]);
      } else {
        words = narrow_run(value, bfloat16());
      }
      int64_t offset;
      array_offsets<1>(pass, role, vector, wide, &offset);
      store_vector(pass.data[role] + offset, words, pass.streaming);
    }
  }
};

// Blocks a multiprocessor has room for: 64 and 80 registers.
constexpr int blocks_at_once(Direction direction) { return direction == Direction::forward ? 4 : 3; }

template <Direction direction>
__global__ void __launch_bounds__(kChainThreads, blocks_at_once(direction))
    chain_vectors(const __grid_constant__ ChainVectorPass pass) {
  constexpr int half_slots = chain_slots(direction, false);
  const bool wide = pass.dtype == DType::float32;
  const int slots = wide ? 2 : half_slots;
  const uint32_t first = block_of(pass) * static_cast<uint32_t>(kChainThreads * slots) + threadIdx.x;

  // All loads are under way before the first is needed, and the noise is drawn meanwhile.
  Vector raw[kArrayInputs][2] = {};
#pragma unroll
  for (int slot = 0; slot < 2; ++slot) {
    if (slot >= half_slots && !wide) continue;
    const uint32_t vector = bounded(first + slot * kChainThreads, pass);
    int64_t offsets[kArrayInputs];
    array_offsets<kArrayInputs>(pass, 0, vector, wide, offsets);
#pragma unroll
    for (int role = 0; role < kArrayInputs; ++role)
      if (pass.data[role]) raw[role][slot] = load_vector(pass.data[role] + offsets[role], pass.streaming);
  }
  const uint32_t kept = pass.noise == Noise::dropout ? draw_kept<half_slots>(pass, first, wide) : 0;

  const int rounds = wide ? 1 : half_slots;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    const Run run{pass, raw, first + round * kChainThreads, round, wide, kept >> (round * kRun)};
    if constexpr (direction == Direction::forward)
      chain_forward<float, kRun>(pass, run);
    else
      chain_backward<float, kRun>(pass, run);
  }
}

}  // namespace brazen::cuda::chains

namespace brazen::cuda {

ChainVectorKernel chain_vector_kernel(Direction direction) {
  return direction == Direction::forward ? chains::chain_vectors<Direction::forward>
                                         : chains::chain_vectors<Direction::backward>;
}

}  // namespace brazen::cuda
