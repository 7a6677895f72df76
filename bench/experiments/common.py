# SPDX-License-Identifier: BSD-3-Clause
"""What the experiments share: findings and how they are printed, the digits, small networks and one way to train them."""

import dataclasses
import sys

import brazen as bz
import numpy as np


@dataclasses.dataclass
class Finding:
    """One figure against a claim; `holds` is None where the claim gives nothing to hold."""

    what: str
    claimed: str
    measured: str
    holds: bool | None = None


def show(text, findings):
    """Prints what a script found, in the order of its findings; `--quick` for small sizes."""
    found = list(findings("--quick" in sys.argv[1:]))
    print(" ".join(text.split()), end="\n\n")
    head = Finding("", "claimed", "measured")
    wide = [max(len(getattr(row, name)) for row in [head, *found]) for name in ("what", "claimed", "measured")]
    for row in [head, *found]:
        cells = (row.what, row.claimed, row.measured)
        verdict = {None: "", True: "holds", False: "does not hold"}[row.holds]
        print("  ".join([cell.ljust(width) for cell, width in zip(cells, wide)] + [verdict]).rstrip())


def digits(train=1200):
    """scikit-learn's digits, of mean 0 and variance 1 as a whole: (x, y) to train on, (x, y) to test on."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = ((x - x.mean()) / x.std()).astype("float32")
    order = bz.random.permutation(len(x), seed=0)
    return (x[order[:train]], y[order[:train]]), (x[order[train:]], y[order[train:]])


def network(widths, activation, seed=0, inputs=64, norm=False, dropout=0.0, weight="xavier_fan_in", bias_init="zeros"):
    """Dense layers of these widths, the last one without activation."""
    layers = []
    for width in widths[:-1]:
        layers.append(bz.nn.Dense(width, weight=weight, bias_init=bias_init))
        layers += [bz.nn.BatchNorm()] if norm else []
        layers += [activation() if isinstance(activation, type) else bz.nn.Activation(activation)]
        layers += [bz.nn.Dropout(dropout)] if dropout else []
    layers.append(bz.nn.Dense(widths[-1], weight="xavier_fan_in"))
    return bz.nn.Sequential(layers).build(input_shape=inputs, seed=seed)


@np.errstate(over="ignore", invalid="ignore")
def train(net, data, epochs, optimizer=None, batch=50, seed=0, until=None):
    """The loss over the training data after each epoch, which may explode; ends early where `until(loss, error)` says so."""
    x, y = data
    optimizer = optimizer or bz.optim.SGD(net.params, lr=0.1)
    losses, step = [], 0
    for epoch in range(epochs):
        order = bz.random.permutation(len(x), seed=seed, step=epoch)
        for start in range(0, len(x) - batch + 1, batch):
            chosen = order[start : start + batch]
            z, backward = net(x[chosen], training=True, step=step)
            _, dz = bz.softmax_cross_entropy(z, y[chosen])
            backward(dz, dx=False)
            optimizer.step(net.grads)
            step += 1
        z = net.predict(x)
        losses.append(float(bz.softmax_cross_entropy(z, y)[0]))
        if until is not None and until(losses[-1], float((z.argmax(axis=1) != y).mean())):
            break
    return losses


def accuracy(net, data):
    return float((net.predict(data[0]).argmax(axis=1) == data[1]).mean())


def percent(fraction):
    return f"{100 * fraction:.1f} %"


def mean(values):
    return float(np.mean(list(values)))
