# SPDX-License-Identifier: BSD-3-Clause
"""The one schedule that listens: reduce_on_plateau lowers its value when a metric stops improving."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .base import UNITS, require, schedules


class reduce_on_plateau:
    """Multiplies lr by factor once the metric given to `step` has not improved for `patience` counts.

    Better means by more than threshold |best|, below best for mode="min", above for "max" (PyTorch leaves out the bars, and takes
    a negative metric that stands still for an improvement); with threshold_mode="abs", or min_delta, Keras' name for it, by more
    than threshold. For `cooldown` counts after a reduction nothing is counted.
    form="torch" reduces at the first count beyond patience, form="keras" at the count that reaches it. lr stays at least min_lr;
    a reduction of no more than eps is left out. NaN is no improvement.

    >>> plateau = reduce_on_plateau(0.1, factor=0.2, patience=1, min_lr=0.001, form="keras")
    >>> [round(plateau.step(loss), 6) for loss in (1.0, 1.0, 1.0, 1.0, 1.0)]
    [0.1, 0.02, 0.004, 0.001, 0.001]
    """

    name = "reduce_on_plateau"

    def __init__(
        self,
        lr: float,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        *,
        min_delta: float | None = None,
        form: str = "torch",
        unit: str = "epoch",
    ):
        if min_delta is not None:
            threshold, threshold_mode = min_delta, "abs"
        require(mode in ("min", "max"), "mode", mode, "'min' or 'max'")
        require(threshold_mode in ("rel", "abs"), "threshold_mode", threshold_mode, "'rel' or 'abs'")
        require(form in ("torch", "keras"), "form", form, "'torch' or 'keras'")
        require(unit in UNITS, "unit", unit, "'step' or 'epoch'")
        require(0 <= factor < 1, "factor", factor, "at least 0, below 1")
        require(patience >= 0 and cooldown >= 0, "patience, cooldown", (patience, cooldown), "0 or more")
        if lr <= min_lr:
            warnings.warn(
                f"reduce_on_plateau: lr {lr!r} is not above min_lr {min_lr!r}: it will never change", stacklevel=2
            )
        self.arguments: dict[str, Any] = {
            "lr": lr,
            "mode": mode,
            "factor": factor,
            "patience": patience,
            "threshold": threshold,
            "threshold_mode": threshold_mode,
            "cooldown": cooldown,
            "min_lr": min_lr,
            "eps": eps,
            "form": form,
        }
        self.unit = unit
        self.lr = float(lr)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad = 0  # counts without an improvement
        self.waiting = 0  # counts of the cooldown still to come

    def __call__(self, t: float | None = None) -> float:
        """The value now, whatever t."""
        return self.lr

    def _improves(self, metric: float) -> bool:
        up, threshold = self.arguments["mode"] == "max", self.arguments["threshold"]
        if self.arguments["threshold_mode"] == "rel":
            # An infinite first best times 0 would be NaN.
            farther = up == (self.best > 0)
            limit = self.best if math.isinf(self.best) else self.best * (1 + threshold if farther else 1 - threshold)
        else:
            limit = self.best + threshold if up else self.best - threshold
        return metric > limit if up else metric < limit

    def step(self, metric: float) -> float:
        """Takes the metric of one more count and returns the value from here on."""
        metric, keras = float(metric), self.arguments["form"] == "keras"
        if keras and self.waiting:
            self.waiting -= 1
            self.bad = 0
        if self._improves(metric):
            self.best, self.bad = metric, 0
        elif not (keras and self.waiting):
            self.bad += 1
        if not keras and self.waiting:
            self.waiting -= 1
            self.bad = 0
        if self.bad > self.arguments["patience"] - keras and self.bad:
            lower = max(self.lr * self.arguments["factor"], self.arguments["min_lr"])
            if self.lr - lower > self.arguments["eps"]:
                self.lr = lower
            self.waiting, self.bad = self.arguments["cooldown"], 0
        return self.lr

    def state_dict(self) -> dict[str, float]:
        """What `step` has changed so far, as plain numbers."""
        return {"lr": self.lr, "best": self.best, "bad": self.bad, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continues where `state_dict` was taken."""
        require(set(state) == set(self.state_dict()), "state", sorted(state), f"the names {sorted(self.state_dict())}")
        self.lr, self.best = float(state["lr"]), float(state["best"])
        self.bad, self.waiting = int(state["bad"]), int(state["waiting"])

    def config(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds one that has heard nothing yet."""
        return {"name": self.name, **self.arguments, "unit": self.unit}

    def __repr__(self):
        shown = [f"{key}={value!r}" for key, value in self.arguments.items()]
        return f"{self.name}({', '.join([*shown, f'unit={self.unit!r}'])})"


schedules[reduce_on_plateau.name] = reduce_on_plateau
