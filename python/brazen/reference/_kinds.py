# SPDX-License-Identifier: BSD-3-Clause
"""The shapes a reference can have: one argument, gated halves, prelu, maxout. No formula of an activation.

16-bit arrays are computed in float32 and rounded once: NumPy's own half arithmetic is both slower and less exact.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys

import numpy

_operations: dict = {}


def operations() -> tuple[str, ...]:
    """The names of all references, as the registry spells them ("gelu", "math.exp")."""
    return tuple(_operations)


def find(name: str):
    """The reference of a registered name."""
    return _operations[name]


def array_namespace(x):
    """numpy or cupy, whichever x belongs to; cupy is not imported for it."""
    cupy = sys.modules.get("cupy")
    return cupy if cupy is not None and isinstance(x, cupy.ndarray) else numpy


def special(xp, name: str):
    """erf or erfc for arrays of `xp`: SciPy's or CuPy's, or else Python's own, element by element."""
    try:
        if xp is numpy:
            import scipy.special as library
        else:
            import cupyx.scipy.special as library  # type: ignore[no-redef]
        return getattr(library, name)
    except ImportError:
        slow = numpy.frompyfunc(getattr(math, name), 1, 1)
        return lambda x: xp.asarray(slow(numpy.asarray(x))).astype(x.dtype)


def compute(x):
    """x in the dtype its arithmetic is done in: float32 for 16 bits, else its own."""
    return x.astype("float32") if x.dtype.itemsize == 2 else x


def _array(xp, result, dtype, out):
    """The result as an array of `dtype`, also where a ufunc gave a scalar."""
    with numpy.errstate(all="ignore"):
        result = xp.asarray(result).astype(dtype, copy=False)
    if out is None:
        return result
    out[...] = result
    return out


class Unary:
    """y = value(xp, x, **parameters); backward multiplies dy by derivative(xp, x, **parameters)."""

    def __init__(self, name, value, derivative=None, aliases=None):
        self.__name__ = self.__qualname__ = name.rpartition(".")[2]
        self.value, self.derivative = value, derivative
        self.aliases = aliases or {}
        kinds = list(inspect.signature(value).parameters.values())[2:]
        self.parameters = {kind.name: kind.default for kind in kinds}
        _operations[name] = self

    def _bind(self, values, named):
        named = {self.aliases.get(name, name): value for name, value in named.items()}
        return {**dict(zip(self.parameters, values)), **named}

    def __call__(self, x, *parameters, out=None, **named):
        xp = array_namespace(x)
        with numpy.errstate(all="ignore"):
            return _array(xp, self.value(xp, compute(x), **self._bind(parameters, named)), x.dtype, out)

    def backward(self, dy, x, *parameters, out=None, **named):
        """dy * f'(x)."""
        if self.derivative is None:
            raise TypeError(f"{self.__name__} has no backward")
        xp = array_namespace(x)
        with numpy.errstate(all="ignore"):
            slope = self.derivative(xp, compute(x), **self._bind(parameters, named))
            return _array(xp, compute(dy) * slope, x.dtype, out)

    def __repr__(self):
        return f"brazen.reference.{self.__name__}"


class Gated:
    """value * f(gate), the first and second half of an axis; f is a Unary."""

    def __init__(self, name, activation):
        self.__name__ = self.__qualname__ = name
        self.activation = activation
        _operations[name] = self

    def __call__(self, x, axis=-1, out=None):
        xp = array_namespace(x)
        with numpy.errstate(all="ignore"):
            value, gate = xp.split(compute(x), 2, axis)
            return _array(xp, value * self.activation.value(xp, gate), x.dtype, out)

    def backward(self, dy, x, axis=-1, out=None):
        """Both halves' gradients, joined along `axis`."""
        xp = array_namespace(x)
        with numpy.errstate(all="ignore"):
            value, gate = xp.split(compute(x), 2, axis)
            dy = compute(dy)
            halves = dy * self.activation.value(xp, gate), dy * value * self.activation.derivative(xp, gate)
            return _array(xp, xp.concatenate(halves, axis), x.dtype, out)

    def __repr__(self):
        return f"brazen.reference.{self.__name__}"


class Prelu:
    """x where x > 0, alpha * x elsewhere; alpha is single, or has one value for each index of `axis`."""

    __name__ = __qualname__ = "prelu"

    def __init__(self):
        _operations["prelu"] = self

    def _spread(self, x, alpha, axis):
        """alpha as it broadcasts against x, and the axes its gradient is summed over."""
        if alpha.size == 1:
            return alpha.reshape(()), None
        axis = (1 if x.ndim > 1 else 0) if axis is None else axis % x.ndim
        shape = [1] * x.ndim
        shape[axis] = alpha.size
        return alpha.reshape(shape), tuple(d for d in range(x.ndim) if d != axis)

    def __call__(self, x, alpha, axis=None, out=None):
        xp = array_namespace(x)
        wide, (slope, _) = compute(x), self._spread(x, compute(alpha), axis)
        with numpy.errstate(all="ignore"):
            return _array(xp, xp.where(wide > 0, wide, slope * wide), x.dtype, out)

    def backward(self, dy, x, alpha, axis=None, out=None, dalpha=None):
        """(dx, dalpha)."""
        xp = array_namespace(x)
        wide, grad, (slope, reduced) = compute(x), compute(dy), self._spread(x, compute(alpha), axis)
        with numpy.errstate(all="ignore"):
            dx = xp.where(wide > 0, grad, grad * xp.where(wide <= 0, slope, wide))
            sums = xp.asarray((grad * xp.where(wide > 0, 0, wide)).sum(axis=reduced)).reshape(alpha.shape)
            return _array(xp, dx, x.dtype, out), _array(xp, sums, alpha.dtype, dalpha)

    def __repr__(self):
        return "brazen.reference.prelu"


class Maxout:
    """The largest of each group of `pieces` neighbours along `axis`; NaN wins, and of equal ones the first."""

    __name__ = __qualname__ = "maxout"

    def __init__(self):
        _operations["maxout"] = self

    def __call__(self, x, pieces=2, axis=-1, out=None):
        xp = array_namespace(x)
        wide = xp.moveaxis(compute(x), axis, -1)
        largest = functools.reduce(xp.maximum, (wide[..., piece::pieces] for piece in range(pieces)))
        return _array(xp, xp.moveaxis(largest, -1, axis), x.dtype, out)

    def backward(self, dy, x, pieces=2, axis=-1, out=None):
        """dy to the winner, 0 to the others."""
        xp = array_namespace(x)
        wide = xp.moveaxis(compute(x), axis, -1)
        grouped = wide.reshape(*wide.shape[:-1], wide.shape[-1] // pieces, pieces)
        winner = grouped.argmax(-1) if grouped.size else xp.zeros(grouped.shape[:-1], int)
        grad = xp.moveaxis(compute(dy), axis, -1)[..., None]
        dx = xp.where(winner[..., None] == xp.arange(pieces), grad, 0)
        return _array(xp, xp.moveaxis(dx.reshape(wide.shape), -1, axis), x.dtype, out)

    def __repr__(self):
        return "brazen.reference.maxout"
