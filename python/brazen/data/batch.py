# SPDX-License-Identifier: BSD-3-Clause
"""One batch, and what people give for one. No order, no thread."""

from __future__ import annotations

from typing import Any, NamedTuple


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
        return Batch(*given)
    if not hasattr(given, "shape"):
        raise TypeError(f"a batch is {type(given).__name__}; expected an array x, (x, y) or (x, y, weights)")
    return Batch(given)
