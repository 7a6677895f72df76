// SPDX-License-Identifier: BSD-3-Clause
// The loop over single elements of any stride, alignment and dtype: one kernel for all formulas, switched by a number
// that is the same for the whole grid. Strided float32, float64, maxout and the functions of math.h come here.
#include "elementwise.h"

// A namespace with a name: an anonymous one would put the build folder's hash into the kernels' names.
namespace brazen::cuda::elements {

template <class T>
inline constexpr int kElements = sizeof(T) == 4 ? 4 : 1;

// One element after another, so that the code of all formulas lies here once each: the arrays move on by one place, for
// registers have no index.
template <class Body, class T>
FORMULA void apply(const double* parameters, T (*in)[kElements<T>], T (*out)[kElements<T>]) {
  constexpr int last = kElements<T> - 1;
  const Body body(parameters);
#pragma unroll 1
  for (int i = 0; i <= last; ++i) {
    T arguments[Body::inputs], results[Body::outputs];
#pragma unroll
    for (int k = 0; k < Body::inputs; ++k) {
      arguments[k] = in[k][0];
#pragma unroll
      for (int place = 0; place < last; ++place) in[k][place] = in[k][place + 1];
    }
    body(arguments, results);
#pragma unroll
    for (int k = 0; k < Body::outputs; ++k) {
#pragma unroll
      for (int place = 0; place < last; ++place) out[k][place] = out[k][place + 1];
      out[k][last] = results[k];
    }
  }
}

template <class T>
FORMULA void maxout(const ElementPass& pass, uint32_t unit) {
  const bool backward = pass.direction == Direction::backward;
  int64_t offsets[3] = {};
  locate<3>(unit, 0, pass.ndim, pass.extents, pass.strides, offsets);
  // Forward (x, y), backward (dy, x, dx).
  const int x = backward ? 1 : 0;
  const char* pieces = pass.data[x] + (backward ? offsets[1] : offsets[0]);
  const DType dtype = pass.dtypes[0];
  T best = load_element<T>(pieces, dtype);
  int winner = 0;
#pragma unroll 1
  for (int piece = 1; piece < pass.pieces; ++piece) {
    const T challenger = load_element<T>(pieces + piece * pass.steps[x], dtype);
    if (Maxout<T>::beats(challenger, best)) best = challenger, winner = piece;
  }
  if (!backward) return store_element(pass.data[1] + offsets[1], dtype, best);
  const T dy = load_element<T>(pass.data[0] + offsets[0], dtype);
#pragma unroll 1
  for (int piece = 0; piece < pass.pieces; ++piece)
    store_element(pass.data[2] + offsets[2] + piece * pass.steps[2], dtype, piece == winner ? dy : T(0));
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) element_loop(const __grid_constant__ ElementPass pass) {
  constexpr int elements = kElements<T>, max_inputs = 3, max_outputs = 2;
  const uint32_t first = blockIdx.x * (kElementThreads * elements) + threadIdx.x;
  if (pass.operation == kMaxout) {
#pragma unroll 1
    for (int i = 0; i < elements; ++i)
      if (first + i * kElementThreads < pass.units) maxout<T>(pass, first + i * kElementThreads);
    return;
  }

  T in[max_inputs][elements] = {}, out[max_outputs][elements] = {};
#pragma unroll
  for (int k = 0; k < max_inputs; ++k) {
    if (k >= pass.inputs) continue;
#pragma unroll
    for (int i = 0; i < elements; ++i) {
      const uint32_t unit = first + i * kElementThreads;
      if (unit >= pass.units) continue;
      int64_t offset = 0;
      locate<1>(unit, 0, pass.ndim, pass.extents, pass.strides + k, &offset);
      in[k][i] = load_element<T>(pass.data[k] + offset, pass.dtypes[k]);
    }
  }

  const auto visit = [&]<class Body>(int operation, Direction direction) {
    if (pass.operation == operation && pass.direction == direction && !pass.brief)
      apply<Body, T>(pass.wide_parameters, in, out);
  };
  for_each_activation<T>(visit);
  for_each_gate<T>(visit);
  for_each_function<T>(visit);
  if constexpr (sizeof(T) == sizeof(float))
    for_each_brief([&]<class Body>(int operation) {
      if (pass.operation == operation && pass.brief) apply<Body, T>(pass.wide_parameters, in, out);
    });

#pragma unroll
  for (int k = 0; k < max_outputs; ++k) {
    if (k >= pass.outputs) continue;
#pragma unroll
    for (int i = 0; i < elements; ++i) {
      const uint32_t unit = first + i * kElementThreads;
      if (unit >= pass.units) continue;
      const int operand = pass.inputs + k;
      int64_t offset = 0;
      locate<1>(unit, 0, pass.ndim, pass.extents, pass.strides + operand, &offset);
      store_element(pass.data[operand] + offset, pass.dtypes[operand], out[k][i]);
    }
  }
}

}  // namespace brazen::cuda::elements

namespace brazen::cuda {

ElementKernel element_kernel(bool is_double) {
  return is_double ? elements::element_loop<double> : elements::element_loop<float>;
}

int elements_per_thread(bool is_double) { return is_double ? elements::kElements<double> : elements::kElements<float>; }

}  // namespace brazen::cuda
