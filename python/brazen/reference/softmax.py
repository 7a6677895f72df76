# SPDX-License-Identifier: BSD-3-Clause
"""Maps of a row to a distribution in plain array code: softmax, its logarithm, sparsemax. No loss.

`backward` takes y, the forward result, where an activation's takes x: it needs nothing else.
"""

from __future__ import annotations

import numpy

from ._kinds import _array, array_namespace, compute

__all__ = ["log_softmax", "softmax", "sparsemax"]


def _softmax(xp, x):
    powers = xp.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _softmax_backward(xp, dy, y):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def log_softmax_rows(xp, x):
    """Never overflows: the largest of a row becomes 0 before exp sees it."""
    centred = x - x.max(axis=-1, keepdims=True)
    return centred - xp.log(xp.exp(centred).sum(axis=-1, keepdims=True))


def _log_softmax_backward(xp, dy, y):
    return dy - xp.exp(y) * dy.sum(axis=-1, keepdims=True)


def _sparsemax(xp, x):
    """The point of the simplex nearest to the row: max(x - tau, 0), tau chosen so that it sums to 1."""
    centred = x - x.max(axis=-1, keepdims=True)
    falling = -xp.sort(-centred, axis=-1)
    rank = xp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    sums = falling.cumsum(axis=-1)
    inside = 1 + rank * falling > sums
    support = inside.sum(axis=-1, keepdims=True)
    tau = (xp.where(inside, falling, 0).sum(axis=-1, keepdims=True) - 1) / support
    return xp.maximum(centred - tau, 0)


def _sparsemax_backward(xp, dy, y):
    support = xp.where(y == y, y != 0, True)
    mean = xp.where(support, dy, 0).sum(axis=-1, keepdims=True) / support.sum(axis=-1, keepdims=True)
    return xp.where(support, dy - mean, xp.where(y == y, 0, y))


class Rows:
    """y = value(x) row by row along `axis`; backward(dy, y) is its gradient."""

    def __init__(self, name, value, backward):
        self.__name__ = self.__qualname__ = name
        self._value, self._backward = value, backward

    def _along(self, function, arrays, axis, out):
        xp, dtype = array_namespace(arrays[0]), arrays[0].dtype
        moved = [xp.moveaxis(compute(array), axis, -1) for array in arrays]
        with numpy.errstate(all="ignore"):
            rows = function(xp, *moved) if moved[0].size else moved[0]
            return _array(xp, xp.moveaxis(rows, -1, axis), dtype, out)

    def __call__(self, x, axis=-1, out=None):
        return self._along(self._value, (x,), axis, out)

    def backward(self, dy, y, axis=-1, out=None):
        """dx, from the forward result y."""
        return self._along(self._backward, (dy, y), axis, out)

    def __repr__(self):
        return f"brazen.reference.{self.__name__}"


softmax = Rows("softmax", _softmax, _softmax_backward)
log_softmax = Rows("log_softmax", log_softmax_rows, _log_softmax_backward)
sparsemax = Rows("sparsemax", _sparsemax, _sparsemax_backward)
