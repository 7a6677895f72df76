# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and its relatives, and the fused chain, as functions of PyTorch's graph. Masks are drawn again, never stored.

A mask is a function of (seed, step, site, offset), the same as on NumPy and CuPy arrays. Without `seed` one is taken from
PyTorch's default generator, so that torch.manual_seed decides.
"""

from __future__ import annotations

import torch

import brazen
from brazen.ops.dropout import __all__ as _family

from .graph import bare, first_order, parameter, records, require_tensor, seed_from_generator, together

__all__ = ["fused"]


class _NoiseGradient(torch.autograd.Function):
    """What a backward pass makes of dy. It is linear and its own transpose, so its gradient is itself, to any order."""

    @staticmethod
    def forward(ctx, operation, dy, arguments, named):
        ctx.given = operation, arguments, named
        dx = operation.backward(bare(dy), *arguments, **named)
        return dx.clone() if dx.data_ptr() == dy.data_ptr() else dx

    @staticmethod
    def backward(ctx, ddx):
        operation, arguments, named = ctx.given
        return None, _NoiseGradient.apply(operation, ddx, arguments, named), None, None


class _Noise(torch.autograd.Function):
    """The gradient is a function of dy and the numbers drawn; x is not kept."""

    @staticmethod
    def forward(ctx, operation, x, arguments, named):
        ctx.operation, ctx.arguments, ctx.named = operation, arguments, named
        y = operation(bare(x), *arguments, **named)
        return y.clone() if y.data_ptr() == x.data_ptr() else y

    @staticmethod
    def backward(ctx, dy):
        if records(dy):
            return None, _NoiseGradient.apply(ctx.operation, dy, ctx.arguments, ctx.named), None, None
        return None, ctx.operation.backward(bare(dy), *ctx.arguments, **ctx.named), None, None


def _noise(operation):
    name = operation.__name__

    def call(x, *arguments, **named):
        require_tensor(name, x)
        if named.get("out") is not None:
            raise TypeError(
                f"brazen.torch.{name}: out is given; results are new tensors here, brazen.{name} writes into one"
            )
        if named.pop("training", True):
            if named.get("seed") is None:
                named["seed"] = seed_from_generator()
        elif named.get("mode") == "vanilla":
            named["training"] = False
        else:
            return x
        if records(x):
            return _Noise.apply(operation, x, arguments, named)
        return operation(bare(x), *arguments, **named)

    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = (
        f"{(operation.__doc__ or '').strip().partition('>>>')[0].strip()}\n\n    Arguments as those of `brazen.{name}`."
    )
    return call


# The family: what draws, and has a backward pass that needs nothing but dy.
for _name in _family:
    if hasattr(getattr(brazen, _name), "backward"):
        globals()[_name] = _noise(getattr(brazen, _name))
        __all__.append(_name)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias, scale, add, add_after, options):
        ctx.options, ctx.has_after = options, add_after is not None
        ctx.save_for_backward(x, bias, scale, add)
        return brazen.fused(
            bare(x), bias=bare(bias), scale=bare(scale), add=bare(add), add_after=bare(add_after), **options
        )

    @staticmethod
    def backward(ctx, dy):
        x, bias, scale, add = ctx.saved_tensors
        options = {**ctx.options, "add_after": dy.detach() if ctx.has_after else None}
        gradients = brazen.fused.backward(
            bare(dy), bare(x), bias=bare(bias), scale=bare(scale), add=bare(add), **options
        )
        return *first_order("fused", tuple(gradients), dy, x, bias, scale, add), None


def fused(x, *, bias=None, scale=None, add=None, activation=None, dropout=0.0, seed=None, step=0, site=0, offset=0,
          add_after=None, axis=-1):  # fmt: skip
    """dropout(activation(x * scale + bias + add)) + add_after in one pass: `brazen.fused` on tensors of the graph.

    >>> import torch
    >>> x = torch.tensor([[-1.0, 2.0]], requires_grad=True)
    >>> fused(x, bias=torch.tensor([0.5, 0.5]), activation="relu").tolist()
    [[0.0, 2.5]]
    """
    require_tensor("fused", x)
    x, add = together(x, add)
    x, add_after = together(x, add_after)
    add = add if add is None or add.dtype == x.dtype else add.to(x.dtype)
    bias, scale = parameter(bias, x), parameter(scale, x)
    options = {"activation": activation, "axis": axis}
    if dropout:
        seed = seed_from_generator() if seed is None else seed
        options |= {"dropout": dropout, "seed": seed, "step": step, "site": site, "offset": offset}
    if records(x, bias, scale, add, add_after):
        return _Fused.apply(x, bias, scale, add, add_after, options)
    return brazen.fused(
        bare(x), bias=bare(bias), scale=bare(scale), add=bare(add), add_after=bare(add_after), **options
    )
