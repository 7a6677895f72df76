# SPDX-License-Identifier: BSD-3-Clause
"""Norms that look at one sample at a time: layer, RMS, group and instance norm, and the lengths of rows.

Each returns (y, saved), and `f.backward(dy, saved)` the gradients. No formula here: those are compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import _core
from .._given import number, require_apart, require_kept, require_saved, tells_names, unless_overwritten

__all__ = ["NormGradients", "NormSaved", "group_norm", "instance_norm", "layer_norm", "rms_norm", "row_norms"]


class NormSaved(NamedTuple):
    """What backward needs, by reference: x itself and the parameters; and of each row, its mean and 1 / deviation."""

    x: Any  # what was normalised: with `add`, the sum of x and add, made in the same pass; a sign if `out` was x
    scale: Any
    shift: Any
    added: bool
    mean: Any  # None for the RMS norm
    inverse_std: Any
    axis: int
    groups: int | None


class NormGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    scale: Any
    shift: Any
    add: Any


class _Norm:
    def __init__(self, name: str):
        self.__name__ = self.__qualname__ = name

    def _forward(self, x, scale, shift, add, axis, groups, eps, out):
        eps = number(self.__name__, "eps", eps)
        y, total, mean, inverse_std = _core.norm_forward(self.__name__, x, scale, shift, add, axis, groups, eps, out)
        normalized = unless_overwritten(x, out) if add is None else total
        return y, NormSaved(normalized, scale, shift, add is not None, mean, inverse_std, axis, groups)

    def backward(self, dy, saved: NormSaved, dx=None, dscale=None, dshift=None, dadd=None) -> NormGradients:
        """The gradients; the keywords receive them.

        x and add have the same gradient: without `dadd`, both fields hold the same array.
        """
        require_saved(self.__name__, saved, NormSaved)
        require_kept(self.__name__, x=saved.x)
        x, scale, shift, added, mean, inverse_std, axis, groups = saved
        for name, slot, there in (("dscale", dscale, scale), ("dshift", dshift, shift), ("dadd", dadd, added or None)):
            if slot is not None and there is None:
                raise ValueError(f"{self.__name__}: {name} was given, but the forward pass had no {name[1:]}")
        if dadd is not None:
            self._require_like_x(dadd, x)
            require_apart(self.__name__, {"dadd": dadd}, {"dx": dx, "dscale": dscale, "dshift": dshift, "scale": scale})
        dx, dscale, dshift = _core.norm_backward(
            self.__name__, dy, x, scale, shift, mean, inverse_std, axis, groups, dx, dscale, dshift
        )
        if dadd is not None:
            dadd[...] = dx
        return NormGradients(dx, dscale, dshift, None if not added else dx if dadd is None else dadd)

    def _require_like_x(self, dadd, x):
        if type(dadd) is not type(x):
            raise TypeError(f"{self.__name__}: dadd is {type(dadd).__name__}, x is {type(x).__name__}")
        if dadd.dtype != x.dtype:
            raise TypeError(f"{self.__name__}: dadd has dtype {dadd.dtype}; expected {x.dtype}, the dtype of x")
        if tuple(dadd.shape) != tuple(x.shape):
            raise ValueError(
                f"{self.__name__}: dadd has shape {tuple(dadd.shape)}; expected {tuple(x.shape)}, as x has"
            )
        if not getattr(getattr(dadd, "flags", None), "writeable", True):
            raise ValueError(f"{self.__name__}: dadd is read-only; pass an array that can be written")

    def __repr__(self) -> str:
        return f"brazen.{self.__name__}"


class LayerNorm(_Norm):
    """(x - mean) / sqrt(variance + eps) * scale + shift over the axes from `axis` to the last: (y, saved).

    With `add`, of x + add, which `saved.x` then holds: the residual stream for what follows, made in the same pass.
    The bits are those of the two steps one after the other.

    >>> import numpy as np
    >>> y, saved = layer_norm(np.array([[1.0, 2.0, 3.0]]), eps=0)
    >>> y
    array([[-1.22474487,  0.        ,  1.22474487]])
    """

    @tells_names
    def __call__(
        self, x, scale=None, shift=None, *, axis: int = -1, eps: float = 1e-5, add=None, out=None
    ) -> tuple[Any, NormSaved]:
        return self._forward(x, scale, shift, add, axis, None, eps, out)


class RmsNorm(_Norm):
    """x / sqrt(mean(x^2) + eps) * scale over the axes from `axis` to the last: (y, saved); `add` as in `layer_norm`."""

    @tells_names
    def __call__(
        self, x, scale=None, *, axis: int = -1, eps: float = 1e-6, add=None, out=None
    ) -> tuple[Any, NormSaved]:
        return self._forward(x, scale, None, add, axis, None, eps, out)


class GroupNorm(_Norm):
    """Normalises each sample (first axis) over each of `groups` runs of neighbouring channels (`axis`): (y, saved).

    scale and shift hold one number a channel.
    """

    @tells_names
    def __call__(
        self, x, groups: int, scale=None, shift=None, *, axis: int = 1, eps: float = 1e-5, out=None
    ) -> tuple[Any, NormSaved]:
        if groups == 0:
            raise ValueError("group_norm: groups is 0; expected a divisor of the channels")
        return self._forward(x, scale, shift, None, axis, groups, eps, out)


class InstanceNorm(_Norm):
    """Normalises every channel (`axis`) of every sample (first axis) over its positions: (y, saved)."""

    @tells_names
    def __call__(
        self, x, scale=None, shift=None, *, axis: int = 1, eps: float = 1e-5, out=None
    ) -> tuple[Any, NormSaved]:
        return self._forward(x, scale, shift, None, axis, 0, eps, out)


def row_norms(x, *, axis: int | tuple[int, ...] = -1, out=None):
    """The Euclidean norm over one axis or several, in the compute type: of a unit's incoming weights, for max-norm.

    >>> import numpy as np
    >>> row_norms(np.array([[3.0, 4.0], [0.0, 2.0]]))
    array([5., 2.])
    """
    return _core.row_norms(x, [axis] if isinstance(axis, int) else list(axis), out)


layer_norm = LayerNorm("layer_norm")
rms_norm = RmsNorm("rms_norm")
group_norm = GroupNorm("group_norm")
instance_norm = InstanceNorm("instance_norm")
