# SPDX-License-Identifier: BSD-3-Clause
"""The factor that keeps 16-bit gradients away from underflow: static, or kept up by what overflows. No array."""

from __future__ import annotations

import math
from typing import Any


class LossScale:
    """Multiply the loss by `value`, and pass this as `scale=` to a step, which divides by it.

    A dynamic one makes the step skip gradients with an infinity or NaN, then shrinks by `backoff`; after `interval` steps
    without one it grows by `growth`. A static one never changes, and skips nothing.

    >>> scale = LossScale(1024.0, interval=2)
    >>> scale.update(skipped=True); scale.value
    512.0
    >>> scale.update(skipped=False); scale.update(skipped=False); scale.value
    1024.0
    """

    def __init__(
        self,
        value: float = 65536.0,
        *,
        dynamic: bool = True,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        largest: float = 2.0**24,
        smallest: float = 1.0,
    ):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"value is {value!r}; expected a positive number")
        if not (growth >= 1 and 0 < backoff <= 1 and interval >= 1):
            raise ValueError(
                f"growth {growth!r}, backoff {backoff!r}, interval {interval!r}: expected at least 1, in (0, 1], at least 1"
            )
        self._value, self.dynamic, self.growth, self.backoff = float(value), dynamic, growth, backoff
        self._pending: list[Any] = []
        self.interval, self.largest, self.smallest = interval, largest, smallest
        self.good_steps = 0

    @property
    def value(self) -> float:
        """The factor now. After a step on a GPU, asking for it waits for that step."""
        pending, self._pending = self._pending, []
        for report in pending:
            self.update(report.skipped)
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        self._pending, self._value = [], float(value)

    def watch(self, report: Any) -> None:
        """As `update`, once the value is asked for."""
        if self.dynamic:
            self._pending.append(report)

    def __repr__(self):
        return f"LossScale({self.value}, dynamic={self.dynamic})"

    def __float__(self):
        return self.value

    def __mul__(self, loss):
        return loss * self.value

    __rmul__ = __mul__

    def update(self, skipped: bool) -> None:
        """Takes note of one step; `Optimizer.step` does it."""
        if not self.dynamic:
            return
        if skipped:
            self._value, self.good_steps = max(self._value * self.backoff, self.smallest), 0
            return
        self.good_steps += 1
        if self.good_steps == self.interval:
            self._value, self.good_steps = min(self._value * self.growth, self.largest), 0

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value, self.good_steps = float(state["value"]), int(state["good_steps"])
