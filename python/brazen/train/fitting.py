# SPDX-License-Identifier: BSD-3-Clause
"""One call of fit: epochs, batches and steps, the events they are, and the position that a checkpoint keeps."""

from __future__ import annotations

import signal
import threading
from typing import Any

from ..callbacks.base import CallbackList
from ..callbacks.events import Logs
from ..data import as_batch
from ..optim import functions
from .evaluation import evaluate
from .inputs import Source, check_arrays
from .means import Means
from .saving import load_state


class Fit:
    """The state of one run of `Trainer.fit`; `epoch` and `batch` say what comes next."""

    def __init__(self, trainer, source: Source, epochs: int, *, validation, callbacks: CallbackList, history, settings,
                 steps_per_epoch, checkpoints):  # fmt: skip
        self.trainer, self.source, self.epochs, self.validation = trainer, source, epochs, validation
        self.callbacks, self.history, self.settings, self.steps = callbacks, history, settings, steps_per_epoch
        self.checkpoints = checkpoints
        self.means = Means(trainer.metrics, trainer.model.xp)
        self.epoch, self.batch, self.stopped = 0, 0, False
        # Epochs of earlier fits: this one's orders are drawn after theirs.
        self.base = trainer.epochs_done
        self.begun = False
        hear = callbacks.hear
        self._heard_before, self._heard_after = bool(hear["before_optimizer_step"]), bool(hear["after_optimizer_step"])
        self._checked = source.checked
        self.running = False

    # The run.

    def run(self, state: dict[str, Any] | None) -> None:
        """From the beginning, or from where `state` was taken."""
        trainer, tell = self.trainer, self.callbacks.tell
        trainer.stop_training = trainer.pause_training = False
        norms_before = trainer.optimizer.options["report_norms"]
        trainer.optimizer.options["report_norms"] = norms_before or self._heard_after
        logs: dict[str, Any] = {}
        trainer.waiting.clear()
        tell("train_begin", None)
        if state is not None:
            self._go_on(state)
        self.running = True
        try:
            with _Interrupt(trainer):
                while self.epoch < self.epochs and not (
                    trainer.stop_training or trainer.pause_training or self.stopped
                ):
                    logs = self._run_epoch()
        finally:
            trainer.optimizer.options["report_norms"] = norms_before
            self.running = False
            try:
                if self.checkpoints is not None:
                    self.checkpoints.finish(trainer)
            finally:
                tell("train_end", logs)

    def _run_epoch(self) -> dict[str, Any]:
        trainer, tell = self.trainer, self.callbacks.tell
        if not self.begun:
            self.means.start()
            trainer.begin_epoch(self.base + self.epoch)
            tell("epoch_begin", self.epoch, None)
            self.begun = True
        self._run_batches()
        if trainer.pause_training:
            return {}
        logs = self.means.values()
        logs["learning_rate"] = trainer.lr
        if self.validation is not None:
            logs.update(evaluate(trainer, self.validation, self.callbacks, "val_"))
        trainer.end_epoch(logs)
        tell("epoch_end", self.epoch, logs)
        self.epoch, self.batch, self.begun = self.epoch + 1, 0, False
        trainer.epochs_done = self.base + self.epoch
        self.stopped = trainer.stop_training
        trainer.do_waiting()
        if self.checkpoints is not None:
            self.checkpoints.after_epoch(trainer, self.epoch == self.epochs or self.stopped)
        return logs

    def _run_batches(self) -> None:
        trainer, hear = self.trainer, self.callbacks.hear
        begin, end = hear["train_batch_begin"], hear["train_batch_end"]
        logs_of, steps = self.means.values, self.steps
        if steps is not None and self.batch >= steps:
            return
        batches = self.source(self.base + self.epoch, self.batch)
        number = self.batch
        try:
            for given in batches:
                batch = as_batch(given)
                if not self._checked:
                    check_arrays(trainer.model, batch.x, batch.y, batch.weights, "x of a batch")
                    self._checked = True
                for hook in begin:
                    hook(number, None)
                self._step(batch)
                self.batch = number + 1
                if end:
                    logs = Logs(logs_of)
                    for hook in end:
                        hook(number, logs)
                number += 1
                if trainer.waiting:
                    trainer.do_waiting()
                if self.checkpoints is not None and number != self.source.steps:
                    self.checkpoints.after_batch(trainer)
                if trainer.stop_training or trainer.pause_training or number == steps:
                    break
        finally:
            close = getattr(batches, "close", None)
            if close is not None and not self.source.one_shot:
                close()
        if not number:
            raise ValueError(
                f"epoch {self.epoch} has no batch" + ("; the iterator is used up" if self.source.one_shot else "")
            )

    def _step(self, batch) -> None:
        trainer = self.trainer
        model, optimizer, loss_scale = trainer.model, trainer.optimizer, trainer.loss_scale
        scale = 1.0 if loss_scale is None else loss_scale.value
        samples = len(batch.x)
        place = {"seed": trainer.seed, "step": trainer.steps}
        if trainer.accumulate == 1 or samples == 1:
            passed = model.gradients(
                batch.x, batch.y, batch.weights, offset=batch.offset, scale=scale, accumulate=False, **place
            )
            self._note(passed, batch.y, batch.weights, samples)
            loss: Any = passed.loss
        else:
            loss = self._in_parts(batch, samples, scale, place)
        if trainer.regularizer is not None:
            penalty = trainer.regularizer.penalty(model.params)
            self.means.sums["loss"] += penalty * samples
            # In float64, as the penalty is, on every device.
            loss = (float(loss) if self.means.host else loss) + penalty
        trainer._batch_loss = loss
        self.history.note(loss)
        if self._heard_before:
            logs = Logs(lambda: {"grad_norm": float(functions.global_norm(list(model.grads.values()))) / scale})
            self.callbacks.tell("before_optimizer_step", trainer.steps, logs)
        report = trainer.optimize(optimizer, 1.0 if loss_scale is None else loss_scale)
        step = trainer.steps
        trainer.steps = step + 1
        if self._heard_after:
            self.callbacks.tell("after_optimizer_step", step, Logs(lambda: norms_of(report, trainer)))

    def _in_parts(self, batch, samples: int, scale: float, place):
        """The batch in parts that each count with their samples; masks are those of the whole."""
        trainer = self.trainer
        parts = min(trainer.accumulate, samples)
        loss: Any = 0.0
        for number in range(parts):
            start, stop = samples * number // parts, samples * (number + 1) // parts
            chosen = slice(start, stop)
            weights = None if batch.weights is None else batch.weights[chosen]
            y = None if batch.y is None else batch.y[chosen]
            share = 1.0 if trainer.sums_loss else (stop - start) / samples
            passed = trainer.model.gradients(
                batch.x[chosen],
                y,
                weights,
                offset=batch.offset + start,
                scale=scale * share,
                accumulate=number > 0,
                **place,
            )
            self._note(passed, y, weights, stop - start)
            loss = loss + passed.loss * share
        return loss

    def _note(self, passed, y, weights, samples: int) -> None:
        self.means.add(passed.loss, passed.terms, samples)
        if passed.y is not None:
            for metric in self.means.metrics:
                metric.update(passed.y, y, weights)

    # Where it is.

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "begun": self.begun,
            "base": self.base,
            "stopped": self.stopped,
            "means": self.means.state(),
            "callbacks": self.callbacks.state(),
            "settings": dict(self.settings),
        }

    def _go_on(self, whole: dict[str, Any]) -> None:
        """Takes up the fit in a trainer's state, whose weights are in place already."""
        state = whole["fit"]
        self.require_agreement(state)
        if state["begun"]:
            # Callbacks hear again that their epoch begins, and then get back whatever that changed.
            self.callbacks.tell("epoch_begin", int(state["epoch"]), None)
            load_state(self.trainer, whole)
        self.load_state(state)

    def require_agreement(self, state: dict[str, Any]) -> None:
        """Raises where this fit was asked for something else than the one that was left."""
        different = [
            f"{name} is {self.settings.get(name)!r}, was {value!r}"
            for name, value in state["settings"].items()
            if self.settings.get(name) != value
        ]
        if different:
            raise ValueError(f"cannot resume: {'; '.join(different)}. Give fit what it was given, or resume=False")
        if self.source.one_shot:
            from .inputs import one_shot_error

            raise one_shot_error("x")

    def load_state(self, state: dict[str, Any]) -> None:
        self.epoch, self.batch, self.begun = int(state["epoch"]), int(state["batch"]), bool(state["begun"])
        self.base, self.stopped = int(state["base"]), bool(state["stopped"])
        self.means.load_state(state["means"])
        self.callbacks.load_state(state["callbacks"])


def norms_of(report, trainer) -> dict[str, Any]:
    """What on_after_optimizer_step is told: norms over all groups."""
    groups = [] if report.skipped else report.groups

    def whole(name):
        return sum(getattr(group, name) ** 2 for group in groups) ** 0.5 if groups else float("nan")

    return {
        "grad_norm": whole("grad") if groups else report.grad_norm,
        "update_norm": whole("update"),
        "weight_norm": whole("weight"),
        "learning_rate": trainer.lr,
        "skipped": report.skipped,
    }


class _Interrupt:
    """Inside, the first Ctrl-C lets the batch end and pauses training; the second is a KeyboardInterrupt at once."""

    def __init__(self, trainer):
        self.trainer, self.before = trainer, None

    def __enter__(self):
        own = threading.current_thread() is threading.main_thread()
        if own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self.handle)

    def handle(self, number, frame):
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        self.trainer.interrupted = self.trainer.pause_training = True

    def __exit__(self, *error):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
