# SPDX-License-Identifier: BSD-3-Clause
"""The trainer's loop next to the same steps written out, and whole fits next to scikit-learn's, PyTorch's and plain Python."""

from __future__ import annotations

import io
import statistics
import warnings

import numpy as np

import brazen

from ..case import Case, Side, WrongResult
from . import Workload
from .training import _network

# Epochs of one fit: what is done once, such as looking at the input, is part of it.
_EPOCHS, _HIDDEN, _CLASSES = 5, 128, 10


def _data(samples: int, inputs: int, classes: int):
    random = np.random.default_rng()
    x = random.standard_normal((samples, inputs), dtype=np.float32)
    return x, (x @ random.standard_normal((inputs, classes), dtype=np.float32)).argmax(axis=1)


def _loop(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """An epoch with the default callbacks, and the same steps without the trainer; `shape` is (batch, inputs, steps)."""
    batch, inputs, steps = shape
    x, labels = _data(batch * steps, inputs, _CLASSES)

    def made():
        if inputs > 100:
            return _network(brazen.nn, inputs)
        layers = [brazen.nn.Dense(8, "relu"), brazen.nn.Dense(_CLASSES)]
        return brazen.nn.Sequential(layers).build(inputs, seed=0)

    trainer = brazen.Trainer(made(), "softmax_cross_entropy", brazen.optim.Adam(lr=1e-3))
    loader = brazen.data.Loader(x, labels, batch_size=batch, reuse=True)
    bar = brazen.callbacks.ProgressBar(1, file=io.StringIO())

    def fit():
        return trainer.fit(loader, callbacks=[bar], verbose=0)

    net = made()
    optimizer = brazen.optim.Adam(net.params, lr=1e-3)
    optimizer.bind_grads(net.grads)
    dy = np.empty((batch, _CLASSES), np.float32)

    def bare():
        for some in loader(0, 0):
            y, backward = net(some.x, training=True, step=optimizer.steps)
            brazen.softmax_cross_entropy(y, some.y, out=dy)
            backward(dy, dx=False)
            optimizer.step()

    def check():
        first = fit()["loss"][0]
        for _ in range(5):
            last = fit()["loss"][0]
        if not last < first:
            raise WrongResult(f"trainer loop: the loss went from {first:g} to {last:g}")

    def overhead(times):
        return {"step_us": 1e6 * statistics.median(a - b for a, b in zip(times["ours"], times["bare"])) / steps}

    bytes_ = (
        x.nbytes + 10 * steps * net.arena.nbytes
    )  # weights are read twice, and Adam moves seven arrays of their size
    case = Case(
        "trainer loop", "forward", "float32", x.size, bytes_, {"out": Side("f()", f=fit)}, check, derive=overhead
    )
    case.peers["bare"] = {"allocating": [Side("f()", f=bare)]}
    return case


def _fit(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """A two-layer network on data of the digits' size, built and trained; `shape` is (samples, inputs, batch)."""
    samples, inputs, batch = shape
    x, labels = _data(samples, inputs, _CLASSES)

    def fit():
        layers = [brazen.nn.Dense(_HIDDEN, "relu"), brazen.nn.Dense(_CLASSES)]
        net = brazen.nn.Sequential(layers).build(inputs, seed=0)
        trainer = brazen.Trainer(net, "softmax_cross_entropy", brazen.optim.Adam(lr=1e-3), regularizer=brazen.l2(1e-4))
        return trainer.fit(x, labels, epochs=_EPOCHS, batch_size=batch, verbose=0)

    def check():
        losses = fit()["loss"]
        if not losses[-1] < losses[0]:
            raise WrongResult(f"fit: the loss went from {losses[0]:g} to {losses[-1]:g}")

    weights = 4 * (inputs + 1 + _CLASSES) * _HIDDEN
    bytes_ = _EPOCHS * (x.nbytes + 10 * -(-samples // batch) * weights)
    case = Case("fit", "forward", "float32", x.size, bytes_, {"out": Side("f()", f=fit)}, check)
    makers = {"torch": _torch_fit, "sklearn": _sklearn_fit, "reference": _reference_fit}
    for peer, make in makers.items():
        if peer in peers:
            case.peers[peer] = {"allocating": [Side("f()", f=make(x, labels, batch))]}
    return case


def _torch_fit(x, labels, batch):
    """PyTorch's eager loop over a DataLoader, with its fused Adam."""
    import torch

    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(labels))

    @torch.enable_grad()
    def fit():
        model = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, _CLASSES)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        for _ in range(_EPOCHS):
            for some, classes in torch.utils.data.DataLoader(data, batch_size=batch, shuffle=True):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(some), classes).backward()
                optimizer.step()

    return fit


def _sklearn_fit(x, labels, batch):
    """MLPClassifier with its own Adam and penalty; it, too, adds up the loss."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = MLPClassifier((_HIDDEN,), batch_size=batch, max_iter=_EPOCHS, n_iter_no_change=_EPOCHS + 1)
            return model.fit(x, labels)

    return fit


def _reference_fit(x, labels, batch):
    """The same in plain array code."""
    reference = brazen.reference
    rule = reference.optim.Adam(lr=1e-3, weight_decay=1e-4)
    weights = [brazen.init.he_normal()(shape, seed=0) for shape in ((x.shape[1], _HIDDEN), (_HIDDEN, _CLASSES))]
    biases = [np.zeros(weight.shape[1], np.float32) for weight in weights]

    def fit():
        for epoch in range(_EPOCHS):
            order = np.random.default_rng(epoch).permutation(len(x))
            for start in range(0, len(x), batch):
                some = x[order[start : start + batch]]
                before = some @ weights[0] + biases[0]
                hidden = reference.relu(before)
                _, dy = reference.softmax_cross_entropy(
                    hidden @ weights[1] + biases[1], labels[order[start : start + batch]]
                )
                dbefore = reference.relu.backward(dy @ weights[1].T, before)
                grads = [some.T @ dbefore, hidden.T @ dy, dbefore.sum(axis=0), dy.sum(axis=0)]
                rule.step([*weights, *biases], grads)

    return fit


WORKLOADS = (
    Workload("trainer loop, batch 128", "forward", _loop, (128, 784, 20), (8, 784, 2), {"bare": round(1 / 1.03, 4)}),
    Workload("trainer loop, small steps", "forward", _loop, (16, 8, 200), (4, 8, 3), at_most={"step_us": 25.0}),
    Workload(
        "fit, digits",
        "forward",
        _fit,
        (1797, 64, 64),
        (60, 8, 20),
        {"torch": 2.0, "sklearn": 5.0, "reference": 4.0},
    ),
)
