# SPDX-License-Identifier: BSD-3-Clause
"""LayerNorm, RMSNorm, GroupNorm and InstanceNorm. With `add`, the first two return the sum as well."""

from __future__ import annotations

import torch

from ..norms import group_norm, instance_norm, layer_norm, rms_norm

__all__ = ["GroupNorm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "RMSNorm"]


class LayerNorm(torch.nn.LayerNorm):
    """torch.nn.LayerNorm; `module(x, add=residual)` returns (y, x + residual), both of one pass."""

    def forward(self, x, add=None):
        _require_trailing(self, x)
        return layer_norm(x, self.weight, self.bias, axis=-len(self.normalized_shape), eps=self.eps, add=add)


class RMSNorm(torch.nn.RMSNorm):
    """torch.nn.RMSNorm; `module(x, add=residual)` returns (y, x + residual), both of one pass."""

    def forward(self, x, add=None):
        _require_trailing(self, x)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return rms_norm(x, self.weight, axis=-len(self.normalized_shape), eps=eps, add=add)


def _require_trailing(module, x) -> None:
    shape = tuple(module.normalized_shape)
    if tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"{type(module).__name__}: x has shape {tuple(x.shape)}; expected {shape} at its end")


class GroupNorm(torch.nn.GroupNorm):
    """torch.nn.GroupNorm."""

    def forward(self, x):
        return group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


class _InstanceNorm:
    """torch.nn's instance norm, without running statistics."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None,
                 dtype=None):  # fmt: skip
        if track_running_stats:
            raise ValueError(
                f"{type(self).__name__}: track_running_stats is True; expected False, every sample has its own"
            )
        super().__init__(num_features, eps, momentum, affine, False, device, dtype)  # type: ignore[call-arg]

    def forward(self, x):
        self._check_input_dim(x)  # type: ignore[attr-defined]
        if x.ndim == self._get_no_batch_dim():  # type: ignore[attr-defined]
            return self.forward(x.unsqueeze(0)).squeeze(0)
        return instance_norm(x, self.weight, self.bias, eps=self.eps)  # type: ignore[attr-defined]


class InstanceNorm1d(_InstanceNorm, torch.nn.InstanceNorm1d):
    __doc__ = _InstanceNorm.__doc__


class InstanceNorm2d(_InstanceNorm, torch.nn.InstanceNorm2d):
    __doc__ = _InstanceNorm.__doc__


class InstanceNorm3d(_InstanceNorm, torch.nn.InstanceNorm3d):
    __doc__ = _InstanceNorm.__doc__
