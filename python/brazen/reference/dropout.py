# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and its relatives in plain array code; every mask is redrawn from (seed, step, site, offset), none is kept.

An element is kept if its 16-bit piece of the dropout domain is below threshold = round(keep * 65536). `keep` below means
the rounded probability threshold / 65536, and 1 / keep is rounded to the compute type once. A dropped element is +0,
whatever it was. `offset` is the position of this mask's first element in the whole mask: with a `noise_shape`, elements of
the noise are counted.
"""

from __future__ import annotations

import math

import numpy

from .._noise import DROPOUT, drop_threshold, noise_dimensions, probability, seeded
from . import random
from ._kinds import _array, array_namespace, compute

__all__ = [
    "alpha_dropout",
    "drop_connect",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "monte_carlo",
    "stochastic_depth",
]

_MODES = ("inverted", "vanilla", "weights")
_ALPHA = -1.7580993408473768  # what selu tends to on the left


def keep_mask(shape, threshold, *, seed, step, site, offset, like):
    """True where an element stays."""
    place = {"seed": seed, "step": step, "site": site, "offset": offset}
    return random.pieces(shape, **place, domain=DROPOUT, like=like) < threshold


def keep_scale(wide, threshold):
    """1 / keep in the compute type of `wide`."""
    return wide.dtype.type(65536) / wide.dtype.type(threshold)


def select(xp, mask, wide, scale):
    """wide * scale where kept, +0 elsewhere, also where wide is NaN or infinite."""
    with numpy.errstate(all="ignore"):
        return xp.where(mask, wide * scale, wide.dtype.type(0))


class Dropout:
    """Zero each element with probability `rate`; `backward` redraws the same mask.

    mode "inverted": kept elements are divided by `keep` in training, prediction is the identity. mode "vanilla": they are
    not, and prediction multiplies by `keep`. mode "weights": neither does; for prediction the weights that consume y are
    multiplied by `keep`, see `scale_weights`.
    """

    def __init__(self, name):
        self.__name__ = self.__qualname__ = name

    def _multiply(self, x, rate, keep, keep_prob, seed, step, site, offset, noise_shape, mode, training, out):
        if mode not in _MODES:
            raise ValueError(f"{self.__name__}: mode is {mode!r}; expected one of {', '.join(_MODES)}")
        xp, wide = array_namespace(x), compute(x)
        threshold = drop_threshold(rate, keep, keep_prob)
        if not training:
            return _array(xp, wide * wide.dtype.type(threshold / 65536) if mode == "vanilla" else wide, x.dtype, out)
        seed = seeded(seed, f"{self.__name__}(x, {1 - threshold / 65536:g}, seed=0, step=step)")
        shape = self._noise(x.shape, noise_shape)
        mask = keep_mask(shape, threshold, seed=seed, step=step, site=site, offset=offset, like=x)
        scale = keep_scale(wide, threshold) if mode == "inverted" else wide.dtype.type(1)
        return _array(xp, select(xp, mask, wide, scale), x.dtype, out)

    def _noise(self, shape, noise_shape):
        return noise_dimensions(shape, noise_shape)

    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, noise_shape=None,
                 mode="inverted", training=True, out=None):  # fmt: skip
        """`rate` is 0.5 if neither it nor `keep` is given."""
        return self._multiply(x, rate, keep, keep_prob, seed, step, site, offset, noise_shape, mode, training, out)

    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, noise_shape=None,
                 mode="inverted", training=True, out=None):  # fmt: skip
        """dx: the same elements of dy, with the same scale."""
        return self._multiply(dy, rate, keep, keep_prob, seed, step, site, offset, noise_shape, mode, training, out)

    def mask(self, shape, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, bits=False,
             like=None):  # fmt: skip
        """The mask as bool, or as bytes that hold eight elements in C order, the first in the lowest bit."""
        threshold = drop_threshold(rate, keep, keep_prob)
        seed = seeded(seed, f"{self.__name__}.mask(shape, {1 - threshold / 65536:g}, seed=0, step=step)")
        mask = keep_mask(self._mask_shape(shape), threshold, seed=seed, step=step, site=site, offset=offset, like=like)
        if not bits:
            return mask
        xp = array_namespace(like)
        padded = xp.zeros((mask.size + 7) // 8 * 8, "uint8")
        padded[: mask.size] = mask.reshape(-1)
        return (padded.reshape(-1, 8) << xp.arange(8, dtype="uint8")).sum(axis=1, dtype="uint8")

    def _mask_shape(self, shape):
        return tuple(shape)

    def scale_weights(self, weights, rate=None, *, keep=None, keep_prob=None, out=None):
        """weights * keep: what prediction uses in mode "weights"; biases stay as they are."""
        wide = compute(weights)
        kept = wide.dtype.type(drop_threshold(rate, keep, keep_prob) / 65536)
        return _array(array_namespace(weights), wide * kept, weights.dtype, out)

    def __repr__(self):
        return f"brazen.reference.{self.__name__}"


class StochasticDepth(Dropout):
    """Drop the residual branch of whole samples (the first axis); one draw a sample, `offset` counts samples."""

    def _noise(self, shape, noise_shape):
        if noise_shape is not None:
            raise TypeError("stochastic_depth: noise_shape is given; the mask has one element a sample")
        return self._mask_shape(shape)

    def _mask_shape(self, shape):
        return (*shape[:1], *(1 for _ in shape[1:]))


class AlphaDropout:
    """Dropout for selu: a dropped element becomes selu's left limit, then a linear map restores mean and variance.

    y = a * (x where kept, else alpha) + b, alpha = -1.7580993408473768, a = (keep + alpha^2 keep (1 - keep))^-1/2,
    b = -a (1 - keep) alpha; a, b and a * alpha + b are computed in float64 and rounded to the compute type.
    """

    __name__ = __qualname__ = "alpha_dropout"

    def _draw(self, x, rate, keep, keep_prob, seed, step, site, offset):
        threshold = drop_threshold(rate, keep, keep_prob)
        seed = seeded(seed, f"alpha_dropout(x, {1 - threshold / 65536:g}, seed=0, step=step)")
        kept = threshold / 65536
        slope = 1 / math.sqrt(kept + _ALPHA * _ALPHA * kept * (1 - kept))
        mask = keep_mask(x.shape, threshold, seed=seed, step=step, site=site, offset=offset, like=x)
        return mask, slope, -slope * (1 - kept) * _ALPHA

    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        xp, wide = array_namespace(x), compute(x)
        mask, slope, shift = self._draw(x, rate, keep, keep_prob, seed, step, site, offset)
        real = wide.dtype.type
        y = xp.where(mask, wide * real(slope) + real(shift), real(slope * _ALPHA + shift))
        return _array(xp, y, x.dtype, out)

    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        """dx = a * dy where kept, else 0."""
        xp, wide = array_namespace(dy), compute(dy)
        mask, slope, _ = self._draw(dy, rate, keep, keep_prob, seed, step, site, offset)
        return _array(xp, select(xp, mask, wide, wide.dtype.type(slope)), dy.dtype, out)

    def __repr__(self):
        return "brazen.reference.alpha_dropout"


def _noise(x, seed, step, site, offset, call):
    wide = compute(x)
    return random.standard_normal(
        array_namespace(x), x.shape, wide.dtype, seeded(seed, call), step, site, offset, DROPOUT
    ).astype(wide.dtype)


class GaussianDropout:
    """y = x * (1 + std * z), z standard normal, std = sqrt(rate / (1 - rate)); the rate is not rounded to 2^-16."""

    __name__ = __qualname__ = "gaussian_dropout"

    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        name, value = probability("gaussian_dropout", rate, keep, keep_prob)
        odds = value / (1 - value) if name == "rate" else (1 - value) / value
        noise = _noise(x, seed, step, site, offset, f"gaussian_dropout(x, {name}={value:g}, seed=0, step=step)")
        real = noise.dtype.type
        factor = real(1) + real(math.sqrt(odds)) * noise
        return _array(array_namespace(x), compute(x) * factor, x.dtype, out)

    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        """dx = dy times the same factors."""
        return self(dy, rate, keep=keep, keep_prob=keep_prob, seed=seed, step=step, site=site, offset=offset, out=out)

    def __repr__(self):
        return "brazen.reference.gaussian_dropout"


class GaussianNoise:
    """y = x + std * z, z standard normal."""

    __name__ = __qualname__ = "gaussian_noise"

    def __call__(self, x, std=1.0, *, seed=None, step=0, site=0, offset=0, out=None):
        if not 0 <= std < math.inf:
            raise ValueError(f"gaussian_noise: std is {std}; expected a finite number, at least 0")
        noise = _noise(x, seed, step, site, offset, f"gaussian_noise(x, {std:g}, seed=0, step=step)")
        return _array(array_namespace(x), compute(x) + noise.dtype.type(std) * noise, x.dtype, out)

    def backward(self, dy, std=1.0, *, seed=None, step=0, site=0, offset=0, out=None):
        """dx = dy."""
        return _array(array_namespace(dy), dy.copy(), dy.dtype, out)

    def __repr__(self):
        return "brazen.reference.gaussian_noise"


def monte_carlo(predict, samples, *, first=0):
    """The mean of predict(step) over `samples` steps from `first` on, added up in float64 in their order."""
    if samples < 1:
        raise ValueError(f"monte_carlo: samples is {samples}; expected at least 1")
    one = predict(first)
    total = one.astype("float64")
    for step in range(first + 1, first + samples):
        total += predict(step)
    return _array(array_namespace(one), total / samples, one.dtype, None)


dropout = Dropout("dropout")
drop_connect = Dropout("drop_connect")  # on weights
stochastic_depth = StochasticDepth("stochastic_depth")
alpha_dropout = AlphaDropout()
gaussian_dropout = GaussianDropout()
gaussian_noise = GaussianNoise()
