# SPDX-License-Identifier: BSD-3-Clause
"""Claim A13: use relu, try leaky relu, maxout, elu; expect little of tanh; do not use sigmoid. One net of three hidden
layers of 64 on the digits with each activation there is, He's weights, plain SGD with the same step size."""

import math

import brazen as bz
import common

MADE_OF_TWO = {"glu", "reglu", "geglu", "swiglu"}


def layers():
    """Every activation that keeps the number of units and has defaults, as what makes its layer."""
    for name in bz.activations():
        if name == "maxout":
            yield name, None
        elif name == "prelu":
            yield name, bz.nn.PReLU
        elif name not in MADE_OF_TWO and not any(math.isnan(value) for value in getattr(bz, name).parameters):
            yield name, name


def network(activation):
    if activation is not None:
        return common.network([64, 64, 64, 10], activation, weight="he_normal")
    hidden = [bz.nn.Maxout(64, weight="he_normal") for _ in range(3)]
    return bz.nn.Sequential([*hidden, bz.nn.Dense(10, weight="xavier_fan_in")]).build(input_shape=64, seed=0)


def findings(quick):
    (data, test), reached = common.digits(600 if quick else 1200), {}
    for name, activation in layers():
        net = network(activation)
        common.train(net, data, 6 if quick else 30, bz.optim.SGD(net.params, lr=0.03))
        reached[name] = common.accuracy(net, test)
    advised = ("relu", "leaky_relu", "maxout", "elu", "prelu")
    for name in sorted(reached, key=reached.get, reverse=True):
        holds = None
        if name in advised:
            holds = reached[name] > reached["relu"] - 0.05
        elif name == "sigmoid":
            holds = reached[name] < reached["relu"]
        claimed = {True: "near relu's", False: "below relu's"}[name in advised] if holds is not None else ""
        yield common.Finding(f"{name}: test accuracy", claimed, common.percent(reached[name]), holds)


if __name__ == "__main__":
    common.show(__doc__, findings)
