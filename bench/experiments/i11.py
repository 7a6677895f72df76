# SPDX-License-Identifier: BSD-3-Clause
"""Claims I11 and S12: three layers of 100 sigmoids reach a higher test accuracy after equal steps with batch norm (Ioffe and
Szegedy, 2015, on MNIST). Here on the digits, plain SGD with step size 0.1, batches of 50."""

import common


def findings(quick):
    (data, test), rounds = common.digits(600 if quick else 1200), (1, 2, 4) if quick else (1, 2, 5, 10, 20)
    reached = {}
    for norm in (False, True):
        net, done = common.network([100, 100, 100, 10], "sigmoid", norm=norm), 0
        for epochs in rounds:
            common.train(net, data, epochs - done, seed=epochs)
            done = epochs
            reached[norm, epochs] = common.accuracy(net, test)
    for epochs in rounds:
        plain, normed = reached[False, epochs], reached[True, epochs]
        yield common.Finding(
            f"after {epochs * (len(data[0]) // 50)} steps: plain, batch norm", "batch norm higher",
            f"{common.percent(plain)}, {common.percent(normed)}", normed > plain,
        )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
