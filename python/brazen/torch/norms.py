# SPDX-License-Identifier: BSD-3-Clause
"""Layer, RMS, group and instance norm as functions of PyTorch's graph.

A result has x's dtype, under autocast too: the arithmetic is float32 where x has 16 bits.
"""

from __future__ import annotations

import torch

import brazen

from .graph import bare, first_order, parameter, records, require_tensor, together

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm"]


def _run(operation, x, scale, shift, add, given, options):
    """The operation outside the graph: (y, saved)."""
    parameters = {"scale": bare(scale), "shift": bare(shift), "add": bare(add)}
    return operation(bare(x), *given, **{n: p for n, p in parameters.items() if p is not None}, **options)


class _Norm(torch.autograd.Function):
    """One result, or with `add` two: the normalised sum and the sum."""

    @staticmethod
    def forward(ctx, operation, x, scale, shift, add, given, options):
        y, saved = _run(operation, x, scale, shift, add, given, options)
        # Beside an addition the sum is what was normalised; it is a result, and keeping it costs nothing.
        ctx.save_for_backward(x if add is None else saved.x, scale, shift, saved.mean, saved.inverse_std)
        ctx.operation, ctx.added = operation, add is not None
        ctx.saved = saved._replace(x=None, scale=None, shift=None, mean=None, inverse_std=None)
        return y if add is None else (y, saved.x)

    @staticmethod
    def backward(ctx, dy, dtotal=None):
        x, scale, shift, mean, inverse_std = ctx.saved_tensors
        saved = ctx.saved._replace(x=bare(x), scale=bare(scale), shift=bare(shift), mean=mean, inverse_std=inverse_std)
        dx, dscale, dshift, dadd = ctx.operation.backward(bare(dy), saved)
        if ctx.added:
            dx = dx.add_(dtotal.detach()) if dtotal is not None else dx
            dadd = dx
        sources = (dy, dtotal, x, scale, shift)
        dx, dscale, dshift, dadd = first_order(ctx.operation.__name__, (dx, dscale, dshift, dadd), *sources)
        return None, dx, dscale, dshift, dadd, None, None


def _call(operation, x, scale, shift, given=(), add=None, **options):
    require_tensor(operation.__name__, x)
    x, add = together(x, add)
    scale, shift = parameter(scale, x), parameter(shift, x)
    if records(x, scale, shift, add):
        return _Norm.apply(operation, x, scale, shift, add, given, options)
    y, saved = _run(operation, x, scale, shift, add, given, options)
    return y if add is None else (y, saved.x)


def layer_norm(x, scale=None, shift=None, *, axis: int = -1, eps: float = 1e-5, add=None):
    """(x - mean) / sqrt(variance + eps) * scale + shift over the axes from `axis` to the last.

    With `add`, of x + add, made in the same pass: the results are then two, (y, x + add), the second for the residual stream.

    >>> import torch
    >>> layer_norm(torch.tensor([[1.0, 3.0]], requires_grad=True), eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    return _call(brazen.layer_norm, x, scale, shift, add=add, axis=axis, eps=eps)


def rms_norm(x, scale=None, *, axis: int = -1, eps: float = 1e-6, add=None):
    """x / sqrt(mean(x^2) + eps) * scale over the axes from `axis` to the last; `add` as in `layer_norm`."""
    return _call(brazen.rms_norm, x, scale, None, add=add, axis=axis, eps=eps)


def group_norm(x, groups: int, scale=None, shift=None, *, axis: int = 1, eps: float = 1e-5):
    """Normalises each sample over each of `groups` runs of neighbouring channels (`axis`)."""
    return _call(brazen.group_norm, x, scale, shift, (groups,), axis=axis, eps=eps)


def instance_norm(x, scale=None, shift=None, *, axis: int = 1, eps: float = 1e-5):
    """Normalises every channel (`axis`) of every sample over its positions."""
    return _call(brazen.instance_norm, x, scale, shift, axis=axis, eps=eps)
