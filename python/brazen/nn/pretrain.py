# SPDX-License-Identifier: BSD-3-Clause
"""Initial weights of a network's Dense layers from inputs without labels: greedy autoencoders, and restricted Boltzmann
machines. The network is left as it is; `net.load_state(weights, strict=False)` takes them over by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .. import optim
from .. import random as generator
from .._matmul import matmul
from ..ops.activations import sigmoid
from ..ops.losses import mse
from .layers.activations import Activation
from .layers.dense import Dense, positive
from .network import Sequential

__all__ = ["Pretrained", "autoencoder", "rbm"]


@dataclass
class Pretrained:
    """`weights` by their names in the network; `errors` by layer, the mean squared error of reconstruction each epoch."""

    weights: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)


def autoencoder(net, x, *, epochs: int = 10, batch_size: int = 128, lr: float = 1e-3, seed: int = 0) -> Pretrained:
    """Each hidden Dense layer in turn learns, with its activation and a linear decoder, to give its input back (Adam, mse).

    Hidden are all Dense layers of `net.layers` but the last. A layer's input is what the layers before it make of x, with
    the weights they have learned; what stands between a layer and its activation is left out of its autoencoder.

    >>> import numpy as np, brazen as bz
    >>> layers = [bz.nn.Dense(3), bz.nn.Activation("tanh"), bz.nn.Dense(2)]
    >>> net = bz.nn.Sequential(layers).build(input_shape=4, seed=0)
    >>> pretrained = autoencoder(net, np.random.default_rng(0).normal(size=(50, 4)).astype("float32"), epochs=2)
    >>> net.load_state(pretrained.weights, strict=False).loaded
    ['dense.weight', 'dense.bias']
    """
    hidden, made = _hidden(net, x, epochs, batch_size), Pretrained()
    trained = net.clone()
    for number, layer in enumerate(hidden):
        inputs = _reaching(trained, layer, x, batch_size)
        decoder = Dense(layer.inputs, weight="xavier_uniform")
        encoder = Dense(layer.units, _activation_after(net, layer), bias=layer.bias, weight=layer.weight_init)
        pair = Sequential([encoder, decoder]).build(layer.inputs, seed=seed + number, dtype=net.dtype, xp=net.xp)
        made.errors[layer.path] = _reconstruct(pair, inputs, epochs, batch_size, lr, seed)
        learned = {f"{layer.path}.{name}": array.copy() for name, array in encoder.params.items()}
        trained.load_state(learned, strict=False)
        made.weights |= learned
    return made


def rbm(net, x, *, epochs: int = 10, batch_size: int = 128, lr: float = 0.1, momentum: float = 0.5,
        visible: str = "binary", seed: int = 0) -> Pretrained:  # fmt: skip
    """Each hidden Dense layer in turn is trained as a restricted Boltzmann machine by one step of contrastive divergence.

    weight += lr · (⟨v h⟩ of the data − ⟨v h⟩ after one step) (Hinton, 2002), with momentum. Hidden units are binary; those of
    the first layer are `visible`: "binary" for x from 0 to 1, or "gaussian" of unit variance. The next layer sees the
    probabilities of the one before: sigmoid, which the network's activations should be.

    >>> import numpy as np, brazen as bz
    >>> net = bz.nn.Sequential([bz.nn.Dense(3, "sigmoid"), bz.nn.Dense(2)]).build(input_shape=4, seed=0)
    >>> pretrained = rbm(net, (np.random.default_rng(0).random((50, 4)) < 0.3).astype("float32"), epochs=2)
    >>> sorted(pretrained.weights), len(pretrained.errors["dense"])
    (['dense.bias', 'dense.weight'], 2)
    """
    if visible not in ("binary", "gaussian"):
        raise ValueError(f"visible is {visible!r}; expected 'binary' or 'gaussian'")
    hidden, made = _hidden(net, x, epochs, batch_size), Pretrained()
    seen = x.reshape(len(x), -1)
    if visible == "binary" and not (float(seen.min()) >= 0 and float(seen.max()) <= 1):
        raise ValueError("x goes beyond 0 to 1, where binary units are; scale it, or give visible='gaussian'")
    for number, layer in enumerate(hidden):
        if seen.shape[1] != layer.inputs:
            raise ValueError(
                f"layer {layer.path} takes {layer.inputs} inputs, where {seen.shape[1]} reach it; machines need Dense "
                "layers that follow one another"
            )
        machine = _Machine(net, layer, seed, number, visible if number == 0 else "binary")
        made.errors[layer.path] = [machine.epoch(seen, epoch, batch_size, lr, momentum) for epoch in range(epochs)]
        made.weights[f"{layer.path}.weight"] = machine.weight
        if layer.bias:
            made.weights[f"{layer.path}.bias"] = machine.hidden_bias
        seen = machine.hidden(seen)
    return made


def _hidden(net, x, epochs, batch_size) -> list[Dense]:
    positive("epochs", epochs)
    positive("batch_size", batch_size)
    if not isinstance(net, Sequential) or net.root is not net:
        raise TypeError(f"net is {type(net).__name__}; expected a built Sequential")
    if net.dtype.itemsize == 2:
        raise TypeError(
            f"net has dtype {net.dtype}; expected float32 or float64 (load the weights into another network)"
        )
    if len(x) == 0:
        raise ValueError("x is empty; expected at least one sample")
    net._require_input(x)
    dense = [layer for layer in net.layers if type(layer) is Dense]
    if len(dense) < 2:
        raise ValueError(f"net has {len(dense)} Dense layers; expected at least two, of which the last is left alone")
    return dense[:-1]


def _activation_after(net, layer: Dense):
    if layer.function is not None:
        return layer.function
    for follower in net.layers[net.layers.index(layer) + 1 :]:
        if isinstance(follower, Dense):
            return None
        if isinstance(follower, Activation):
            return follower.function
    return None


def _reaching(net, layer: Dense, x, batch_size: int):
    """What a layer is given when x passes, as rows."""
    before = [own for own in net.layers if own.site < net.layer(layer.path).site]
    if not before:
        return x.reshape(-1, layer.inputs)
    parts: list[Any] = []
    end = net.observe(before[-1].path, lambda _, kind, array: parts.append(array.reshape(-1, layer.inputs).copy()))
    net.predict(x, batch_size)
    end()
    return net.xp.concatenate(parts)


def _batches(x, batch_size: int, seed: int, epoch: int):
    order = generator.permutation(len(x), seed=seed, step=epoch, like=x)
    for start in range(0, len(x), batch_size):
        yield start, x[order[start : start + batch_size]]


def _reconstruct(pair, x, epochs: int, batch_size: int, lr: float, seed: int) -> list[float]:
    optimizer = optim.Adam(pair.params, lr=lr)
    errors = []
    for epoch in range(epochs):
        total = 0.0
        for _, batch in _batches(x, batch_size, seed, epoch):
            y, backward = pair(batch, training=True, step=optimizer.steps)
            loss, dy = mse(y, batch)
            backward(dy, dx=False)
            optimizer.step(pair.grads)
            total += float(loss) * len(batch)
        errors.append(total / len(x))
    return errors


class _Machine:
    """One restricted Boltzmann machine: weight (visible, hidden), a bias for each side."""

    def __init__(self, net, layer: Dense, seed: int, number: int, visible: str):
        xp, dtype = net.xp, net.dtype
        self.layer, self.seed, self.number, self.visible, self.xp = layer, seed, number, visible, xp
        self.weight = generator.normal(
            (layer.inputs, layer.units), std=0.01, seed=seed, site=2 * number, dtype=dtype, like=net.arena
        )
        self.visible_bias, self.hidden_bias = xp.zeros(layer.inputs, dtype), xp.zeros(layer.units, dtype)
        self.moved = [xp.zeros_like(array) for array in self.parameters()]

    def parameters(self):
        return [self.weight, self.visible_bias, self.hidden_bias]

    def hidden(self, visible):
        """The probability of each hidden unit."""
        z = self.xp.empty((len(visible), self.layer.units), visible.dtype)
        z = matmul(visible, self.weight, z) + self.hidden_bias
        return sigmoid(z, out=z)

    def seen(self, hidden):
        """The mean of each visible unit."""
        z = self.xp.empty((len(hidden), self.layer.inputs), hidden.dtype)
        z = matmul(hidden, self.weight.T, z) + self.visible_bias
        return sigmoid(z, out=z) if self.visible == "binary" else z

    def epoch(self, x, epoch: int, batch_size: int, lr: float, momentum: float) -> float:
        """One pass over x; the mean squared error of what one step gives back."""
        total = 0.0
        for start, v0 in _batches(x, batch_size, self.seed, epoch):
            h0 = self.hidden(v0)
            drawn = generator.uniform(
                h0.shape, seed=self.seed, step=epoch, site=2 * self.number + 1, offset=start * h0.shape[1],
                dtype=h0.dtype, like=h0,
            )  # fmt: skip
            v1 = self.seen((drawn < h0).astype(h0.dtype))
            h1 = self.hidden(v1)
            products = self.xp.empty_like(self.weight), self.xp.empty_like(self.weight)
            change = matmul(v0.T, h0, products[0]) - matmul(v1.T, h1, products[1])
            for own, moved, by in zip(
                self.parameters(), self.moved, (change, (v0 - v1).sum(axis=0), (h0 - h1).sum(axis=0)), strict=True
            ):
                moved *= momentum
                moved += by * (lr / len(v0))
                own += moved
            total += float(((v0 - v1) ** 2).sum())
        return total / math.prod(x.shape)
