# SPDX-License-Identifier: BSD-3-Clause
"""The dropout family as modules, PyTorch's under its names."""

from __future__ import annotations

import torch

from .. import chains
from .drawing import Drawing

__all__ = [
    "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "GaussianDropout", "GaussianNoise", "StochasticDepth",
]  # fmt: skip


class _Dropping(Drawing):
    """Zeroes with probability `p` in training; where the numbers come from is told in `Drawing`."""

    function = "dropout"
    amount = "p"

    def __init__(self, p: float = 0.5, *, seed: int | None = None, site: int = 0):
        super().__init__()
        setattr(self, self.amount, p)
        self._set_source(seed, site)
        self._apply_to(torch.zeros(0, 1, 1), seed=0)  # raises where p is no probability

    def _apply_to(self, x, **source):
        return getattr(chains, self.function)(x, getattr(self, self.amount), **source)

    def forward(self, x):
        return self._apply_to(x, **self._draw()) if self.training else x

    def extra_repr(self):
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"{self.amount}={getattr(self, self.amount)}{seed}"


class Dropout(_Dropping, torch.nn.Dropout):
    """torch.nn.Dropout; a mask is drawn again in the backward pass, not stored."""


class _Spatial(_Dropping):
    """Whole channels (axis 1) of each sample."""

    def _apply_to(self, x, **source):
        return chains.__dict__["dropout"](x, self.p, noise_shape=(*x.shape[:2], *(1 for _ in x.shape[2:])), **source)


class Dropout1d(_Spatial, torch.nn.Dropout1d):
    """torch.nn.Dropout1d on (N, C, L): whole channels of each sample."""


class Dropout2d(_Spatial, torch.nn.Dropout2d):
    """torch.nn.Dropout2d on (N, C, H, W): whole channels of each sample."""


class Dropout3d(_Spatial, torch.nn.Dropout3d):
    """torch.nn.Dropout3d on (N, C, D, H, W): whole channels of each sample."""


class AlphaDropout(_Dropping, torch.nn.AlphaDropout):
    """torch.nn.AlphaDropout, for selu."""

    function = "alpha_dropout"


class StochasticDepth(_Dropping):
    """Drops the residual branch of whole samples."""

    function = "stochastic_depth"


class GaussianDropout(_Dropping):
    """Multiplies by 1 + sqrt(p / (1 - p)) z, z standard normal."""

    function = "gaussian_dropout"


class GaussianNoise(_Dropping):
    """Adds std * z, z standard normal."""

    function = "gaussian_noise"
    amount = "std"

    def __init__(self, std: float = 1.0, *, seed: int | None = None, site: int = 0):
        super().__init__(std, seed=seed, site=site)
