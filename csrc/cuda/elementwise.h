// SPDX-License-Identifier: BSD-3-Clause
// The two loops over elements: 16 bytes at a time, a kernel for each formula; and one at a time, one kernel for all.
#pragma once

#include "../core/call.h"
#include "cut.h"
#include "index.h"
#include "launch.h"
#include "vector.h"

namespace brazen::cuda {

inline constexpr int kThreads = 256;
inline constexpr int kOperands = 5;  // dy, value, gate -> dvalue, dgate
inline constexpr int kSlots = 2;     // vectors of each operand a thread has under way

// Kernel parameters, plain data. A unit is one vector or one element; strides are bytes from a unit to the next.
struct Pass {
  uint32_t units;
  int32_t ndim;
  Divisor<uint32_t> extents[kAxes];
  int64_t strides[kOperands][kAxes];
  char* data[kOperands];
  DType dtypes[kOperands];
  float parameters[kMaxParameters];
};

struct VectorPass : Pass {
  bool streaming;
  int64_t spread;  // bytes between the elements of a unit of the spread operand
};

struct ElementPass : Pass {
  int32_t operation;
  Direction direction;
  bool brief;
  int32_t inputs, outputs;
  // maxout: operand k's pieces lie steps[k] apart.
  int32_t pieces;
  int64_t steps[kOperands];
  double wide_parameters[kMaxParameters];
};

using VectorKernel = void (*)(VectorPass);
using ElementKernel = void (*)(ElementPass);

// A formula as seen by a loop: values in, values out. `spread` is the input that may have any stride, -1 where none
// may.
template <class Op, class T>
struct Forward {
  static constexpr int inputs = 1, outputs = 1, spread = -1;
  Op op;
  FORMULA explicit Forward(const double* parameters) : op(make<Op, T>(parameters)) {}
  FORMULA void operator()(const T* in, T* out) const { out[0] = op.forward(in[0]); }
};

// The cheaper form of a formula for bfloat16 arrays.
template <class Op>
struct Brief {
  static constexpr int inputs = 1, outputs = 1, spread = -1;
  static constexpr bool bfloat16_only = true;
  FORMULA explicit Brief(const double*) {}
  FORMULA void operator()(const float* in, float* out) const { out[0] = Op::brief(in[0]); }
};

template <class Op, class T>
struct Backward {
  static constexpr int inputs = 2, outputs = 1, spread = -1;
  Op op;
  FORMULA explicit Backward(const double* parameters) : op(make<Op, T>(parameters)) {}
  FORMULA void operator()(const T* in, T* out) const { out[0] = in[0] * op.derivative(in[1]); }
};

template <class Op, class T>
struct GateForward {
  static constexpr int inputs = 2, outputs = 1, spread = -1;
  Op op;
  FORMULA explicit GateForward(const double* parameters) : op(make<Op, T>(parameters)) {}
  FORMULA void operator()(const T* in, T* out) const { out[0] = op.forward(in[0], in[1]); }
};

template <class Op, class T>
struct GateBackward {
  static constexpr int inputs = 3, outputs = 2, spread = -1;
  Op op;
  FORMULA explicit GateBackward(const double* parameters) : op(make<Op, T>(parameters)) {}
  FORMULA void operator()(const T* in, T* out) const {
    out[0] = op.grad_value(in[0], in[2]);
    out[1] = op.grad_gate(in[0], in[1], in[2]);
  }
};

template <class T>
struct PreluForward {
  static constexpr int inputs = 2, outputs = 1, spread = 1;
  FORMULA explicit PreluForward(const double*) {}
  FORMULA void operator()(const T* in, T* out) const { out[0] = Prelu<T>::forward(in[0], in[1]); }
};

template <class T>
struct PreluBackward {
  static constexpr int inputs = 3, outputs = 1, spread = 2;
  FORMULA explicit PreluBackward(const double*) {}
  FORMULA void operator()(const T* in, T* out) const { out[0] = Prelu<T>::grad_x(in[0], in[1], in[2]); }
};

// Calls visitor.operator()<Body>(operation, direction) for every registered formula but maxout and the sums' terms.
template <class T, class Visitor>
constexpr void for_each_activation(Visitor&& visitor) {
  Activations::for_each<T>([&]<class Op>(int i) {
    visitor.template operator()<Forward<Op, T>>(kFirstActivation + i, Direction::forward);
    visitor.template operator()<Backward<Op, T>>(kFirstActivation + i, Direction::backward);
  });
}

template <class Visitor>
constexpr void for_each_brief(Visitor&& visitor) {
  Activations::for_each<float>([&]<class Op>(int i) {
    if constexpr (requires { Op::brief(0.0f); }) visitor.template operator()<Brief<Op>>(kFirstActivation + i);
  });
}

template <class T, class Visitor>
constexpr void for_each_gate(Visitor&& visitor) {
  Gates::for_each<T>([&]<class Op>(int i) {
    visitor.template operator()<GateForward<Op, T>>(kFirstGate + i, Direction::forward);
    visitor.template operator()<GateBackward<Op, T>>(kFirstGate + i, Direction::backward);
  });
  visitor.template operator()<PreluForward<T>>(kPrelu, Direction::forward);
  visitor.template operator()<PreluBackward<T>>(kPrelu, Direction::backward);
}

template <class T, class Visitor>
constexpr void for_each_function(Visitor&& visitor) {
  Functions::for_each<T>(
      [&]<class Op>(int i) { visitor.template operator()<Forward<Op, T>>(kFirstFunction + i, Direction::forward); });
}

// The kernel of one operation on vectors; null where only the one for elements serves.
VectorKernel activation_kernel(int operation, Direction direction);
VectorKernel brief_kernel(int operation);
VectorKernel gate_kernel(int operation, Direction direction);
ElementKernel element_kernel(bool is_double);
inline constexpr int kElementThreads = 256;
int elements_per_thread(bool is_double);

}  // namespace brazen::cuda
