# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm with what may follow it in the same pass, as a function of PyTorch's graph."""

from __future__ import annotations

import torch

import brazen

from .graph import bare, first_order, parameter, records, require_tensor, seed_from_generator, together

__all__ = ["batch_norm"]


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale, shift, add, running_mean, running_var, options):
        y, saved = brazen.batch_norm(
            bare(x), bare(scale), bare(shift), running_mean, running_var, add=bare(add), **options
        )
        ctx.save_for_backward(x, scale, shift, add, saved.coefficients)
        ctx.saved = saved._replace(x=None, scale=None, shift=None, add=None, coefficients=None)
        return y

    @staticmethod
    def backward(ctx, dy):
        x, scale, shift, add, coefficients = ctx.saved_tensors
        saved = ctx.saved._replace(
            x=bare(x), scale=bare(scale), shift=bare(shift), add=bare(add), coefficients=coefficients
        )
        gradients = brazen.batch_norm.backward(bare(dy), saved)
        return *first_order("batch_norm", tuple(gradients), dy, x, scale, shift, add), None, None, None


def batch_norm(x, scale=None, shift=None, running_mean=None, running_var=None, *, training=True, momentum=0.1, eps=1e-5,
               axis=1, running="unbiased", add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
               offset=0):  # fmt: skip
    """dropout(activation((x - mean) / sqrt(var + eps) * scale + shift + add)) in one pass: `brazen.batch_norm` on tensors.

    `running_mean` and `running_var` are moved in place. Without `seed`, dropout takes one from PyTorch's generator.

    >>> import torch
    >>> x = torch.tensor([[1.0, 10.0], [3.0, 30.0]], requires_grad=True)
    >>> batch_norm(x, eps=0.0, activation="relu").tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    require_tensor("batch_norm", x)
    x, add = together(x, add)
    scale, shift = parameter(scale, x), parameter(shift, x)
    options = {
        "training": training, "momentum": momentum, "eps": eps, "axis": axis, "running": running, "activation": activation,
    }  # fmt: skip
    if dropout:
        seed = seed_from_generator() if seed is None else seed
        options |= {"dropout": dropout, "seed": seed, "step": step, "site": site, "offset": offset}
    mean, variance = parameter(bare(running_mean), x), parameter(bare(running_var), x)
    if records(x, scale, shift, add):
        y = _BatchNorm.apply(x, scale, shift, add, mean, variance, options)
    else:
        y = brazen.batch_norm(bare(x), bare(scale), bare(shift), mean, variance, add=bare(add), **options)[0]
    if training:
        for given, moved in ((running_mean, mean), (running_var, variance)):
            if moved is not None and moved.data_ptr() != given.data_ptr():  # 16-bit statistics of a 16-bit module
                with torch.no_grad():
                    given.copy_(moved)
    return y
