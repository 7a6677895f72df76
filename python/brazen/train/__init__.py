# SPDX-License-Identifier: BSD-3-Clause
"""Training: the Trainer, and the penalties it takes."""

from .regularizers import Regularizer, elastic_net, l1, l2
from .trainer import Trainer

__all__ = ["Regularizer", "Trainer", "elastic_net", "l1", "l2"]
