# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and its relatives: what each asks the chain to draw. Masks are redrawn from (seed, step, site, offset).

An element is kept if its 16-bit piece is below round(keep * 65536), and the scale is one over the rounded probability, so
the expectation is exact. A dropped element is +0, whatever it was. `offset` is the place of this mask's first element in
the whole mask: a part of a batch draws what the whole would.
"""

from __future__ import annotations

import math

from .. import _core
from .._given import number, tells_names
from .._noise import DROPOUT, drop_threshold, noise_dimensions, probability, seeded
from .._random import draw_mask
from .fused import dropout_noise, normal_noise

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
_SATURATION = -1.7580993408473768  # what selu tends to on the left


def _named(operation, compiled, *arguments):
    """The compiled chain, under the operation's name in its messages."""
    try:
        return compiled(*arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        if not text.startswith("fused: "):
            raise
        raise type(error)(operation + text[len("fused") :]) from None


def _forward(operation, x, noise, noise_shape, out):
    if noise is None and out is None:
        return x
    return _named(operation, _core.fused_forward, x, None, None, None, None, noise, noise_shape, None, 0, out)


def _backward(operation, dy, noise, noise_shape, out):
    if noise is None and out is None:
        return dy
    stages = (None, None, None, None, None, noise, noise_shape, 0, False, out, None)
    return _named(operation, _core.fused_backward, dy, *stages)[0]


class Dropout:
    """Zero each element with probability `rate`, and divide the others by 1 - rate; `backward` redraws the same mask.

    `rate` is the probability to drop (0.5 if nothing is given), `keep` or `keep_prob` the one to keep. `noise_shape` has 1
    where one draw serves a whole axis. mode "inverted" leaves prediction (`training=False`) alone: x itself comes back.
    mode "vanilla" does not divide, and prediction multiplies by `keep`. mode "weights": neither; for prediction the
    weights that consume y are multiplied by `keep`, see `scale_weights`.

    >>> import numpy as np
    >>> dropout(np.ones(6, "float32"), 0.5, seed=1).tolist()
    [2.0, 0.0, 2.0, 0.0, 2.0, 2.0]
    """

    def __init__(self, name: str, doc: str | None = None):
        self.__name__ = self.__qualname__ = name
        if doc:
            self.__doc__ = doc

    def _noise(self, rate, keep, keep_prob, seed, step, site, offset, mode, training):
        if mode not in _MODES:
            raise ValueError(f"{self.__name__}: mode is {mode!r}; expected one of {', '.join(_MODES)}")
        threshold = drop_threshold(rate, keep, keep_prob)
        if not training:
            if mode != "vanilla":
                return None
            # Every piece is below 65,536: all are kept, and scaled.
            return dropout_noise(self.__name__, 65536, 0, 0, 0, 0, scale=threshold / 65536)
        seed = seeded(seed, f"{self.__name__}(x, {1 - threshold / 65536:g}, seed=0, step=step)")
        scale = None if mode == "inverted" else 1.0
        if threshold == 65536:
            return None
        return dropout_noise(self.__name__, threshold, seed, step, site, offset, scale=scale)

    def _noise_shape(self, x, noise_shape):
        return None if noise_shape is None else noise_dimensions(x.shape, noise_shape)

    @tells_names
    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, noise_shape=None,
                 mode="inverted", training=True, out=None):  # fmt: skip
        noise = self._noise(rate, keep, keep_prob, seed, step, site, offset, mode, training)
        return _forward(self.__name__, x, noise, self._noise_shape(x, noise_shape), out)

    @tells_names
    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, noise_shape=None,
                 mode="inverted", training=True, out=None):  # fmt: skip
        """dx: the same elements of dy, with the same scale."""
        noise = self._noise(rate, keep, keep_prob, seed, step, site, offset, mode, training)
        return _backward(self.__name__, dy, noise, self._noise_shape(dy, noise_shape), out)

    def mask(self, shape, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, bits=False,
             like=None):  # fmt: skip
        """The mask as bool, or as bytes that hold eight elements in C order, the first in the lowest bit."""
        threshold = drop_threshold(rate, keep, keep_prob)
        seed = seeded(seed, f"{self.__name__}.mask(shape, {1 - threshold / 65536:g}, seed=0, step=step)")
        return draw_mask(self._mask_shape(shape), threshold, seed, step, site, offset, DROPOUT, bits, like)

    def _mask_shape(self, shape):
        return tuple(shape)

    def scale_weights(self, weights, rate=None, *, keep=None, keep_prob=None, out=None):
        """weights * keep: what prediction uses in mode "weights"; biases stay as they are."""
        kept = drop_threshold(rate, keep, keep_prob) / 65536
        return _forward(self.__name__, weights, dropout_noise(self.__name__, 65536, 0, 0, 0, 0, scale=kept), None, out)

    def __repr__(self) -> str:
        return f"brazen.{self.__name__}"


class StochasticDepth(Dropout):
    """Drop the residual branch of whole samples: one draw for each index of the first axis; `offset` counts samples.

    >>> import numpy as np
    >>> stochastic_depth(np.ones((4, 2), "float32"), 0.5, seed=1)[:, 0].tolist()
    [2.0, 0.0, 2.0, 0.0]
    """

    def _noise_shape(self, x, noise_shape):
        if noise_shape is not None:
            raise TypeError("stochastic_depth: noise_shape is given; the mask has one element a sample")
        return self._mask_shape(x.shape)

    def _mask_shape(self, shape):
        return (*shape[:1], *(1 for _ in shape[1:]))


class AlphaDropout:
    """Dropout for selu (Klambauer et al., 2017): the dropped take selu's left limit, then mean and variance are restored."""

    __name__ = __qualname__ = "alpha_dropout"

    def _noise(self, rate, keep, keep_prob, seed, step, site, offset):
        threshold = drop_threshold(rate, keep, keep_prob)
        seed = seeded(seed, f"alpha_dropout(x, {1 - threshold / 65536:g}, seed=0, step=step)")
        kept = threshold / 65536
        slope = 1 / math.sqrt(kept + _SATURATION * _SATURATION * kept * (1 - kept))
        shift = -slope * (1 - kept) * _SATURATION
        if threshold == 65536:
            return None
        dropped = slope * _SATURATION + shift
        return dropout_noise("alpha_dropout", threshold, seed, step, site, offset, slope, shift, dropped)

    @tells_names
    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        return _forward(self.__name__, x, self._noise(rate, keep, keep_prob, seed, step, site, offset), None, out)

    @tells_names
    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        """dx: dy times the slope where kept, else 0."""
        return _backward(self.__name__, dy, self._noise(rate, keep, keep_prob, seed, step, site, offset), None, out)

    def __repr__(self) -> str:
        return "brazen.alpha_dropout"


class GaussianDropout:
    """y = x * (1 + std * z), z standard normal, std = sqrt(rate / (1 - rate)); prediction is the identity.

    `keep` or `keep_prob` may be given instead of `rate`: 1 - rate.
    """

    __name__ = __qualname__ = "gaussian_dropout"

    def _noise(self, rate, keep, keep_prob, seed, step, site, offset):
        name, value = probability(self.__name__, rate, keep, keep_prob)
        odds = value / (1 - value) if name == "rate" else (1 - value) / value
        seed = seeded(seed, f"gaussian_dropout(x, {name}={value:g}, seed=0, step=step)")
        return normal_noise("gaussian_dropout", "multiply", math.sqrt(odds), seed, step, site, offset)

    @tells_names
    def __call__(self, x, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        return _forward(self.__name__, x, self._noise(rate, keep, keep_prob, seed, step, site, offset), None, out)

    @tells_names
    def backward(self, dy, rate=None, *, keep=None, keep_prob=None, seed=None, step=0, site=0, offset=0, out=None):
        """dx: dy times the same factors."""
        return _backward(self.__name__, dy, self._noise(rate, keep, keep_prob, seed, step, site, offset), None, out)

    def __repr__(self) -> str:
        return "brazen.gaussian_dropout"


class GaussianNoise:
    """y = x + std * z, z standard normal."""

    __name__ = __qualname__ = "gaussian_noise"

    def __call__(self, x, std=1.0, *, seed=None, step=0, site=0, offset=0, out=None):
        number(self.__name__, "std", std, "a finite number, at least 0")
        if not 0 <= std < math.inf:
            raise ValueError(f"gaussian_noise: std is {std}; expected a finite number, at least 0")
        seed = seeded(seed, f"gaussian_noise(x, {std:g}, seed=0, step=step)")
        return _forward(
            self.__name__, x, normal_noise("gaussian_noise", "add", std, seed, step, site, offset), None, out
        )

    def backward(self, dy, std=1.0, *, seed=None, step=0, site=0, offset=0, out=None):
        """dx = dy: the noise does not depend on x."""
        return _backward(self.__name__, dy, None, None, out)

    def __repr__(self) -> str:
        return "brazen.gaussian_noise"


def monte_carlo(predict, samples: int, *, first: int = 0):
    """The mean of predict(step) over `samples` steps from `first` on: one dropout mask each, added up in float64.

    >>> import numpy as np
    >>> x = np.ones(1, "float32")
    >>> mean = monte_carlo(lambda step: dropout(x, 0.5, seed=0, step=step), samples=1000)
    >>> bool(abs(mean[0] - 1) < 0.1)
    True
    """
    if samples < 1:
        raise ValueError(f"monte_carlo: samples is {samples}; expected at least 1")
    one = predict(first)
    is_tensor = not hasattr(one, "astype")  # PyTorch's
    total = one.double() if is_tensor else one.astype("float64")
    for step in range(first + 1, first + samples):
        total = total + predict(step)
    mean = total / samples
    return mean.to(one.dtype) if is_tensor else mean.astype(one.dtype)


dropout = Dropout("dropout")
drop_connect = Dropout(
    "drop_connect", "Dropout on weights (Wan et al., 2013): each weight is zero with probability `rate`."
)
stochastic_depth = StochasticDepth("stochastic_depth")
alpha_dropout = AlphaDropout()
gaussian_dropout = GaussianDropout()
gaussian_noise = GaussianNoise()
