// SPDX-License-Identifier: BSD-3-Clause
// The storage types arrays may have, and the compute type each is widened to. No arithmetic on elements.
#pragma once

#include <cstdint>
#include <utility>

namespace brazen {

// The order is part of the C ABI of the CUDA library.
enum class DType : int32_t { float16, bfloat16, float32, float64, uint8, boolean, int32, int64 };

inline constexpr int kDTypes = 8;

constexpr int64_t itemsize(DType dtype) {
  constexpr int64_t sizes[kDTypes] = {2, 2, 4, 8, 1, 1, 4, 8};
  return sizes[static_cast<int>(dtype)];
}

constexpr const char* name(DType dtype) {
  constexpr const char* names[kDTypes] = {"float16", "bfloat16", "float32", "float64",
                                          "uint8",   "bool",     "int32",   "int64"};
  return names[static_cast<int>(dtype)];
}

// Floating types are computed on; the others only carry labels, masks, images and indices.
constexpr bool is_compute(DType dtype) { return dtype <= DType::float64; }

constexpr bool is_16_bit(DType dtype) { return dtype <= DType::bfloat16; }

// Calls `body.template operator()<T>()` with the type that arithmetic on `dtype` is done in.
template <class Body>
constexpr decltype(auto) with_compute_type(DType dtype, Body&& body) {
  return dtype == DType::float64 ? std::forward<Body>(body).template operator()<double>()
                                 : std::forward<Body>(body).template operator()<float>();
}

}  // namespace brazen
