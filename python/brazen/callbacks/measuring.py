# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that measure: how far each step moves each array, and where the time goes."""

from __future__ import annotations

import time
from typing import Any

from .. import _matmul
from .._random import namespace
from .base import Callback


class UpdateRatio(Callback):
    """|update| / |weight| of every array of at least two axes, every `every` steps: `ratios[name]`, at `steps`.

    `statistics[name]` holds (min, max, std) of the values and of the updates; `flagged` lists (step, name, ratio) outside
    `low` … `high`, about 1e-3 being usual. The mean over arrays and steps joins the logs of the epoch as update_ratio.
    """

    remembers = {"steps": [], "ratios": {}, "statistics": {}, "flagged": [], "epoch_sum": 0.0, "epoch_count": 0}
    steps: list[int]
    ratios: dict[str, list[float]]
    statistics: dict[str, list]
    flagged: list[list]
    epoch_sum: float
    epoch_count: int

    def __init__(self, every: int = 1, low: float = 1e-3, high: float = 1e-2):
        if every < 1 or not 0 < low < high:
            raise ValueError(f"every is {every!r}, low {low!r}, high {high!r}; expected every >= 1, 0 < low < high")
        self.every, self.low, self.high = every, low, high
        self._before: dict[str, Any] | None = None

    def on_train_begin(self, logs=None):
        self.forget()

    def _arrays(self):
        return {name: array for name, array in self.model.params.items() if array.ndim > 1}

    def on_before_optimizer_step(self, step, logs=None):
        if step % self.every == 0:
            self._before = {name: array.copy() for name, array in self._arrays().items()}

    def on_after_optimizer_step(self, step, logs=None):
        if self._before is None:
            return
        before, self._before = self._before, None
        self.steps.append(step)
        for name, array in self._arrays().items():
            update = array - before[name]
            ratio = ratio_of(update, before[name])
            self.ratios.setdefault(name, []).append(ratio)
            self.statistics.setdefault(name, []).append([*spread(array), *spread(update)])
            if ratio == ratio:
                self.epoch_sum, self.epoch_count = self.epoch_sum + ratio, self.epoch_count + 1
            if not self.low <= ratio <= self.high:
                self.flagged.append([step, name, ratio])

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and self.epoch_count:
            logs["update_ratio"] = self.epoch_sum / self.epoch_count
        self.epoch_sum, self.epoch_count = 0.0, 0


def ratio_of(update, weight) -> float:
    """|update| / |weight|, Euclidean.

    >>> import numpy as np
    >>> ratio_of(np.full(4, 0.0002), np.full(4, 0.02)).__round__(12)
    0.01
    """
    xp = namespace(weight)
    size = float(xp.linalg.norm(weight.reshape(-1)))
    return float(xp.linalg.norm(update.reshape(-1))) / size if size else float("nan")


def spread(array) -> tuple[float, float, float]:
    """(min, max, std)."""
    return float(array.min()), float(array.max()), float(array.std(dtype="float64"))


class LiveBench(Callback):
    """Samples a second, and the share of time in data, operations, matrix products (BLAS) and callbacks.

    `report`, after every epoch; printed with verbose=1. Times are the host's: on a device, those of launching.
    """

    def __init__(self, verbose: int = 0):
        self.verbose, self.report = verbose, {}

    def on_train_begin(self, logs=None):
        self._callbacks = 0.0
        lists = self.model._fit.callbacks.hear
        self._plain = {name: list(hooks) for name, hooks in lists.items()}
        for hooks in lists.values():
            hooks[:] = [hook if getattr(hook, "__self__", None) is self else self._timed(hook) for hook in hooks]
        self._watched, _matmul.watch = _matmul.watch, self._product

    def on_train_end(self, logs=None):
        _matmul.watch = self._watched
        for name, hooks in self.model._fit.callbacks.hear.items():
            hooks[:] = self._plain[name]

    def _timed(self, hook):
        clock = time.perf_counter

        def timed(*arguments):
            start = clock()
            try:
                hook(*arguments)
            finally:
                self._callbacks += clock() - start

        return timed

    def _product(self, seconds):
        self._blas += seconds

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()
        self._callbacks = self._blas = self._steps = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self._batch, self._heard = time.perf_counter(), self._callbacks

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        self._steps += now - self._batch - (self._callbacks - self._heard)
        self._end = now
        self._loop = now - self._start, self._callbacks, self._blas
        self._samples = self.model._fit.means.samples

    def on_epoch_end(self, epoch, logs=None):
        whole, callbacks, blas = self._loop
        shares = {
            "data": max(0.0, whole - self._steps - callbacks),
            "ops": max(0.0, self._steps - blas),
            "blas": blas,
            "callbacks": callbacks,
        }
        self.report = {"samples_per_second": self._samples / whole}
        self.report |= {name: seconds / whole for name, seconds in shares.items()}
        if self.verbose:
            share = ", ".join(f"{name} {self.report[name]:.0%}" for name in shares)
            print(f"epoch {epoch + 1}: {self.report['samples_per_second']:,.0f} samples/s; {share}")

    _blas = 0.0
    report: dict[str, float]
