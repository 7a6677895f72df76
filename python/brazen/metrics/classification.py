# SPDX-License-Identifier: BSD-3-Clause
"""Metrics of classes: accuracy and its relatives, what follows from the confusion matrix, and the area under the curve.

Predictions are scores of classes along the last axis, or one score a sample for two classes (positive above `threshold`,
0 for logits). Targets are classes, or probabilities of the predictions' shape.
"""

from __future__ import annotations

from typing import Any

import numpy

from .._random import namespace
from .base import Metric, hit_classes, numpy_of, weighed


class Accuracy(Metric):
    """The fraction of samples whose class is right.

    >>> Accuracy.score(numpy.array([[1.0, 2.0], [3.0, 1.0]]), numpy.array([1, 1]))
    0.5
    """

    name = "accuracy"

    def __init__(self, threshold: float = 0.0):
        self.threshold = threshold

    def parts(self, prediction, target, weights):
        found, known = hit_classes(prediction, target, self.threshold)
        right = found == known
        if weights is None:
            return namespace(right).count_nonzero(right), right.size
        return weighed(right, weights)


class ZeroOne(Accuracy):
    """The fraction of samples whose class is wrong."""

    name = "zero_one"
    higher_is_better = False

    def of(self, *sums):
        return 1.0 - super().of(*sums)


class TopK(Metric):
    """The fraction of samples whose class is among the k of the highest scores; ties count for the sample."""

    name = "top_k"

    def __init__(self, k: int = 5):
        if k < 1:
            raise ValueError(f"k is {k!r}; expected at least 1")
        self.k, self.label = k, f"top_{k}"

    def check(self, output_shape):
        if not output_shape or output_shape[-1] < self.k:
            raise ValueError(
                f"{self.label}: the network gives {output_shape[-1] if output_shape else 1} scores a sample"
            )

    def parts(self, prediction, target, weights):
        known = target.argmax(axis=-1) if target.shape == prediction.shape else target
        xp = namespace(prediction)
        own = xp.take_along_axis(prediction, known[..., None].astype("int64"), axis=-1)
        return weighed((prediction > own).sum(axis=-1) < self.k, weights)

    def __repr__(self):
        return f"TopK(k={self.k})"


class Confusion(Metric):
    """matrix[true class, predicted class]: how many samples, or what weight of them."""

    name = "confusion_matrix"
    sums = ("matrix",)

    def __init__(self, classes: int | None = None, threshold: float = 0.0):
        self.classes, self.threshold = classes, threshold

    def parts(self, prediction, target, weights):
        found, known = hit_classes(prediction, target, self.threshold)
        wide = prediction.shape[-1] if prediction.ndim > 1 and prediction.shape[-1] > 1 else 2
        classes = self.classes or wide
        xp = namespace(prediction)
        flat = known.reshape(-1).astype("int64") * classes + found.reshape(-1)
        # CuPy's bincount waits for the device to know its length; uint64 is an integer that devices add up.
        matrix = xp.zeros(classes * classes, "uint64" if weights is None else "float64")
        given = 1 if weights is None else xp.broadcast_to(weights, known.shape).reshape(-1).astype(matrix.dtype)
        xp.add.at(matrix, flat, given)
        return (matrix.reshape(classes, classes).astype("int64" if weights is None else "float64", copy=False),)

    def of(self, *sums):
        return numpy.asarray(sums[0])


class _FromConfusion(Confusion):
    """A number for every class, and the mean of those that occur ("macro"), or the number of class 1 ("binary"); "auto" is
    binary for two classes."""

    sums = ("matrix",)

    def __init__(self, average: str = "auto", threshold: float = 0.0):
        if average not in ("auto", "macro", "micro", "binary"):
            raise ValueError(f"average is {average!r}; expected 'auto', 'macro', 'micro' or 'binary'")
        super().__init__(None, threshold)
        self.average = average

    def of(self, *sums):
        matrix = numpy.asarray(sums[0], "float64")
        if not matrix.any():
            return float("nan")
        hits, real, claimed = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        average = self.average
        if average == "auto":
            average = "binary" if len(matrix) == 2 else "macro"
        if average == "binary":
            return self.ratio(hits[1], real[1], claimed[1])
        if average == "micro":
            return self.ratio(hits.sum(), real.sum(), claimed.sum())
        present = [number for number in range(len(matrix)) if real[number] or claimed[number]]
        return float(numpy.mean([self.ratio(hits[n], real[n], claimed[n]) for n in present]))

    @staticmethod
    def ratio(hits, real, claimed) -> float:
        raise NotImplementedError


class Precision(_FromConfusion):
    """Of those called a class, the fraction that is of it; 0 where none is called so."""

    name = "precision"

    @staticmethod
    def ratio(hits, real, claimed):
        return float(hits / claimed) if claimed else 0.0


class Recall(_FromConfusion):
    """Of those of a class, the fraction that is called so; 0 where there is none."""

    name = "recall"

    @staticmethod
    def ratio(hits, real, claimed):
        return float(hits / real) if real else 0.0


class F1(_FromConfusion):
    """The harmonic mean of precision and recall."""

    name = "f1"

    @staticmethod
    def ratio(hits, real, claimed):
        return float(2 * hits / (real + claimed)) if real + claimed else 0.0


class AUC(Metric):
    """The probability that a sample of class 1 has a higher score than one of class 0, ties counted half: the area under
    the ROC curve. Two scores a sample are taken as their difference. All scores are kept."""

    name = "auc"
    sums = ("scores", "classes", "weights")

    def start(self):
        self._kept: list[tuple] = []

    def update(self, prediction, target, weights=None):
        if prediction.ndim > 1 and prediction.shape[-1] == 2:
            known = target.argmax(axis=-1) if target.shape == prediction.shape else target
            scores = prediction[..., 1] - prediction[..., 0]
        elif prediction.ndim > 1 and prediction.shape[-1] > 2:
            raise ValueError(f"auc: prediction has {prediction.shape[-1]} scores a sample; expected 1 or 2")
        else:
            scores, known = prediction.reshape(-1).copy(), target.reshape(-1).copy()
        self._kept.append((scores, known.copy(), weights))

    def check(self, output_shape):
        if output_shape and output_shape[-1] > 2:
            raise ValueError(f"auc: the network gives {output_shape[-1]} scores a sample; expected 1 or 2")

    def value(self):
        if not self._kept:
            return float("nan")
        scores, known, weights = (self._joined(place) for place in range(3))
        positive = known > 0.5
        weights = numpy.ones(len(scores)) if weights is None else weights.astype("float64")
        order = numpy.argsort(scores, kind="stable")
        scores, positive, weights = scores[order], positive[order], weights[order]
        group = numpy.cumsum(numpy.concatenate([[0], scores[1:] != scores[:-1]]))
        high, low = (numpy.bincount(group, weights * mask, minlength=group[-1] + 1) for mask in (positive, ~positive))
        pairs = high.sum() * low.sum()
        below = numpy.cumsum(low) - low
        return float((high * (below + low / 2)).sum() / pairs) if pairs else float("nan")

    def _joined(self, place):
        parts = [kept[place] for kept in self._kept]
        return None if parts[0] is None else numpy.concatenate([numpy_of(part) for part in parts])

    def state(self) -> dict[str, Any]:
        if not self._kept:
            return {"scores": None, "classes": None, "weights": None}
        return dict(zip(self.sums, (self._joined(place) for place in range(3))))

    def load_state(self, state):
        self._kept = [] if state["scores"] is None else [tuple(state[name] for name in self.sums)]
