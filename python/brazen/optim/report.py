# SPDX-License-Identifier: BSD-3-Clause
"""What one step measured."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
    report_norms, `groups`: a Norms for each parameter group."""

    __slots__ = ("_kinds", "_norms", "grad_norm", "skipped")

    def __init__(self, skipped: bool, grad_norm: float, norms: list, kinds: list[int]):
        self.skipped = skipped
        self.grad_norm = None if grad_norm != grad_norm and not norms and not skipped else grad_norm
        self._norms, self._kinds = norms, kinds

    def __repr__(self):
        return f"Report(skipped={self.skipped}, grad_norm={self.grad_norm})"

    @property
    def groups(self) -> list[Norms]:
        """Measured in one pass, only with report_norms."""
        if not self._norms:
            raise ValueError("no norms were measured; make the optimizer with report_norms=True")
        made = []
        for number in range(max(self._kinds) + 1):
            # A group that `exclude` divides is measured in parts.
            parts = [norms for norms, kind in zip(self._norms, self._kinds) if kind == number]
            made.append(Norms(*(math.hypot(*values) for values in zip(*parts))))
        return made
