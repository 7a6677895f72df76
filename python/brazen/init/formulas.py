# SPDX-License-Identifier: BSD-3-Clause
"""The initialisers: each a function of a Draw that `@initializer` makes a class. To add one: one function.

An object is made of the formula's arguments and called with a shape, a seed and a site, the ordinal of the array in its
network: the same three give the same weights on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .._configured import Configured, define, rebuild, require
from .draw import Draw

initializers: dict[str, type] = {}


class Initializer(Configured):
    """Makes arrays: `initializer(shape, seed=…, site=…)`."""

    def __init__(self, *values: Any, **named: Any):
        super().__init__(*values, **named)
        type(self).formula(
            Draw(self.name, (0, 0), 0, 0, "float32", None, None, -2, -1), **self.arguments
        )  # checks them

    def __call__(
        self, shape=None, *, seed=None, site=0, dtype="float32", like=None, out=None, in_axis=-2, out_axis=-1
    ) -> Any:
        """A new array of `shape`, in the library and on the device of `like`, or `out` filled.

        `in_axis` and `out_axis` say which axes count inputs and units: (inputs, units) by default, 1 and 0 for PyTorch's
        (units, inputs, …). The others are a convolution's window.
        """
        if (shape is None) == (out is None):
            raise TypeError(f"init.{self.name}: expected a shape or out=, one of the two")
        draw = Draw(self.name, shape, seed, site, dtype, like, out, in_axis, out_axis)
        return type(self).formula(draw, **self.arguments)


def initializer(**aliases: str) -> Callable[[Callable], type[Initializer]]:
    """Makes a formula f(draw, **arguments) a class of the same name, arguments and docstring."""
    return lambda formula: define(Initializer, initializers, formula, aliases)


def from_config(config: Mapping[str, Any]) -> Any:
    """The initialiser that `config()` wrote down.

    >>> from_config({"name": "kaiming_normal"}) == kaiming_normal()
    True
    """
    return rebuild(config, get)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which an activation asks for larger weights; names and values are PyTorch's, `param` leaky_relu's slope.

    >>> calculate_gain("tanh"), round(calculate_gain("relu"), 6)
    (1.6666666666666667, 1.414214)
    """
    slope = 0.01 if param is None else param
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2 / (1 + slope * slope)), "selu": 0.75}
    gains |= dict.fromkeys(["linear", "identity", "sigmoid"], 1.0)
    gains |= {f"conv{kind}{d}d": 1.0 for kind in ("", "_transpose") for d in (1, 2, 3)}
    require(nonlinearity in gains, "nonlinearity", nonlinearity, f"one of {', '.join(gains)}")
    return gains[nonlinearity]


@initializer()
def zeros(draw):
    """All 0: what biases start from. Weights of one value keep all units of a layer equal for ever.

    >>> zeros()(2).tolist()
    [0.0, 0.0]
    """
    return draw.put(draw.xp.zeros(draw.shape, draw.dtype))


@initializer()
def ones(draw):
    """All 1.

    >>> ones()(2).tolist()
    [1.0, 1.0]
    """
    return draw.put(draw.xp.ones(draw.shape, draw.dtype))


@initializer(val="value")
def constant(draw, value: float = 0.0):
    """All `value`.

    >>> constant(0.5)(2).tolist()
    [0.5, 0.5]
    """
    return draw.put(draw.xp.full(draw.shape, value, draw.dtype))


@initializer(a="low", b="high", minval="low", maxval="high")
def uniform(draw, low: float, high: float):
    """Uniform from low to high.

    >>> bool(abs(uniform(-0.1, 0.1)((300, 300), seed=0)).max() <= 0.1)
    True
    """
    return draw.uniform(low, high)


@initializer(stddev="std")
def normal(draw, *, std: float | None = None, variance: float | None = None, mean: float = 0.0):
    """Normal, with its width named: N(0, 0.01) has been printed for both.

    >>> normal(std=0.01) == normal(variance=0.01)
    False
    """
    require((std is None) != (variance is None), "std, variance", (std, variance), "one of the two")
    return draw.normal(std if variance is None else math.sqrt(variance), mean)


@initializer(stddev="std")
def truncated_normal(draw, *, std: float, mean: float = 0.0, low: float = -2.0, high: float = 2.0):
    """Normal numbers from low to high standard deviations around the mean; std is that before truncation.

    (PyTorch's bounds, of `trunc_normal_`, are values: with std=0.02 its default of -2 and 2 is a hundred deviations away.)

    >>> bool(abs(truncated_normal(std=1.0)(1000, seed=0)).max() <= 2)
    True
    """
    return draw.within(std, mean, low, high)


@initializer()
def xavier_uniform(draw, gain: float = 1.0):
    """Uniform of variance gain^2 2 / (in + out): bounds gain sqrt(6 / (in + out)) (Glorot 2010).

    >>> bool(abs(xavier_uniform()((2, 4), seed=0)).max() <= 1)
    True
    """
    inputs, outputs = draw.fans()
    bound = gain * math.sqrt(6 / max(1, inputs + outputs))
    return draw.uniform(-bound, bound)


@initializer()
def xavier_normal(draw, gain: float = 1.0):
    """Normal of variance gain^2 2 / (in + out) (Glorot 2010). The fan-in form by this name is `xavier_fan_in`.

    >>> xavier_normal()((2, 4), seed=0).shape
    (2, 4)
    """
    inputs, outputs = draw.fans()
    return draw.normal(gain * math.sqrt(2 / max(1, inputs + outputs)))


@initializer()
def xavier_fan_in(draw, gain: float = 1.0):
    """Normal of variance gain^2 / in: what courses print as Xavier, `randn(n, m) / sqrt(n)`.

    >>> xavier_fan_in()((4, 2), seed=0).shape
    (4, 2)
    """
    return draw.normal(gain * math.sqrt(1 / max(1, draw.fan("fan_in"))))


@initializer()
def xavier_avg(draw, k: float = 2.0):
    """Normal of variance k / (in + out); k = 2 is `xavier_normal`.

    >>> bool((xavier_avg()((4, 2), seed=0) == xavier_normal()((4, 2), seed=0)).all())
    True
    """
    inputs, outputs = draw.fans()
    return draw.normal(math.sqrt(k / max(1, inputs + outputs)))


@initializer()
def lecun_normal(draw):
    """Normal of variance 1 / in.

    >>> lecun_normal()((4, 2), seed=0).shape
    (4, 2)
    """
    return draw.normal(math.sqrt(1 / max(1, draw.fan("fan_in"))))


@initializer()
def lecun_uniform(draw):
    """Uniform of variance 1 / in: bounds sqrt(3 / in).

    >>> bool(abs(lecun_uniform()((3, 9), seed=0)).max() <= 1)
    True
    """
    bound = math.sqrt(3 / max(1, draw.fan("fan_in")))
    return draw.uniform(-bound, bound)


@initializer()
def kaiming_normal(draw, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"):
    """Normal of variance gain^2 / fan; with the default gain of sqrt(2 / (1 + a^2)) He's for relu, 2 / in (He 2015).

    Keras' he_normal of the same variance is truncated: `variance_scaling(2.0)`.

    >>> kaiming_normal()((4, 2), seed=0).shape
    (4, 2)
    """
    return draw.normal(calculate_gain(nonlinearity, a) / math.sqrt(max(1, draw.fan(mode))))


@initializer()
def kaiming_uniform(draw, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"):
    """Uniform of variance gain^2 / fan: bounds gain sqrt(3 / fan).

    >>> bool(abs(kaiming_uniform()((6, 9), seed=0)).max() <= 1)
    True
    """
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3 / max(1, draw.fan(mode)))
    return draw.uniform(-bound, bound)


# The standard deviation of a normal distribution cut at two deviations.
CUT_AT_TWO = 0.87962566103423978


@initializer()
def variance_scaling(draw, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"):
    """Variance scale / fan, for a mode of fan_in, fan_out or fan_avg; names, defaults and distributions are Keras'.

    "truncated_normal" is cut at two deviations and widened to the variance asked for.

    >>> variance_scaling(2.0, distribution="uniform")((4, 2), seed=0).shape
    (4, 2)
    """
    kinds = ("truncated_normal", "untruncated_normal", "uniform")
    require(distribution in kinds, "distribution", distribution, f"one of {', '.join(map(repr, kinds))}")
    require(scale > 0, "scale", scale, "a positive number")
    std = math.sqrt(scale / max(1, draw.fan(mode)))
    if distribution == "uniform":
        return draw.uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
    return draw.normal(std) if distribution == "untruncated_normal" else draw.within(std / CUT_AT_TWO, 0.0, -2.0, 2.0)


@initializer()
def random_normal(draw, mean: float = 0.0, stddev: float = 0.05):
    """`normal` under Keras' name, with Keras' defaults.

    >>> random_normal()((4, 2), seed=0).shape
    (4, 2)
    """
    return draw.normal(stddev, mean)


@initializer()
def random_uniform(draw, minval: float = -0.05, maxval: float = 0.05):
    """`uniform` under Keras' name, with Keras' defaults.

    >>> random_uniform()((4, 2), seed=0).shape
    (4, 2)
    """
    return draw.uniform(minval, maxval)


@initializer()
def orthogonal(draw, gain: float = 1.0):
    """gain times a matrix with orthonormal rows or columns, units against the rest (Saxe 2014); a QR of normal numbers.

    The factorisation is LAPACK's (or cuSOLVER's), so that the last bits are those of the machine.

    >>> import numpy as np
    >>> w = orthogonal()((3, 3), seed=0, dtype="float64")
    >>> bool(abs(w @ w.T - np.eye(3)).max() < 1e-12)
    True
    """
    xp, shape = draw.xp, draw.shape
    if len(shape) < 2:
        raise ValueError(f"shape is {shape}; expected two axes or more, for an orthogonal matrix")
    units = shape[draw.out_axis]
    others = math.prod(shape) // max(1, units)
    if not units * others:
        return draw.put(xp.zeros(shape))
    q, r = xp.linalg.qr(draw.gaussian_matrix(max(units, others), min(units, others)))
    q = q * xp.where(xp.diagonal(r) < 0, -1.0, 1.0)  # so that every orthogonal matrix is as likely
    matrix = q if units <= others else q.T  # (others, units)
    moved = [n for axis, n in enumerate(shape) if axis != draw.out_axis % len(shape)]
    return draw.put(gain * xp.moveaxis(matrix.reshape(*moved, units), -1, draw.out_axis))


@initializer()
def identity(draw, gain: float = 1.0):
    """gain on the diagonal of a matrix.

    >>> identity()((2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if len(draw.shape) != 2:
        raise ValueError(f"shape is {draw.shape}; expected two axes, for an identity matrix")
    return draw.put(gain * draw.xp.eye(*draw.shape))


@initializer()
def dirac(draw, groups: int = 1):
    """A convolution that passes its input on: 1 at the centre of the window, where unit and input of a group agree.

    >>> dirac()((3, 1, 1), in_axis=1, out_axis=2).ravel().tolist()
    [0.0, 1.0, 0.0]
    """
    shape, xp = draw.shape, draw.xp
    if len(shape) == 2 and not math.prod(shape):
        return draw.put(xp.zeros(shape))
    if len(shape) < 3:
        raise ValueError(f"shape is {shape}; expected three axes or more, for a convolution")
    units, inputs = shape[draw.out_axis], shape[draw.in_axis]
    require(groups > 0 and units % groups == 0, "groups", groups, f"a divisor of the {units} units")
    weights = xp.zeros(shape)
    place = [n // 2 for n in shape]
    for group in range(groups):
        for index in range(min(units // groups, inputs)):
            place[draw.out_axis], place[draw.in_axis] = group * (units // groups) + index, index
            weights[tuple(place)] = 1
    return draw.put(weights)


SYNONYMS = {
    "glorot_normal": "xavier_normal", "glorot_uniform": "xavier_uniform", "he_normal": "kaiming_normal",
    "he_uniform": "kaiming_uniform", "trunc_normal": "truncated_normal", "eye": "identity", "identity_initializer": "identity",
}  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of all initialisers.

    >>> "kaiming_normal" in names()
    True
    """
    return tuple(initializers)


def get(name: Any) -> Any:
    """The class of a name: ours, PyTorch's with its underscore, Keras' in either spelling. An initialiser is returned.

    >>> get("glorot_uniform") is get("GlorotUniform") is get("xavier_uniform_") is xavier_uniform
    True
    """
    if isinstance(name, Initializer) or (isinstance(name, type) and issubclass(name, Initializer)):
        return name
    spelled = "".join(f"_{c.lower()}" if c.isupper() else c for c in str(name)).strip("_")
    spelled = SYNONYMS.get(spelled, spelled)
    require(spelled in initializers, "name", name, f"one of {', '.join(initializers)}")
    return initializers[spelled]
