// SPDX-License-Identifier: BSD-3-Clause
// How a formula states its name, parameters and cost, and how a list of formulas becomes a registry. No formula itself.
#pragma once

#include <cstdint>

#include "formula.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

inline constexpr int kMaxParameters = 2;

// The values a parameter may have once it is rounded to the compute type. Only `any` holds the infinities and NaN.
enum class Domain { any, finite, positive, not_negative };

struct Parameter {
  const char* name = nullptr;  // nvcc asks for a value of every member where one has a value
  double standard = 0;         // the default; NaN where the caller must give a value
  Domain domain = Domain::finite;
  double most = __builtin_inf();

  constexpr bool accepts(double value) const {
    if (domain == Domain::any) return true;
    if (value - value != 0 || value > most) return false;
    return domain == Domain::positive ? value > 0 : domain != Domain::not_negative || value >= 0;
  }
};

inline constexpr double kRequired = __builtin_nan("");

struct OperationInfo {
  const char* name;
  // Picoseconds an element (forward, backward), in L1, on one AVX-512 core: decides only when waking threads pays.
  int forward_cost, backward_cost;
  Parameter parameters[kMaxParameters] = {};

  constexpr int parameter_count() const {
    int count = 0;
    while (count < kMaxParameters && parameters[count].name) ++count;
    return count;
  }
};

// The value, hidden from the optimizer: GCC 12 makes one max or min instruction of a select between variables, but a
// compare and a blend of a select with a known constant. For bounds, as members of a formula, outside the loop.
template <class T>
FORMULA T opaque(T value) {
#if !defined(__CUDACC__) && defined(__x86_64__)
  asm("" : "+x"(value));
#elif !defined(__CUDACC__) && defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

// Builds a formula from the parameters as they come from Python, rounded once to the compute type.
template <class Op, class T>
FORMULA Op make(const double* parameters) {
  if constexpr (Op::info.parameter_count() == 0)
    return Op{};
  else if constexpr (Op::info.parameter_count() == 1)
    return Op{T(parameters[0])};
  else
    return Op{T(parameters[0]), T(parameters[1])};
}

// A registry: `for_each` hands every formula, as a type and an ordinal, to a visitor.
template <template <class> class... Ops>
struct OperationList {
  static constexpr int size = sizeof...(Ops);

  template <class T, class Visitor>
  static constexpr void for_each(Visitor&& visitor) {
    int ordinal = 0;
    (visitor.template operator()<Ops<T>>(ordinal++), ...);
  }

  // Hands over the one formula of an ordinal known only at run time.
  template <class T, class Visitor>
  static constexpr void visit(int ordinal, Visitor&& visitor) {
    int at = 0;
    (void)((ordinal == at++ && (visitor.template operator()<Ops<T>>(), true)) || ...);
  }
};

}  // namespace BRAZEN_TARGET
}  // namespace brazen
