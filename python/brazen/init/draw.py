# SPDX-License-Identifier: BSD-3-Clause
"""What an initialiser is handed: a shape and its fans, and draws in the generator's initialisation domain. No formula."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._configured import require
from .._noise import INITIALISATION
from .._random import fill, namespace


def fans(shape, in_axis: int = -2, out_axis: int = -1) -> tuple[int, int]:
    """How many inputs a unit has, and how many units an input feeds: of a convolution, times the window.

    >>> fans((784, 512)), fans((64, 3, 5, 5), in_axis=1, out_axis=0)
    ((784, 512), (75, 1600))
    """
    if len(shape) < 2:
        raise ValueError(
            f"shape is {tuple(shape)}; expected two axes or more, for an initialiser that counts inputs and outputs"
        )
    window = math.prod(shape) // max(1, shape[in_axis] * shape[out_axis])
    return shape[in_axis] * window, shape[out_axis] * window


class Draw:
    """One array to be made. Draws depend on the seed, the site and the element's index alone."""

    def __init__(self, name, shape, seed, site, dtype, like, out, in_axis, out_axis):
        self.name, self.seed, self.site, self.like, self.out = name, seed, site, like, out
        self.shape = tuple(out.shape) if out is not None else (shape,) if isinstance(shape, int) else tuple(shape)
        self.dtype = dtype if out is None else out.dtype
        self.in_axis, self.out_axis = in_axis, out_axis

    @property
    def xp(self):
        """numpy or cupy."""
        return namespace(self.like if self.out is None else self.out)

    def fans(self) -> tuple[int, int]:
        return fans(self.shape, self.in_axis, self.out_axis)

    def fan(self, mode: str) -> float:
        """The inputs, the outputs or their mean."""
        require(mode in ("fan_in", "fan_out", "fan_avg"), "mode", mode, "'fan_in', 'fan_out' or 'fan_avg'")
        inputs, outputs = self.fans()
        return {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[mode]

    def _fill(self, kind, shape, dtype, out, scale, shift):
        like = self.like if self.out is None else self.out
        return fill(
            kind, shape, dtype, like, out, f"init.{self.name}", self.seed, 0, self.site, 0, INITIALISATION, scale, shift
        )

    def uniform(self, low: float, high: float):
        return self._fill("uniform", self.shape, self.dtype, self.out, high - low, low)

    def normal(self, std: float, mean: float = 0.0):
        return self._fill("normal", self.shape, self.dtype, self.out, std, mean)

    def within(self, std: float, mean: float, low: float, high: float):
        """Normal numbers between low and high standard deviations from the mean, by the inverse of the distribution."""
        below, above = (float(cumulative(self.xp.array([bound]))[0]) for bound in (low, high))
        require(
            above - below >= 1e-3, "low, high", (low, high), "an interval that holds a thousandth of the distribution"
        )
        share = self._fill("uniform", self.shape, "float64", None, above - below, below)
        return self.put(mean + std * self.xp.clip(quantile(self.xp, share), low, high))

    def gaussian_matrix(self, rows: int, columns: int):
        """A float64 matrix of standard normal numbers, whatever the shape to be made."""
        return self._fill("normal", (rows, columns), "float64", None, 1.0, 0.0)

    def put(self, values: Any):
        """The values as the array to be made."""
        if self.out is None:
            return self.xp.asarray(values).astype(self.dtype, copy=False)
        self.out[...] = values
        return self.out


_erf, _log = _core.Kernel("math.erf"), _core.Kernel("math.log")


def cumulative(x):
    """The share of the normal distribution below x: accurate to 1e-16 of the whole, not of a small share."""
    return 0.5 * (1 + _erf(x * math.sqrt(0.5)))


# Wichura's AS 241 (1988): numerator and denominator in the middle, in the tail, in the far tail; highest power first.
_MIDDLE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
_FAR = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


def _ratio(coefficients, r):
    above, below = (sum_of_powers(part, r) for part in coefficients)
    return above / below


def sum_of_powers(coefficients, r):
    """The polynomial, by Horner's rule."""
    total = coefficients[0] * r + coefficients[1]
    for coefficient in coefficients[2:]:
        total = total * r + coefficient
    return total


def quantile(xp, share):
    """The x below which `share` of the normal distribution lies, for an array in (0, 1); relative error about 1e-15."""
    q = share - 0.5
    rest = xp.sqrt(-_log(xp.maximum(xp.minimum(share, 1 - share), 2.0**-1022)))
    tail = xp.where(rest <= 5, _ratio(_TAIL, rest - 1.6), _ratio(_FAR, rest - 5))
    return xp.where(abs(q) <= 0.425, q * _ratio(_MIDDLE, 0.180625 - q * q), xp.where(q < 0, -tail, tail))
