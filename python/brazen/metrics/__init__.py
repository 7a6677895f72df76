# SPDX-License-Identifier: BSD-3-Clause
"""Metrics: functions of (prediction, target, weights=None), and objects that take an epoch batch by batch.

>>> import numpy as np
>>> accuracy(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 0]))
0.5
"""

from .base import Function, Metric, get, registry
from .classification import AUC, F1, Accuracy, Confusion, Precision, Recall, TopK, ZeroOne
from .regression import R2, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError

accuracy, zero_one, top_k, confusion_matrix = Accuracy.score, ZeroOne.score, TopK.score, Confusion.score
precision, recall, f1, auc = Precision.score, Recall.score, F1.score, AUC.score
mse, rmse, mae, r2 = MeanSquaredError.score, RootMeanSquaredError.score, MeanAbsoluteError.score, R2.score

__all__ = [
    "AUC", "Accuracy", "Confusion", "F1", "Function", "MeanAbsoluteError", "MeanSquaredError", "Metric", "Precision", "R2",
    "Recall", "RootMeanSquaredError", "TopK", "ZeroOne", "accuracy", "auc", "confusion_matrix", "f1", "get", "mae", "mse",
    "names", "precision", "r2", "recall", "rmse", "top_k", "zero_one",
]  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of all metrics.

    >>> "auc" in names()
    True
    """
    return tuple(registry)
