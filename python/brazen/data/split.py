# SPDX-License-Identifier: BSD-3-Clause
"""Dividing samples into training, validation and test sets, and into folds: by indices, seeded, by class where asked."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy

from .order import order

# Orders of splits and of folds stand apart from those of epochs, which draw at site 0.
_SPLIT, _FOLDS = 1, 2


class Split(NamedTuple):
    """Indices of three sets that have nothing in common and together are everything."""

    train: numpy.ndarray
    val: numpy.ndarray
    test: numpy.ndarray


def split(samples, *, val: float = 0.15, test: float = 0.15, seed: int = 0, stratify=None) -> Split:
    """Divides samples, given as a count or an array of them, at random: hyper-parameters are chosen on the validation set,
    and the test set is used once, at the very end.

    `val` and `test` are fractions, or counts where they are whole numbers. `stratify` holds the classes: each set then has
    its share of every one, up to a sample.

    >>> train, val, test = split(10, val=2, test=0.3)
    >>> len(train), len(val), len(test), sorted([*train, *val, *test]) == list(range(10))
    (5, 2, 3, True)
    """
    count = _count(samples)
    sizes = [_part(name, value, count) for name, value in (("val", val), ("test", test))]
    if sum(sizes) >= count:
        raise ValueError(f"val and test take {sum(sizes)} of {count} samples; expected some to be left for training")
    drawn = order(count, seed, 0, _SPLIT)
    if stratify is None:
        first, second = sizes[1], sizes[1] + sizes[0]
        return Split(drawn[second:], drawn[first:second], drawn[:first])
    drawn = _interleaved(drawn, _classes(stratify, count))
    # The samples of each class lie evenly along `drawn`: any stretch of it has the share of each.
    first, second = sizes[1], sizes[1] + sizes[0]
    parts = drawn[second:], drawn[first:second], drawn[:first]
    return Split(*(part[order(len(part), seed, number + 1, _SPLIT)] for number, part in enumerate(parts)))


def k_fold(samples, folds: int = 5, *, seed: int = 0, stratify=None) -> Iterator[tuple[numpy.ndarray, numpy.ndarray]]:
    """Yields (train, val) indices; each sample is in one validation set. Keep the test set out of `samples`.

    >>> [len(val) for train, val in k_fold(7, 3)]
    [3, 2, 2]
    """
    count = _count(samples)
    if not 2 <= folds <= count:
        raise ValueError(f"folds is {folds}; expected 2 to {count}, the number of samples")
    drawn = order(count, seed, 0, _FOLDS)
    if stratify is not None:
        # Class after class, dealt out to the folds one by one.
        drawn = drawn[numpy.argsort(_classes(stratify, count)[drawn], kind="stable")]
        for number in range(folds):
            chosen = numpy.arange(count) % folds == number
            yield drawn[~chosen], drawn[chosen]
        return
    places = numpy.cumsum([0] + [(count + folds - 1 - number) // folds for number in range(folds)])
    for start, stop in zip(places, places[1:]):
        yield numpy.concatenate([drawn[:start], drawn[stop:]]), drawn[start:stop]


class CrossValidation(NamedTuple):
    """The score of each fold, their mean and standard deviation."""

    mean: float
    std: float
    scores: list[float]


def cross_validate(
    score: Callable[[Any, Any], float],
    samples,
    folds: int | None = 5,
    *,
    seed: int = 0,
    stratify=None,
    val: float = 0.2,
) -> CrossValidation:
    """The mean of score(train indices, validation indices) over the folds; folds=None scores one validation set, which is
    enough for large networks.

    >>> cross_validate(lambda train, val: len(val), 10, folds=5).scores
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    if folds is None:
        parts = split(samples, val=val, test=0, seed=seed, stratify=stratify)
        pairs = [(parts.train, parts.val)]
    else:
        pairs = list(k_fold(samples, folds, seed=seed, stratify=stratify))
    scores = [float(score(train, held)) for train, held in pairs]
    return CrossValidation(statistics.fmean(scores), statistics.pstdev(scores), scores)


def _count(samples) -> int:
    count = len(samples) if hasattr(samples, "__len__") else samples
    if isinstance(count, bool) or not hasattr(count, "__index__") or count < 2:
        raise ValueError(f"samples is {samples!r}; expected an array or a count of at least 2")
    return int(count)


def _part(name: str, value, count: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"{name} is {value}; expected a fraction below 1 or a count")
        return value
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; expected a fraction below 1 or a count")
    return math.floor(value * count + 0.5)


def _classes(stratify, count: int) -> numpy.ndarray:
    classes = numpy.asarray(stratify)
    if classes.shape != (count,):
        raise ValueError(f"stratify has shape {classes.shape}; expected ({count},), a class for each sample")
    return numpy.unique(classes, return_inverse=True)[1]


def _interleaved(drawn: numpy.ndarray, classes: numpy.ndarray) -> numpy.ndarray:
    """The same samples, those of each class at even distances."""
    places = numpy.empty(len(drawn))
    of_drawn = classes[drawn]
    for number in range(of_drawn.max() + 1):
        mine = numpy.flatnonzero(of_drawn == number)
        places[mine] = (numpy.arange(len(mine)) + 0.5) / len(mine)
    return drawn[numpy.argsort(places, kind="stable")]
