# SPDX-License-Identifier: BSD-3-Clause
"""Claim X7a: dropout prevents co-adaptation and forces redundancy. Zeroing a random half of the hidden units at test costs a
net that was trained with dropout less accuracy than a plain one; the digits, five seeds."""

import brazen as bz
import common

UNITS = 128


def cost(net, test, draws):
    """Accuracy lost, the mean over random halves."""
    whole, lost = common.accuracy(net, test), []
    weight, bias = net.weights["dense.weight"].copy(), net.weights["dense.bias"].copy()
    for draw in range(draws):
        gone = bz.random.permutation(UNITS, seed=draw)[: UNITS // 2]
        net.weights["dense.weight"][:, gone] = 0
        net.weights["dense.bias"][gone] = 0
        lost.append(whole - common.accuracy(net, test))
        net.weights["dense.weight"][...], net.weights["dense.bias"][...] = weight, bias
    return common.mean(lost)


def findings(quick):
    data, test = common.digits(600 if quick else 1200)
    costs = {0.0: [], 0.5: []}
    for seed in range(5):
        for dropout, found in costs.items():
            net = common.network([UNITS, 10], "relu", seed=seed, dropout=dropout, weight="he_normal")
            common.train(net, data, 10 if quick else 40, seed=seed)
            found.append(cost(net, test, 10 if quick else 50))
    plain, dropped = (common.mean(found) for found in costs.values())
    yield common.Finding(
        "accuracy lost with half of the units, plain and dropout", "less with dropout",
        f"{common.percent(plain)}, {common.percent(dropped)}", dropped < plain,
    )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
