# SPDX-License-Identifier: BSD-3-Clause
"""Trainer: fit, evaluate, predict and test, for a network or a function that gives loss and gradients."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy

from .. import optim
from ..callbacks.base import CallbackList
from ..callbacks.history import History
from ..callbacks.progress import ProgressBar
from ..data import as_batch
from ..metrics import Metric, get
from ..metrics.base import to_host
from ..nn.network import Sequential
from .evaluation import evaluate
from .fitting import Fit
from .inputs import one_shot_error, source
from .models import FunctionModel, NetworkModel
from .regularizers import Regularizer
from .saving import Checkpoints, find, load_state, state


class Trainer:
    """Trains anything that gives a loss and gradients; a run is a function of its seed.

    model: a built network, with `loss` the name of a loss, a loss function or a mapping of them to factors; or a function
        `loss_fn(x, params, y, reg) -> (loss, gradients)` with `params`, the dict of arrays to train, and `reg`.
    optimizer: one of brazen.optim, or its name. lr, clip_norm, clip_value, ema: set what it was not made with; lr may be a
        schedule of steps or of epochs. regularizer: bz.l1, bz.l2, bz.elastic_net.
    metrics: names, objects of brazen.metrics, or functions (prediction, target).
    loss_scale: a number, "dynamic", or a bz.optim.LossScale, for 16-bit networks.
    accumulate: every batch runs in this many parts, one after the other, with the masks and the gradients of the whole.

    >>> import numpy as np, brazen as bz
    >>> x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    >>> net = bz.nn.Sequential([bz.nn.Dense(2)]).build(input_shape=3, seed=0)
    >>> trainer = Trainer(net, "softmax_cross_entropy", bz.optim.SGD(lr=0.5), ["accuracy"])
    >>> history = trainer.fit(x, (x[:, 0] > 0).astype("int64"), epochs=20, verbose=0)
    >>> history["accuracy"][-1] > 0.9
    True
    """

    def __init__(
        self,
        model,
        loss=None,
        optimizer: Any = "adam",
        metrics: Iterable = (),
        regularizer: Regularizer | None = None,
        *,
        params: dict[str, Any] | None = None,
        reg: float = 0.0,
        predict=None,
        lr=None,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema: float | None = None,
        loss_scale: Any = None,
        accumulate: int = 1,
        seed: int = 0,
    ):
        self.model: Any
        if isinstance(model, Sequential):
            self.model = NetworkModel(model, loss)
        elif callable(model):
            self.model = FunctionModel(model, params, reg, predict)
        else:
            raise TypeError(f"model is {model!r}; expected a network, or a function loss_fn(x, params, y, reg)")
        self.seed, self.accumulate = seed, positive("accumulate", accumulate)
        self.metrics: list[Metric] = [get(metric) for metric in ([metrics] if isinstance(metrics, str) else metrics)]
        if self.metrics and isinstance(self.model, FunctionModel) and predict is None:
            raise ValueError("metrics need predictions; give predict=f(x, params), which returns scores")
        for metric in self.metrics:
            if self.model.output_shape is not None:
                metric.check(self.model.output_shape)
        self.regularizer = regularizer
        if not isinstance(optimizer, optim.Optimizer) and optimizer not in optim.names():
            hint = "; write it with parentheses" if isinstance(optimizer, type) else ""
            raise (ValueError if isinstance(optimizer, str) else TypeError)(
                f"optimizer is {optimizer!r}; expected one of brazen.optim, or one of {', '.join(optim.names())}{hint}"
            )
        self.optimizer: Any = optim.get(optimizer)() if isinstance(optimizer, str) else optimizer
        self._set_optimizer(lr, {"clip_norm": clip_norm, "clip_value": clip_value, "ema": ema})
        if loss_scale is not None and not isinstance(loss_scale, optim.LossScale):
            loss_scale = optim.LossScale() if loss_scale == "dynamic" else optim.LossScale(loss_scale, dynamic=False)
        self.loss_scale: optim.LossScale | None = loss_scale
        self.sums_loss = isinstance(self.model, NetworkModel) and all(term.sums for term in self.model.objective.terms)
        self.steps = self.epochs_done = self.tests = 0
        self.stop_training = self.pause_training = self.interrupted = False
        self.history: History | None = None
        self._batch_loss: Any = float("nan")
        self.waiting: list[Any] = []
        self._fit: Fit | None = None
        self._loaded: dict[str, Any] | None = None

    # The optimizer.

    def _set_optimizer(self, lr, options) -> None:
        optimizer, regularizer = self.optimizer, self.regularizer
        given = {name: value for name, value in {"lr": lr, **options}.items() if value is not None}
        if given:
            optimizer.set(**given)
        if regularizer is not None:
            if isinstance(self.model, FunctionModel):
                raise ValueError("regularizer is for networks; loss_fn penalises by itself, with reg=")
            if optimizer.defaults["l1"] or optimizer.defaults["l2"]:
                raise ValueError("the optimizer has an l1 or l2 of its own; give either that or a regularizer")
            exclude = optimizer.options["exclude"] or {}
            if not isinstance(exclude, dict):
                exclude = {"weight_decay": exclude}
            optimizer.options["exclude"] = {**exclude, "l1": regularizer.excluded(), "l2": regularizer.excluded()}
            optimizer.set(l1=regularizer.l1, l2=regularizer.l2)
        self._bind()

    def _bind(self) -> None:
        """Gives the optimizer the parameters that are trained now."""
        params = self.model.params
        self.optimizer.bind(params)
        self._bound = list(params)
        if isinstance(self.model, NetworkModel):
            self.optimizer.bind_grads(self.model.grads)
        # Schedules of epochs, by group: the optimizer itself counts steps.
        self.schedules: dict[int, Any] = {}
        for number, group in enumerate(self.optimizer.groups):
            if getattr(group["lr"], "unit", "step") == "epoch":
                self.schedules[number] = group["lr"]
                group["lr"] = group["lr"](0)

    def optimize(self, optimizer, scale):
        """One step on the gradients that are there."""
        if isinstance(self.model, NetworkModel):
            return optimizer.step(scale=scale)
        return optimizer.step(self.model.grads, scale=scale)

    def begin_epoch(self, epoch: int) -> None:
        """Sets what schedules of epochs say; the epoch counts from the first fit on."""
        for number, schedule in self.schedules.items():
            self.optimizer.groups[number]["lr"] = schedule(epoch)

    def end_epoch(self, logs: Mapping[str, Any]) -> None:
        """Schedules that listen hear the validation loss, or the loss where nothing is validated."""
        for schedule in self.schedules.values():
            if hasattr(schedule, "step"):
                schedule.step(logs.get("val_loss", logs["loss"]))

    @property
    def lr(self) -> float:
        """The learning rate of the first group now; setting it sets it in all groups."""
        return float(self.optimizer.value_of("lr"))

    @lr.setter
    def lr(self, value) -> None:
        self.optimizer.lr = value

    # What callbacks may read and write.

    @property
    def params(self) -> dict[str, Any]:
        """What is trained, by name: the arrays themselves."""
        return self.model.params

    @property
    def grads(self) -> dict[str, Any]:
        """The gradients of the last batch, times the loss scale."""
        return self.model.grads

    @property
    def batch_loss(self) -> float:
        """The loss of the last batch alone, its penalty included."""
        return float(to_host(self._batch_loss))

    def later(self, function) -> None:
        """Runs it when all callbacks have heard of this batch or epoch: the state is then in one piece."""
        self.waiting.append(function)

    def do_waiting(self) -> None:
        while self.waiting:
            self.waiting.pop(0)()

    def get_weights(self) -> list[Any]:
        """Copies of weights and statistics, in order."""
        return [array.copy() for array in self.model.state().values()]

    def set_weights(self, weights) -> None:
        names = list(self.model.state())
        if len(weights) != len(names):
            raise ValueError(f"weights holds {len(weights)} arrays; expected {len(names)}")
        self.model.load_state(dict(zip(names, weights)))

    # Training.

    def fit(
        self,
        x,
        y=None,
        *,
        epochs: int | None = None,
        batch_size: int = 32,
        validation_data=None,
        validation_split: float = 0.0,
        callbacks: Iterable = (),
        verbose: int | bool = 1,
        shuffle: bool = True,
        sample_batches: bool = True,
        sample_weight=None,
        class_weight=None,
        steps_per_epoch: int | None = None,
        checkpoint_dir=None,
        checkpoint_every: int | str = "epoch",
        keep: int = 3,
        resume: Any = False,
        nb_epoch: int | None = None,
    ) -> History:
        """Trains for `epochs` epochs, and returns the History.

        x, y: arrays; or x alone: a brazen.data.Loader, an iterable of batches (x, y[, weights]), or a function (epoch,
            start_batch) -> iterator. sample_batches=False takes all samples at once, one step an epoch.
        validation_data: (x, y[, weights]) or such an iterable; validation_split: the last part of x and y instead.
        sample_weight, class_weight: the loss is sum(weight * loss) / samples.
        verbose: 0 says nothing, 1 shows a bar, 2 writes a line an epoch.
        checkpoint_dir: receives a checkpoint after each epoch, or every `checkpoint_every` batches; `keep` are kept.
        resume: "auto" goes on from the newest checkpoint there, if there is one; a path from that one; True from what
            `load_state` was given.

        Ctrl-C ends it after the batch: history and weights are in place, and a resumed run goes on from there.
        """
        if nb_epoch is not None:
            if epochs is not None:
                raise TypeError("epochs and nb_epoch, its older name, are both given")
            epochs = nb_epoch
        epochs = 1 if epochs is None else positive("epochs", epochs, 0)
        if steps_per_epoch is not None:
            positive("steps_per_epoch", steps_per_epoch)
        batch_size = positive("batch_size", batch_size)
        if validation_split:
            if validation_data is not None or not 0 < validation_split < 1 or y is None:
                raise ValueError(
                    f"validation_split is {validation_split!r}; expected a part of arrays x and y, and no validation_data"
                )
            cut = len(x) - max(1, int(len(x) * validation_split))
            validation_data = (x[cut:], y[cut:], *(() if sample_weight is None else (sample_weight[cut:],)))
            x, y = x[:cut], y[:cut]
            sample_weight = None if sample_weight is None else sample_weight[:cut]
        train = source(
            self.model, x, y, sample_weight, batch_size=batch_size, shuffle=shuffle, seed=self.seed,
            whole=not sample_batches, class_weight=class_weight,
        )  # fmt: skip
        validation = None
        if validation_data is not None:
            pair = isinstance(validation_data, list) and all(hasattr(part, "shape") for part in validation_data)
            held = tuple(validation_data) if isinstance(validation_data, tuple) or pair else (validation_data,)
            if not 1 <= len(held) <= 3:
                raise ValueError(f"validation_data has {len(held)} parts; expected (x, y) or (x, y, weights)")
            validation = source(self.model, *held, batch_size=max(batch_size, 256), what="validation_data")
            if validation.one_shot:
                raise one_shot_error("validation_data")
        if train.one_shot and (checkpoint_dir is not None or resume):
            raise one_shot_error("x")
        if resume == "auto" and checkpoint_dir is None:
            raise ValueError("resume is 'auto' without checkpoint_dir; expected a directory to look into")
        history = History()
        steps = steps_per_epoch or train.steps
        beside = [history, ProgressBar(int(verbose))] if verbose else [history]
        everyone = CallbackList([*CallbackList(callbacks), *beside])
        settings = {
            **train.settings,
            "accumulate": self.accumulate,
            "seed": self.seed,
            "steps_per_epoch": steps_per_epoch,
        }
        everyone.set(self, {"verbose": int(verbose), "epochs": epochs, "steps": steps, "batch_size": batch_size})
        if self._bound != list(self.model.params):
            self._bind()
        checkpoints = None if checkpoint_dir is None else Checkpoints(checkpoint_dir, checkpoint_every, keep)
        try:
            saved = self._saved(resume, checkpoints)
            if checkpoints is not None and resume != "auto":
                checkpoints.warn_of_later(self.steps)
            self.interrupted, self.history = False, history
            self._fit = Fit(
                self, train, epochs, validation=validation, callbacks=everyone, history=history, settings=settings,
                steps_per_epoch=steps_per_epoch, checkpoints=checkpoints,
            )  # fmt: skip
            self._fit.run(saved)
        finally:
            if checkpoints is not None:
                checkpoints.close()
        return history

    def _saved(self, resume, checkpoints) -> dict[str, Any] | None:
        """What a resumed fit goes on from, with the weights already in place."""
        if resume is False:
            return None
        if resume is not True:
            found = find(checkpoints.directory) if resume == "auto" else find(resume, missing_ok=False)
            if found is None:
                return None
            self.load_state(found)
            if checkpoints is not None:
                checkpoints.written = self.steps if resume == "auto" else None
        if self._loaded is None:
            raise ValueError(
                "resume is True, but there is nothing to resume: call load_state first, or give checkpoint_dir"
            )
        loaded, self._loaded = self._loaded, None
        return loaded

    # Evaluating.

    def evaluate(
        self, x, y=None, *, batch_size: int = 256, sample_weight=None, callbacks: Iterable = (), verbose: int = 0
    ) -> dict[str, Any]:
        """The loss and the metrics of these data, by name."""
        data = source(self.model, x, y, sample_weight, batch_size=positive("batch_size", batch_size))
        everyone = CallbackList(callbacks)
        everyone.set(self, {"verbose": verbose, "steps": data.steps, "batch_size": batch_size})
        values = evaluate(self, data, everyone)
        if verbose:
            print(
                "evaluation: "
                + ", ".join(f"{name} {value:.4g}" for name, value in values.items() if numpy.ndim(value) == 0)
            )
        return values

    def test(self, x, y=None, **named) -> dict[str, Any]:
        """`evaluate` for the test set: once, at the very end. The second use is warned of, as every choice made after it
        would be a choice by the test set."""
        self.tests += 1
        if self.tests > 1:
            warnings.warn(
                f"test data are used for the {self.tests}nd time".replace("3nd", "3rd") if self.tests < 4 else
                f"test data are used for the {self.tests}th time",
                stacklevel=2,
            )  # fmt: skip
        return self.evaluate(x, y, **named)

    def predict(self, x, *, batch_size: int = 256, mc_samples: int = 0, callbacks: Iterable = ()):
        """What the network gives for x; with mc_samples, the mean over that many passes with dropout drawing (batch norms
        use their running statistics)."""
        data = source(self.model, x, batch_size=positive("batch_size", batch_size), targets=False)
        mc_samples = positive("mc_samples", mc_samples, 0)
        everyone = CallbackList(callbacks)
        everyone.set(self, {"steps": data.steps, "batch_size": batch_size})
        everyone.tell("predict_begin", None)
        parts = []
        done = 0
        for number, given in enumerate(data(0, 0)):
            batch = as_batch(given)
            everyone.tell("predict_batch_begin", number, None)
            parts.append(self.model.predict(batch.x, mc_samples, self.seed, done))
            done += len(batch.x)
            everyone.tell("predict_batch_end", number, {"outputs": parts[-1]})
        everyone.tell("predict_end", None)
        return parts[0] if len(parts) == 1 else self.model.xp.concatenate(parts)

    # State.

    def state(self) -> dict[str, Any]:
        """Everything a later step depends on, as nested dicts of arrays (the trainer's own: copy what should last) and plain
        values: weights, optimizer, averages, loss scale, schedules, callbacks, history, position, configuration."""
        return state(self)

    def load_state(self, given: dict[str, Any]) -> None:
        """Takes over a `state()`; `fit(..., resume=True)` then goes on in the middle of the fit it was taken in."""
        load_state(self, given)

    def config(self) -> dict[str, Any]:
        """Plain data that describe the trainer."""
        return {
            **self.model.config(),
            "optimizer": self.optimizer.config(),
            "metrics": [metric.label for metric in self.metrics],
            "regularizer": None if self.regularizer is None else self.regularizer.config(),
            "accumulate": self.accumulate,
            "seed": self.seed,
        }


def positive(name: str, value, least: int = 1) -> int:
    """`value` as a whole number of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
    return number
