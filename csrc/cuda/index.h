// SPDX-License-Identifier: BSD-3-Clause
// From the number of an element to where it lies: exact division by a multiplication, and walks over axes. No access.
#pragma once

#include "../core/layout.h"
#include "../formulas/math.h"

namespace brazen::cuda {

// Granlund and Montgomery (1994): n / extent for n below half of Word's range and an extent of at least 2. The
// multiplier exceeds 2^(half + shift) / extent by less than 2^-half of itself, too little to change the quotient.
template <class Word>
struct Divisor {
  Word multiplier, extent;
  uint32_t shift;

  void set(int64_t divisor) {
    constexpr int half = sizeof(Word) * 8 - 1;
    __extension__ using Wide = unsigned __int128;
    extent = static_cast<Word>(divisor);
    uint32_t log = 1;
    while ((Wide{1} << log) < static_cast<Wide>(divisor)) ++log;
    multiplier = static_cast<Word>((Wide{1} << (half + log)) / static_cast<Wide>(divisor) + 1);
    shift = log - 1;
  }
};

FORMULA uint32_t divide(uint32_t n, const Divisor<uint32_t>& by) {
  return static_cast<uint32_t>(static_cast<uint64_t>(n) * by.multiplier >> 32) >> by.shift;
}
FORMULA uint64_t divide(uint64_t n, const Divisor<uint64_t>& by) {
  return math::detail::multiply_high(n, by.multiplier) >> by.shift;
}

// Adds, for each of `count` operands, the offset of the element numbered `index` in C order over axes [first, end).
// A loop of one round inside the loop over axes makes nvcc 13.0 forget that this one is not to be unrolled (the kernel
// of random fills for sm_90: 57 KB instead of 34).
template <int count, class Word, int axes>
FORMULA void locate(Word index, int first, int end, const Divisor<Word>* extents, const int64_t (*strides)[axes],
                    int64_t* offsets) {
#pragma unroll 1
  for (int d = end - 1; d > first; --d) {
    const Word quotient = divide(index, extents[d]);
    const int64_t position = static_cast<int64_t>(index - quotient * extents[d].extent);
    if constexpr (count == 1) {
      offsets[0] += position * strides[0][d];
    } else {
#pragma unroll
      for (int k = 0; k < count; ++k) offsets[k] += position * strides[k][d];
    }
    index = quotient;
  }
#pragma unroll
  for (int k = 0; k < count; ++k) offsets[k] += static_cast<int64_t>(index) * strides[k][first];
}

}  // namespace brazen::cuda
