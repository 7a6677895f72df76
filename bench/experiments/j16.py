# SPDX-License-Identifier: BSD-3-Clause
"""Claim J16: dropout makes training longer and generalisation better; it is for networks that overfit. Two layers of 256 on
few digits: epochs until the training loss is 0.02, and the validation loss then, over three seeds."""

import brazen as bz
import common


def run(data, test, dropout, seed, most):
    net = common.network([256, 256, 10], "relu", seed=seed, dropout=dropout, weight="he_normal")
    losses = common.train(
        net, data, most, bz.optim.SGD(net.params, lr=0.1), seed=seed, until=lambda loss, _: loss < 0.02
    )
    validation = float(bz.softmax_cross_entropy(net.predict(test[0]), test[1])[0])
    return len(losses), losses[-1], validation, common.accuracy(net, test)


def findings(quick):
    data, test = common.digits(200)
    runs = {
        dropout: [run(data, test, dropout, seed, 60 if quick else 300) for seed in range(3)] for dropout in (0.0, 0.5)
    }
    epochs, training, validation, accuracy = (
        [common.mean(each[place] for each in runs[dropout]) for dropout in (0.0, 0.5)] for place in range(4)
    )
    yield common.Finding(
        "epochs to a training loss of 0.02, without and with", "more with", f"{epochs[0]:.1f}, {epochs[1]:.1f}",
        epochs[1] > epochs[0],
    )  # fmt: skip
    gaps = [after - before for before, after in zip(training, validation)]
    yield common.Finding(
        "gap of the validation loss, without and with",
        "smaller with",
        f"{gaps[0]:.4f}, {gaps[1]:.4f}",
        gaps[1] < gaps[0],
    )
    yield common.Finding("test accuracy, without and with", "", ", ".join(map(common.percent, accuracy)))


if __name__ == "__main__":
    common.show(__doc__, findings)
