# SPDX-License-Identifier: BSD-3-Clause
"""TensorBoard: event files that TensorBoard reads, written by tensorboardX."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy

from .base import Callback


class TensorBoard(Callback):
    """Writes epoch_… of training to log_dir/train and of validation to log_dir/validation, under Keras' tags.

    histogram_freq: histograms of all weights every so many epochs. write_steps_per_second. update_freq: "epoch", "batch", or
    a number of batches after which batch_… is written as well. Needs the extra `tensorboard`.
    """

    remembers = {"step": 0}
    step: int

    def __init__(
        self, log_dir="logs", histogram_freq: int = 0, write_steps_per_second: bool = False, update_freq="epoch"
    ):
        if update_freq not in ("epoch", "batch") and (not isinstance(update_freq, int) or update_freq < 1):
            raise ValueError(f"update_freq is {update_freq!r}; expected 'epoch', 'batch' or a number of batches")
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self._every = None if update_freq == "epoch" else 1 if update_freq == "batch" else update_freq
        self._writers: dict[str, Any] = {}

    def _writer(self, name: str):
        if name not in self._writers:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise ImportError("TensorBoard needs tensorboardX: pip install 'brazen[tensorboard]'") from None
            self._writers[name] = SummaryWriter(os.path.join(self.log_dir, name))
        return self._writers[name]

    def on_train_begin(self, logs=None):
        from ..train.saving import require_writable

        self.forget()
        require_writable(self.log_dir, "log_dir")
        self._writer("train")

    def on_epoch_begin(self, epoch, logs=None):
        self._start, self._first = time.monotonic(), self.step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self._every is not None and self.step % self._every == 0:
            for name, value in (logs or {}).items():
                if numpy.ndim(value) == 0:
                    self._writer("train").add_scalar(f"batch_{name}", float(value), self.step)

    def on_epoch_end(self, epoch, logs=None):
        for name, value in (logs or {}).items():
            if numpy.ndim(value) == 0:
                where = "validation" if name.startswith("val_") else "train"
                self._writer(where).add_scalar(f"epoch_{name.removeprefix('val_')}", float(value), epoch)
        if self.write_steps_per_second:
            rate = (self.step - self._first) / max(time.monotonic() - self._start, 1e-9)
            self._writer("train").add_scalar("epoch_steps_per_second", rate, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for name, array in self.model.params.items():
                values = array.get() if hasattr(array, "get") else array
                self._writer("train").add_histogram(name.replace(".", "/"), values.astype("float64"), epoch)

    def on_train_end(self, logs=None):
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
