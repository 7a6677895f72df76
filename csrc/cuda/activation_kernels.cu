// SPDX-License-Identifier: BSD-3-Clause
// The vector loop for every activation of one argument: value, its brief form, derivative.
#include "vector_loop.h"

namespace brazen::cuda {

VectorKernel activation_kernel(int operation, Direction direction) {
  static constexpr auto kernels = vector_table([](auto&& visitor) { for_each_activation<float>(visitor); });
  return kernels.at[operation][static_cast<int>(direction)];
}

VectorKernel brief_kernel(int operation) {
  struct Kernels {
    VectorKernel at[kOperations];
  };
  static constexpr Kernels kernels = [] {
    Kernels table{};
    for_each_brief([&]<class Body>(int number) { table.at[number] = vector_loop<Body>; });
    return table;
  }();
  return kernels.at[operation];
}

}  // namespace brazen::cuda
