# SPDX-License-Identifier: BSD-3-Clause
"""Figures of training: each function takes a History, or several, and returns a matplotlib Figure. Nothing is shown or saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy

from .callbacks import History, UpdateRatio
from .callbacks.monitor import direction

__all__ = ["accuracy", "early_stopping", "learning_rate", "learning_rates", "loss", "schedules", "update_ratio"]

# Colours that stay apart for those who see few, and in grey.
TRAIN, VALIDATION, QUIET, MARK = "#1f5fa8", "#d9731a", "#9aa5b1", "#2e7d4f"
_SERIES = ("#1f5fa8", "#d9731a", "#2e7d4f", "#8e44ad", "#c0392b", "#7f6b2d", "#16808f", "#5d6d7e")


def _figure(title: str, xlabel: str, ylabel: str, size=(7.0, 4.2)):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'brazen[demo]'") from None
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _recorded(history, *names: str) -> None:
    """Raises at what was not recorded, before anything is drawn."""
    if not isinstance(history, History):
        raise TypeError(f"history is {type(history).__name__}; expected the History that fit returns")
    for name in names:
        history[name]


def _far(values) -> bool:
    """Whether all are positive, and the largest 20 times the smallest."""
    finite = [value for value in values if value - value == 0]
    return bool(finite) and min(finite) > 0 and max(finite) > 20 * min(finite)


def _epochs(values) -> numpy.ndarray:
    return numpy.arange(1, len(values) + 1)


def _mark(axes, history, monitor: str, stopped: bool) -> None:
    """The best epoch, and where training stopped."""
    values = history[monitor]
    best = history.best(monitor)
    axes.plot([best + 1], [values[best]], "o", color=MARK, markersize=7, zorder=5)
    axes.annotate(
        f"best: epoch {best + 1}, {values[best]:.4g}", (best + 1, values[best]), xytext=(0, 14), textcoords="offset points",
        ha="right" if best > len(values) / 2 else "left", color=MARK, fontsize=9,
    )  # fmt: skip
    if stopped:
        axes.axvline(len(values), color=QUIET, linestyle="--", linewidth=1)
        axes.annotate(
            f"stopped: {len(values)}", (len(values), 1), xycoords=("data", "axes fraction"), xytext=(-4, -4),
            textcoords="offset points", ha="right", va="top", color="#5d6d7e", fontsize=9,
        )  # fmt: skip


def loss(history: History, *, log: bool | None = None, advice: bool = True) -> Any:
    """The loss of every batch, and of every epoch in training and validation, with how to read it.

    log: a logarithmic axis; None takes one where the epochs' losses fall far.
    """
    _recorded(history, "loss")
    figure, axes = _figure("Loss", "epoch", "loss")
    epochs = len(history["loss"])
    batches = numpy.asarray(history.batch_loss, "float64")
    if epochs and len(batches) >= epochs:
        places = (numpy.arange(len(batches)) + 1) * (epochs / len(batches))
        axes.plot(places, batches, color=QUIET, linewidth=0.6, alpha=0.6, label="each batch")
    axes.plot(_epochs(history["loss"]), history["loss"], color=TRAIN, linewidth=1.8, label="training")
    if "val_loss" in history:
        axes.plot(
            _epochs(history["val_loss"]), history["val_loss"], color=VALIDATION, linewidth=1.8, label="validation"
        )
        _mark(axes, history, "val_loss", False)
    if _far(history["loss"]) if log is None else log:
        axes.set_yscale("log")
    elif len(batches) and numpy.isfinite(batches).any():
        # One early or late explosion should not flatten the rest.
        axes.set_ylim(bottom=0, top=float(numpy.nanpercentile(batches[numpy.isfinite(batches)], 99.5)) * 1.1)
    axes.legend(frameon=False)
    if advice:
        figure.supxlabel(
            "flat: rate too low · falls, then stands: decay it · noisy: batch too small · rises: rate too high",
            fontsize=8, color="#5d6d7e",
        )  # fmt: skip
    return figure


def accuracy(history: History, metric: str = "accuracy") -> Any:
    """A metric in training and validation; a wide gap is overfitting, none leaves room for more capacity."""
    _recorded(history, metric)
    figure, axes = _figure(metric.capitalize(), "epoch", metric)
    axes.plot(_epochs(history[metric]), history[metric], color=TRAIN, linewidth=1.8, label="training")
    held = f"val_{metric}"
    if held in history:
        axes.plot(_epochs(history[held]), history[held], color=VALIDATION, linewidth=1.8, label="validation")
        best = history.best(held)
        gap = history[metric][best] - history[held][best]
        axes.plot([best + 1], [history[held][best]], "o", color=MARK, markersize=7, zorder=5)
        axes.annotate(
            f"best: epoch {best + 1}, {history[held][best]:.4f}; gap to training {gap:+.4f}", (1, 0),
            xycoords="axes fraction", xytext=(-4, 6), textcoords="offset points", ha="right", color=MARK, fontsize=9,
        )  # fmt: skip
    axes.legend(frameon=False, loc="center right")
    return figure


def early_stopping(history: History, monitor: str = "val_loss", stopped: bool = True) -> Any:
    """Training and validation against epochs, with the best epoch and the one training stopped at."""
    plain = monitor.removeprefix("val_")
    _recorded(history, monitor)
    figure, axes = _figure("Early stopping", "epoch", plain)
    if plain in history and plain != monitor:
        axes.plot(_epochs(history[plain]), history[plain], color=TRAIN, linewidth=1.8, label="training")
    label = "validation" if monitor.startswith("val_") else monitor
    axes.plot(_epochs(history[monitor]), history[monitor], color=VALIDATION, linewidth=1.8, label=label)
    if direction(monitor) < 0 and _far(history[monitor]):
        axes.set_yscale("log")
    _mark(axes, history, monitor, stopped)
    axes.legend(frameon=False, loc="center right" if direction(monitor) > 0 else "upper center")
    return figure


def learning_rate(history: History) -> Any:
    """The learning rate at the end of each epoch."""
    _recorded(history, "learning_rate")
    figure, axes = _figure("Learning rate", "epoch", "learning rate", (7.0, 3.2))
    axes.plot(_epochs(history["learning_rate"]), history["learning_rate"], color=TRAIN, linewidth=1.8, marker=".")
    axes.set_ylim(bottom=0)
    return figure


def update_ratio(ratios: UpdateRatio) -> Any:
    """|update| / |weight| of every array over steps, from an UpdateRatio callback, with the band that is usual."""
    if not ratios.steps:
        raise ValueError("ratios has recorded no step; give the UpdateRatio callback to fit")
    figure, axes = _figure("How far each step moves the weights", "step", "|update| / |weight|")
    axes.axhspan(
        ratios.low, ratios.high, color=MARK, alpha=0.12, linewidth=0, label=f"{ratios.low:g} … {ratios.high:g}"
    )
    for number, (name, values) in enumerate(ratios.ratios.items()):
        # A step that moved nothing, as the first of a warm-up, has no place on this axis.
        shown = [value if value > 0 else numpy.nan for value in values]
        axes.plot(ratios.steps, shown, linewidth=1.2, color=_SERIES[number % len(_SERIES)], label=name)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def learning_rates(histories: Mapping[str, History]) -> Any:
    """The losses of runs that differ in the learning rate, on one axis: too low is flat, too high leaves the picture."""
    if not histories:
        raise ValueError("histories is empty; expected names and Histories")
    figure, axes = _figure("Effect of the learning rate", "epoch", "loss")
    highest = 0.0
    for number, (name, history) in enumerate(histories.items()):
        _recorded(history, "loss")
        values = numpy.asarray(history["loss"], "float64")
        axes.plot(_epochs(values), values, color=_SERIES[number % len(_SERIES)], linewidth=1.8, marker=".", label=name)
        highest = max(highest, values[0] if numpy.isfinite(values[0]) else 0.0)
    axes.set_ylim(0, highest * 1.5 or 1)
    axes.legend(frameon=False)
    return figure


def schedules(given: Mapping[str, Any], steps: int = 100) -> Any:
    """Schedules on one axis, each over `steps` of its steps or epochs."""
    if not given:
        raise ValueError("given is empty; expected names and schedules")
    figure, axes = _figure("Learning-rate schedules", "step or epoch", "learning rate")
    for number, (name, schedule) in enumerate(given.items()):
        values = [schedule(t) for t in range(steps)]
        axes.plot(range(steps), values, color=_SERIES[number % len(_SERIES)], linewidth=1.6, label=name)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure
