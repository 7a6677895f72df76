# SPDX-License-Identifier: BSD-3-Clause
"""Claim J17: dropout "spreads out weights" and shrinks W^T W as an L2 penalty does. The sum of squares of the weights after
equal epochs with and without, from the same beginning, and how it is spread over the inputs of a unit."""

import brazen as bz
import common
import numpy as np


def findings(quick):
    data, _ = common.digits(200 if quick else 1200)
    squares, spread = {}, {}
    for dropout in (0.0, 0.5):
        net = common.network([256, 256, 10], "relu", dropout=dropout, weight="he_normal")
        before = sum(float((array**2).sum()) for name, array in net.weights.items() if name.endswith("weight"))
        common.train(net, data, 10 if quick else 100, bz.optim.SGD(net.params, lr=0.1))
        weights = [array for name, array in net.weights.items() if name.endswith("weight")]
        squares[dropout] = sum(float((array**2).sum()) for array in weights)
        # 1 where all inputs weigh the same, 1 / inputs where one weighs alone.
        spread[dropout] = common.mean(
            (np.abs(array).sum(axis=0) ** 2 / (array**2).sum(axis=0)).mean() / len(array) for array in weights[1:]
        )
    yield common.Finding("sum of squares before", "", f"{before:.1f}")
    # Reported, not held: with longer training the sum is the larger one with dropout.
    yield common.Finding("after, without and with dropout", "smaller with", f"{squares[0.0]:.1f}, {squares[0.5]:.1f}")
    yield common.Finding(
        "spread of a unit's weights", "larger with", f"{spread[0.0]:.4f}, {spread[0.5]:.4f}", spread[0.5] > spread[0.0]
    )


if __name__ == "__main__":
    common.show(__doc__, findings)
