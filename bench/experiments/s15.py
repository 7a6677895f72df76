# SPDX-License-Identifier: BSD-3-Clause
"""Claim S15: deeper usually does not imply better, since gradients vanish. Nets of 3 and 10 hidden layers of 64 on the digits,
sigmoid with N(0, 1/n) and relu with He's weights, plain SGD."""

import common


def findings(quick):
    data, test = common.digits(600 if quick else 1200)
    reached = {}
    for activation, weight in (("sigmoid", "xavier_fan_in"), ("relu", "he_normal")):
        for depth in (3, 10):
            net = common.network([64] * depth + [10], activation, weight=weight)
            common.train(net, data, 30 if quick else 60)
            reached[activation, depth] = common.accuracy(net, test)
    shallow, deep = reached["sigmoid", 3], reached["sigmoid", 10]
    yield common.Finding(
        "sigmoid, 3 and 10 layers: test accuracy", "deeper worse", f"{common.percent(shallow)}, {common.percent(deep)}",
        deep < shallow,
    )  # fmt: skip
    shallow, deep = reached["relu", 3], reached["relu", 10]
    yield common.Finding(
        "relu, 3 and 10 layers: test accuracy", "as good", f"{common.percent(shallow)}, {common.percent(deep)}",
        abs(deep - shallow) < 0.05,
    )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
