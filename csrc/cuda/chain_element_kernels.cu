// SPDX-License-Identifier: BSD-3-Clause
// The chain on single elements of any stride and dtype: float64, and what is no row of vectors.
#include "chain_stages.h"
#include "vector.h"

// A namespace with a name: an anonymous one would put the build folder's hash into the kernels' names.
namespace brazen::cuda::chains {

template <class T>
struct Element {
  const ChainPass& pass;
  int64_t offsets[kRoles];
  uint32_t bit;
  T normal;

  FORMULA void array(Role role, T* value) const {
    *value = load_element<T>(pass.data[role] + offsets[role], pass.dtype);
  }
  FORMULA void coefficient(Role role, T* value) const {
    *value = *reinterpret_cast<const T*>(pass.data[role] + offsets[role]);
  }
  FORMULA uint32_t kept() const { return bit; }
  FORMULA void normals(T* value) const { *value = normal; }
  FORMULA void store(Role role, const T* value) const {
    store_element(pass.data[role] + offsets[role], pass.dtype, *value);
  }
};

template <class T>
__global__ void __launch_bounds__(kChainThreads) chain_elements(const __grid_constant__ ChainPass pass) {
  const uint32_t number = pass.first + block_of(pass) * kChainThreads + threadIdx.x;
  if (number >= pass.end) return;
  Element<T> element{pass, {}, 0, 0};
  locate<kRoles>(number, 0, pass.ndim, pass.extents, pass.strides, element.offsets);
  const uint64_t index = pass.first_index + static_cast<uint64_t>(element.offsets[kIndex]);
  if (pass.noise == Noise::dropout)
    element.bit = piece_at(philox(pass.key, index / kPiecesPerBlock), index) < pass.keep_threshold ? 1u : 0u;
  else if (pass.noise != Noise::none)
    element.normal = normal_at<T>(pass.key, index);
  if (pass.direction == Direction::forward)
    chain_forward<T, 1>(pass, element);
  else
    chain_backward<T, 1>(pass, element);
}

}  // namespace brazen::cuda::chains

namespace brazen::cuda {

ChainElementKernel chain_element_kernel(bool is_double) {
  return is_double ? chains::chain_elements<double> : chains::chain_elements<float>;
}

}  // namespace brazen::cuda
