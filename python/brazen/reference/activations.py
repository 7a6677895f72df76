# SPDX-License-Identifier: BSD-3-Clause
"""The activations in plain array code. To add one: one line, its value and its derivative as functions of (xp, x).

A limit at infinity that would be inf * 0 is reached by clipping x where the result no longer changes. A NaN stays one.
Derivatives come from the textbook, not from the compiled formulas; docs/numbers.md lists them at the kinks.
"""

from __future__ import annotations

from math import pi, sqrt

from ._kinds import Gated, Maxout, Prelu, Unary, special

__all__: list[str] = []


def _activation(name, value, derivative, aliases=None):
    __all__.append(name)
    return Unary(name, value, derivative, aliases)


def _gate(name, activation):
    __all__.append(name)
    return Gated(name, activation)


def _step(xp, x, edge, low, high):
    """low up to and including edge, high above."""
    return xp.where(x > edge, high, xp.where(x <= edge, low, x))


def _inside(xp, x, low, high, value=1.0):
    """value inside the open interval, 0 outside."""
    return xp.where((x > low) & (x < high), value, xp.where(x == x, 0, x))


def _sigmoid(xp, x):
    tail = xp.exp(-abs(x))
    return xp.where(x < 0, tail, 1) / (1 + tail)


def _softplus(xp, x):
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x)))


def _cdf(xp, x):
    return 0.5 * special(xp, "erfc")(x * -sqrt(0.5))


def _density(xp, x):
    return xp.exp(-0.5 * x * x) / sqrt(2 * pi)


def _logit_of_gelu_tanh(xp, x):
    return sqrt(8 / pi) * (x + 0.044715 * x * x * x)


def _sigmoid_slope(xp, x):
    tail = xp.exp(-abs(x))
    return tail / (1 + tail) ** 2


def _sech(xp, x):
    return 1 / xp.cosh(x)


def _squareplus(xp, x, b=4.0):
    root = xp.sqrt(x * x + b)  # x * x must be finite: give values beyond 1e154 in a wider type
    return 0.5 * xp.where(x < 0, b / (root + abs(x)), x + root)


def _squareplus_slope(xp, x, b=4.0):
    root = xp.sqrt(x * x + b)
    rest = 0.5 * b / (root * (root + abs(x)))
    return xp.where(x < 0, rest, 1 - rest)


def _gelu_slope(xp, x):
    near = xp.clip(x, -40, 40)
    return _cdf(xp, near) + near * _density(xp, near)


def _gelu_tanh_slope(xp, x):
    near = xp.clip(x, -40, 40)
    u = _logit_of_gelu_tanh(xp, near)
    return _sigmoid(xp, u) + near * _sigmoid_slope(xp, u) * sqrt(8 / pi) * (1 + 0.134145 * near * near)


def _silu_slope(xp, x):
    near = xp.clip(x, -800, 800)
    return _sigmoid(xp, near) + near * _sigmoid_slope(xp, near)


def _mish_slope(xp, x):
    near = xp.clip(x, -800, 800)
    plus = xp.log1p(xp.exp(near))
    return xp.tanh(plus) + near * _sigmoid(xp, near) * _sech(xp, plus) ** 2


_scale, _scale_alpha = 1.0507009873554805, 1.7580993408473768
_slope = {"negative_slope": "alpha"}
_value = {"default_value": "value"}

linear = _activation("linear", lambda xp, x: x.copy(), lambda xp, x: xp.ones_like(x))
relu = _activation("relu", lambda xp, x: xp.maximum(x, 0), lambda xp, x: _step(xp, x, 0, 0, 1))
relu6 = _activation("relu6", lambda xp, x: xp.clip(x, 0, 6), lambda xp, x: _inside(xp, x, 0, 6))
leaky_relu = _activation(
    "leaky_relu",
    lambda xp, x, alpha=0.01: xp.where(x > 0, x, alpha * x),
    lambda xp, x, alpha=0.01: _step(xp, x, 0, alpha, 1),
    _slope,
)
prelu = Prelu()
elu = _activation(
    "elu",
    lambda xp, x, alpha=1.0: xp.where(x > 0, x, alpha * xp.expm1(x)),
    lambda xp, x, alpha=1.0: xp.where(x > 0, 1, alpha * xp.exp(x)),
)
celu = _activation(
    "celu",
    lambda xp, x, alpha=1.0: xp.where(x > 0, x, alpha * xp.expm1(x / alpha)),
    lambda xp, x, alpha=1.0: xp.where(x > 0, 1, xp.exp(x / alpha)),
)
selu = _activation(
    "selu",
    lambda xp, x: xp.where(x > 0, _scale * x, _scale_alpha * xp.expm1(x)),
    lambda xp, x: xp.where(x > 0, _scale, _scale_alpha * xp.exp(x)),
)
gelu = _activation("gelu", lambda xp, x: xp.maximum(x, -40) * _cdf(xp, x), _gelu_slope)
gelu_tanh = _activation(
    "gelu_tanh", lambda xp, x: xp.maximum(x, -40) * _sigmoid(xp, _logit_of_gelu_tanh(xp, x)), _gelu_tanh_slope
)
silu = _activation("silu", lambda xp, x: xp.maximum(x, -800) * _sigmoid(xp, x), _silu_slope)
mish = _activation("mish", lambda xp, x: xp.maximum(x, -800) * xp.tanh(xp.log1p(xp.exp(x))), _mish_slope)
sigmoid = _activation("sigmoid", _sigmoid, _sigmoid_slope)
log_sigmoid = _activation("log_sigmoid", lambda xp, x: -_softplus(xp, -x), lambda xp, x: _sigmoid(xp, -x))
tanh = _activation("tanh", lambda xp, x: xp.tanh(x), lambda xp, x: _sech(xp, x) ** 2)
softplus = _activation("softplus", _softplus, _sigmoid)
softsign = _activation(
    "softsign",
    lambda xp, x: xp.clip(x, -1e30, 1e30) / (1 + abs(xp.clip(x, -1e30, 1e30))),
    lambda xp, x: (1 + abs(x)) ** -2.0,
)
squareplus = _activation("squareplus", _squareplus, _squareplus_slope)
exponential = _activation("exponential", lambda xp, x: xp.exp(x), lambda xp, x: xp.exp(x))
hard_sigmoid = _activation(
    "hard_sigmoid", lambda xp, x: xp.clip(x + 3, 0, 6) / 6, lambda xp, x: _inside(xp, x, -3, 3) / 6
)
hard_tanh = _activation("hard_tanh", lambda xp, x: xp.clip(x, -1, 1), lambda xp, x: _inside(xp, x, -1, 1))
hard_silu = _activation(
    "hard_silu",
    lambda xp, x: xp.maximum(x, -3) * xp.clip(x + 3, 0, 6) / 6,
    lambda xp, x: xp.where(x <= -3, 0, xp.where(x >= 3, 1, (x + 1.5) / 3)),
)
hard_shrink = _activation(
    "hard_shrink",
    lambda xp, x, threshold=0.5: xp.where(abs(x) <= threshold, 0, x),
    lambda xp, x, threshold=0.5: _step(xp, abs(x), threshold, 0, 1),
)
soft_shrink = _activation(
    "soft_shrink",
    lambda xp, x, threshold=0.5: x - xp.clip(x, -threshold, threshold),
    lambda xp, x, threshold=0.5: _step(xp, abs(x), threshold, 0, 1),
)
tanh_shrink = _activation("tanh_shrink", lambda xp, x: x - xp.tanh(x), lambda xp, x: xp.tanh(x) ** 2)
threshold = _activation(
    "threshold",
    lambda xp, x, threshold, value: xp.where(x <= threshold, value, x),
    lambda xp, x, threshold, value: _step(xp, x, threshold, 0, 1),
    _value,
)
sparse_plus = _activation(
    "sparse_plus",
    lambda xp, x: xp.where(x >= 1, x, 0.25 * (xp.clip(x, -1, 1) + 1) ** 2),
    lambda xp, x: 0.5 * (xp.clip(x, -1, 1) + 1),
)
sparse_sigmoid = _activation(
    "sparse_sigmoid", lambda xp, x: 0.5 * (xp.clip(x, -1, 1) + 1), lambda xp, x: _inside(xp, x, -1, 1, 0.5)
)
glu = _gate("glu", sigmoid)
reglu = _gate("reglu", relu)
geglu = _gate("geglu", gelu)
swiglu = _gate("swiglu", silu)
maxout = Maxout()
__all__ += ["maxout", "prelu"]
