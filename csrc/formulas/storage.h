// SPDX-License-Identifier: BSD-3-Clause
// float32 to and from the two 16-bit formats, in integers: hardware conversions of bfloat16 flush subnormals. Rounded
// to nearest even, or up with the probability of what is cut off. Every NaN becomes the quiet one without payload.
#pragma once

#include <cstdint>

#include "math.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

FORMULA float from_bfloat16(uint16_t half) { return math::from_bits<float>(static_cast<uint32_t>(half) << 16); }

FORMULA uint16_t to_bfloat16(float x) {
  const uint32_t u = math::bits(x);
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

FORMULA float from_float16(uint16_t half) {
  const uint32_t sign = (static_cast<uint32_t>(half) & 0x8000u) << 16;
  const uint32_t magnitude = (static_cast<uint32_t>(half) & 0x7fffu) << 13;
  const uint32_t normal = magnitude + (112u << 23);
  // A subnormal half is a multiple of 2^-24: placed under a leading one, which is then subtracted exactly.
  const uint32_t subnormal =
      math::bits(math::from_bits<float>(magnitude + (113u << 23)) - math::from_bits<float>(113u << 23));
  const uint32_t special = magnitude + (224u << 23);
  const uint32_t finite = magnitude < (1u << 23) ? subnormal : normal;
  return math::from_bits<float>(sign | (magnitude >= (31u << 23) ? special : finite));
}

FORMULA uint16_t to_float16(float x) {
  const uint32_t u = math::bits(x);
  const uint32_t sign = (u >> 16) & 0x8000u;
  const uint32_t magnitude = u & 0x7fffffffu;
  const uint32_t rebiased = magnitude - (112u << 23);
  const uint32_t rounded = (rebiased + 0xfffu + ((rebiased >> 13) & 1u)) >> 13;
  const uint32_t normal = rounded > 0x7c00u ? 0x7c00u : rounded;
  // Adding 1/2 leaves the subnormal half's 10 bits at the bottom of the sum, rounded by the addition itself.
  const uint32_t subnormal = math::bits(math::from_bits<float>(magnitude) + 0.5f) - math::bits(0.5f);
  const uint32_t finite = magnitude < (113u << 23) ? subnormal : (magnitude >= (143u << 23) ? 0x7c00u : normal);
  return static_cast<uint16_t>(magnitude > 0x7f800000u ? 0x7e00u : (sign | finite));
}

// Stochastic rounding with 16 random bits: the mean of the results is x, exactly where 16 bits resolve what is cut off
// (everywhere but in float16's subnormals). A value that 16 bits hold stays itself.
FORMULA uint16_t to_bfloat16(float x, uint32_t piece) {
  const uint32_t u = math::bits(x);
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : (u + piece) >> 16);
}

// Signed throughout: AVX2 compares no unsigned numbers.
FORMULA uint16_t to_float16(float x, uint32_t piece) {
  const int32_t u = static_cast<int32_t>(math::bits(x)), magnitude = u & 0x7fffffff;
  const int32_t drawn = static_cast<int32_t>(piece);
  const int32_t rounded = (magnitude - (112 << 23) + (drawn >> 3)) >> 13;  // 13 bits are cut off
  const int32_t normal = rounded > 0x7c00 ? 0x7c00 : rounded;
  // Subnormal halves count in 2^-24, less than 1,024 of them; 16 more bits tell what is cut off.
  const int32_t few = magnitude < (113 << 23) ? magnitude : 0;
  const int32_t counted = static_cast<int32_t>(math::from_bits<float>(static_cast<uint32_t>(few)) * 0x1p40f);
  const int32_t subnormal = (counted + drawn) >> 16;
  const int32_t large = magnitude >= (143 << 23) ? 0x7c00 : normal;
  const int32_t finite = magnitude < (113 << 23) ? subnormal : large;
  const int32_t half = ((u >> 16) & 0x8000) | finite;
  return static_cast<uint16_t>(magnitude > 0x7f800000 ? 0x7e00 : half);
}

}  // namespace BRAZEN_TARGET
}  // namespace brazen
