// SPDX-License-Identifier: BSD-3-Clause
// Activations of more than one argument: prelu, the glu kinds and maxout, value and gradients. No loop, no machine.
#pragma once

#include "activations.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

// PyTorch's piecewise form, x > 0 ? x : alpha x; it equals max(alpha x, x) only for alpha <= 1.
template <class T>
struct Prelu {
  static constexpr OperationInfo info{"prelu", 60, 80};
  FORMULA static T forward(T x, T alpha) { return x > 0 ? x : alpha * x; }
  FORMULA static T grad_x(T dy, T x, T alpha) { return dy * step(x, T(0), alpha, T(1)); }
};

// One element's share of the gradient of prelu's alpha.
template <class T>
struct PreluAlpha {
  static constexpr OperationInfo info{"prelu_alpha", 60, 0};
  FORMULA static T forward(T dy, T x) { return dy * (x > 0 ? T(0) : x); }
};

// value * activation(gate): the first half of the axis is the value, the second the gate, as in PyTorch's and Keras'
// glu.
template <class T, template <class> class Activation>
struct Gated {
  // Made once, not per element: its hidden constants would keep a loop from being vectorised.
  Activation<T> activation{};
  FORMULA T forward(T value, T gate) const { return value * activation.forward(gate); }
  FORMULA T grad_value(T dy, T gate) const { return dy * activation.forward(gate); }
  FORMULA T grad_gate(T dy, T value, T gate) const { return dy * value * activation.derivative(gate); }
};

template <class T>
struct Glu : Gated<T, Sigmoid> {
  static constexpr OperationInfo info{"glu", 160, 200};
};

template <class T>
struct Reglu : Gated<T, Relu> {
  static constexpr OperationInfo info{"reglu", 60, 80};
};

template <class T>
struct Geglu : Gated<T, Gelu> {
  static constexpr OperationInfo info{"geglu", 220, 400};
};

template <class T>
struct Swiglu : Gated<T, Silu> {
  static constexpr OperationInfo info{"swiglu", 180, 240};
};

// The largest of a group of pieces. A NaN wins, and of equal pieces the first: the gradient goes to the winner alone.
template <class T>
struct Maxout {
  static constexpr OperationInfo info{"maxout", 60, 120};
  // True where `challenger` takes over from `best`.
  FORMULA static bool beats(T challenger, T best) {
    return challenger > best || (challenger != challenger && best == best);
  }
};

using Gates = OperationList<Glu, Reglu, Geglu, Swiglu>;

}  // namespace BRAZEN_TARGET
}  // namespace brazen
