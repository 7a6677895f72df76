# SPDX-License-Identifier: BSD-3-Clause
"""What a trainer can train: a network with a loss, or a function that gives loss and gradients. One face for both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from .._random import namespace
from ..nn import BatchNorm
from ..nn.network import Sequential
from ..nn.stages import self_and_inner
from ..optim.parameters import assign
from .objective import Objective


class Pass(NamedTuple):
    """The mean loss of a batch, the prediction it was made of (None where there is none), and the terms of the loss."""

    loss: Any
    y: Any
    terms: dict[str, Any]


class NetworkModel:
    """A built network and an objective."""

    integer_targets = True

    def __init__(self, net: Sequential, loss):
        net._require_built()
        if loss is None:
            raise TypeError('loss is missing; call Trainer(net, loss="softmax_cross_entropy", …)')
        self.net, self.xp = net, net.xp
        self.objective = Objective(loss, net.xp)
        self.of_classes = self.objective.of_classes

    @property
    def params(self) -> dict[str, Any]:
        return self.net.params

    @property
    def grads(self) -> dict[str, Any]:
        return self.net.grads

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.net.output_shape

    def inputs(self, x):
        """x as the network takes it."""
        if self.net.integer_input or x.dtype == self.net.dtype:
            return x
        return x.astype(self.net.dtype)

    def targets(self, y, like: tuple[int, ...]):
        """y as the losses take it: classes as integers, anything else in the prediction's shape and dtype."""
        if y is None:
            raise ValueError("y is missing; the loss needs targets")
        kind, size = y.dtype.kind, y.dtype.itemsize
        if kind in "iub" and self.of_classes and tuple(y.shape) != tuple(like):
            if y.shape == (*like[:-1], 1):
                y = y.reshape(like[:-1])
            return y if (kind == "i" and size >= 4) or (kind == "u" and size == 1) else y.astype("int64")
        if tuple(y.shape) != tuple(like):
            if y.size != numpy.prod(like):
                raise ValueError(f"y has shape {tuple(y.shape)}; the network gives {tuple(like)}")
            y = y.reshape(like)
        return y if y.dtype == self.net.dtype else y.astype(self.net.dtype)

    def gradients(self, x, y, weights, *, seed, step, offset, scale, accumulate) -> Pass:
        """Runs forward and backward; `grads` hold the gradients of scale * loss, or are added to."""
        prediction, backward = self.net(self.inputs(x), training=True, step=step, offset=offset, seed=seed)
        target = self.targets(y, prediction.shape)
        loss, dy, terms = self.objective(prediction, target, weights, scale)
        backward(dy, accumulate=accumulate, dx=False)
        return Pass(loss, prediction, terms)

    def evaluate(self, x, y, weights) -> Pass:
        prediction = self.net.predict(self.inputs(x))
        target = self.targets(y, prediction.shape)
        loss, _, terms = self.objective(prediction, target, weights)
        return Pass(loss, prediction, terms)

    def predict(self, x, mc_samples: int = 0, seed: int = 0, offset: int = 0):
        x = self.inputs(x)
        if not mc_samples:
            return self.net.predict(x)
        with _statistics_at_rest(self.net):
            total = 0
            for sample in range(mc_samples):
                total = total + self.net(x, training=True, step=sample, seed=seed, offset=offset)[0].astype("float64")
        return (total / mc_samples).astype(self.net.dtype)  # type: ignore[attr-defined]

    def state(self) -> dict[str, Any]:
        return self.net.state()

    def load_state(self, state) -> None:
        self.net.load_state(state)

    def config(self) -> dict[str, Any]:
        return {"network": self.net.config(), "input_shape": list(self.net.input_shape), "dtype": self.net.dtype.name,
                "seed": self.net.seed, "loss": self.objective.config()}  # fmt: skip


class FunctionModel:
    """`loss_fn(x, params, y, reg) -> (loss, gradients)` over a dict of arrays; with y=None it gives scores."""

    def __init__(self, loss_fn: Callable, params, reg: float, predict: Callable | None):
        if params is None:
            raise TypeError("params is missing; call Trainer(loss_fn, params={…}) with the arrays to train")
        self.loss_fn, self.params, self.reg, self.scores = loss_fn, params, reg, predict
        self.grads: dict[str, Any] = {}
        self.output_shape: tuple[int, ...] | None = None
        self.xp = namespace(next(iter(params.values()), None))

    def inputs(self, x):
        return x

    def targets(self, y, like):
        return y

    def gradients(self, x, y, weights, *, seed, step, offset, scale, accumulate) -> Pass:
        if weights is not None:
            raise ValueError("sample_weight and class_weight need a network; loss_fn weighs its samples itself")
        loss, grads = self.loss_fn(x, self.params, y, self.reg)
        if grads.keys() != self.params.keys():
            raise ValueError(f"loss_fn gave gradients of {', '.join(grads)}; expected of {', '.join(self.params)}")
        if scale != 1.0:
            grads = {name: grads[name] * scale for name in grads}
        if accumulate:
            grads = {name: self.grads[name] + grads[name] for name in grads}
        self.grads = {name: grads[name] for name in self.params}
        return Pass(loss, None, {})

    def evaluate(self, x, y, weights) -> Pass:
        return Pass(self.loss_fn(x, self.params, y, self.reg)[0], None, {})

    def predict(self, x, mc_samples: int = 0, seed: int = 0, offset: int = 0):
        if self.scores is not None:
            return self.scores(x, self.params)
        return self.loss_fn(x, self.params, None, self.reg)

    def state(self) -> dict[str, Any]:
        return dict(self.params)

    def load_state(self, state) -> None:
        wrong = [
            name
            for name in self.params.keys() | state.keys()
            if name not in state or name not in self.params or self.params[name].shape != state[name].shape
        ]
        if wrong:
            raise ValueError(f"the state does not fit the parameters: {', '.join(sorted(wrong))}")
        for name, array in self.params.items():
            assign(array, state[name])

    def config(self) -> dict[str, Any]:
        return {"loss_fn": getattr(self.loss_fn, "__qualname__", str(self.loss_fn)), "reg": self.reg}


class _statistics_at_rest:
    """Inside, batch norms use their running statistics even in training."""

    def __init__(self, net):
        self.net = net
        self.norms = [layer for layer in self_and_inner(net) if isinstance(layer, BatchNorm) and layer.trainable]

    def __enter__(self):
        for layer in self.norms:
            layer.trainable = False

    def __exit__(self, *error):
        for layer in self.norms:
            layer.trainable = True
