# SPDX-License-Identifier: BSD-3-Clause
"""History: what every epoch's logs were, and every batch's loss. It draws nothing."""

from __future__ import annotations

from typing import Any

import numpy

from .._random import namespace
from .base import Callback


class History(Callback):
    """`history.history["val_loss"]`, or `history["val_loss"]`: one value an epoch; `epoch`: their numbers; `batch_loss`:
    one value a batch. `Trainer.fit` makes one and returns it."""

    remembers = {"epoch": [], "history": {}, "batch_loss": []}
    epoch: list[int]
    history: dict[str, list]
    batch_loss: list[float]

    def forget(self):
        super().forget()
        self._pending: list[Any] = []
        self.note = self._pending.append

    def on_train_begin(self, logs=None):
        self.forget()

    def on_epoch_end(self, epoch, logs=None):
        self._settle()
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value.tolist() if isinstance(value, numpy.ndarray) else value)

    def on_train_end(self, logs=None):
        self._settle()

    def _settle(self) -> None:
        """Losses of batches stay on the device until an epoch is over, and then come in one piece."""
        pending = self._pending
        if pending and hasattr(pending[0], "get"):
            self.batch_loss.extend(namespace(pending[0]).stack(pending).get().astype("float64").tolist())
        else:
            self.batch_loss.extend(map(float, pending))
        pending.clear()

    def state(self):
        self._settle()
        return {name: value.copy() for name, value in super().state().items()}

    def load_state(self, state):
        super().load_state({name: type(self.remembers[name])(value) for name, value in state.items()})
        self.history = {name: list(values) for name, values in self.history.items()}

    def __getitem__(self, name: str) -> list:
        if name not in self.history:
            raise KeyError(f"{name!r} was not recorded; recorded are {', '.join(self.history) or 'no epochs yet'}")
        return self.history[name]

    def __contains__(self, name) -> bool:
        return name in self.history

    def best(self, monitor: str = "val_loss", mode: str = "auto") -> int:
        """The position, in the lists, of the best epoch."""
        from .monitor import direction

        values = numpy.array(self[monitor], "float64")
        if numpy.isnan(values).all():
            raise ValueError(f"{monitor} is NaN in every epoch")
        return int(numpy.nanargmax(values) if direction(monitor, mode) > 0 else numpy.nanargmin(values))
