# SPDX-License-Identifier: BSD-3-Clause
"""What callbacks that watch a value share: in which direction it improves, and by how much."""

from __future__ import annotations

import math
import warnings

# Parts of names of which more is better, beside the metrics that say so themselves.
_HIGHER = ("acc", "auc", "precision", "recall", "f1", "f1_score", "r2", "top_", "fmeasure")


def direction(monitor: str, mode: str = "auto") -> int:
    """1 where more is better, -1 where less is.

    >>> direction("val_loss"), direction("val_accuracy"), direction("anything", "max")
    (-1, 1, 1)
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode is {mode!r}; expected 'auto', 'min' or 'max'")
    if mode != "auto":
        return 1 if mode == "max" else -1
    from ..metrics import registry

    name = monitor.removeprefix("val_")
    if name in registry:
        return 1 if registry[name].higher_is_better else -1
    return 1 if name.startswith(_HIGHER) else -1


def improves(value: float, best: float | None, sign: int, min_delta: float = 0.0) -> bool:
    """Whether `value` is better than `best` by more than min_delta; NaN never is."""
    if value != value:
        return False
    return best is None or sign * value - min_delta > sign * best


def watched(callback, monitor: str, logs) -> float | None:
    """The value, or None, warned of once, where it is not there."""
    value = (logs or {}).get(monitor)
    if value is None:
        warnings.warn(
            f"{type(callback).__name__} watches {monitor!r}, which is not there; there are {', '.join(logs or {})}",
            stacklevel=3,
        )
        return None
    return float(value)


def worst(sign: int) -> float:
    return -math.inf * sign
