# SPDX-License-Identifier: BSD-3-Clause
"""ClassifierTrainer: the Trainer under the names and log lines of a well-known course, and its two-layer network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

import brazen

from .. import optim, schedules
from .._random import namespace
from ..callbacks.base import Callback
from ..data import order
from ..init import normal
from .trainer import Trainer

# Samples on which the accuracy of training is measured after each epoch, at most.
_TRAIN_SAMPLES = 1000


class Stats(NamedTuple):
    """The cost of each update, and the accuracies after each epoch."""

    loss_history: list[float]
    train_acc_history: list[float]
    val_acc_history: list[float]


class ClassifierTrainer:
    """`best_model, stats = ClassifierTrainer().train(X, y, X_val, y_val, model, loss_fn, …)`.

    model: a dict of arrays, trained in place; loss_fn(X, model, y, reg) gives (loss, gradients), and scores for y=None.
    best_model: copies of the arrays after the epoch of the best validation accuracy.
    """

    def train(
        self,
        X,
        y,
        X_val,
        y_val,
        model: dict[str, Any],
        loss_fn: Callable,
        num_epochs: int = 30,
        reg: float = 0.0,
        update: str = "sgd",
        learning_rate_decay: float = 1.0,
        sample_batches: bool = True,
        batch_size: int = 100,
        learning_rate: float = 1e-2,
        verbose: bool = False,
        *,
        momentum: float | None = None,
        seed: int = 0,
        callbacks=(),
    ) -> tuple[dict[str, Any], Stats]:
        """Each epoch visits every sample once; sample_batches=False takes all of them in one update an epoch.

        update: "sgd", "momentum" (whose momentum has no default), or the name of any rule of brazen.optim. The rate is
        multiplied by learning_rate_decay after every epoch.
        """
        if update == "momentum":
            if momentum is None:
                raise TypeError("momentum is missing; update='momentum' needs one, such as momentum=0.9")
            optimizer: Any = optim.SGD(lr=learning_rate, momentum=momentum, form="classic")
        else:
            optimizer = optim.get(update)(lr=learning_rate)
        if learning_rate_decay != 1:
            optimizer.lr = schedules.per_epoch(learning_rate, learning_rate_decay)
        trainer = Trainer(loss_fn, params=model, reg=reg, optimizer=optimizer, seed=seed)
        watch = _Accuracies(X, y, X_val, y_val, num_epochs, bool(verbose), learning_rate, learning_rate_decay)
        history = trainer.fit(
            X, y, epochs=num_epochs, batch_size=batch_size, sample_batches=sample_batches, verbose=0,
            callbacks=[watch, *callbacks],
        )  # fmt: skip
        if verbose:
            print(f"finished optimization. best validation accuracy: {watch.best:f}")
        return watch.best_model, Stats(history.batch_loss, watch.train, watch.val)


class _Accuracies(Callback):
    def __init__(self, X, y, X_val, y_val, epochs, verbose, rate, decay):
        self.data, self.held, self.epochs, self.verbose = (X, y), (X_val, y_val), epochs, verbose
        self.rate, self.decay = rate, decay
        self.train: list[float] = []
        self.val: list[float] = []
        self.best, self.best_model = -1.0, {}

    def on_epoch_end(self, epoch, logs=None):
        X, y = self.data
        if len(X) > _TRAIN_SAMPLES:
            like = X if namespace(X) is not numpy else None
            chosen = order(len(X), self.model.seed, epoch, site=1, like=like)[:_TRAIN_SAMPLES]
            X, y = X[chosen], y[chosen]
        self.train.append(self._accuracy(X, y))
        self.val.append(self._accuracy(*self.held))
        if self.val[-1] > self.best:
            self.best = self.val[-1]
            self.best_model = {name: array.copy() for name, array in self.model.params.items()}
        if self.verbose:
            rate = self.rate * self.decay ** (epoch + 1)
            print(
                f"Finished epoch {epoch + 1} / {self.epochs}: cost {self.model.batch_loss:f}, train: {self.train[-1]:f}, "
                f"val {self.val[-1]:f}, lr {rate:e}"
            )

    def _accuracy(self, X, y) -> float:
        model = self.model.model
        scores = model.loss_fn(X, model.params, None, model.reg)
        return float((scores.argmax(axis=1) == y).mean())


def init_two_layer_model(input_size: int, hidden_size: int, output_size: int, *, seed: int = 0, dtype="float64"):
    """{W1, b1, W2, b2}: weights of standard deviation 1e-4, biases of 0.

    >>> {name: array.shape for name, array in init_two_layer_model(3, 4, 2).items()}
    {'W1': (3, 4), 'b1': (4,), 'W2': (4, 2), 'b2': (2,)}
    """
    draw = normal(std=1e-4)
    return {
        "W1": draw((input_size, hidden_size), seed=seed, site=0, dtype=dtype),
        "b1": numpy.zeros(hidden_size, dtype),
        "W2": draw((hidden_size, output_size), seed=seed, site=1, dtype=dtype),
        "b2": numpy.zeros(output_size, dtype),
    }


def two_layer_net(X, model, y=None, reg: float = 0.0):
    """(loss, gradients) of X → relu → softmax with reg / 2 * sum W^2; scores without y.

    >>> X, model = numpy.ones((2, 3)), init_two_layer_model(3, 4, 10)
    >>> loss, gradients = two_layer_net(X, model, numpy.array([0, 1]))
    >>> round(float(loss), 5), list(gradients)
    (2.30259, ['W1', 'b1', 'W2', 'b2'])
    """
    W1, b1, W2, b2 = model["W1"], model["b1"], model["W2"], model["b2"]
    before = X @ W1 + b1
    hidden = brazen.relu(before)
    scores = hidden @ W2 + b2
    if y is None:
        return scores
    loss, dscores = brazen.softmax_cross_entropy(scores, y)
    loss = loss + 0.5 * reg * sum((weight.astype("float64") ** 2).sum() for weight in (W1, W2))
    dbefore = brazen.relu.backward(dscores @ W2.T, before)
    return loss, {
        "W1": X.T @ dbefore + reg * W1,
        "b1": dbefore.sum(axis=0),
        "W2": hidden.T @ dscores + reg * W2,
        "b2": dscores.sum(axis=0),
    }
