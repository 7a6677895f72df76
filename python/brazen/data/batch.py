# SPDX-License-Identifier: BSD-3-Clause
"""One batch, and what people give for one. No order, no thread."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy

from .._random import namespace


class Batch(NamedTuple):
    """x, y and weights, one for each sample or None; `offset` samples of the whole batch stand before this part of it."""

    x: Any
    y: Any = None
    weights: Any = None
    offset: int = 0


def as_batch(given) -> Batch:
    """A Batch of a Batch, a tuple (x,), (x, y) or (x, y, weights), or an array x."""
    if isinstance(given, Batch):
        return given
    if isinstance(given, tuple | list):
        if not 1 <= len(given) <= 3:
            raise ValueError(f"a batch has {len(given)} parts; expected x, (x, y) or (x, y, weights)")
        return Batch(*map(_array, given))
    if not hasattr(given, "shape"):
        raise TypeError(f"a batch is {type(given).__name__}; expected an array x, (x, y) or (x, y, weights)")
    return Batch(_array(given))


def _array(value):
    """As it is, or NumPy's where it is another library's: a DataLoader gives PyTorch's tensors."""
    if type(value) is numpy.ndarray or not hasattr(value, "__dlpack__") or isinstance(value, namespace(value).ndarray):
        return value
    return numpy.asarray(value)
