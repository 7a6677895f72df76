# SPDX-License-Identifier: BSD-3-Clause
"""What every operation here shares: gradients of the first order only, dtypes that fit, seeds from PyTorch's generator."""

from __future__ import annotations

from typing import Any

import torch

_HALVES = (torch.float16, torch.bfloat16)


class _Once(torch.autograd.Function):
    """Hands gradients on, and refuses to be differentiated: what they depend on is not in the graph."""

    @staticmethod
    def forward(ctx, name, count, *tensors):
        ctx.name = name
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError(
            f"brazen.torch.{ctx.name} is differentiated twice; its gradient has no gradient. Use torch.nn.functional for "
            "this operation where create_graph=True or a gradient penalty needs one, or detach() the first gradient"
        )


def first_order(name: str, gradients: tuple, *sources) -> tuple:
    """The gradients as they are; with create_graph=True, as results that say so when they are differentiated.

    Without this they would be constants, and a gradient penalty would silently do nothing.
    """
    if not torch.is_grad_enabled():
        return gradients
    present = [gradient for gradient in gradients if gradient is not None]
    wanted = [source for source in sources if source is not None and source.requires_grad]
    if not present or not wanted:
        return gradients
    made = iter(_Once.apply(name, len(present), *present, *wanted))
    return tuple(None if gradient is None else next(made) for gradient in gradients)


def records(*tensors) -> bool:
    """Whether a call on these tensors has to be remembered for a backward pass."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def bare(tensor):
    """The same memory outside the graph, which is what DLPack exports."""
    return tensor.detach() if tensor is not None and tensor.requires_grad else tensor


def require_tensor(name: str, x: Any) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(
            f"brazen.torch.{name}: x is {type(x).__name__}; expected a torch.Tensor. brazen.{name} takes arrays of NumPy, "
            "CuPy and others"
        )


def parameter(tensor, x):
    """A parameter or statistic in the dtype that x asks for: x's own, float32 beside 16 bits."""
    if tensor is None:
        return None
    wanted = torch.float32 if x.dtype in _HALVES else x.dtype
    return tensor if tensor.dtype == wanted else tensor.to(wanted)


def together(x, other):
    """Both in the wider of their dtypes, as PyTorch adds them: under autocast a residual may be wider than x."""
    if other is None or other.dtype == x.dtype:
        return x, other
    dtype = torch.promote_types(x.dtype, other.dtype)
    return x.to(dtype), other.to(dtype)


def seed_from_generator() -> int:
    """A seed from PyTorch's default generator: torch.manual_seed decides it, and activation checkpointing repeats it."""
    return int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64))
