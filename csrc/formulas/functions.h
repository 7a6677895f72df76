// SPDX-License-Identifier: BSD-3-Clause
// The functions of math.h as registered operations, so that the op table, the hashes and the exhaustive check reach
// them.
#pragma once

#include "math.h"
#include "operation.h"

namespace brazen {
inline namespace BRAZEN_TARGET {

#define BRAZEN_FUNCTION(Type, function, cost)                  \
  template <class T>                                           \
  struct Type {                                                \
    static constexpr OperationInfo info{#function, cost, 0};   \
    FORMULA T forward(T x) const { return math::function(x); } \
  };

BRAZEN_FUNCTION(Exp, exp, 100)
BRAZEN_FUNCTION(Expm1, expm1, 150)
BRAZEN_FUNCTION(Log, log, 150)
BRAZEN_FUNCTION(Log1p, log1p, 200)
BRAZEN_FUNCTION(TanhFunction, tanh, 160)
BRAZEN_FUNCTION(Erf, erf, 150)
BRAZEN_FUNCTION(Sin, sin, 400)
BRAZEN_FUNCTION(Cos, cos, 400)
#undef BRAZEN_FUNCTION

using Functions = OperationList<Exp, Expm1, Log, Log1p, TanhFunction, Erf, Sin, Cos>;

}  // namespace BRAZEN_TARGET
}  // namespace brazen
