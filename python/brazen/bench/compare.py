# SPDX-License-Identifier: BSD-3-Clause
"""Whether a recorded ratio became worse by more than a tenth; a suspicious one is measured again before it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .bars import label
from .results import key

# Metrics that are ratios of interleaved times, and whether more is better. Others depend on the machine's mood.
RATIOS = {
    "copy_fraction": True,
    "torch_preallocated": True,
    "torch_allocating": True,
    "torch": True,
    "jax": True,
    "keras": True,
    "reference": True,
    "of_roof": False,
    "of_float32": False,
    "of_numpy_maximum": False,
}


@dataclass(frozen=True)
class Drop:
    """A ratio that became worse: `kept` is the part of it that is left."""

    row: dict[str, Any]
    metric: str
    recorded: float
    measured: float
    kept: float

    def __str__(self) -> str:
        where = f"{label(self.row)} ({self.row['kind']})"
        return f"{where}: {self.metric} was {self.recorded:.3f}, is {self.measured:.3f}: {100 * (1 - self.kept):.0f} % worse"


def drops(recorded: dict[str, Any], measured: dict[str, Any], allowed: float = 0.10) -> list[Drop]:
    """The ratios both files hold that fell by more than `allowed`, the worst first."""
    before = {key(row): row for row in recorded["rows"]}
    found = []
    for row in measured["rows"]:
        known = before.get(key(row), {"metrics": {}})["metrics"]
        for metric, more_is_better in RATIOS.items():
            if metric not in known or metric not in row["metrics"]:
                continue
            old, new = known[metric], row["metrics"][metric]
            kept = (new / old if more_is_better else old / new) if old > 0 and new > 0 else 0.0
            if kept < 1 - allowed:
                found.append(Drop(row, metric, old, new, kept))
    return sorted(found, key=lambda drop: drop.kept)


def confirmed(
    recorded: dict[str, Any], measured: dict[str, Any], again: Callable[[Any], dict[str, Any]], attempts: int = 3
) -> list[Drop]:
    """The drops that stay in every one of `attempts` further measurements of their rows; `again` gives a fresh row."""
    suspects = drops(recorded, measured)
    for _ in range(attempts):
        if not suspects:
            break
        named = {(key(drop.row), drop.metric) for drop in suspects}
        fresh = [again(which) for which in dict.fromkeys(key(drop.row) for drop in suspects)]
        suspects = [drop for drop in drops(recorded, {"rows": fresh}) if (key(drop.row), drop.metric) in named]
    return suspects
