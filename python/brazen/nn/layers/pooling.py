# SPDX-License-Identifier: BSD-3-Clause
"""The largest or the average of windows of pixels. Which pixel was the largest is found again, not stored."""

from __future__ import annotations

import math

from ... import _core
from .windows import Windows


class _Pool(Windows):
    kind = ""
    count_padding = True

    def setup(self, shape):
        channels, rows, columns = self.read_shape(shape)
        for p, k, d in zip(self.padding, self.kernel, self.dilation):
            if p > (d * (k - 1) + 1) // 2:
                raise ValueError(f"padding is {p}; expected at most half the window, so that each holds a pixel")
        return self.shape_with(channels, rows, columns)

    def flops(self):
        return math.prod(self.output_shape) * math.prod(self.kernel)

    def forward(self, x, run):
        x = self.packed(x)
        window = (self.kernel, self.stride, self.padding, self.dilation, self.count_padding)
        y = self.empty("result", (x.shape[0], *self.output_shape), x.dtype, run)
        _core.pool_forward(self.kind, x, self.last, *window, y)

        def backward(dy):
            dx = self.empty("gradient", x.shape, x.dtype, run)
            return _core.pool_backward(self.kind, self.packed(dy), x, self.last, *window, dx)

        return y, backward


class MaxPool2D(_Pool):
    """The largest of each window; the gradient goes to the first of equal ones. The stride is the kernel's if not given."""

    kind = "max"

    def __init__(self, kernel, stride=None, padding=0, dilation=1, layout: str = "NCHW"):
        self.set_windows(kernel, kernel if stride is None else stride, padding, dilation, layout)


class AveragePool2D(_Pool):
    """The average of each window; padding counts as zeros, unless `count_padding=False`."""

    kind = "average"

    def __init__(self, kernel, stride=None, padding=0, count_padding: bool = True, layout: str = "NCHW"):
        self.set_windows(kernel, kernel if stride is None else stride, padding, 1, layout)
        self.count_padding = bool(count_padding)
