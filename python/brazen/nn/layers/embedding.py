# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a table, looked up by index."""

from __future__ import annotations

import numpy

from ... import _core
from ..._matmul import take_rows
from ..layer import Layer
from .dense import positive


def in_one_run(xp, array):
    """The array, contiguous and aligned; a copy where it is not."""
    return numpy.require(array, requirements=["C", "A"]) if xp is numpy else xp.ascontiguousarray(array)


class Embedding(Layer):
    """y[…, :] = weight[x[…], :]: a learned row for each of `count` indices; the first layer of its network.

    An index outside 0 … count - 1 is an error, on a device some row, which learns nothing from it: reading one back would
    make the host wait. The gradients of a row are added up in the order of x.
    """

    integer_input = True

    def __init__(self, count: int, units: int, weight=None):
        self.count, self.units = positive("count", count), positive("units", units)
        self.weight_init = weight

    def setup(self, shape):
        init = self.weight_init
        if init is None:
            from ... import init as initialisers

            init = initialisers.normal(std=1.0)
        self.add_parameter("weight", (self.count, self.units), init)
        return (*shape, self.units)

    def forward(self, x, run):
        if x.dtype.kind not in "iu":
            raise TypeError(f"layer {self.path}: x has dtype {x.dtype}; expected indices, int32 or int64")
        self._require_range(x)
        xp, weight = self.workspace.xp, self.params["weight"]
        rows = self.empty("rows", (*x.shape, self.units), weight.dtype, run)
        take_rows(weight, x, rows)
        y = rows
        if self.dtype != weight.dtype:
            y = self.empty("result", rows.shape, self.dtype, run)
            y[...] = rows

        def backward(dy):
            if self.learns:
                indices = x if x.dtype in ("int32", "int64", "uint8") else x.astype("int64")
                _core.sum_rows(
                    in_one_run(xp, dy.reshape(-1, self.units)), in_one_run(xp, indices), self.grads["weight"]
                )

        return y, backward

    def _require_range(self, x):
        if type(x) is not numpy.ndarray or not x.size:
            return
        wrong = (x < 0) | (x >= self.count)
        if wrong.any():
            place = tuple(int(i) for i in numpy.argwhere(wrong)[0])
            raise ValueError(f"layer {self.path}: x{list(place)} is {x[place]}; expected 0 to {self.count - 1}")
