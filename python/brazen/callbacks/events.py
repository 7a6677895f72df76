# SPDX-License-Identifier: BSD-3-Clause
"""The one list of what happens while a trainer works; hooks, their aliases and their order come from it. No callback."""

from __future__ import annotations

from typing import Any, NamedTuple


class Event(NamedTuple):
    """Callbacks hear of it by `on_<name>(count, logs)`, or `on_<name>(logs)` where nothing is counted; `alias` is a second
    name of the same hook."""

    name: str
    counts: str | None
    says: str
    alias: str | None = None


EVENTS = {
    event.name: event
    for event in (
        Event("train_begin", None, "Training begins."),
        Event("train_end", None, "Training is over; logs are those of the last epoch."),
        Event("epoch_begin", "epoch", "An epoch, counted from 0, begins."),
        Event("epoch_end", "epoch", "An epoch is over; logs hold its means, and those of the validation data as val_…"),
        Event(
            "train_batch_begin", "batch", "A batch, counted from 0 in its epoch, is about to be used.", "batch_begin"
        ),
        Event("before_optimizer_step", "step", "Gradients are there; logs hold grad_norm."),
        Event(
            "after_optimizer_step",
            "step",
            "Weights have moved; logs: grad_norm, update_norm, weight_norm, lr, skipped.",
        ),
        Event("train_batch_end", "batch", "A batch was used; logs hold the means of the epoch so far.", "batch_end"),
        Event("test_begin", None, "An evaluation begins."),
        Event("test_end", None, "An evaluation is over; logs hold its means."),
        Event("test_batch_begin", "batch", "A batch is about to be evaluated."),
        Event("test_batch_end", "batch", "A batch was evaluated; logs hold the means so far."),
        Event("predict_begin", None, "A prediction begins."),
        Event("predict_end", None, "A prediction is over."),
        Event("predict_batch_begin", "batch", "A batch is about to be predicted."),
        Event("predict_batch_end", "batch", "A batch was predicted; logs hold outputs."),
    )
}


def hooks() -> dict[str, str]:
    """Every method a callback may define: its name, and what it means.

    >>> len([name for name in hooks() if "optimizer_step" not in name]), list(hooks())[:2]
    (18, ['set_model', 'set_params'])
    """
    found = {"set_model": "The trainer it works for.", "set_params": "What fit was asked for, as a dict."}
    for event in EVENTS.values():
        found[f"on_{event.name}"] = event.says
        if event.alias:
            found[f"on_{event.alias}"] = f"The same as on_{event.name}."
    return found


class Logs(dict):
    """The values of a batch, worked out when they are first read: a device is waited for only where somebody asks."""

    __slots__ = ("_compute",)

    def __init__(self, compute):
        super().__init__()
        self._compute = compute

    def _fill(self) -> None:
        compute, self._compute = self._compute, None
        if compute is not None:
            super().update(compute())


def _filled(name: str):
    plain = getattr(dict, name)

    def method(self, *arguments, **named):
        self._fill()
        return plain(self, *arguments, **named)

    method.__name__ = name
    return method


# __iter__ among them keeps dict(logs) and {**logs} from reading past these methods.
for _name in (
    "__contains__", "__delitem__", "__eq__", "__getitem__", "__iter__", "__len__", "__or__", "__repr__", "__setitem__",
    "copy", "get", "items", "keys", "pop", "setdefault", "update", "values",
):  # fmt: skip
    setattr(Logs, _name, _filled(_name))


def overridden(callback: Any, name: str, base: type) -> bool:
    """Whether a callback's method is its own: one of `base` says nothing, and need not be called."""
    method = getattr(type(callback), name, None)
    return name in getattr(callback, "__dict__", {}) or (method is not None and method is not getattr(base, name, None))
