# SPDX-License-Identifier: BSD-3-Clause
"""Normalising layers, with PyTorch's defaults."""

from __future__ import annotations

import math

from ..layer import Layer
from ..stages import Stage


class BatchNorm(Layer):
    """Batch norm over all axes but `axis`, 1 for (N, C, …), -1 for channels last; fused with what follows.

    momentum is the weight of the new batch (Keras' is 1 minus it); running="biased" is Keras' running variance, as eps=1e-3
    is its eps. `statistics=False` keeps none, and normalises by the batch in prediction too. A frozen one uses its running
    statistics in training, and leaves them. Where a bias stands before it, it cancels: `Dense(units, bias=False)`.
    """

    def __init__(self, eps: float = 1e-5, momentum: float = 0.1, axis: int = 1, scale: bool = True, shift: bool = True,
                 statistics: bool = True, running: str = "unbiased"):  # fmt: skip
        if running not in ("unbiased", "biased"):
            raise ValueError(f'running is {running!r}; expected "unbiased" (PyTorch) or "biased" (Keras)')
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum is {momentum}; expected 0 to 1, the weight of the new batch")
        self.eps, self.momentum, self.axis, self.unbiased = float(eps), float(momentum), axis, running == "unbiased"
        self.scale, self.shift, self.statistics = scale, shift, statistics

    def setup(self, shape):
        if not shape or not -len(shape) <= self.axis <= len(shape) or self.axis == 0:
            raise ValueError(f"axis is {self.axis}; expected the channel's, from 1 to {len(shape)} or from the end")
        channels = (0, *shape)[self.axis]
        if self.scale:
            self.add_parameter("scale", (channels,), "ones")
        if self.shift:
            self.add_parameter("shift", (channels,), "zeros")
        if self.statistics:
            self.add_buffer("running_mean", (channels,), 0.0)
            self.add_buffer("running_var", (channels,), 1.0)
        return shape

    def flops(self):
        return 4 * math.prod(self.input_shape)

    def stages(self):
        return [Stage("norm", self, self.path)]
