// SPDX-License-Identifier: BSD-3-Clause
// The stages of a chain in their order, on `width` elements in registers. Which there are is the same for the whole
// grid. Where the elements come from is the caller's `access`:
//   array(role, T*), coefficient(role, T*), kept() -> bits, normals(T*), store(role, const T*)
#pragma once

#include "../formulas/affine.h"
#include "../formulas/dropout.h"
#include "chain.h"

#define EACH_ELEMENT _Pragma("unroll") for (int i = 0; i < width; ++i)

namespace brazen::cuda {

template <class T>
FORMULA T number(const ChainStages& pass, int which) {
  if constexpr (sizeof(T) == sizeof(float))
    return pass.numbers[which];
  else
    return pass.wide_numbers[which];
}

template <class T, int width, class Access>
__device__ __forceinline__ void affine_stage(const ChainStages& pass, const Access& access, T* value) {
  if (pass.data[kCenter]) {
    T center[width];
    access.coefficient(kCenter, center);
    EACH_ELEMENT value[i] = affine<true, false, false>(value[i], center[i], T(0), T(0));
  }
  T factor[width] = {}, shift[width] = {};
  if (pass.data[kFactor]) access.coefficient(kFactor, factor);
  if (pass.data[kShift]) access.coefficient(kShift, shift);
  if (pass.data[kFactor] && pass.data[kShift]) {
    EACH_ELEMENT value[i] = affine<false, true, true>(value[i], T(0), factor[i], shift[i]);
  } else if (pass.data[kFactor]) {
    EACH_ELEMENT value[i] = affine<false, true, false>(value[i], T(0), factor[i], T(0));
  } else if (pass.data[kShift]) {
    EACH_ELEMENT value[i] = affine<false, false, true>(value[i], T(0), T(0), shift[i]);
  }
}

template <class T, int width, class Access>
__device__ __forceinline__ void add_stage(const ChainStages& pass, const Access& access, Role role, T* value) {
  if (!pass.data[role]) return;
  T other[width];
  access.array(role, other);
  EACH_ELEMENT value[i] += other[i];
}

template <class T, int width, class Access>
__device__ __forceinline__ void noise_stage(const ChainStages& pass, const Access& access, T* value) {
  if (pass.noise == Noise::none) return;
  const T scale = number<T>(pass, kNoiseScale);
  if (pass.noise == Noise::dropout) {
    const uint32_t kept = access.kept();
    if (pass.moves) {
      const T kept_shift = number<T>(pass, kKeptShift), dropped = number<T>(pass, kDropped);
      EACH_ELEMENT value[i] = drop_to(value[i], (kept >> i & 1u) != 0u, scale, kept_shift, dropped);
    } else {
      EACH_ELEMENT value[i] = drop(value[i], (kept >> i & 1u) != 0u, scale);
    }
    return;
  }
  T normal[width] = {};
  access.normals(normal);
  if (pass.noise == Noise::multiply) {
    EACH_ELEMENT value[i] = multiply_noise(value[i], normal[i], scale);
  } else {
    EACH_ELEMENT value[i] = add_noise(value[i], normal[i], scale);
  }
}

// The second part moves into the place of the first, where rounds work: registers have no index.
template <int far, class T>
FORMULA void push(T* value, int i, T last) {
  value[i] = value[i + far];
  value[i + far] = last;
}

// value[i] = function(op, value[i], others[i] ...). The code of all activations lies in every kernel, so eight elements
// take two rounds of four: half the size.
template <class T, int width, class Function, class... Others>
__device__ __forceinline__ void activation_stage(const ChainStages& pass, const Function& function, T* value,
                                                 Others*... others) {
  if (pass.activation < 0) return;
  const double parameters[kMaxParameters] = {number<T>(pass, kParameters), number<T>(pass, kParameters + 1)};
  Activations::visit<T>(pass.activation - kFirstActivation, [&]<class Op>() {
    const Op op = make<Op, T>(parameters);
    constexpr int rounds = width > 4 ? 2 : 1, each = width / rounds, far = width - each;
#pragma unroll 1
    for (int round = 0; round < rounds; ++round)
#pragma unroll
      for (int i = 0; i < each; ++i) {
        const T result = function(op, value[i], others[i]...);
        push<far>(value, i, result);
        (push<far>(others, i, T(others[i])), ...);
      }
  });
}

template <class T, int width, class Access>
__device__ __forceinline__ void chain_forward(const ChainStages& pass, const Access& access) {
  T value[width];
  access.array(kValue, value);
  affine_stage<T, width>(pass, access, value);
  add_stage<T, width>(pass, access, kAdd, value);
  activation_stage<T, width>(pass, [](const auto& op, T x) { return op.forward(x); }, value);
  noise_stage<T, width>(pass, access, value);
  add_stage<T, width>(pass, access, kOther, value);
  access.store(kFirstOut, value);
}

// The gradient of the affine result.
template <class T, int width, class Access>
__device__ __forceinline__ void chain_gradient(const ChainStages& pass, const Access& access, T* grad) {
  access.array(kOther, grad);
  if (pass.noise != Noise::add) noise_stage<T, width>(pass, access, grad);
  if (pass.activation >= 0) {
    T argument[width];
    access.array(kValue, argument);
    affine_stage<T, width>(pass, access, argument);
    add_stage<T, width>(pass, access, kAdd, argument);
    activation_stage<T, width>(pass, [](const auto& op, T dy, T x) { return dy * op.derivative(x); }, grad, argument);
  }
}

// Everything is read before anything is stored: an output may lie over an input.
template <class T, int width, class Access>
__device__ __forceinline__ void chain_backward(const ChainStages& pass, const Access& access) {
  T grad[width];
  chain_gradient<T, width>(pass, access, grad);
  if (!pass.data[kSecondOut]) return access.store(kFirstOut, grad);
  T dx[width], factor[width] = {};
  EACH_ELEMENT dx[i] = grad[i];
  if (pass.data[kFactor]) access.coefficient(kFactor, factor);
  if (pass.data[kSlope]) {
    T x[width], center[width], slope[width], base[width];
    access.array(kValue, x);
    access.coefficient(kCenter, center);
    access.coefficient(kSlope, slope);
    access.coefficient(kBase, base);
    EACH_ELEMENT dx[i] = corrected_grad(grad[i], x[i], center[i], factor[i], slope[i], base[i]);
  } else if (pass.data[kFactor]) {
    EACH_ELEMENT dx[i] = affine<false, true, false>(grad[i], T(0), factor[i], T(0));
  }
  if (pass.data[kFirstOut]) access.store(kFirstOut, grad);
  access.store(kSecondOut, dx);
}

}  // namespace brazen::cuda

#undef EACH_ELEMENT
