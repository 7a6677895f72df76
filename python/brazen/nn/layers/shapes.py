# SPDX-License-Identifier: BSD-3-Clause
"""Layers that change the shape alone, and the average over pixels."""

from __future__ import annotations

import math
import operator

from ..layer import Layer


class Reshape(Layer):
    """A sample takes another shape, in C order; one extent may be -1."""

    def __init__(self, shape):
        self.shape = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(map(operator.index, shape))
        if self.shape.count(-1) > 1 or any(extent < -1 for extent in self.shape):
            raise ValueError(f"shape is {self.shape}; expected extents, at most one of them -1")

    def setup(self, shape):
        size, known = math.prod(shape), math.prod(extent for extent in self.shape if extent != -1)
        if -1 in self.shape and known and size % known == 0:
            return tuple(size // known if extent == -1 else extent for extent in self.shape)
        if -1 in self.shape or known != size:
            raise ValueError(f"{size} numbers a sample do not fit the shape {self.shape}")
        return self.shape

    def forward(self, x, run):
        before = x.shape
        return x.reshape(-1, *self.output_shape), lambda dy: dy.reshape(before)


class Flatten(Layer):
    """A sample becomes a vector, in C order."""

    def setup(self, shape):
        return (math.prod(shape),)

    def forward(self, x, run):
        before = x.shape
        return x.reshape(-1, *self.output_shape), lambda dy: dy.reshape(before)


class GlobalAveragePool(Layer):
    """The mean over all axes of a sample but `axis`, the channel's: 1 for (N, C, …), -1 for (N, …, C)."""

    def __init__(self, axis: int = 1):
        self.axis = axis

    def setup(self, shape):
        if len(shape) < 2 or not -len(shape) <= self.axis <= len(shape) or self.axis == 0:
            raise ValueError(f"axis is {self.axis}; expected a channel's axis from 1 on, and others to average over")
        self.reduced = tuple(d for d in range(1, len(shape) + 1) if d != self.axis % (len(shape) + 1))
        self.count = math.prod(shape[d - 1] for d in self.reduced)
        return (math.prod(shape) // self.count,)

    def flops(self):
        return math.prod(self.input_shape)

    def forward(self, x, run):
        wide = "float64" if x.dtype.itemsize == 8 else "float32"
        total = self.empty("total", (x.shape[0], *self.output_shape), wide, run)
        self.workspace.xp.sum(x, axis=self.reduced, dtype=wide, out=total)
        total *= 1 / self.count
        y = total if x.dtype == total.dtype else self.empty("mean", total.shape, x.dtype, run)
        if y is not total:
            y[...] = total

        def backward(dy):
            dx = self.empty("gradient", x.shape, x.dtype, run)
            spread = tuple(slice(None) if d not in self.reduced else None for d in range(x.ndim))
            self.workspace.xp.multiply(dy[spread], dy.dtype.type(1 / self.count), out=dx)
            return dx

        return y, backward
