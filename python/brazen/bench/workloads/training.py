# SPDX-License-Identifier: BSD-3-Clause
"""Whole training steps and convolutions of networks, next to PyTorch's eager mode with its fused Adam, and Keras on JAX."""

from __future__ import annotations

import numpy as np

import brazen

from ..case import Case, Side, WrongResult
from . import Workload

_WIDTHS = (784, 512, 512, 10)


def _network(nn, inputs: int):
    layers = []
    for width in _WIDTHS[1:-1]:
        layers += [nn.Dense(width), nn.BatchNorm(), nn.Activation("relu"), nn.Dropout(0.5)]
    return nn.Sequential([*layers, nn.Dense(_WIDTHS[-1])]).build(input_shape=inputs, seed=0)


def _step(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """784-512-512-10 with batch norm, relu, dropout, cross-entropy, Adam; `shape` is (batch, inputs)."""
    random = np.random.default_rng()
    x = random.standard_normal(shape, dtype=np.float32)
    labels = random.integers(0, _WIDTHS[-1], shape[0])
    net = _network(brazen.nn, shape[1])
    optimizer = brazen.optim.Adam(net.params, lr=1e-3)
    optimizer.bind_grads(net.grads)
    dy = np.empty((shape[0], _WIDTHS[-1]), np.float32)

    def step():
        y, backward = net(x, training=True, step=optimizer.steps)
        loss, _ = brazen.softmax_cross_entropy(y, labels, out=dy)
        backward(dy, dx=False)
        optimizer.step()
        return loss

    def check():
        first = float(step())
        for _ in range(30):
            last = float(step())
        if not last < first:
            raise WrongResult(f"training step: the loss went from {first:g} to {last:g}")

    # Weights are read in both directions and by Adam, which moves seven arrays of their size.
    case = Case(
        "training step", "forward", "float32", x.size, 10 * net.arena.nbytes, {"out": Side("f()", f=step)}, check
    )
    if "torch" in peers:
        case.peers["torch"] = {"allocating": [_torch_step(x, labels)]}
    if "keras" in peers:
        from ..keras_peer import training_step

        case.peers["keras"] = {"allocating": training_step(x, labels, _WIDTHS[1:])}
    if "reference" in peers:
        case.peers["reference"] = {"allocating": [_reference_step(x, labels)]}
    return case


def _reference_step(x, labels) -> Side:
    """The same step in plain array code."""
    reference = brazen.reference
    random = np.random.default_rng(0)
    widths = (x.shape[1], *_WIDTHS[1:])
    last = len(widths) - 2
    weights, biases, scales, shifts = [], [], [], []
    for number, (inputs, width) in enumerate(zip(widths, widths[1:])):
        weights.append(random.standard_normal((inputs, width), dtype=np.float32) * np.float32((2 / inputs) ** 0.5))
        biases.append(np.zeros(width, np.float32))
        if number < last:
            scales.append(np.ones(width, np.float32))
            shifts.append(np.zeros(width, np.float32))
    running = [(np.zeros(width, np.float32), np.ones(width, np.float32)) for width in widths[1:-1]]
    rule = reference.optim.Adam(lr=1e-3)
    steps = 0

    def step():
        nonlocal steps
        a, kept = x, []
        for number, (weight, bias) in enumerate(zip(weights, biases)):
            z = a @ weight + bias
            if number == last:
                break
            y, saved = reference.batch_norm(
                z, scales[number], shifts[number], *running[number], activation=reference.relu, dropout=0.5, seed=0,
                step=steps, site=number,
            )  # fmt: skip
            kept.append((a, saved))
            a = y
        loss, dz = reference.softmax_cross_entropy(z, labels)
        grads: tuple[list, ...] = [a.T @ dz], [dz.sum(axis=0)], [], []
        for number in range(last - 1, -1, -1):
            of = reference.batch_norm.backward(dz @ weights[number + 1].T, kept[number][1])
            dz = of.x
            for some, grad in zip(grads, (kept[number][0].T @ dz, dz.sum(axis=0), of.scale, of.shift)):
                some.insert(0, grad)
        rule.step([*weights, *biases, *scales, *shifts], [grad for some in grads for grad in some])
        steps += 1
        return loss

    return Side("f()", f=step)


def _torch_step(x, labels) -> Side:
    import torch

    layers: list = []
    widths = (x.shape[1], *_WIDTHS[1:])
    for inputs, width in zip(widths[:-2], widths[1:-1]):
        layers += [torch.nn.Linear(inputs, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-2], widths[-1]))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    given, classes = torch.from_numpy(x), torch.from_numpy(labels)

    @torch.enable_grad()
    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(given), classes)
        loss.backward()
        optimizer.step()

    return Side("f()", f=step)


def _convolution(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """A 3 x 3 convolution that keeps shape and channels, forward and backward; `shape` is (N, C, H, W)."""
    random = np.random.default_rng()
    x, dy = (random.standard_normal(shape, dtype=np.float32) for _ in range(2))
    net = brazen.nn.Sequential([brazen.nn.Conv2D(shape[1], 3, padding=1)]).build(input_shape=shape[1:], seed=0)

    def both():
        y, backward = net(x, training=True)
        return y, backward(dy)

    def check():
        y, dx = both()
        exact = (x[0, :, :3, :3] * net.params["conv2d.weight"][0]).sum()
        if not np.allclose(y[0, 0, 1, 1], exact, rtol=1e-3, atol=1e-3):
            raise WrongResult("convolution: the middle of the first window differs from its sum")
        if not np.isfinite(dx).all():
            raise WrongResult("convolution: the gradient is not finite")

    case = Case("convolution", "forward", "float32", x.size, 5 * x.nbytes, {"out": Side("f()", f=both)}, check)
    if "torch" in peers:
        case.peers["torch"] = {"allocating": [_torch_convolution(x, dy)]}
    return case


def _torch_convolution(x, dy) -> Side:
    import torch

    layer = torch.nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1)
    given, gradient = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(dy)

    @torch.enable_grad()
    def both():
        return torch.autograd.grad(layer(given), [given, *layer.parameters()], gradient)

    return Side("f()", f=both)


WORKLOADS = (
    Workload(
        "training step, batch 128",
        "forward",
        _step,
        (128, 784),
        (8, 20),
        {"torch": 1.7, "keras": 1.5, "reference": 4.0},
    ),
    Workload("training step, batch 16", "forward", _step, (16, 784), (4, 20), {"torch": 2.5, "reference": 4.0}),
    Workload("convolution, 64 x 64 x 32 x 32", "forward", _convolution, (64, 64, 32, 32), (2, 3, 6, 5), {"torch": 0.5}),
)
