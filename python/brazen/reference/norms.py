# SPDX-License-Identifier: BSD-3-Clause
"""Norms that look at one sample at a time: layer, RMS, group and instance norm, and the norms of weight rows.

Each returns (y, saved); a sample's result never depends on the others. 16-bit arrays are normalised in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ._kinds import _array, array_namespace, compute

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm", "row_norms"]


class NormSaved(NamedTuple):
    """What backward needs; the arrays are the caller's own, but for the statistics, one of each a row."""

    x: Any
    scale: Any
    shift: Any
    add: Any
    mean: Any  # None for the RMS norm
    inverse_std: Any
    axis: int
    groups: int


class NormGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    scale: Any
    shift: Any
    add: Any


class _Norm:
    """Rows are normalised, then multiplied and shifted; a subclass says what a row is."""

    centred = True
    _rows: Callable  # (array shaped as x, saved) → the rows, the last axis being reduced
    _unrows: Callable  # the inverse
    _parameter_shapes: Callable  # (saved) → the shape of scale and shift, and how they broadcast against x

    def __init__(self, name):
        self.__name__ = self.__qualname__ = name

    def _axis(self, x, axis):
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"{self.__name__}: axis is {axis}, x has {x.ndim} axes")
        return axis % x.ndim

    def _parameter(self, parameter, name, saved):
        """As it broadcasts against x."""
        if parameter is None:
            return None
        shape, broadcast = self._parameter_shapes(saved)
        if parameter.shape != shape:
            raise ValueError(f"{self.__name__}: {name} has shape {parameter.shape}; expected {shape}")
        return compute(parameter).astype(compute(saved.x).dtype).reshape(broadcast)

    def _total(self, saved):
        if saved.add is not None and saved.add.shape != saved.x.shape:
            raise ValueError(f"{self.__name__}: add has shape {saved.add.shape}; expected x's, {saved.x.shape}")
        return compute(saved.x) if saved.add is None else compute(saved.x) + compute(saved.add)

    def _forward(self, x, scale, shift, add, axis, groups, eps, out):
        xp = array_namespace(x)
        saved = NormSaved(x, scale, shift, add, None, None, axis, groups)
        with numpy.errstate(all="ignore"):
            rows = self._rows(self._total(saved), saved)
            mean = rows.mean(axis=-1, keepdims=True) if self.centred else None
            centred = rows if mean is None else rows - mean
            inverse_std = 1 / xp.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
            saved = saved._replace(mean=mean, inverse_std=inverse_std)
            y = self._unrows(centred * inverse_std, saved)
            factor, term = self._parameter(scale, "scale", saved), self._parameter(shift, "shift", saved)
            y = y if factor is None else y * factor
            return _array(xp, y if term is None else y + term, x.dtype, out), saved

    def backward(self, dy, saved, dx=None, dscale=None, dshift=None, dadd=None):
        """NormGradients; the keywords are where they are written."""
        xp, x = array_namespace(dy), saved.x
        with numpy.errstate(all="ignore"):
            rows = self._rows(self._total(saved), saved)
            xhat = (rows if saved.mean is None else rows - saved.mean) * saved.inverse_std
            wide, factor = compute(dy), self._parameter(saved.scale, "scale", saved)
            grad = self._rows(wide if factor is None else wide * factor, saved)
            inner = grad - xhat * (grad * xhat).mean(axis=-1, keepdims=True)
            if self.centred:
                inner = inner - grad.mean(axis=-1, keepdims=True)
            total = self._unrows(inner * saved.inverse_std, saved)
            return NormGradients(
                x=_array(xp, total, x.dtype, dx),
                scale=self._sum(xp, wide * self._unrows(xhat, saved), saved.scale, saved, dscale),
                shift=self._sum(xp, wide, saved.shift, saved, dshift),
                add=None if saved.add is None else _array(xp, total.copy(), x.dtype, dadd),
            )

    def _sum(self, xp, wide, parameter, saved, out):
        if parameter is None:
            return None
        _, broadcast = self._parameter_shapes(saved)
        reduced = tuple(d for d in range(wide.ndim) if broadcast[d] == 1 != wide.shape[d])
        return _array(xp, wide.sum(axis=reduced).reshape(parameter.shape), parameter.dtype, out)

    def __repr__(self):
        return f"brazen.reference.{self.__name__}"


class _OverLastAxes(_Norm):
    """A row is the axes from `axis` to the last; scale and shift have its shape."""

    def _rows(self, wide, saved):
        return wide.reshape(*wide.shape[: saved.axis], math.prod(wide.shape[saved.axis :]))

    def _unrows(self, rows, saved):
        return rows.reshape(saved.x.shape)

    def _parameter_shapes(self, saved):
        shape = saved.x.shape[saved.axis :]
        return shape, (*(1 for _ in range(saved.axis)), *shape)


class LayerNorm(_OverLastAxes):
    """(x - mean) / sqrt(var + eps) * scale + shift over the axes from `axis` to the last. With `add`, of x + add."""

    def __call__(self, x, scale=None, shift=None, *, axis=-1, eps=1e-5, add=None, out=None):
        return self._forward(x, scale, shift, add, self._axis(x, axis), 1, eps, out)


class RmsNorm(_OverLastAxes):
    """x / sqrt(mean(x^2) + eps) * scale over the axes from `axis` to the last. With `add`, of x + add."""

    centred = False

    def __call__(self, x, scale=None, *, axis=-1, eps=1e-6, add=None, out=None):
        return self._forward(x, scale, None, add, self._axis(x, axis), 1, eps, out)


class _OverGroups(_Norm):
    """A row is a run of channels of one sample (first axis), all its positions; scale and shift have one value a channel."""

    def _groups(self, x, groups, scale, shift, axis, eps, out):
        axis = self._axis(x, axis)
        if axis == 0:
            raise ValueError(f"{self.__name__}: axis is 0, the samples; expected that of the channels")
        if groups < 1 or x.shape[axis] % groups:
            raise ValueError(f"{self.__name__}: groups is {groups}; expected a divisor of {x.shape[axis]} channels")
        return self._forward(x, scale, shift, None, axis, groups, eps, out)

    def _moved(self, saved):
        """The axes of x with the channels behind the samples."""
        return 0, saved.axis, *(d for d in range(1, saved.x.ndim) if d != saved.axis)

    def _rows(self, wide, saved):
        moved = wide.transpose(self._moved(saved))
        return moved.reshape(moved.shape[0], saved.groups, math.prod(moved.shape[1:]) // saved.groups)

    def _unrows(self, rows, saved):
        order = self._moved(saved)
        moved = rows.reshape([saved.x.shape[d] for d in order])
        return moved.transpose([order.index(d) for d in range(saved.x.ndim)])

    def _parameter_shapes(self, saved):
        channels = saved.x.shape[saved.axis]
        return (channels,), tuple(channels if d == saved.axis else 1 for d in range(saved.x.ndim))


class GroupNorm(_OverGroups):
    """Normalises each sample over each of `groups` runs of neighbouring channels."""

    def __call__(self, x, groups, scale=None, shift=None, *, axis=1, eps=1e-5, out=None):
        return self._groups(x, groups, scale, shift, axis, eps, out)


class InstanceNorm(_OverGroups):
    """Normalises every channel of every sample over its positions."""

    def __call__(self, x, scale=None, shift=None, *, axis=1, eps=1e-5, out=None):
        return self._groups(x, x.shape[self._axis(x, axis)], scale, shift, axis, eps, out)


def row_norms(x, *, axis=-1, out=None):
    """The Euclidean norm over one axis or several, in the compute type: of a unit's incoming weights, for max-norm."""
    wide = compute(x)
    axis = axis if isinstance(axis, int) else tuple(axis)
    xp = array_namespace(x)
    with numpy.errstate(all="ignore"):
        return _array(xp, xp.sqrt((wide * wide).sum(axis=axis)), wide.dtype, out)


layer_norm = LayerNorm("layer_norm")
rms_norm = RmsNorm("rms_norm")
group_norm = GroupNorm("group_norm")
instance_norm = InstanceNorm("instance_norm")
