# SPDX-License-Identifier: BSD-3-Clause
"""One row per loss: how to draw its arrays, and its reference. The tests of the losses iterate it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brazen as bz
import numpy as np
from brazen import reference
from tolerance import DTYPES, compute_type, tolerance


def numbers(rng, shape, dtype, scale=3.0):
    return (rng.standard_normal(shape) * scale).astype(DTYPES[dtype])


def labels(rng, shape, dtype="float32", kind=np.int64):
    return np.asarray(rng.integers(0, shape[-1], shape[:-1])).astype(kind)


def probabilities(rng, shape, dtype):
    draw = rng.random(shape) + 0.01
    return (draw / draw.sum(axis=-1, keepdims=True)).astype(DTYPES[dtype])


@dataclass(frozen=True)
class Loss:
    """`targets` draws the second argument; `options` are sets of keywords, arrays among them drawn for (rng, shape, dtype)."""

    name: str
    targets: Callable
    options: tuple[dict[str, Any], ...] = ({},)
    inputs: Callable = numbers
    label: str = ""
    elementwise: bool = False

    @property
    def id(self):
        return self.label or self.name

    def draw(self, shape, dtype, seed=0, options=None):
        """(x, targets, keywords)"""
        rng = np.random.default_rng(seed)
        keywords = {
            key: value(rng, shape, dtype) if callable(value) else value
            for key, value in (self.options[-1] if options is None else options).items()
        }
        return self.inputs(rng, shape, dtype), self.targets(rng, shape, dtype), keywords

    def call(self, *arrays, **keywords):
        return getattr(bz, self.name)(*arrays, **keywords)

    def truth(self, x, targets, **keywords):
        """The reference in float64, longdouble for float64 arrays."""
        wide = np.longdouble if compute_type(x.dtype) == "float64" else np.float64

        def widen(array):
            return array.astype(wide) if isinstance(array, np.ndarray) and array.dtype.kind not in "iu" else array

        keywords = {key: widen(value) for key, value in keywords.items()}
        return getattr(reference, self.name)(widen(x), widen(targets), **keywords)


def _class_weights(rng, shape, dtype):
    return (rng.random(shape[-1]) + 0.25).astype(DTYPES[dtype])


def _some_ignored(rng, shape, dtype):
    drawn = labels(rng, shape)
    return np.where(rng.random(drawn.shape) < 0.3, -100, drawn)


_SOFTENED = (
    {},
    {"label_smoothing": 0.1},
    {"weight": _class_weights},
    {"weight": _class_weights, "label_smoothing": 0.1},
)

LOSSES = (
    Loss("softmax_cross_entropy", labels, _SOFTENED),
    Loss("softmax_cross_entropy", _some_ignored, _SOFTENED, label="softmax_cross_entropy.ignored"),
    Loss("softmax_cross_entropy", probabilities, _SOFTENED, label="softmax_cross_entropy.soft"),
)


def _either(rng, shape, dtype):
    return rng.integers(0, 2, shape).astype(DTYPES[dtype])


def _positive_weights(rng, shape, dtype):
    return (rng.random(shape[-1:]) * 3 + 0.25).astype(DTYPES[dtype])


def _log_probabilities(rng, shape, dtype):
    return np.log(rng.random(shape) + 0.01).astype(DTYPES[dtype])


def _some_zero(rng, shape, dtype):
    drawn = probabilities(rng, shape, dtype)
    drawn[rng.random(shape) < 0.2] = 0
    return drawn


LOSSES += (
    Loss("multiclass_hinge", labels, ({}, {"margin": 0.25})),
    Loss("kl_divergence", _some_zero, inputs=_log_probabilities),
    Loss("kl_divergence", _log_probabilities, ({"log_target": True},), _log_probabilities, "kl_divergence.log"),
    Loss("sigmoid_cross_entropy", _either, ({}, {"pos_weight": _positive_weights}), elementwise=True),
    Loss("sigmoid_cross_entropy", probabilities, label="sigmoid_cross_entropy.soft", elementwise=True),
    *(Loss(name, numbers, elementwise=True) for name in ("mse", "sum_of_squares", "half_squared", "mae")),
    Loss("huber", numbers, ({}, {"delta": 2.5}), elementwise=True),
)

REDUCTIONS = ("mean", "sum", "none")


def each():
    """Parameters for pytest: an item per loss and dtype."""
    import pytest

    return [pytest.param(loss, dtype, id=f"{loss.id}-{dtype}") for loss in LOSSES for dtype in DTYPES]


def allowed(dtype, scale, terms=1):
    """The largest error of a sum of `terms` rounded terms of size `scale`: in the compute type, then in storage.

    Inside a lane 32 terms are added, then five levels of a tree: 40 roundings and a few of the formula's own.
    """
    arithmetic = tolerance(compute_type(dtype)).unit
    return (8 + min(terms, 40)) * arithmetic * scale + tolerance(dtype).unit * scale
