# SPDX-License-Identifier: BSD-3-Clause
"""The chain in plain array code: scale and bias, add, activation, dropout, add_after, in this order, and backwards.

16-bit arrays run through the whole chain in float32 and are rounded once. The stages from `add` on are batch norm's too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

from .._noise import chain_rate, drop_threshold, seeded
from . import _kinds
from ._kinds import _array, array_namespace, compute
from .dropout import keep_mask, keep_scale, select

__all__ = ["fused"]


def activation_of(value, operation):
    """(reference, parameters) of a name, a reference or an activation made by `with_`; None for no activation."""
    if value is None:
        return None
    name = value if isinstance(value, str) else getattr(value, "__name__", None)
    if not isinstance(value, str) and name not in _kinds.operations():
        raise TypeError(f"{operation}: activation is {type(value).__name__}; expected a name, or an activation")
    if name not in _kinds.operations() or "." in name:
        raise ValueError(f"{operation}: activation is {value!r}; brazen.reference.activations() lists the names")
    reference = _kinds.find(name)
    if not isinstance(reference, _kinds.Unary):
        raise TypeError(f"{operation}: {name} takes more than one array; it cannot stand in a chain")
    own = getattr(value, "parameters", {})
    return reference, dict(own) if isinstance(own, dict) else dict(zip(reference.parameters, own))


def spread(parameter, x, axis, name, operation):
    """A vector with one value for each index of `axis`, in x's compute type, as it broadcasts against x."""
    if parameter.shape != (x.shape[axis],):
        raise ValueError(
            f"{operation}: {name} has shape {parameter.shape}; expected ({x.shape[axis]},), one value for each index of axis {axis}"
        )
    return compute(parameter).astype(compute(x).dtype).reshape([-1 if d == axis else 1 for d in range(x.ndim)])


def sum_to(xp, wide, axis, parameter):
    """The sum over all axes but one, in the parameter's dtype."""
    return wide.sum(axis=tuple(d for d in range(wide.ndim) if d != axis)).astype(parameter.dtype)


class Epilogue:
    """add → activation → dropout on compute-type arrays, and its reverse."""

    def __init__(self, operation, shape, *, add, activation, dropout, seed, step, site, offset):
        if add is not None and add.shape != shape:
            raise ValueError(f"{operation}: add has shape {add.shape}; expected x's, {shape}")
        self.add = add
        self.activation = activation_of(activation, operation)
        self.threshold = drop_threshold(rate=chain_rate(operation, dropout))
        self.place: dict | None = None  # where its mask begins; None: nothing is dropped
        if self.threshold < 65536:
            seed = seeded(seed, f"{operation}(x, …, dropout={dropout:g}, seed=0, step=step)")
            self.place = {"seed": seed, "step": step, "site": site, "offset": offset}

    def _mask(self, wide):
        return keep_mask(wide.shape, self.threshold, **(self.place or {}), like=wide)

    def forward(self, xp, wide):
        """The stages' result."""
        if self.add is not None:
            wide = wide + compute(self.add)
        if self.activation:
            reference, parameters = self.activation
            wide = reference.value(xp, wide, **parameters)
        return select(xp, self._mask(wide), wide, keep_scale(wide, self.threshold)) if self.place else wide

    def backward(self, xp, dy, wide):
        """The gradient of `wide` (and of `add`, which is the same), from the gradient of the result."""
        if self.place:
            dy = select(xp, self._mask(dy), dy, keep_scale(dy, self.threshold))
        if self.activation:
            reference, parameters = self.activation
            if self.add is not None:
                wide = wide + compute(self.add)
            dy = dy * reference.derivative(xp, wide, **parameters)
        return dy


class FusedGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    bias: Any
    scale: Any
    add: Any
    add_after: Any


class Fused:
    """y = dropout(activation(x * scale + bias + add)) + add_after; scale and bias have one value per index of `axis`."""

    __name__ = __qualname__ = "fused"

    def _stages(self, x, bias, scale, add_after, axis):
        if (bias is not None or scale is not None) and not -x.ndim <= axis < x.ndim:
            raise ValueError(f"fused: axis is {axis}, x has {x.ndim} axes")
        axis = axis % max(x.ndim, 1)
        if add_after is not None and add_after.shape != x.shape:
            raise ValueError(f"fused: add_after has shape {add_after.shape}; expected x's, {x.shape}")
        wide = compute(x)
        scale = None if scale is None else spread(scale, x, axis, "scale", "fused")
        bias = None if bias is None else spread(bias, x, axis, "bias", "fused")
        inner = wide if scale is None else wide * scale
        return axis, scale, inner if bias is None else inner + bias

    def __call__(self, x, *, bias=None, scale=None, add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, add_after=None, axis=-1, out=None):  # fmt: skip
        xp = array_namespace(x)
        place = {"seed": seed, "step": step, "site": site, "offset": offset}
        with numpy.errstate(all="ignore"):
            _, _, wide = self._stages(x, bias, scale, add_after, axis)
            wide = Epilogue("fused", x.shape, add=add, activation=activation, dropout=dropout, **place).forward(
                xp, wide
            )
            return _array(xp, wide if add_after is None else wide + compute(add_after), x.dtype, out)

    def backward(self, dy, x, *, bias=None, scale=None, add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, add_after=None, axis=-1, dx=None, dbias=None, dscale=None, dadd=None):  # fmt: skip
        """FusedGradients; everything but dy, x and the arrays to write into is what the forward pass was given."""
        xp = array_namespace(x)
        place = {"seed": seed, "step": step, "site": site, "offset": offset}
        with numpy.errstate(all="ignore"):
            axis, factor, wide = self._stages(x, bias, scale, add_after, axis)
            stages = Epilogue("fused", x.shape, add=add, activation=activation, dropout=dropout, **place)
            inner = stages.backward(xp, compute(dy), wide)
            after = None if add_after is None else dy.copy()
            return FusedGradients(
                x=_array(xp, inner if factor is None else inner * factor, x.dtype, dx),
                bias=None if bias is None else _array(xp, sum_to(xp, inner, axis, bias), bias.dtype, dbias),
                scale=None
                if scale is None
                else _array(xp, sum_to(xp, inner * compute(x), axis, scale), scale.dtype, dscale),
                add=None if add is None else _array(xp, inner.copy(), x.dtype, dadd),
                add_after=after,
            )

    def __repr__(self):
        return "brazen.reference.fused"


fused = Fused()
