# SPDX-License-Identifier: BSD-3-Clause
"""The activations as functions of PyTorch's graph, one for each that `brazen.activations()` lists. No formula, no name."""

from __future__ import annotations

import inspect

import torch

import brazen

from .graph import bare, first_order, parameter, records, require_tensor

__all__ = ["prelu", "softmax", "log_softmax", "sparsemax"]


class _Elementwise(torch.autograd.Function):
    """Of x alone; its arguments are numbers. The backward pass reads x again."""

    @staticmethod
    def forward(ctx, operation, arguments, x):
        ctx.operation, ctx.arguments = operation, arguments
        ctx.save_for_backward(x)
        return operation(bare(x), *arguments)

    @staticmethod
    def backward(ctx, dy):
        (x,) = ctx.saved_tensors
        dx = ctx.operation.backward(bare(dy), bare(x), *ctx.arguments)
        return None, None, *first_order(ctx.operation.__name__, (dx,), dy, x)


class _RowMap(torch.autograd.Function):
    """Of rows of x; the backward pass reads the result."""

    @staticmethod
    def forward(ctx, operation, axis, x):
        ctx.operation, ctx.axis = operation, axis
        y = operation(bare(x), axis)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, dy):
        (y,) = ctx.saved_tensors
        dx = ctx.operation.backward(bare(dy), bare(y), ctx.axis)
        return None, None, *first_order(ctx.operation.__name__, (dx,), dy, y)


class _Prelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha, axis):
        ctx.axis = axis
        ctx.save_for_backward(x, alpha)
        return brazen.prelu(bare(x), bare(alpha), axis)

    @staticmethod
    def backward(ctx, dy):
        x, alpha = ctx.saved_tensors
        gradients = brazen.prelu.backward(bare(dy), bare(x), bare(alpha), ctx.axis)
        return *first_order("prelu", tuple(gradients), dy, x, alpha), None


def _function(operation):
    """The operation on tensors, with its own arguments but `out`."""
    name = operation.__name__
    signature = inspect.signature(operation)
    signature = signature.replace(parameters=[p for n, p in signature.parameters.items() if n != "out"])
    own = list(signature.parameters.values())[1:]
    aliases = getattr(operation, "aliases", {})

    def arguments_of(given, named):
        named = {aliases.get(key, key): value for key, value in named.items()}
        try:
            bound = signature.bind(None, *given, **named)
        except TypeError as error:
            raise TypeError(f"brazen.torch.{name}: {error}; call {name}{signature}") from None
        bound.apply_defaults()
        return bound.args[1:]

    defaults = tuple(p.default for p in own)
    complete = inspect.Parameter.empty not in defaults

    def call(x, *given, **named):
        require_tensor(name, x)
        arguments = defaults if complete and not given and not named else arguments_of(given, named)
        if x.requires_grad and torch.is_grad_enabled():
            return _Elementwise.apply(operation, arguments, x)
        return operation(bare(x), *arguments)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = operation.__doc__
    call.__module__ = __name__
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def prelu(x, alpha, axis: int | None = None):
    """x where x > 0, alpha * x elsewhere; alpha is one value, or one for each index of `axis` (1, or 0 for a vector)."""
    require_tensor("prelu", x)
    alpha = parameter(alpha, x)
    if records(x, alpha):
        return _Prelu.apply(x, alpha, axis)
    return brazen.prelu(bare(x), bare(alpha), axis)


def _row_map(operation):
    def call(x, axis: int = -1):
        require_tensor(operation.__name__, x)
        if records(x):
            return _RowMap.apply(operation, axis, x)
        return operation(bare(x), axis)

    call.__name__ = call.__qualname__ = operation.__name__
    call.__doc__ = operation.__doc__
    call.__module__ = __name__
    return call


softmax = _row_map(brazen.softmax)
log_softmax = _row_map(brazen.log_softmax)
sparsemax = _row_map(brazen.sparsemax)

for _name in brazen.activations():
    if _name not in __all__:
        globals()[_name] = _function(getattr(brazen, _name))
        __all__.append(_name)
