# SPDX-License-Identifier: BSD-3-Clause
"""The means of an epoch so far: of the loss, its terms and the metrics. Kept where the arrays are until they are asked for."""

from __future__ import annotations

from typing import Any

import numpy

from ..metrics.base import Metric, to_host


class Means:
    """Sums over batches, each counted with its samples."""

    def __init__(self, metrics: list[Metric], xp):
        self.metrics, self.xp, self.host = metrics, xp, xp is numpy
        self.start()

    def start(self) -> None:
        self.samples = 0
        self.sums: dict[str, Any] = {"loss": 0.0}
        for metric in self.metrics:
            metric.start()

    def add(self, loss, terms, samples: int) -> None:
        self.samples += samples
        self.sums["loss"] += (float(loss) if self.host else loss.astype("float64")) * samples
        for name, value in terms.items():
            self.sums[name] = (
                self.sums.get(name, 0.0) + (float(value) if self.host else value.astype("float64")) * samples
            )

    def values(self) -> dict[str, Any]:
        """Numbers, and arrays of metrics that are some."""
        samples = self.samples or float("nan")
        found: dict[str, Any] = {name: float(to_host(total)) / samples for name, total in self.sums.items()}
        for metric in self.metrics:
            value = metric.value()
            found[metric.label] = value if isinstance(value, numpy.ndarray) else float(value)
        return found

    def state(self) -> dict[str, Any]:
        return {
            "samples": self.samples,
            "sums": {name: float(to_host(total)) for name, total in self.sums.items()},
            "metrics": {metric.label: metric.state() for metric in self.metrics},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.samples, self.sums = int(state["samples"]), dict(state["sums"])
        for metric in self.metrics:
            given = state["metrics"].get(metric.label)
            if given is not None:
                metric.load_state({key: self._placed(value) for key, value in given.items()})

    def _placed(self, value):
        """Where the batches are: a checkpoint holds arrays of the host."""
        return self.xp.asarray(value) if isinstance(value, numpy.ndarray) else value
