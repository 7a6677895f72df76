# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm in plain array code: its mergeable steps, the whole of them in one call, and the gradients.

Statistics, running statistics and parameters are in the compute type: float32 for 16-bit arrays. The variance that
normalises is biased. running = (1 - momentum) * running + momentum * batch; Keras' momentum is 1 - ours, its running
variance `running="biased"`, its eps 1e-3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

from ._kinds import _array, array_namespace, compute
from .chain import Epilogue, spread

__all__ = ["batch_norm"]


class BatchNormSaved(NamedTuple):
    """What backward needs; the arrays are the caller's own, but for the statistics."""

    x: Any
    scale: Any
    shift: Any
    add: Any
    mean: Any
    inverse_std: Any
    elements: int  # a channel, in the statistics; 0 where they are constants
    axis: int
    epilogue: dict


class BatchNormGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    scale: Any
    shift: Any
    add: Any


def channel_axis(x, axis):
    """`axis` from the front."""
    if x.ndim < 2 or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"batch_norm: x has shape {x.shape}, axis is {axis}; expected two axes or more, axis among them"
        )
    return axis % x.ndim


def _merging(values):
    """In the dtype partials are merged in."""
    return values.astype("float64", copy=False) if values.dtype.itemsize < 8 else values


def _merge(first, second):
    """Chan's formula, on moments."""
    xp = array_namespace(first)
    count = first[0] + second[0]
    weight = second[0] / xp.maximum(count, 1)
    delta = second[1] - first[1]
    return xp.stack([count, first[1] + delta * weight, first[2] + second[2] + delta * delta * first[0] * weight])


def _in_tree(items, join):
    """Neighbours are joined first, as the fixed shape of reductions has it."""
    items = list(items)
    if not items:
        raise ValueError("batch_norm: partials is empty; expected at least one")
    while len(items) > 1:
        items = [join(*items[i : i + 2]) if i + 1 < len(items) else items[i] for i in range(0, len(items), 2)]
    return items[0]


class BatchNorm:
    """y = dropout(activation((x - mean) / sqrt(var + eps) * scale + shift + add)), statistics over all axes but one."""

    __name__ = __qualname__ = "batch_norm"

    def statistics(self, x, axis=1):
        """The moments of one part of the batch, float64 (3, channels): count, mean, sum of squared distances from it.

        They are reduced in the compute type.
        """
        xp, axis, wide = array_namespace(x), channel_axis(x, axis), compute(x)
        others = tuple(d for d in range(x.ndim) if d != axis)
        count = x.size // max(x.shape[axis], 1)
        with numpy.errstate(all="ignore"):
            mean = wide.mean(axis=others, keepdims=True) if count else wide.sum(axis=others, keepdims=True)
            rows = [xp.full(x.shape[axis], count), mean.reshape(-1), ((wide - mean) ** 2).sum(axis=others)]
            return xp.stack([row.astype(_merging(mean).dtype) for row in rows])

    def merge(self, partials):
        """The moments of all parts together."""
        return _in_tree(partials, _merge)

    def merge_sums(self, sums):
        """The sums of all parts together."""
        return _in_tree(sums, lambda first, second: first + second)

    def _move_running(self, moments, running_mean, running_var, momentum, running):
        """Moves the running statistics in place; "unbiased" (PyTorch) divides by count - 1, "biased" (Keras) by count."""
        if running not in ("unbiased", "biased"):
            raise ValueError(f'batch_norm: running is {running!r}; expected "unbiased" or "biased"')
        variance = moments[2] / array_namespace(moments).maximum(moments[0] - (running == "unbiased"), 1)
        for average, new in ((running_mean, moments[1]), (running_var, variance)):
            if average is not None:
                average[...] = (1 - momentum) * average + momentum * new

    def recalibrate(self, batches, running_mean, running_var, *, axis=1, running="biased"):
        """Sets the running statistics to those of all batches together, the population's: one extra pass."""
        moments = self.merge([self.statistics(batch, axis) for batch in batches])
        self._move_running(moments, running_mean, running_var, 1, running)

    def normalize(self, x, moments, scale=None, shift=None, running_mean=None, running_var=None, *, momentum=0.1,
                  eps=1e-5, axis=1, running="unbiased", add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                  offset=0, out=None):  # fmt: skip
        """(y, saved) in training, with the moments of a batch of which x may be a part."""
        variance = moments[2] / array_namespace(x).maximum(moments[0], 1)
        place = {"seed": seed, "step": step, "site": site, "offset": offset}
        epilogue = {"activation": activation, "dropout": dropout, **place}
        count = int(moments[0].max()) if moments.size else 0
        result = self._apply(x, moments[1], variance, count, scale, shift, eps, axis, add, epilogue, out)
        self._move_running(moments, running_mean, running_var, momentum, running)
        return result

    def _apply(self, x, mean, variance, elements, scale, shift, eps, axis, add, epilogue, out):
        xp, wide, axis = array_namespace(x), compute(x), channel_axis(x, axis)
        with numpy.errstate(all="ignore"):
            inverse_std = 1 / xp.sqrt(_merging(variance) + eps)
            saved = BatchNormSaved(
                x, scale, shift, add, mean.astype(wide.dtype), inverse_std.astype(wide.dtype), elements, axis, epilogue
            )
            stages, z, _ = self._recompute(saved)
            return _array(xp, stages.forward(xp, z), x.dtype, out), saved

    def _recompute(self, saved):
        """(epilogue, what enters it, the normalised x)."""
        x, axis = saved.x, saved.axis
        normalised = compute(x) - spread(saved.mean, x, axis, "mean", "batch_norm")
        normalised = normalised * spread(saved.inverse_std, x, axis, "variance", "batch_norm")
        z = normalised if saved.scale is None else normalised * spread(saved.scale, x, axis, "scale", "batch_norm")
        z = z if saved.shift is None else z + spread(saved.shift, x, axis, "shift", "batch_norm")
        return Epilogue("batch_norm", x.shape, add=saved.add, **saved.epilogue), z, normalised

    def __call__(self, x, scale=None, shift=None, running_mean=None, running_var=None, *, training=True, momentum=0.1,
                 eps=1e-5, axis=1, running="unbiased", add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, out=None):  # fmt: skip
        """(y, saved); without `training`, by the running statistics."""
        place = {"seed": seed, "step": step, "site": site, "offset": offset}
        if not training:
            if running_mean is None or running_var is None:
                raise TypeError("batch_norm: training=False needs running_mean and running_var")
            epilogue = {"activation": activation, "dropout": dropout, **place}
            return self._apply(x, running_mean, running_var, 0, scale, shift, eps, axis, add, epilogue, out)
        count = x.size // max(x.shape[channel_axis(x, axis)], 1)
        if count < 2:
            raise ValueError(
                f"batch_norm: x has shape {x.shape}: {count} values per channel have no variance; "
                "train on more, or give training=False"
            )
        averages = {"running_mean": running_mean, "running_var": running_var, "momentum": momentum, "running": running}
        rest = {"eps": eps, "axis": axis, "add": add, "activation": activation, "dropout": dropout, "out": out}
        return self.normalize(x, self.statistics(x, axis), scale, shift, **averages, **rest, **place)

    def _inner(self, dy, saved):
        """(d, the normalised x): d is the gradient of what enters the epilogue, and of `add`."""
        stages, z, normalised = self._recompute(saved)
        return stages.backward(array_namespace(dy), compute(dy), z), normalised

    def backward_sums(self, dy, saved):
        """Sums over one part of the batch, (2, channels): of d and of d * (x - mean), d as above."""
        xp, others = array_namespace(dy), tuple(d for d in range(dy.ndim) if d != saved.axis)
        with numpy.errstate(all="ignore"):
            d, normalised = self._inner(dy, saved)
            sums = [_merging(d.sum(axis=others)), _merging((d * normalised).sum(axis=others)) / saved.inverse_std]
            return xp.stack(sums)

    def backward_apply(self, dy, saved, sums, dx=None, dscale=None, dshift=None, dadd=None):
        """The gradients of one part with the sums of the whole batch; scale's and shift's are the whole batch's."""
        xp, x, axis = array_namespace(dy), saved.x, saved.axis
        with numpy.errstate(all="ignore"):
            grad, normalised = self._inner(dy, saved)
            dadd = None if saved.add is None else _array(xp, grad.copy(), x.dtype, dadd)
            by_channel = sums[0], sums[1] * saved.inverse_std
            if saved.elements:
                means = [spread(total / saved.elements, x, axis, "sums", "batch_norm") for total in by_channel]
                grad = grad - means[0] - normalised * means[1]
            factor = saved.inverse_std if saved.scale is None else saved.inverse_std * compute(saved.scale)
            return BatchNormGradients(
                x=_array(xp, grad * spread(factor, x, axis, "scale", "batch_norm"), x.dtype, dx),
                scale=None if saved.scale is None else _array(xp, by_channel[1], saved.scale.dtype, dscale),
                shift=None if saved.shift is None else _array(xp, by_channel[0], saved.shift.dtype, dshift),
                add=dadd,
            )

    def backward(self, dy, saved, dx=None, dscale=None, dshift=None, dadd=None):
        """BatchNormGradients; the keywords are where they are written."""
        return self.backward_apply(dy, saved, self.backward_sums(dy, saved), dx, dscale, dshift, dadd)

    def __repr__(self):
        return "brazen.reference.batch_norm"


batch_norm = BatchNorm()
