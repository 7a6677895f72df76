// SPDX-License-Identifier: BSD-3-Clause
// The vector loop for the glu kinds and prelu, value and gradients.
#include "vector_loop.h"

namespace brazen::cuda {

VectorKernel gate_kernel(int operation, Direction direction) {
  static constexpr auto kernels = vector_table([](auto&& visitor) { for_each_gate<float>(visitor); });
  return kernels.at[operation][static_cast<int>(direction)];
}

}  // namespace brazen::cuda
