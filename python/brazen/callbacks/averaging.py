# SPDX-License-Identifier: BSD-3-Clause
"""Averages of weights over time, and ensembles of the weights of one run."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy

from .base import Callback


class WeightAveraging(Callback):
    """Keeps averages of weights and statistics, and evaluates with them.

    decay=0.995: average = decay * average + (1 - decay) * weight after every step, begun at the weights. decay=None: the
    plain mean of the weights at the ends of epochs. From `start_epoch` on. Validation uses the averages (swap=False: not);
    overwrite=True leaves them in the network when training is over.
    """

    remembers = {"averages": None, "count": 0}
    averages: Any
    count: int

    def __init__(self, decay: float | None = 0.995, *, start_epoch: int = 0, swap: bool = True, overwrite: bool = True):
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay is {decay!r}; expected at least 0, below 1, or None for the plain mean")
        self.decay, self.start_epoch, self.swap, self.overwrite = decay, start_epoch, swap, overwrite
        self._swapped = False

    def on_train_begin(self, logs=None):
        self.forget()
        self._epoch = 0
        if self.decay is not None and self.start_epoch == 0:
            self._start()

    def _start(self):
        self.averages = {name: array.copy() for name, array in self.model.model.state().items()}
        self.count = 1

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self.decay is not None and epoch >= self.start_epoch and self.averages is None:
            self._start()

    def on_after_optimizer_step(self, step, logs=None):
        if self.decay is not None and self.averages is not None:
            self._add(self.decay)

    def on_test_begin(self, logs=None):
        # Validation comes before on_epoch_end: the mean is that of the epochs so far, this one included.
        if self.decay is None and self._inside and self._epoch >= self.start_epoch:
            self._add_epoch(self._epoch)
        if self.swap and self.averages is not None:
            self._exchange()

    def on_test_end(self, logs=None):
        if self._swapped:
            self._exchange()

    def on_epoch_end(self, epoch, logs=None):
        if self.decay is None and epoch >= self.start_epoch:
            self._add_epoch(epoch)

    def on_train_end(self, logs=None):
        if self.overwrite and self.averages is not None and not self.model.pause_training:
            self.model.model.load_state(self.averages)

    def load_state(self, state):
        super().load_state(state)
        if self.averages is not None:  # a checkpoint's arrays are the host's
            self.averages = {name: self.model.model.xp.asarray(array) for name, array in self.averages.items()}

    @property
    def _inside(self) -> bool:
        fit = self.model._fit
        return fit is not None and fit.running

    def _add_epoch(self, epoch):
        if self.count > epoch - self.start_epoch:
            return  # counted already, before validation
        if self.averages is None:
            self._start()
        else:
            self._add(self.count / (self.count + 1))
            self.count += 1

    def _add(self, decay):
        for name, array in self.model.model.state().items():
            average = self.averages[name]
            average *= decay
            average += (1 - decay) * array

    def _exchange(self):
        self._swapped = not self._swapped
        for name, array in self.model.model.state().items():
            kept = array.copy()
            array[...] = self.averages[name]
            self.averages[name][...] = kept


class SnapshotEnsemble(Callback):
    """Cosine cycles of the learning rate, from `lr_max` (the optimizer's, where not given) to `lr_min` over `epochs` each;
    the weights at the end of every cycle are kept, and `predict` averages what they give.

    directory: also writes them as snapshot-01.safetensors, …
    """

    remembers = {"snapshots": [], "rate": 0.0}
    snapshots: list[dict[str, Any]]
    rate: float

    def __init__(self, epochs: int, lr_max: float | None = None, lr_min: float = 0.0, directory=None):
        if epochs < 1:
            raise ValueError(f"epochs is {epochs!r}; expected at least 1, the length of a cycle")
        self.epochs, self.lr_max, self.lr_min = epochs, lr_max, lr_min
        self.directory = None if directory is None else os.fspath(directory)

    def on_train_begin(self, logs=None):
        self.forget()
        self.rate = self.model.lr if self.lr_max is None else self.lr_max
        if self.directory is not None:
            from ..train.saving import require_writable

            require_writable(self.directory, "directory")

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        steps = self.params.get("steps") or 1
        done = (self._epoch % self.epochs + batch / steps) / self.epochs
        self.model.lr = self.lr_min + (self.rate - self.lr_min) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.epochs:
            return
        weights = {name: array.copy() for name, array in self.model.model.state().items()}
        self.snapshots.append(weights)
        if self.directory is not None:
            from .. import checkpoint

            path = os.path.join(self.directory, f"snapshot-{len(self.snapshots):02d}.safetensors")
            checkpoint.save(path, weights)

    def predict(self, x, *, transform=None, last: int | None = None, **named):
        """The mean over the snapshots (the `last` ones) of transform(prediction), such as brazen.softmax."""
        if not self.snapshots:
            raise ValueError("no cycle is complete: there is no snapshot yet")
        kept = {name: array.copy() for name, array in self.model.model.state().items()}
        total: Any = 0
        chosen = self.snapshots[-last:] if last else self.snapshots
        try:
            for weights in chosen:
                self.model.model.load_state(weights)
                given = self.model.predict(x, **named)
                total = total + (given if transform is None else transform(given)).astype(numpy.float64)
        finally:
            self.model.model.load_state(kept)
        return total / len(chosen)
