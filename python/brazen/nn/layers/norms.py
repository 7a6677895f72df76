# SPDX-License-Identifier: BSD-3-Clause
"""Normalising layers, with PyTorch's defaults."""

from __future__ import annotations

import math

from ... import _core
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


class RowNorm(Layer):
    """What the norms of one sample share: scale and shift, and the call of their operation."""

    operation = ""
    centred = True
    count: int | None = None  # of groups, where channels are divided
    axis: int
    eps: float
    scale: bool
    shift = False

    def declare(self, extents) -> None:
        """Scale and shift of these extents."""
        if self.scale:
            self.add_parameter("scale", extents, "ones")
        if self.shift:
            self.add_parameter("shift", extents, "zeros")

    def rows(self, shape):
        """The extents of what is normalised for itself."""
        return shape[: self.axis % len(shape)]

    def flops(self):
        return 5 * math.prod(self.input_shape)

    def forward(self, x, run):
        scale, shift = self.params.get("scale"), self.params.get("shift")
        rows, wide = self.rows(x.shape), "float64" if x.dtype.itemsize == 8 else "float32"
        mean = self.empty("mean", rows, wide, run) if self.centred else None
        inverse_std = self.empty("inverse std", rows, wide, run)
        y = self.empty("result", x.shape, x.dtype, run)
        _core.norm_forward(self.operation, x, scale, shift, None, self.axis, self.count, self.eps, y, mean, inverse_std)

        def backward(dy):
            dx = self.empty("gradient", x.shape, x.dtype, run)
            dscale, dshift = (
                (self.grads if self.learns else self._unwanted(run)).get(name) for name in ("scale", "shift")
            )
            _core.norm_backward(
                self.operation, dy, x, scale, shift, mean, inverse_std, self.axis, self.count, dx, dscale, dshift
            )
            return dx

        return y, backward

    def _unwanted(self, run):
        """Where the gradients of frozen parameters go: the pass makes them beside that of x."""
        return {
            name: self.empty(f"frozen {name}", array.shape, array.dtype, run) for name, array in self.params.items()
        }


class LayerNorm(RowNorm):
    """Normalises each sample over the axes from `axis` to the last."""

    operation = "layer_norm"

    def __init__(self, axis: int = -1, eps: float = 1e-5, scale: bool = True, shift: bool = True):
        self.axis, self.eps, self.scale, self.shift = axis, float(eps), scale, shift

    def setup(self, shape):
        rank = len(shape)
        if not -rank <= self.axis <= rank or self.axis == 0:
            raise ValueError(f"axis is {self.axis}; expected one of a sample's, from 1 to {rank} or from the end")
        self.declare(shape[self.axis % (rank + 1) - 1 :])
        return shape


class RMSNorm(LayerNorm):
    """x / sqrt(mean(x²) + eps) * scale over the axes from `axis` to the last."""

    operation = "rms_norm"
    centred = False

    def __init__(self, axis: int = -1, eps: float = 1e-6, scale: bool = True):
        LayerNorm.__init__(self, axis, eps, scale, False)


class GroupNorm(RowNorm):
    """Normalises each sample over each of `groups` runs of neighbouring channels; groups=None: each channel for itself."""

    operation = "group_norm"

    def __init__(self, groups: int | None, axis: int = 1, eps: float = 1e-5, scale: bool = True, shift: bool = True):
        self.groups, self.axis, self.eps, self.scale, self.shift = groups, axis, float(eps), scale, shift

    def setup(self, shape):
        rank = len(shape)
        if not -rank <= self.axis <= rank or self.axis == 0:
            raise ValueError(f"axis is {self.axis}; expected the channel's, from 1 to {rank} or from the end")
        channels = (0, *shape)[self.axis]
        self.count = channels if self.groups is None else self.groups
        if self.count < 1 or channels % self.count:
            raise ValueError(f"groups is {self.groups}; expected a divisor of {channels} channels")
        self.declare((channels,))
        return shape

    def rows(self, shape):
        return shape[0], self.count
