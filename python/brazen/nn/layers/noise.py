# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and its relatives as layers. Masks are f(seed, step, the layer's ordinal, element): nothing is stored."""

from __future__ import annotations

import math

from ..._noise import DROPOUT, drop_threshold, noise_dimensions, site_of
from ...ops.dropout import _SATURATION
from ...ops.fused import dropout_noise, normal_noise
from ..layer import Layer
from ..stages import Stage


class Noise(Layer):
    """What the layers of this file share: they fuse with what stands before, and are silent in prediction."""

    per_element = True  # one draw for each element
    counts_samples = False  # whether a mask's index counts samples, not elements

    def stages(self):
        return [Stage("noise", self, self.path)]

    def draw(self, run, shape):
        """(what the chain draws, or None; the extents of the mask, or None)."""
        raise NotImplementedError

    def offset(self, run) -> int:
        """Where this part's mask begins in that of the whole batch."""
        return run.offset * math.prod(self.input_shape)


class Dropout(Noise):
    """Zeroes each element with probability `rate` (or 1 - keep), and divides the others by 1 - rate.

    `noise_shape` has 1 where one draw serves a whole axis, the batch's first: (1, None) draws once a unit. mode="vanilla"
    does not divide, and multiplies by `keep` in prediction; with mode="weights" the weights of the Dense that follows are
    multiplied by it then.
    """

    def __init__(self, rate=None, keep=None, noise_shape=None, mode: str = "inverted"):
        if mode not in ("inverted", "vanilla", "weights"):
            raise ValueError(f"mode is {mode!r}; expected 'inverted', 'vanilla' or 'weights'")
        self.threshold, self.mode = drop_threshold(rate, keep), mode
        self.left_to_weights = self.threshold / 65536 if mode == "weights" else 1.0
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.per_element = noise_shape is None

    def setup(self, shape):
        if self.noise_shape is not None:
            noise_dimensions((1, *shape), (1, *self.noise_shape[1:]))
        return shape

    def mask_shape(self, shape):
        """The extents of the mask of an array of this shape; None for all of them."""
        return None if self.noise_shape is None else noise_dimensions(shape, self.noise_shape)

    def offset(self, run):
        if self.noise_shape is None:
            return run.offset * math.prod(self.input_shape)
        if self.noise_shape[0] == 1:
            return 0
        return run.offset * math.prod(noise_dimensions(self.input_shape, self.noise_shape[1:]))

    def draw(self, run, shape):
        if not run.training:
            if self.mode != "vanilla":
                return None, None
            # Every piece is below 65,536: all are kept, and scaled.
            return dropout_noise(self.path, 65536, 0, 0, 0, 0, scale=self.threshold / 65536), None
        if self.threshold == 65536:
            return None, None
        scale = 65536 / self.threshold if self.mode == "inverted" else 1.0
        place = (run.seed, run.step, site_of(self.site, DROPOUT), self.offset(run))
        return ("dropout", self.threshold, scale, 0.0, 0.0, *place), self.mask_shape(shape)


class SpatialDropout(Dropout):
    """Drops whole channels of a sample; `axis` is the channel's."""

    def __init__(self, rate=None, keep=None, axis: int = 1):
        Dropout.__init__(self, rate, keep)
        self.axis, self.per_element = axis, False

    def setup(self, shape):
        if not -len(shape) <= self.axis <= len(shape) or self.axis == 0:
            raise ValueError(f"axis is {self.axis}; expected the channel's, from 1 to {len(shape)} or from the end")
        channel = self.axis % (len(shape) + 1)
        self.noise_shape = (None, *(None if d == channel else 1 for d in range(1, len(shape) + 1)))
        return shape


class StochasticDepth(Dropout):
    """Drops whole samples: at the end of a Residual's layers, the residual branch. What is kept is divided by 1 - rate."""

    def __init__(self, rate=None, keep=None):
        Dropout.__init__(self, rate, keep)
        self.per_element = False

    def setup(self, shape):
        self.noise_shape = (None, *(1 for _ in shape))
        return shape


class AlphaDropout(Noise):
    """Dropout for selu: the dropped take its left limit, and mean and variance are restored."""

    def __init__(self, rate=None, keep=None):
        self.threshold = drop_threshold(rate, keep)
        kept = self.threshold / 65536
        self.slope = 1 / math.sqrt(kept + _SATURATION * _SATURATION * kept * (1 - kept))
        self.shift = -self.slope * (1 - kept) * _SATURATION

    def draw(self, run, shape):
        if not run.training or self.threshold == 65536:
            return None, None
        dropped = self.slope * _SATURATION + self.shift
        place = (run.seed, run.step, self.site, self.offset(run))
        return dropout_noise(self.path, self.threshold, *place, self.slope, self.shift, dropped), None


class GaussianDropout(Noise):
    """y = x (1 + std z) with z standard normal and std = sqrt(rate / (1 - rate))."""

    def __init__(self, rate: float = 0.5):
        if not 0 <= rate < 1:
            raise ValueError(f"rate is {rate}; expected at least 0 and below 1")
        self.deviation = math.sqrt(rate / (1 - rate))

    def draw(self, run, shape):
        if not run.training or self.deviation == 0:
            return None, None
        place = (run.seed, run.step, self.site, self.offset(run))
        return normal_noise(self.path, "multiply", self.deviation, *place), None


class GaussianNoise(Noise):
    """y = x + std z with z standard normal."""

    def __init__(self, std: float = 1.0):
        if not 0 <= std < math.inf:
            raise ValueError(f"std is {std}; expected a finite number, at least 0")
        self.deviation = float(std)

    def draw(self, run, shape):
        if not run.training or self.deviation == 0:
            return None, None
        place = (run.seed, run.step, self.site, self.offset(run))
        return normal_noise(self.path, "add", self.deviation, *place), None
