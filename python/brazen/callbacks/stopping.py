# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that end training: when nothing improves, at NaN, at divergence, when time is up."""

from __future__ import annotations

import datetime
import time
from typing import Any

from .. import _core
from .base import Callback
from .monitor import direction, improves, watched


class EarlyStopping(Callback):
    """Stops when the monitored value has not improved by more than min_delta for `patience` epochs.

    monitor: a name, or several, of which none must have improved; mode, min_delta and baseline may then be as many. Epochs
    before start_from_epoch count for nothing. With a baseline, an improvement that does not beat it does not end the wait.
    restore_best_weights brings back, at the end, weights and statistics of the best epoch (of the first monitor): at every
    end of training but a pause. NaN is no improvement.
    """

    remembers = {
        "wait": 0, "best": None, "all_best": [], "best_epoch": 0, "best_weights": None, "stopped_epoch": 0,
    }  # fmt: skip
    wait: int
    best: float | None
    all_best: list
    best_epoch: int
    best_weights: Any
    stopped_epoch: int

    def __init__(
        self,
        monitor="val_loss",
        min_delta=0,
        patience: int = 0,
        verbose: int = 0,
        mode="auto",
        baseline=None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        if not patience >= 0:
            raise ValueError(f"patience is {patience!r}; expected a number of epochs")
        self.monitors = [monitor] if isinstance(monitor, str) else list(monitor)
        self.monitor, self.patience, self.verbose, self.start_from_epoch = monitor, patience, verbose, start_from_epoch
        self.signs = [direction(name, one) for name, one in zip(self.monitors, self._each("mode", mode))]
        self.deltas = [abs(delta) for delta in self._each("min_delta", min_delta)]
        self.baselines = self._each("baseline", baseline)
        self.restore_best_weights = restore_best_weights

    def _each(self, name, given):
        values = list(given) if isinstance(given, list | tuple) else [given] * len(self.monitors)
        if len(values) != len(self.monitors):
            raise ValueError(f"{name} has {len(values)} values; expected one, or {len(self.monitors)} as monitor has")
        return values

    def on_train_begin(self, logs=None):
        self.forget()

    def on_epoch_end(self, epoch, logs=None):
        values = [watched(self, name, logs) for name in self.monitors]
        if epoch < self.start_from_epoch or all(value is None for value in values):
            return
        if not self.all_best:
            self.all_best = [None] * len(values)
        if self.restore_best_weights and self.best_weights is None:
            # Where nothing ever improves, these are the best.
            self._take_weights(epoch)
        self.wait += 1
        settled = improved = False
        for place, value in enumerate(values):
            if value is None or not improves(value, self.all_best[place], self.signs[place], self.deltas[place]):
                continue
            improved = True
            self.all_best[place] = value
            if place == 0:
                self.best, self.best_epoch = value, epoch
                if self.restore_best_weights:
                    self._take_weights(epoch)
            baseline = self.baselines[place]
            settled |= baseline is None or improves(value, baseline, self.signs[place], self.deltas[place])
        if settled:
            self.wait = 0
        if not improved and self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _take_weights(self, epoch):
        self.best_epoch = epoch
        self.best_weights = {name: array.copy() for name, array in self.model.model.state().items()}

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None and not self.model.pause_training:
            if self.verbose > 0:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.model.load_state(self.best_weights)


class TerminateOnNaN(Callback):
    """Stops when the loss of a batch is NaN or infinite. A label out of range that a GPU has met is an error."""

    def __init__(self, raise_error: bool = False):
        self.raise_error = raise_error

    def on_train_batch_end(self, batch, logs=None):
        loss = self.model.batch_loss
        if loss - loss != 0:  # NaN for NaN and infinities
            _core.check_labels()
            message = (
                f"Batch {batch}: the loss is {loss}. A loss of NaN almost always means that the learning rate, "
                f"{self.model.lr:g}, is too high"
            )
            if self.raise_error:
                raise RuntimeError(message)
            print(message)
            self.model.stop_training = True


class DivergenceBreak(Callback):
    """Stops when the loss of a batch is not at most `factor` times that of the first batch; NaN is not."""

    remembers = {"first": None, "stopped_step": None}
    first: float | None
    stopped_step: int | None

    def __init__(self, factor: float = 3.0, verbose: int = 0):
        if not factor > 1:
            raise ValueError(f"factor is {factor!r}; expected more than 1")
        self.factor, self.verbose = factor, verbose

    def on_train_begin(self, logs=None):
        self.forget()

    def on_train_batch_end(self, batch, logs=None):
        loss = self.model.batch_loss
        if self.first is None:
            self.first = loss
        if not loss <= self.factor * abs(self.first):
            self.stopped_step = self.model.steps
            self.model.stop_training = True
            if self.verbose:
                print(
                    f"the loss is {loss:g}, more than {self.factor:g} times the first, {self.first:g}: broke out early"
                )


class TimeBudget(Callback):
    """Pauses training after so many seconds (or a datetime.timedelta) of this run: a resumed run goes on."""

    def __init__(self, seconds):
        self.seconds = seconds.total_seconds() if isinstance(seconds, datetime.timedelta) else float(seconds)
        if not self.seconds > 0:
            raise ValueError(f"seconds is {seconds!r}; expected more than 0")

    def on_train_begin(self, logs=None):
        self._end = time.monotonic() + self.seconds

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() >= self._end:
            self.model.pause_training = True
