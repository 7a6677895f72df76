# SPDX-License-Identifier: BSD-3-Clause
"""ModelCheckpoint: files of weights, or whole checkpoints, by name, by merit, by time. `fit(checkpoint_dir=…)` is for
going on after an interruption."""

from __future__ import annotations

import os
import shutil
import string
import time

from .base import Callback
from .monitor import direction, improves, watched


class ModelCheckpoint(Callback):
    """Saves after every epoch, or every `save_freq` batches, to filepath.format(epoch=…, batch=…, **logs); epochs count
    from 1 in names.

    save_weights_only: a file of brazen.save; else a directory with the whole state, which fit(resume=that path) goes on from.
    save_best_only: only when `monitor` is better than ever, or than initial_value_threshold. period: every so many epochs.
    top_k: keeps the k best by `monitor`; last_n: keeps the n newest; every_seconds: no more often than that.
    """

    remembers = {"best": None, "saved": [], "batches": 0, "epochs": 0}
    best: float | None
    saved: list
    batches: int
    epochs: int

    def __init__(
        self,
        filepath,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq="epoch",
        initial_value_threshold: float | None = None,
        *,
        period: int = 1,
        top_k: int | None = None,
        last_n: int | None = None,
        every_seconds: float | None = None,
    ):
        for name, value in (("save_freq", save_freq), ("period", period), ("top_k", top_k), ("last_n", last_n)):
            if value not in (None, "epoch") and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                expected = "'epoch' or a number of batches" if name == "save_freq" else "a number of at least 1"
                raise ValueError(f"{name} is {value!r}; expected {expected}")
        self.filepath, self.monitor, self.verbose = os.fspath(filepath), monitor, verbose
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self.sign, self.period, self.top_k, self.last_n = direction(monitor, mode), period, top_k, last_n
        self.every_seconds, self.threshold = every_seconds, initial_value_threshold
        fields = {name for _, name, _, _ in string.Formatter().parse(self.filepath) if name}
        if (top_k or last_n) and not fields:
            raise ValueError(f"filepath is {self.filepath!r}; expected fields such as {{epoch}}, as several are kept")

    def on_train_begin(self, logs=None):
        self.forget()
        self.best = self.threshold
        self._time = time.monotonic()
        from ..train.saving import require_writable

        require_writable(os.path.dirname(self.filepath.partition("{")[0]) or ".", "filepath")

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch":
            return
        self.batches += 1
        if self.batches >= self.save_freq:
            self.batches = 0
            self._consider(self._epoch, batch, logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    _epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq != "epoch":
            return
        self.epochs += 1
        if self.epochs >= self.period:
            self.epochs = 0
            self._consider(epoch, None, logs)

    def _consider(self, epoch, batch, logs):
        if self.every_seconds is not None:
            if time.monotonic() - self._time < self.every_seconds:
                return
            self._time = time.monotonic()
        value = None
        if self.save_best_only or self.top_k:
            value = watched(self, self.monitor, logs)
            if value is None:
                return
            if self.save_best_only and not improves(value, self.best, self.sign):
                return
            if self.top_k and len(self.saved) >= self.top_k:
                worst = min(self.saved, key=lambda kept: self.sign * kept[1])
                if not improves(value, worst[1], self.sign):
                    return
            if improves(value, self.best, self.sign):
                self.best = value
        try:
            path = self.filepath.format(epoch=epoch + 1, batch=(batch or 0) + 1, **(logs or {}))
        except KeyError as missing:
            raise KeyError(
                f"filepath {self.filepath!r} names {missing}; there are epoch, batch, {', '.join(logs)}"
            ) from None
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: saving model to {path}")
        # Once every callback has heard of the epoch: theirs is part of the state.
        self.model.later(lambda: self._save(path))
        self._keep(path, value)

    def _save(self, path):
        from .. import checkpoint

        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        if self.save_weights_only:
            checkpoint.save(path, self.model.model.state())
        else:
            checkpoint.write(path, self.model.steps, self.model.state(), keep=1)

    def _keep(self, path, value):
        """Notes what is there, and has removed what is one too many, after the new one is written."""
        self.saved = [kept for kept in self.saved if kept[0] != path] + [[path, value]]
        if self.top_k and len(self.saved) > self.top_k:
            self._drop(min(self.saved[:-1], key=lambda kept: self.sign * kept[1]))
        if self.last_n and len(self.saved) > self.last_n:
            self._drop(self.saved[0])

    def _drop(self, kept):
        self.saved.remove(kept)
        self.model.later(lambda: _remove(kept[0]))


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.remove(path)
