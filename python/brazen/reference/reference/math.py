# SPDX-License-Identifier: BSD-3-Clause
"""The elementary functions of csrc/formulas/math.h, as NumPy and CuPy have them."""

from ._kinds import Unary, special

__all__ = ["cos", "erf", "exp", "expm1", "log", "log1p", "sin", "tanh"]

exp = Unary("math.exp", lambda xp, x: xp.exp(x))
expm1 = Unary("math.expm1", lambda xp, x: xp.expm1(x))
log = Unary("math.log", lambda xp, x: xp.log(x))
log1p = Unary("math.log1p", lambda xp, x: xp.log1p(x))
tanh = Unary("math.tanh", lambda xp, x: xp.tanh(x))
erf = Unary("math.erf", lambda xp, x: special(xp, "erf")(x))
sin = Unary("math.sin", lambda xp, x: xp.sin(x))
cos = Unary("math.cos", lambda xp, x: xp.cos(x))
