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


class Moments(NamedTuple):
    """What is known of a part of the batch; one value a channel. `m2` is the sum of squared distances from the mean."""

    elements: int  # a channel
    mean: Any
    m2: Any


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


class BackwardSums(NamedTuple):
    """Sums over a part of the batch: of dz, and of dz times the normalised x, one value a channel each."""

    dz: Any
    dz_xhat: Any


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
    """Chan's formula."""
    count = first.elements + second.elements
    weight = second.elements / count if count else 0.0
    delta = second.mean - first.mean
    return Moments(count, first.mean + delta * weight, first.m2 + second.m2 + delta * delta * (first.elements * weight))


def _in_tree(items, join):
    """Neighbours are joined first, as the fixed shape of reductions has it."""
    items = list(items)
    if not items:
        raise ValueError("batch_norm: nothing to merge")
    while len(items) > 1:
        items = [join(*items[i : i + 2]) if i + 1 < len(items) else items[i] for i in range(0, len(items), 2)]
    return items[0]


class BatchNorm:
    """y = dropout(activation((x - mean) / sqrt(var + eps) * scale + shift + add)), statistics over all axes but one."""

    __name__ = __qualname__ = "batch_norm"

    def statistics(self, x, axis=1):
        """The Moments of this part of the batch: reduced in the compute type, float64 at least from there on."""
        axis = channel_axis(x, axis)
        others = tuple(d for d in range(x.ndim) if d != axis)
        wide = compute(x)
        count = x.size // max(x.shape[axis], 1)
        if count == 0:
            zeros = array_namespace(x).zeros(x.shape[axis], wide.dtype)
            return Moments(0, zeros, zeros)
        with numpy.errstate(all="ignore"):
            mean = wide.mean(axis=others, keepdims=True)
            return Moments(count, _merging(mean.reshape(-1)), _merging(((wide - mean) ** 2).sum(axis=others)))

    def merge(self, partials):
        """The Moments of all parts together."""
        return _in_tree(partials, _merge)

    def merge_sums(self, partials):
        """The BackwardSums of all parts together."""
        return _in_tree(partials, lambda a, b: BackwardSums(a.dz + b.dz, a.dz_xhat + b.dz_xhat))

    def update_running(self, moments, running_mean, running_var, *, momentum=0.1, running="unbiased"):
        """Moves the running statistics in place; "unbiased" (PyTorch) divides by count - 1, "biased" (Keras) by count."""
        if running not in ("unbiased", "biased"):
            raise ValueError(f'batch_norm: running is {running!r}; expected "unbiased" or "biased"')
        divisor = moments.elements - (running == "unbiased")
        for average, new in ((running_mean, moments.mean), (running_var, moments.m2 / max(divisor, 1))):
            if average is not None:
                average[...] = (1 - momentum) * average + momentum * new

    def recalibrate(self, batches, running_mean, running_var, *, axis=1, running="biased"):
        """Sets the running statistics to those of all batches together, the population's: one extra pass."""
        moments = self.merge([self.statistics(batch, axis) for batch in batches])
        self.update_running(moments, running_mean, running_var, momentum=1, running=running)

    def normalize(self, x, moments, scale=None, shift=None, *, eps=1e-5, axis=1, add=None, activation=None, dropout=0.0,
                  seed=None, step=0, site=0, offset=0, out=None):  # fmt: skip
        """(y, saved) with the moments of the whole batch, of which x may be a part."""
        variance = moments.m2 / max(moments.elements, 1)
        place = {"seed": seed, "step": step, "site": site, "offset": offset}
        epilogue = {"activation": activation, "dropout": dropout, **place}
        return self._apply(x, moments.mean, variance, moments.elements, scale, shift, eps, axis, add, epilogue, out)

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
        moments = self.statistics(x, axis)
        if moments.elements < 2:
            raise ValueError(
                f"batch_norm: x has shape {x.shape}: {moments.elements} values per channel have no variance; "
                "train on more, or give training=False"
            )
        rest = {"eps": eps, "axis": axis, "add": add, "activation": activation, "dropout": dropout, "out": out}
        result = self.normalize(x, moments, scale, shift, **rest, **place)
        self.update_running(moments, running_mean, running_var, momentum=momentum, running=running)
        return result

    def _inner(self, dy, saved):
        """(dz, the normalised x): dz is the gradient of what enters the epilogue, and of `add`."""
        stages, z, normalised = self._recompute(saved)
        return stages.backward(array_namespace(dy), compute(dy), z), normalised

    def backward_sums(self, dy, saved):
        """The BackwardSums of this part of the batch; they are the gradients of shift and scale."""
        others = tuple(d for d in range(dy.ndim) if d != saved.axis)
        with numpy.errstate(all="ignore"):
            dz, normalised = self._inner(dy, saved)
            return BackwardSums(_merging(dz.sum(axis=others)), _merging((dz * normalised).sum(axis=others)))

    def backward_apply(self, dy, saved, sums, dx=None, dadd=None):
        """(dx, dadd) with the sums of the whole batch."""
        xp, x, axis = array_namespace(dy), saved.x, saved.axis
        with numpy.errstate(all="ignore"):
            dz, normalised = self._inner(dy, saved)
            factor = saved.inverse_std if saved.scale is None else saved.inverse_std * compute(saved.scale)
            grad = dz
            if saved.elements:
                means = [spread(total / saved.elements, x, axis, "sums", "batch_norm") for total in sums]
                grad = grad - means[0] - normalised * means[1]
            grad = grad * spread(factor, x, axis, "scale", "batch_norm")
            dadd = None if saved.add is None else _array(xp, dz.copy(), x.dtype, dadd)
            return _array(xp, grad, x.dtype, dx), dadd

    def backward(self, dy, saved, dx=None, dscale=None, dshift=None, dadd=None):
        """BatchNormGradients; the keywords are where they are written."""
        xp = array_namespace(dy)
        sums = self.backward_sums(dy, saved)
        dx, dadd = self.backward_apply(dy, saved, sums, dx, dadd)
        return BatchNormGradients(
            x=dx,
            scale=None if saved.scale is None else _array(xp, sums.dz_xhat, saved.scale.dtype, dscale),
            shift=None if saved.shift is None else _array(xp, sums.dz, saved.shift.dtype, dshift),
            add=dadd,
        )

    def __repr__(self):
        return "brazen.reference.batch_norm"


batch_norm = BatchNorm()
