# SPDX-License-Identifier: BSD-3-Clause
"""What one step measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from . import parameters


@dataclass(frozen=True)
class Norms:
    """Of one group: the gradient unscaled and before clipping, new minus old weights, the weights before the step."""

    grad: float
    update: float
    weight: float

    @property
    def ratio(self) -> float:
        """|update| / |weight|; around 1e-3 is usual."""
        return self.update / self.weight if self.weight else math.nan


class Report:
    """`skipped`, `grad_norm` (of all gradients, unscaled and before clipping; None where nothing asked for it) and, with
    report_norms, `groups`: a Norms for each parameter group.

    Of a step on a GPU the numbers stay there until one of them is asked for; that waits for the step.
    """

    __slots__ = ("_kinds", "_measured", "_norms_wanted", "_values")

    def __init__(self, values: Any, kinds: list[int], measured: bool, norms_wanted: bool):
        self._values, self._kinds, self._measured, self._norms_wanted = values, kinds, measured, norms_wanted

    def __repr__(self):
        return f"Report(skipped={self.skipped}, grad_norm={self.grad_norm})"

    def _read(self) -> tuple:
        """(norm, skipped, norms of the core's groups)."""
        if not isinstance(self._values, tuple):
            norm, skipped, *rest = parameters.to_host(self._values).tolist()
            self._values = norm, skipped != 0, [tuple(rest[i : i + 3]) for i in range(0, len(rest), 3)]
        return self._values

    @property
    def skipped(self) -> bool:
        return self._read()[1]

    @property
    def grad_norm(self) -> float | None:
        return self._read()[0] if self._measured else None

    @property
    def groups(self) -> list[Norms]:
        """Measured in one pass, only with report_norms."""
        if not self._norms_wanted:
            raise ValueError(
                "no norms were measured; make the optimizer with report_norms=True, or set(report_norms=True)"
            )
        norms = self._read()[2]
        made = []
        for number in range(max(self._kinds) + 1):
            # A group that `exclude` divides is measured in parts.
            parts = [values for values, kind in zip(norms, self._kinds) if kind == number]
            made.append(Norms(*(math.hypot(*values) for values in zip(*parts))))
        return made
