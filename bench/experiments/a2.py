# SPDX-License-Identifier: BSD-3-Clause
"""Claim A2: saturated sigmoids "kill" gradients. Ten layers of 500 units, weights N(0, 1/n), inputs N(0, 1), an upstream
gradient of 1: how much larger the mean |dW| of one sample is in the last layer than in the first; what a sigmoid costs."""

import time

import brazen as bz
import common
import numpy as np


def gradients(activation, weight, samples):
    """The mean |dW| of each of ten layers over single samples: in a batch their signs would cancel in the first alone."""
    layers = [bz.nn.Dense(500, activation, weight=weight) for _ in range(10)]
    net = bz.nn.Sequential(layers).build(input_shape=500, seed=0, dtype="float64")
    found = []
    for x in bz.random.normal((samples, 1, 500), seed=1, dtype="float64"):
        y, backward = net(x, training=True)
        backward(np.ones_like(y), dx=False)
        found.append([np.abs(net.grads[name]).mean() for name in net.grads if name.endswith("weight")])
    return np.mean(found, axis=0)


def seconds(function, x, out):
    spent = []
    for _ in range(20):
        start = time.perf_counter()
        function(x, out=out)
        spent.append(time.perf_counter() - start)
    return min(spent)


def findings(quick):
    samples = 5 if quick else 50
    sigmoid, relu = gradients("sigmoid", "xavier_fan_in", samples), gradients("relu", "he_normal", samples)
    ratio, other = sigmoid[-1] / sigmoid[0], relu[-1] / relu[0]
    # Of order 1e5 to 1e6: within half an order of either.
    yield common.Finding(
        "mean |dW|, layer 10 over layer 1, sigmoid", "1e5 to 1e6", f"{ratio:.2g}", 10**4.5 < ratio < 10**6.5
    )
    yield common.Finding("the same, relu with He's weights", "of order 1", f"{other:.2g}", 0.1 < other < 10)
    x = bz.random.normal(1 << (16 if quick else 24), seed=0)
    out = np.empty_like(x)
    cost = seconds(bz.sigmoid, x, out) / seconds(bz.relu, x, out)
    yield common.Finding(f"time of sigmoid over relu, {x.size} elements", "more", f"{cost:.2f}")


if __name__ == "__main__":
    common.show(__doc__, findings)
