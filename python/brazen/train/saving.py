# SPDX-License-Identifier: BSD-3-Clause
"""A trainer's state as nested dicts, and when it is written. How it is written, and found again, is `brazen.checkpoint`'s."""

from __future__ import annotations

import os
import warnings
from typing import Any

from .. import checkpoint

FORMAT = 1


def state(trainer) -> dict[str, Any]:
    optimizer, fit = trainer.optimizer, trainer._fit
    made: dict[str, Any] = {
        "format": FORMAT,
        "weights": dict(trainer.model.state()),
        "optimizer": dict(optimizer.state_dict()),
        "hyper": {str(number): _numbers(group) for number, group in enumerate(optimizer.groups)},
        "loss_scale": None if trainer.loss_scale is None else trainer.loss_scale.state_dict(),
        "schedules": {
            str(number): schedule.state_dict()
            for number, schedule in trainer.schedules.items()
            if hasattr(schedule, "state_dict")
        },
        "steps": trainer.steps,
        "epochs_done": trainer.epochs_done,
        "tests": trainer.tests,
        "seed": trainer.seed,
        "fit": None if fit is None else fit.state(),
    }
    try:
        made["config"] = trainer.config()
    except TypeError:  # a function among the arguments: it cannot be written down, and is not needed to go on
        made["config"] = None
    return made


def _numbers(group: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters of a group that callbacks may have changed: numbers."""
    return {
        name: value for name, value in group.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }


def load_state(trainer, given: dict[str, Any]) -> None:
    if given.get("format") != FORMAT:
        raise ValueError(
            f"the state has format {given.get('format')!r}; expected {FORMAT}, what state() of a Trainer gives"
        )
    if len(given["hyper"]) != len(trainer.optimizer.groups):
        raise ValueError(
            f"the state has {len(given['hyper'])} parameter groups; expected {len(trainer.optimizer.groups)}"
        )
    if (given["loss_scale"] is None) != (trainer.loss_scale is None):
        raise ValueError("the state and this trainer differ in whether they have a loss_scale")
    # The optimizer first: it says what is wrong before it changes anything, and so does the network.
    weights = {name: array.copy() for name, array in trainer.model.state().items()}
    trainer.model.load_state(given["weights"])
    try:
        trainer.optimizer.load_state_dict(given["optimizer"])
    except ValueError:
        trainer.model.load_state(weights)
        raise
    for number, values in given["hyper"].items():
        trainer.optimizer.groups[int(number)].update(values)
    for number, values in given["schedules"].items():
        trainer.schedules[int(number)].load_state_dict(values)
    if trainer.loss_scale is not None:
        trainer.loss_scale.load_state_dict(given["loss_scale"])
    trainer.steps, trainer.epochs_done = int(given["steps"]), int(given["epochs_done"])
    trainer.tests = max(trainer.tests, int(given["tests"]))
    trainer.seed = int(given["seed"])
    trainer._loaded = given if given["fit"] is not None else None


class Checkpoints:
    """When a fit writes checkpoints: after each epoch, or every so many batches, and where it ends."""

    def __init__(self, directory, every: int | str, keep: int):
        if every != "epoch" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f"checkpoint_every is {every!r}; expected 'epoch' or a number of batches")
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep is {keep!r}; expected a number of checkpoints, at least 1")
        self.directory = os.fspath(directory)
        # In batches; None is after each epoch.
        self.every = None if every == "epoch" else int(every)
        require_writable(self.directory, "checkpoint_dir")
        self.writer = checkpoint.Writer(self.directory, keep=keep)
        self.writer.hold()
        self.written: int | None = None
        self.due = 0

    def warn_of_later(self, step: int) -> None:
        """Checkpoints of another run, further on: a resumed run would take them for this one's."""
        later = max((found for found, _, _ in checkpoint.store.listed(self.directory)), default=0)
        if later > step:
            warnings.warn(
                f"checkpoint_dir {self.directory!r} holds checkpoints up to step {later} of another run, and this one begins at "
                f"step {step}: resume='auto' would go on from those. Give another directory, or remove them",
                stacklevel=4,
            )

    def write(self, trainer) -> None:
        """Once for each step: a directory is never written anew."""
        if self.written != trainer.steps:
            self.writer.write(trainer.steps, trainer.state())
            self.written, self.due = trainer.steps, 0

    def after_batch(self, trainer) -> None:
        self.due += 1
        if self.every is not None and self.due >= self.every:
            self.write(trainer)

    def after_epoch(self, trainer, last: bool) -> None:
        self.due += 1
        if last or self.every is None or self.due >= self.every:
            self.write(trainer)

    def finish(self, trainer) -> None:
        """Where a run was paused in the middle of an epoch."""
        if trainer.pause_training:
            self.write(trainer)
        self.writer.wait()

    def close(self) -> None:
        self.writer.close()


def find(path, missing_ok: bool = True) -> dict[str, Any] | None:
    """The state of the newest intact checkpoint in a directory, or of a checkpoint; None where there is none."""
    newest = checkpoint.newest(path)
    if newest is None and not missing_ok and not os.path.isdir(path):
        raise FileNotFoundError(
            f"resume is {os.fspath(path)!r}, which is no directory; expected a checkpoint, or a directory of them"
        )
    if newest is None and not missing_ok:
        newest = path
    return None if newest is None else checkpoint.read(newest)


def require_writable(directory: str, argument: str) -> None:
    """Makes the directory; raises, naming the argument, where nothing can be written in it."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{argument} is {directory!r}, which cannot be made: {error}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ValueError(f"{argument} is {directory!r}, which cannot be written to")
