# SPDX-License-Identifier: BSD-3-Clause
"""The losses of `brazen.losses()` as functions of PyTorch's graph: they return the loss alone.

Value and gradient come from one pass, in forward; backward multiplies by what arrives. float16 arguments are widened to
float32 first: their gradient would underflow before a GradScaler's factor reaches it.
"""

from __future__ import annotations

import inspect

import torch

import brazen

from .graph import bare, first_order, parameter, records, require_tensor

__all__: list[str] = []

# Functions of prediction - target alone: the target's gradient is the prediction's, negated.
_DIFFERENCES = {"mse", "sum_of_squares", "half_squared", "mae", "huber"}


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, operation, x, target, named):
        loss, gradient = operation(bare(x), bare(target), **named)
        ctx.name, ctx.axis = operation.__name__, named.get("axis", -1)
        ctx.save_for_backward(gradient, x)
        return loss

    @staticmethod
    def backward(ctx, dy):
        gradient, x = ctx.saved_tensors
        dloss = dy.detach()
        # On the CPU a look is free, and most often a loss is the end: nothing is left to multiply.
        if dloss.ndim or dloss.device.type != "cpu" or float(dloss) != 1.0:
            if 0 < dloss.ndim < gradient.ndim:  # a number for each row or item
                dloss = dloss.unsqueeze(ctx.axis)
            gradient = gradient * dloss.to(gradient.dtype)
        (dx,) = first_order(ctx.name, (gradient,), dy, x)
        wants = ctx.needs_input_grad
        return None, dx if wants[1] else None, -dx if wants[2] else None, None


def _loss(operation):
    name = operation.__name__
    theirs = inspect.signature(operation)
    kept = [p for n, p in theirs.parameters.items() if n not in ("out", "grad_scale")]
    signature = theirs.replace(parameters=kept, return_annotation=inspect.Signature.empty)
    second = kept[1].name

    def call(*given, **named):
        try:
            arguments = signature.bind(*given, **named).arguments
        except TypeError as error:
            raise TypeError(f"brazen.torch.{name}: {error}; call {name}{signature}") from None
        x, target, *_ = arguments.values()
        named = {key: arguments[key] for key in list(arguments)[2:]}
        require_tensor(name, x)
        if x.dtype == torch.float16:
            x = x.float()
        if target.is_floating_point() and target.dtype != x.dtype:
            target = target.to(x.dtype)
        if target.requires_grad and name not in _DIFFERENCES:
            raise ValueError(f"brazen.torch.{name}: {second} requires grad, and has none here; pass {second}.detach()")
        for key in ("weight", "pos_weight"):
            if named.get(key) is not None:
                named[key] = bare(parameter(named[key], x))
        if records(x, target):
            return _Loss.apply(operation, x, target, named)
        return operation(bare(x), bare(target), **named)[0]

    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__doc__ = (
        f"{(operation.__doc__ or '').partition(', and its gradient')[0].strip()}: `brazen.{name}` without the gradient."
    )
    return call


for _name in brazen.losses():
    globals()[_name] = _loss(getattr(brazen, _name))
    __all__.append(_name)
