# SPDX-License-Identifier: BSD-3-Clause
"""Claim A7: units of relu die, those of leaky relu do not. The fraction of hidden units without an activation on a whole
epoch of the digits, and the gradient of their weights, with biases of -1000; and after training at a large step size."""

import brazen as bz
import common
import numpy as np


def dead(net, data):
    """The fraction of units of the first hidden layer that are zero for every sample."""
    outputs = []
    end = net.observe("activation", lambda layer, kind, array: outputs.append((array == 0).all(axis=0)))
    net.predict(data[0])
    end()
    return float(np.mean(outputs))


def gradient(net, data):
    """The largest |dW| of the first layer."""
    y, backward = net(data[0], training=True)
    backward(bz.softmax_cross_entropy(y, data[1])[1], dx=False)
    return float(np.abs(net.grads["dense.weight"]).max())


def findings(quick):
    data, _ = common.digits(300 if quick else 1200)
    for activation, fraction in (("relu", 1.0), ("leaky_relu", 0.0)):
        net = common.network([100, 10], activation, bias_init=-1e3)
        measured, moves = dead(net, data), gradient(net, data) > 0
        yield common.Finding(
            f"{activation}, biases of -1000: dead units, any gradient",
            f"{common.percent(fraction)}, {'no' if fraction else 'yes'}",
            f"{common.percent(measured)}, {'yes' if moves else 'no'}",
            measured == fraction and moves == (fraction == 0),
        )
    for lr in (0.1, 3.0):
        for activation in ("relu", "leaky_relu"):
            net = common.network([100, 10], activation, weight="he_normal")
            common.train(net, data, 3 if quick else 10, bz.optim.SGD(net.params, lr=lr))
            measured = dead(net, data)
            holds = measured == 0 if activation == "leaky_relu" else None
            yield common.Finding(
                f"{activation}, trained with lr {lr:g}: dead units", "0.0 %" if holds is not None else "",
                common.percent(measured), holds,
            )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
