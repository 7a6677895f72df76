// SPDX-License-Identifier: BSD-3-Clause
// The vector loop for every activation of one argument, value and derivative.
#include "vector_loop.h"

namespace brazen::cuda {

VectorKernel activation_kernel(int operation, Direction direction) {
  static constexpr auto kernels = vector_table([](auto&& visitor) { for_each_activation<float>(visitor); });
  return kernels.at[operation][static_cast<int>(direction)];
}

}  // namespace brazen::cuda
