# SPDX-License-Identifier: BSD-3-Clause
"""Data on their way to a trainer: splits and folds, the order of an epoch, batches gathered ahead."""

from .batch import Batch, as_batch
from .loader import Loader
from .order import order
from .split import CrossValidation, Split, cross_validate, k_fold, split

__all__ = ["Batch", "CrossValidation", "Loader", "Split", "as_batch", "cross_validate", "k_fold", "order", "split"]
