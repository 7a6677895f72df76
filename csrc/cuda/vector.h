// SPDX-License-Identifier: BSD-3-Clause
// Elements of any storage type to and from the compute type, one at a time or 16 bytes at a time. No index, no formula.
#pragma once

#include <cuda_runtime.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "../core/dtype.h"
#include "../formulas/storage.h"

namespace brazen::cuda {

inline constexpr int kVectorBytes = 16;

struct alignas(kVectorBytes) Vector {
  uint32_t words[4];
};

// Rounding to nearest has one result, so the device may use its own conversions: they keep subnormals, unlike x86's.
// Only a NaN's payload differs from formulas/storage.h.
#ifdef __CUDA_ARCH__
template <class Pair>
FORMULA uint32_t as_word(Pair pair) {
  return *reinterpret_cast<const uint32_t*>(&pair);
}
FORMULA float widen_float16(uint16_t half) { return __half2float(__ushort_as_half(half)); }
FORMULA uint16_t narrow_float16(float x) { return __half_as_ushort(__float2half_rn(x)); }
FORMULA uint16_t narrow_bfloat16(float x) { return __bfloat16_as_ushort(__float2bfloat16_rn(x)); }
FORMULA uint32_t narrow_float16(float low, float high) { return as_word(__floats2half2_rn(low, high)); }
FORMULA uint32_t narrow_bfloat16(float low, float high) { return as_word(__floats2bfloat162_rn(low, high)); }
#else
FORMULA float widen_float16(uint16_t half) { return from_float16(half); }
FORMULA uint16_t narrow_float16(float x) { return to_float16(x); }
FORMULA uint16_t narrow_bfloat16(float x) { return to_bfloat16(x); }
FORMULA uint32_t narrow_float16(float low, float high) {
  return to_float16(low) | static_cast<uint32_t>(to_float16(high)) << 16;
}
FORMULA uint32_t narrow_bfloat16(float low, float high) {
  return to_bfloat16(low) | static_cast<uint32_t>(to_bfloat16(high)) << 16;
}
#endif

// Eight elements: one vector of 16-bit storage, or two of float32.
inline constexpr int kRun = 8;

FORMULA void widen_run(const Vector& vector, bool bfloat16, float* run) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = vector.words[i];
    if (bfloat16) {
      run[2 * i] = math::from_bits<float>(word << 16);
      run[2 * i + 1] = math::from_bits<float>(word & 0xffff0000u);
    } else {
      run[2 * i] = widen_float16(static_cast<uint16_t>(word));
      run[2 * i + 1] = widen_float16(static_cast<uint16_t>(word >> 16));
    }
  }
}

FORMULA Vector narrow_run(const float* run, bool bfloat16) {
  Vector vector;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    vector.words[i] =
        bfloat16 ? narrow_bfloat16(run[2 * i], run[2 * i + 1]) : narrow_float16(run[2 * i], run[2 * i + 1]);
  return vector;
}

// `streaming`: the array outlives no cache, so its lines are the first to go.
__device__ __forceinline__ Vector load_vector(const char* from, bool streaming) {
  const uint4* at = reinterpret_cast<const uint4*>(from);
  return __builtin_bit_cast(Vector, streaming ? __ldcs(at) : *at);
}

__device__ __forceinline__ void store_vector(char* to, const Vector& vector, bool streaming) {
  uint4* at = reinterpret_cast<uint4*>(to);
  if (streaming)
    __stcs(at, __builtin_bit_cast(uint4, vector));
  else
    *at = __builtin_bit_cast(uint4, vector);
}

// One element of the compute type. A pass over floats meets no float64 and the other way round.
template <class T>
FORMULA T load_element(const char* from, DType dtype);

template <>
FORMULA double load_element<double>(const char* from, DType) {
  return *reinterpret_cast<const double*>(from);
}

template <>
FORMULA float load_element<float>(const char* from, DType dtype) {
  if (dtype == DType::float32) return *reinterpret_cast<const float*>(from);
  const uint16_t half = *reinterpret_cast<const uint16_t*>(from);
  return dtype == DType::bfloat16 ? from_bfloat16(half) : widen_float16(half);
}

FORMULA void store_element(char* to, DType, double value) { *reinterpret_cast<double*>(to) = value; }

FORMULA void store_element(char* to, DType dtype, float value) {
  if (dtype == DType::float32)
    *reinterpret_cast<float*>(to) = value;
  else
    *reinterpret_cast<uint16_t*>(to) = dtype == DType::bfloat16 ? narrow_bfloat16(value) : narrow_float16(value);
}

}  // namespace brazen::cuda
