# SPDX-License-Identifier: BSD-3-Clause
"""The means of the loss and the metrics over a source of batches, outside training."""

from __future__ import annotations

from typing import Any

from ..callbacks.base import CallbackList
from ..callbacks.events import Logs
from ..data import as_batch
from ..metrics import Metric
from .inputs import Source, check_arrays
from .means import Means


def evaluate(trainer, data: Source, callbacks: CallbackList, prefix: str = "") -> dict[str, Any]:
    """The means by name; hooks of callbacks hear of it."""
    model = trainer.model
    # Metrics of their own: those of training are in the middle of an epoch.
    means = Means([copy_of(metric) for metric in trainer.metrics], model.xp)
    callbacks.tell("test_begin", None)
    checked = data.checked
    for number, given in enumerate(data(0, 0)):
        batch = as_batch(given)
        if not checked:
            check_arrays(model, batch.x, batch.y, batch.weights, "x of a batch")
            checked = True
        callbacks.tell("test_batch_begin", number, None)
        passed = model.evaluate(batch.x, batch.y, batch.weights)
        y = passed.y if passed.y is not None or not means.metrics else model.predict(batch.x)
        means.add(passed.loss, passed.terms, len(batch.x))
        for metric in means.metrics:
            metric.update(y, batch.y, batch.weights)
        callbacks.tell("test_batch_end", number, Logs(means.values))
    if not means.samples:
        raise ValueError("there is no batch to evaluate")
    if trainer.regularizer is not None:
        means.sums["loss"] += float(trainer.regularizer.penalty(model.params)) * means.samples
    values = means.values()
    callbacks.tell("test_end", values)
    return {prefix + name: value for name, value in values.items()}


def copy_of(metric: Metric) -> Metric:
    """An equal metric that has seen nothing."""
    made = object.__new__(type(metric))
    made.__dict__.update(metric.__dict__)
    made.start()
    return made
