# SPDX-License-Identifier: BSD-3-Clause
"""The order in which samples are seen: a function of the seed and the epoch, and so the same on every machine."""

from __future__ import annotations

from .._noise import SHUFFLE
from .._random import fill, stable_order


def order(count: int, seed: int, epoch: int, site: int = 0, like=None):
    """The numbers 0 … count - 1 in the order of that epoch.

    >>> sorted(order(4, seed=0, epoch=3).tolist()), order(100, 0, 1).tolist() == order(100, 0, 2).tolist()
    ([0, 1, 2, 3], False)
    """
    words = fill("words", count, "int64", like, None, "order", seed, epoch, site, 0, SHUFFLE)
    return stable_order(words)
