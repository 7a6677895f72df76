# SPDX-License-Identifier: BSD-3-Clause
"""The factor that keeps 16-bit gradients away from underflow: static, or kept up by what overflows. No array."""

from __future__ import annotations

import math


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
        self.value, self.dynamic, self.growth, self.backoff = float(value), dynamic, growth, backoff
        self.interval, self.largest, self.smallest = interval, largest, smallest
        self.good_steps = 0

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
            self.value, self.good_steps = max(self.value * self.backoff, self.smallest), 0
            return
        self.good_steps += 1
        if self.good_steps == self.interval:
            self.value, self.good_steps = min(self.value * self.growth, self.largest), 0

    def state_dict(self) -> dict[str, float]:
        return {"value": self.value, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.value, self.good_steps = float(state["value"]), int(state["good_steps"])
