// SPDX-License-Identifier: BSD-3-Clause
// Channel sums of a gradient that goes through an activation and noise first: computed for each row, stored nowhere.
#include "chain_stages.h"
#include "channels.h"

namespace brazen::cuda::channels {

// One row of one channel, as the stages of a chain ask for it.
template <class T>
struct RowElement {
  const GradientPass& pass;
  int64_t channel;
  const int64_t* offsets;
  T x;
  uint32_t bit;
  T normal;

  FORMULA void array(Role role, T* value) const {
    *value = role == kValue ? x : load_element<T>(pass.chain.data[role] + offsets[role], pass.chain.dtype);
  }
  FORMULA void coefficient(Role role, T* value) const {
    *value = *reinterpret_cast<const T*>(pass.chain.data[role] + channel * pass.coefficient_strides[role - kCenter]);
  }
  FORMULA uint32_t kept() const { return bit; }
  FORMULA void normals(T* value) const { *value = normal; }
};

// The gradient, and its x.
template <int operands, class T>
__device__ __forceinline__ void load_row(const GradientPass& pass, int64_t channel, int64_t row, T* values) {
  static_assert(operands == 2);
  const ChainStages& chain = pass.chain;
  int64_t offsets[kWalked];
#pragma unroll
  for (int k = 0; k < kWalked; ++k) offsets[k] = channel * pass.strides[k][0];
  locate<kWalked>(static_cast<uint64_t>(row), 1, pass.ndim, pass.extents, pass.strides, offsets);
  values[1] = chain.data[kValue] ? load_element<T>(chain.data[kValue] + offsets[kValue], chain.dtype) : T(0);
  RowElement<T> element{pass, channel, offsets, values[1], 0, 0};
  const uint64_t index = chain.first_index + static_cast<uint64_t>(offsets[kArrayInputs]);
  if (chain.noise == Noise::dropout)
    element.bit = piece_at(philox(chain.key, index / kPiecesPerBlock), index) < chain.keep_threshold ? 1u : 0u;
  else if (chain.noise == Noise::multiply)
    element.normal = normal_at<T>(chain.key, index);
  chain_gradient<T, 1>(chain, element, values);
}

SumKernels<GradientPass> gradient_kernels(bool is_double) {
  return is_double ? kSumKernels<double, GradientSums, GradientPass> : kSumKernels<float, GradientSums, GradientPass>;
}

}  // namespace brazen::cuda::channels
