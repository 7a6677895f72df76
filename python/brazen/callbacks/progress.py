# SPDX-License-Identifier: BSD-3-Clause
"""ProgressBar: how far training is, without ever waiting for a device. No figure of merit of its own."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

import numpy

from .base import Callback

# Seconds between two looks at the clock's result: a terminal shows no more, and a batch may take a few microseconds.
_INTERVAL = 0.1


class ProgressBar(Callback):
    """verbose=1: a bar an epoch, drawn by rich where it is installed and the output is a terminal, else a line an epoch;
    verbose=2: a line an epoch; 0: nothing.

    Within an epoch values are shown for NumPy arrays; on a device they are shown when the epoch is over.
    """

    def __init__(self, verbose: int = 1, file=None):
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose is {verbose!r}; expected 0, 1 or 2")
        self.verbose, self.file = verbose, file
        self._rich: Any = None

    def on_train_begin(self, logs=None):
        self._out = sys.stdout if self.file is None else self.file
        terminal = self.verbose == 1 and getattr(self._out, "isatty", lambda: False)()
        self._draws = terminal and importlib.util.find_spec("rich") is not None
        self._host = getattr(getattr(self.model, "model", None), "xp", numpy) is numpy

    def on_epoch_begin(self, epoch, logs=None):
        self._start = self._next = time.monotonic()
        self._done, self._total = 0, self.params.get("steps")
        if self._draws and self._rich is None:
            self._open()
        if self._rich is not None:
            self._task = self._rich.add_task(
                f"epoch {epoch + 1}/{self.params.get('epochs')}", total=self._total, shown=""
            )

    def _open(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[shown]}"))  # fmt: skip
        # Drawn by us, at most ten times a second: a thread that refreshes would take the core from the kernels.
        self._rich = Progress(*columns, console=Console(file=self._out), auto_refresh=False, transient=True)
        self._rich.start()

    def on_train_batch_end(self, batch, logs=None):
        self._done += 1
        if not self._draws:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        shown = line_of(logs) if self._host and logs is not None else ""
        self._rich.update(self._task, completed=batch + 1, shown=shown, refresh=True)

    def on_epoch_end(self, epoch, logs=None):
        if self._rich is not None:
            self._close()
        if self.verbose:
            seconds = time.monotonic() - self._start
            steps = self._done or 1
            self._out.write(
                f"epoch {epoch + 1}/{self.params.get('epochs')}  {seconds:.1f} s, {1e3 * seconds / steps:.2f} ms a step  "
                f"{line_of(logs or {})}\n"
            )
            getattr(self._out, "flush", lambda: None)()

    def on_train_end(self, logs=None):
        if self._rich is not None:
            self._close()
        if getattr(self.model, "interrupted", False) and self.verbose:
            self._out.write("interrupted: history and weights are those of the last batch\n")

    def _close(self):
        self._rich.stop()
        self._rich = None


def line_of(logs) -> str:
    """The numbers of logs in one line.

    >>> line_of({"loss": 0.123456, "accuracy": 0.5})
    'loss 0.1235  accuracy 0.5000'
    """
    parts = []
    for name, value in logs.items():
        if numpy.ndim(value) == 0:
            number = float(value)
            parts.append(f"{name} {number:.4f}" if 1e-3 <= abs(number) < 1e4 or number == 0 else f"{name} {number:.3g}")
    return "  ".join(parts)
