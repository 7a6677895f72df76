# SPDX-License-Identifier: BSD-3-Clause
"""BatchNorm1d, 2d and 3d with addition, activation and dropout in the same pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from brazen.ops.fused import activation_of

from ..batch_norm import batch_norm
from .drawing import Drawing

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class _BatchNorm(Drawing):
    """torch.nn's batch norm; `activation` (a name, or bz.leaky_relu.with_(alpha=0.2)) and `dropout` follow in the same pass.

    `module(x, add=residual)` adds before the activation. The state_dict is PyTorch's; `seed` and `site` are told of in `Drawing`.
    """

    # PyTorch's class, which the subclasses add, has these.
    num_batches_tracked: Any
    track_running_stats: bool
    momentum: float | None
    running_mean: Any
    running_var: Any
    _check_input_dim: Callable[[torch.Tensor], None]

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None,
                 *, activation=None, dropout=0.0, seed=None, site=0):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        activation_of(activation, type(self).__name__)
        if not 0 <= dropout < 1:
            raise ValueError(f"{type(self).__name__}: dropout is {dropout}; expected at least 0 and below 1")
        self.activation, self.dropout = activation, dropout
        self._set_source(seed, site)

    def forward(self, x, add=None):
        self._check_input_dim(x)
        momentum, moved = self.momentum, self.training and self.track_running_stats
        if moved and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        training = self.training or (self.running_mean is None and self.running_var is None)
        noise = {"dropout": self.dropout, **self._draw()} if self.dropout and self.training else {}
        known = not self.training or self.track_running_stats
        return batch_norm(
            x, self.weight, self.bias, self.running_mean if known else None, self.running_var if known else None,
            training=training, momentum=momentum or 0.0, eps=self.eps, add=add, activation=self.activation, **noise,
        )  # fmt: skip

    def extra_repr(self):
        own = {"activation": self.activation, "dropout": self.dropout or None, "seed": self.seed}
        return super().extra_repr() + "".join(f", {n}={v!r}" for n, v in own.items() if v is not None)


class BatchNorm1d(_BatchNorm, torch.nn.BatchNorm1d):
    __doc__ = _BatchNorm.__doc__


class BatchNorm2d(_BatchNorm, torch.nn.BatchNorm2d):
    __doc__ = _BatchNorm.__doc__


class BatchNorm3d(_BatchNorm, torch.nn.BatchNorm3d):
    __doc__ = _BatchNorm.__doc__
