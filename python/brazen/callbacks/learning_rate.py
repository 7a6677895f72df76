# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that set the learning rate. As an argument of the optimizer a schedule of brazen.schedules does it, too."""

from __future__ import annotations

import inspect
import warnings

from ..schedules.base import Schedule
from .base import Callback
from .monitor import direction, improves, watched


class ReduceLROnPlateau(Callback):
    """Multiplies the learning rate by `factor` when the monitored value has not improved by more than min_delta for
    `patience` epochs; not below min_lr, and not for `cooldown` epochs after."""

    remembers = {"wait": 0, "best": None, "cooldown_counter": 0}
    wait: int
    best: float | None
    cooldown_counter: int

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        if not 0 <= factor < 1:
            raise ValueError(f"factor is {factor!r}; expected at least 0, below 1")
        self.monitor, self.factor, self.patience, self.verbose = monitor, factor, patience, verbose
        self.sign, self.min_delta, self.cooldown, self.min_lr = (
            direction(monitor, mode),
            abs(min_delta),
            cooldown,
            min_lr,
        )

    def on_train_begin(self, logs=None):
        self.forget()
        if self.model.lr <= self.min_lr:
            warnings.warn(
                f"ReduceLROnPlateau: the learning rate {self.model.lr:g} is not above min_lr {self.min_lr:g}: it will never "
                "change",
                stacklevel=2,
            )

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = self.model.lr
        value = watched(self, self.monitor, logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if improves(value, self.best, self.sign, self.min_delta):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and self.model.lr > self.min_lr:
                self.model.lr = max(self.model.lr * self.factor, self.min_lr)
                self.cooldown_counter, self.wait = self.cooldown, 0
                if self.verbose:
                    print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {self.model.lr}.")


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch to schedule(epoch, current rate), or schedule(epoch): the function may take
    one argument or two."""

    def __init__(self, schedule, verbose: int = 0):
        if not callable(schedule):
            raise TypeError(f"schedule is {schedule!r}; expected a function of the epoch, or of the epoch and the rate")
        self.schedule, self.verbose = schedule, verbose
        self._two = _takes_two(schedule)

    def on_epoch_begin(self, epoch, logs=None):
        rate = self.schedule(epoch, self.model.lr) if self._two else self.schedule(epoch)
        if isinstance(rate, bool | str) or not hasattr(rate, "__float__"):
            raise ValueError(f"schedule gave {rate!r} for epoch {epoch}; expected a number")
        self.model.lr = float(rate)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {self.model.lr}.")

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = self.model.lr


def _takes_two(function) -> bool:
    if isinstance(function, Schedule):
        return False
    try:
        inspect.signature(function).bind(0, 0.1)
    except TypeError:
        return False
    except ValueError:  # no signature, as of some built-ins
        return False
    return True
