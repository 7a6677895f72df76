// SPDX-License-Identifier: BSD-3-Clause
// The loop over 16-byte vectors. Storage is float32, bfloat16 or float16 by a value that is the same for the whole
// grid.
#pragma once

#include "elementwise.h"

namespace brazen::cuda {

// Threads past the end load the last unit again and store nothing.
FORMULA uint32_t bounded(uint32_t unit, const VectorPass& pass) { return unit < pass.units ? unit : pass.units - 1; }

// The eight elements of an operand that is no row of vectors: prelu's alpha, broadcast or of another dtype.
FORMULA void spread_run(const VectorPass& pass, int k, uint32_t first, bool wide, float* run) {
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    if (!wide && slot > 0) continue;
    int64_t offset = 0;
    locate<1>(bounded(first + slot * kThreads, pass), 0, pass.ndim, pass.extents, pass.strides + k, &offset);
    const char* from = pass.data[k] + offset;
    if (pass.spread == 0) {
      const float value = load_element<float>(from, pass.dtypes[k]);
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        if (!wide || i / 4 == slot) run[i] = value;
    } else {
#pragma unroll
      for (int i = 0; i < kRun; ++i)
        if (!wide || i / 4 == slot)
          run[i] = load_element<float>(from + (wide ? i % 4 : i) * pass.spread, pass.dtypes[k]);
    }
  }
}

// A thread asks for all its vectors, then computes eight elements at a time: once for float32's two vectors of four,
// twice for the two vectors of eight 16-bit elements. So 32 bytes of each input are under way, whatever the storage.
template <class Body>
inline constexpr bool kBfloat16Only = requires { Body::bfloat16_only; };

template <class Body>
__global__ void __launch_bounds__(kThreads) vector_loop(const __grid_constant__ VectorPass pass) {
  constexpr int inputs = Body::inputs, outputs = Body::outputs, operands = inputs + outputs;
  const double parameters[kMaxParameters] = {pass.parameters[0], pass.parameters[1]};
  const Body body(parameters);
  const uint32_t first = blockIdx.x * (kThreads * kSlots) + threadIdx.x;
  const DType dtype = pass.dtypes[operands - 1];
  const bool wide = !kBfloat16Only<Body> && dtype == DType::float32;
  const bool bfloat16 = kBfloat16Only<Body> || dtype == DType::bfloat16;

  Vector raw[inputs][kSlots];
#pragma unroll
  for (int slot = 0; slot < kSlots; ++slot) {
    int64_t offsets[inputs] = {};
    locate<inputs>(bounded(first + slot * kThreads, pass), 0, pass.ndim, pass.extents, pass.strides, offsets);
#pragma unroll
    for (int k = 0; k < inputs; ++k)
      if (k != Body::spread) raw[k][slot] = load_vector(pass.data[k] + offsets[k], pass.streaming);
  }

  const int rounds = wide ? 1 : kSlots;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    float in[inputs][kRun], out[outputs][kRun];
#pragma unroll
    for (int k = 0; k < inputs; ++k) {
      if (k == Body::spread) {
        spread_run(pass, k, first + round * kThreads, wide, in[k]);
      } else if (wide) {
#pragma unroll
        for (int i = 0; i < kRun; ++i) in[k][i] = math::from_bits<float>(raw[k][i / 4].words[i % 4]);
      } else {
        Vector vector = raw[k][0];
        if (round == 1) vector = raw[k][1];
        widen_run(vector, bfloat16, in[k]);
      }
    }
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      float arguments[inputs], results[outputs];
#pragma unroll
      for (int k = 0; k < inputs; ++k) arguments[k] = in[k][i];
      body(arguments, results);
#pragma unroll
      for (int k = 0; k < outputs; ++k) out[k][i] = results[k];
    }
#pragma unroll
    for (int slot = 0; slot < kSlots; ++slot) {
      if (!wide && slot > 0) continue;
      const uint32_t unit = first + (wide ? slot : round) * kThreads;
      if (unit >= pass.units) continue;
      int64_t offsets[outputs] = {};
      locate<outputs>(unit, 0, pass.ndim, pass.extents, pass.strides + inputs, offsets);
#pragma unroll
      for (int k = 0; k < outputs; ++k) {
        Vector vector;
        if (wide) {
#pragma unroll
          for (int i = 0; i < 4; ++i) vector.words[i] = math::bits(out[k][slot * 4 + i]);
        } else {
          vector = narrow_run(out[k], bfloat16);
        }
        store_vector(pass.data[inputs + k] + offsets[k], vector, pass.streaming);
      }
    }
  }
}

template <class Table>
constexpr auto vector_table(Table&& for_each) {
  struct Kernels {
    VectorKernel at[kOperations][kDirections];
  } kernels{};
  for_each([&]<class Body>(int operation, Direction direction) {
    kernels.at[operation][static_cast<int>(direction)] = vector_loop<Body>;
  });
  return kernels;
}

}  // namespace brazen::cuda
