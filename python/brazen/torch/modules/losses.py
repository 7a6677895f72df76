# SPDX-License-Identifier: BSD-3-Clause
"""The losses that PyTorch has, under its names and with its meaning of "mean"."""

from __future__ import annotations

import torch

from .. import losses

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "KLDivLoss", "L1Loss", "MSELoss"]


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """torch.nn.CrossEntropyLoss: classes or probabilities, the class axis second."""

    def forward(self, x, target):
        options = {"weight": self.weight, "ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        if x.ndim == 1:  # one item without a batch
            loss = self.forward(x.unsqueeze(0), target.unsqueeze(0))
            return loss.squeeze(0) if self.reduction == "none" else loss
        return losses.__dict__["softmax_cross_entropy"](x, target, axis=1, reduction=self.reduction, **options)


class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    """torch.nn.BCEWithLogitsLoss without `weight`."""

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        super().__init__(weight, size_average, reduce, reduction, pos_weight)
        if weight is not None:
            raise ValueError("BCEWithLogitsLoss: weight is given; expected None: weigh the losses of reduction='none'")

    def forward(self, x, target):
        return losses.__dict__["sigmoid_cross_entropy"](x, target, pos_weight=self.pos_weight, reduction=self.reduction)


class MSELoss(torch.nn.MSELoss):
    """torch.nn.MSELoss."""

    def forward(self, x, target):
        return losses.__dict__["mse"](x, target, reduction=self.reduction)


class L1Loss(torch.nn.L1Loss):
    """torch.nn.L1Loss."""

    def forward(self, x, target):
        return losses.__dict__["mae"](x, target, reduction=self.reduction)


class HuberLoss(torch.nn.HuberLoss):
    """torch.nn.HuberLoss."""

    def forward(self, x, target):
        return losses.__dict__["huber"](x, target, delta=self.delta, reduction=self.reduction)


class KLDivLoss(torch.nn.KLDivLoss):
    """torch.nn.KLDivLoss with reduction="batchmean" (on matrices) or "sum"."""

    def __init__(self, size_average=None, reduce=None, reduction="batchmean", log_target=False):
        super().__init__(size_average, reduce, reduction, log_target)
        if self.reduction not in ("batchmean", "sum"):
            raise ValueError(f"KLDivLoss: reduction is {self.reduction!r}; expected 'batchmean' or 'sum'")

    def forward(self, x, target):
        if self.reduction == "batchmean" and x.ndim != 2:
            raise ValueError(f"KLDivLoss: x has {x.ndim} dimensions; expected 2 for reduction='batchmean'")
        reduction = "mean" if self.reduction == "batchmean" else "sum"
        return losses.__dict__["kl_divergence"](x, target, log_target=self.log_target, reduction=reduction)
