# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that write the logs of epochs to files, or hand events to functions."""

from __future__ import annotations

import csv
import json
import os
from typing import Any

import numpy

from .base import Callback
from .events import EVENTS


class _Rows(Callback):
    """One line an epoch. A resumed run takes the file up where the checkpoint was, and drops later lines."""

    remembers: dict[str, Any] = {"lines": 0}
    lines: int
    keys: Any

    def __init__(self, filename, append: bool):
        self.filename, self.append = os.fspath(filename), append

    def on_train_begin(self, logs=None):
        self.forget()
        self._begun = False
        try:
            with open(self.filename, "a", encoding="utf-8"):
                pass
        except OSError as error:
            raise ValueError(f"filename is {self.filename!r}, which cannot be written: {error}") from error

    def load_state(self, state):
        super().load_state(state)
        with open(self.filename, "rb+") as file:
            kept = file.readlines()[: self.lines]
            file.seek(0)
            file.writelines(kept)
            file.truncate()
        self._begun = True

    def _open(self):
        if self._begun or (self.append and os.path.getsize(self.filename)):
            if not self._begun:
                with open(self.filename, "rb") as file:
                    self.lines = sum(1 for _ in file)
            self._begun = True
            return open(self.filename, "a", newline="", encoding="utf-8"), False
        self._begun, self.lines = True, 0
        return open(self.filename, "w", newline="", encoding="utf-8"), True


class CSVLogger(_Rows):
    """A line an epoch, with the epoch and the logs in alphabetic order under a header; what is missing is NA."""

    remembers = {"lines": 0, "keys": None}

    def __init__(self, filename, separator: str = ",", append: bool = False):
        super().__init__(filename, append)
        self.separator = separator

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self.keys is None:
            self.keys = sorted(logs)
        file, header = self._open()
        with file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if header:
                writer.writerow(["epoch", *self.keys])
                self.lines += 1
            writer.writerow([epoch, *(_cell(logs.get(key, "NA")) for key in self.keys)])
            self.lines += 1


def _cell(value):
    if isinstance(value, numpy.ndarray) and value.ndim:
        return "[" + ", ".join(map(str, value.ravel().tolist())) + "]"
    return repr(float(value)) if hasattr(value, "__float__") else value


class JSONLogger(_Rows):
    """A JSON object an epoch, each in a line of its own; what is not finite is null."""

    def __init__(self, filename, append: bool = False):
        super().__init__(filename, append)

    def on_epoch_end(self, epoch, logs=None):
        file, _ = self._open()
        with file:
            values = {name: _json(value) for name, value in (logs or {}).items()}
            file.write(json.dumps({"epoch": epoch, **values}, allow_nan=False) + "\n")
            self.lines += 1


def _json(value):
    if isinstance(value, numpy.ndarray) and value.ndim:
        return [_json(item) for item in value]
    number = float(value)
    return number if number - number == 0 else None


class LambdaCallback(Callback):
    """Hands events to functions: LambdaCallback(on_epoch_end=lambda epoch, logs: …), for every hook."""

    def __init__(self, on_epoch_begin=None, on_epoch_end=None, on_train_begin=None, on_train_end=None,
                 on_train_batch_begin=None, on_train_batch_end=None, **named):  # fmt: skip
        given = {
            "on_epoch_begin": on_epoch_begin, "on_epoch_end": on_epoch_end, "on_train_begin": on_train_begin,
            "on_train_end": on_train_end, "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end, **named,
        }  # fmt: skip
        known = [f"on_{name}" for name in EVENTS] + [f"on_{event.alias}" for event in EVENTS.values() if event.alias]
        for name, function in given.items():
            if name not in known:
                raise TypeError(f"LambdaCallback knows no {name}; hooks are {', '.join(known)}")
            if function is not None:
                setattr(self, name, function)
