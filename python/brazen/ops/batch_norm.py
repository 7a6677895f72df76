# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm: names, defaults and documentation. The steps stand apart, so that statistics of several batches, threads
of accumulation or processes can be merged between them.

Statistics have one order of summation (docs/numbers.md): NCHW and channels-last give the same bits. For 16-bit arrays
scale, shift and running statistics are float32. The variance that normalises is biased, as everywhere.
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

from .. import _core
from .._given import number, require_apart, require_kept, require_saved, tells_names, unless_overwritten
from .._noise import chain_rate, drop_threshold, seeded
from .activations import Activation
from .fused import activation_of, dropout_noise

__all__ = ["batch_norm"]


class BatchNormSaved(NamedTuple):
    """What the backward pass needs: the caller's own arrays, a sign for those that `out` wrote over, and the statistics."""

    x: Any
    scale: Any
    shift: Any
    add: Any
    moments: Any  # float64 (3, channels): values a channel, means, sums of squared distances
    coefficients: Any  # (3, channels): y = (x - center) * factor + shift
    eps: float
    axis: int
    training: bool
    activation: Activation | None
    noise: tuple | None

    @property
    def mean(self):
        """The mean of each channel, float64."""
        return self.moments[1]

    @property
    def variance(self):
        """The biased variance of each channel, float64."""
        return self.moments[2] / self.moments[0]


class BatchNormGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    scale: Any
    shift: Any
    add: Any


def _noise(rate, seed, step, site, offset) -> tuple | None:
    threshold = drop_threshold(chain_rate("batch_norm", rate))
    if threshold == 65536:
        return None
    seed = seeded(seed, f"batch_norm(x, …, dropout={rate:g}, seed=0, step=step)")
    return dropout_noise("batch_norm", threshold, seed, step, site, offset)


def _require_kept(saved) -> None:
    require_saved("batch_norm", saved, BatchNormSaved)
    require_kept("batch_norm", x=saved.x, add=saved.add)


def _unbiased(running) -> bool:
    if running not in ("unbiased", "biased"):
        raise ValueError(f'batch_norm: running is {running!r}; expected "unbiased" (PyTorch) or "biased" (Keras)')
    return running == "unbiased"


class BatchNorm:
    """y = dropout(activation((x - mean) / sqrt(var + eps) * scale + shift + add)); returns (y, saved).

    Mean and variance are taken over all axes but `axis`, for each of its indices (the channels); without `training`
    they are `running_mean` and `running_var`. In training these are moved in place: running = (1 - momentum) * running +
    momentum * batch, with the batch's variance over count - 1 (`running="unbiased"`, PyTorch) or over count ("biased",
    Keras). Keras' momentum is 1 minus ours, its eps 1e-3. `add`, `activation` and `dropout` cost no pass of their own;
    `out` must lie apart from x and add in training, for the backward pass reads them again; in inference it may be x
    or add itself, and no backward pass follows.

    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]], "float32")
    >>> y, saved = batch_norm(x, eps=0.0)
    >>> y
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """

    __name__ = __qualname__ = "batch_norm"

    @tells_names
    def __call__(self, x, scale=None, shift=None, running_mean=None, running_var=None, *, training=True, momentum=0.1,
                 eps=1e-5, axis=1, running="unbiased", add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, out=None):  # fmt: skip
        moments = None
        if not training:
            if running_mean is None or running_var is None:
                raise TypeError("batch_norm: training=False needs running_mean and running_var")
            moments = False
        noise = _noise(dropout, seed, step, site, offset)
        return self._forward(
            x, moments, scale, shift, running_mean, running_var, momentum, eps, axis, running, add, activation, noise, out
        )  # fmt: skip

    def _forward(self, x, moments, scale, shift, running_mean, running_var, momentum, eps, axis, running, add, activation,
                 noise, out):  # fmt: skip
        kernel = activation_of(activation, "batch_norm")
        momentum = number("batch_norm", "momentum", momentum, "a number from 0 to 1", 0.0, 1.0)
        eps = number("batch_norm", "eps", eps, "a finite number from 0 up", 0.0, sys.float_info.max)
        if (running_mean is None) != (running_var is None):
            there, missing = (
                ("running_var", "running_mean") if running_mean is None else ("running_mean", "running_var")
            )
            raise TypeError(f"batch_norm: {there} is given without {missing}; expected both or neither")
        vectors = {"scale": scale, "shift": shift}
        running_statistics = {"running_mean": running_mean, "running_var": running_var}
        if moments is False:
            require_apart("batch_norm", {"out": out}, vectors, running_statistics)
        else:
            require_apart("batch_norm", {**running_statistics, "out": out}, vectors)
            require_apart("batch_norm", running_statistics, {"x": x, "add": add})
        y, kept, coefficients = _core.batch_norm_forward(
            x, moments, scale, shift, running_mean, running_var, axis, momentum, _unbiased(running), eps, add, kernel,
            noise, out
        )  # fmt: skip
        training = moments is not False
        x, add = unless_overwritten(x, out), unless_overwritten(add, out)
        return y, BatchNormSaved(x, scale, shift, add, kept, coefficients, eps, axis, training, kernel, noise)

    def backward(self, dy, saved, dx=None, dscale=None, dshift=None, dadd=None):
        """The gradients of x, scale, shift and add; the keywords are arrays to write them into.

        Activation and dropout mask are computed again from `saved.x` and `saved.add`, which must be as they were.

        >>> import numpy as np
        >>> y, saved = batch_norm(np.array([[1.0], [2.0], [6.0]], "float32"), np.ones(1, "float32"))
        >>> float(batch_norm.backward(np.ones_like(y), saved).scale[0])
        0.0
        """
        return self._backward(dy, saved, None, dx, dscale, dshift, dadd)

    def _backward(self, dy, saved, sums, dx, dscale, dshift, dadd):
        _require_kept(saved)
        if not (dx is dscale is dshift is dadd is None):
            scale = {"scale": saved.scale}
            require_apart("batch_norm", {"dx": dx, "dadd": dadd}, scale)
            inputs = {"dx": dx, "dadd": dadd, "x": saved.x, "dy": dy, "add": saved.add}
            require_apart("batch_norm", {"dscale": dscale, "dshift": dshift}, scale, inputs)
        has_shift = saved.shift is not None
        return BatchNormGradients(*_core.batch_norm_backward(
            dy, saved.x, saved.add, saved.scale, has_shift, saved.moments, saved.coefficients, saved.axis, saved.training,
            saved.eps, saved.activation, saved.noise, sums, True, dx, dscale, dshift, dadd
        ))  # fmt: skip

    def statistics(self, x, axis=1):
        """The moments of one part of the batch, float64 (3, channels): count, mean, sum of squared distances from it.

        >>> import numpy as np
        >>> parts = [batch_norm.statistics(np.full((2, 1), v, "float32")) for v in (1, 3)]
        >>> batch_norm.merge(parts)[:, 0]
        array([4., 2., 4.])
        """
        return _core.batch_norm_statistics(x, axis)

    def merge(self, partials):
        """The moments of all parts together, merged in a tree: neighbours first. The same parts give the same bits."""
        return _core.batch_norm_merge(partials)

    def normalize(self, x, moments, scale=None, shift=None, running_mean=None, running_var=None, *, momentum=0.1,
                  eps=1e-5, axis=1, running="unbiased", add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                  offset=0, out=None):  # fmt: skip
        """(y, saved) in training, with the moments of a batch of which x may be a part."""
        noise = _noise(dropout, seed, step, site, offset)
        return self._forward(
            x, moments, scale, shift, running_mean, running_var, momentum, eps, axis, running, add, activation, noise, out
        )  # fmt: skip

    def backward_sums(self, dy, saved):
        """Sums over one part of the batch, float64 (2, channels): of d, and of d * (x - center); d is what comes back to
        the affine result."""
        _require_kept(saved)
        (sums,) = _core.batch_norm_backward(
            dy, saved.x, saved.add, saved.scale, False, saved.moments, saved.coefficients, saved.axis, saved.training,
            saved.eps, saved.activation, saved.noise, None, False, None, None, None, None
        )  # fmt: skip
        return sums

    def merge_sums(self, sums):
        """The sums of all parts together."""
        return _core.batch_norm_merge_sums(sums)

    def backward_apply(self, dy, saved, sums, dx=None, dscale=None, dshift=None, dadd=None):
        """The gradients of one part with the sums of the whole batch; scale's and shift's are the whole batch's."""
        return self._backward(dy, saved, sums, dx, dscale, dshift, dadd)

    def recalibrate(self, batches, running_mean, running_var, *, axis=1, running="biased"):
        """Sets the running statistics to those of all `batches` together, the population's: one extra pass over the data.

        >>> import numpy as np
        >>> mean, variance = np.zeros(1, "float32"), np.ones(1, "float32")
        >>> batch_norm.recalibrate((np.full((4, 1), v, "float32") for v in (0, 2)), mean, variance)
        >>> float(mean[0]), float(variance[0])
        (1.0, 1.0)
        """
        unbiased, partials, count = _unbiased(running), [], 0
        for batch in batches:
            partials.append(self.statistics(batch, axis))
            count += math.prod(batch.shape) // max(batch.shape[axis], 1)
        if not partials:
            raise ValueError("batch_norm: batches is empty; expected at least one")
        moments = self.merge(partials)
        require_apart("batch_norm", {"running_mean": running_mean, "running_var": running_var})
        for name, average in (("running_mean", running_mean), ("running_var", running_var)):
            if not hasattr(average, "shape"):
                raise TypeError(f"batch_norm: {name} is {type(average).__name__}; expected an array to write into")
            if "float" not in str(average.dtype):
                raise TypeError(f"batch_norm: {name} has dtype {average.dtype}; expected a floating type")
            if tuple(average.shape) != tuple(moments.shape[1:]):
                raise ValueError(
                    f"batch_norm: {name} has shape {tuple(average.shape)}; expected {tuple(moments.shape[1:])}, one value "
                    "for each channel"
                )
        running_mean[...] = moments[1]
        running_var[...] = moments[2] / max(count - unbiased, 1)

    def __repr__(self):
        return "brazen.batch_norm"


batch_norm = BatchNorm()
