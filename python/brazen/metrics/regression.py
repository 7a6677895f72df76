# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of numbers: squared and absolute errors, and the part of the variance that is explained."""

from __future__ import annotations

import math

from .base import Metric, same_shape, weighed


class MeanSquaredError(Metric):
    """The mean of (prediction - target)^2 over elements."""

    name = "mse"
    higher_is_better = False

    def parts(self, prediction, target, weights):
        prediction, target = same_shape(prediction, target)
        return weighed((prediction - target) ** 2, weights)


class RootMeanSquaredError(MeanSquaredError):
    """Its square root."""

    name = "rmse"

    def of(self, *sums):
        return math.sqrt(super().of(*sums))


class MeanAbsoluteError(Metric):
    """The mean of |prediction - target| over elements."""

    name = "mae"
    higher_is_better = False

    def parts(self, prediction, target, weights):
        prediction, target = same_shape(prediction, target)
        return weighed(abs(prediction - target), weights)


class R2(Metric):
    """1 - squared error / squared deviation from the mean: 1 is perfect, 0 what the mean does. Of several outputs the mean.

    >>> import numpy as np
    >>> R2.score(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    0.5
    """

    name = "r2"
    sums = ("error", "squares", "total", "count")

    def parts(self, prediction, target, weights):
        prediction, target = same_shape(prediction, target)
        prediction, target = (a.astype("float64").reshape(len(a), -1) for a in (prediction, target))
        weights = 1.0 if weights is None else weights.reshape(-1, 1).astype("float64")
        count = (weights * (target == target)).sum(axis=0)
        error, squares = weights * (prediction - target) ** 2, weights * target**2
        return error.sum(axis=0), squares.sum(axis=0), (weights * target).sum(axis=0), count

    def of(self, *sums):
        error, squares, total, count = sums
        if not hasattr(count, "mean"):
            return float("nan")
        deviation = squares - total**2 / count
        scores = [1 - e / d if d > 0 else (1.0 if e == 0 else 0.0) for e, d in zip(error, deviation)]
        return float(sum(scores) / len(scores))
