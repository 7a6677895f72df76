# SPDX-License-Identifier: BSD-3-Clause
"""Claim I8: with batch norm a network takes larger step sizes and does not vanish or explode, sigmoid and tanh above all. Ten
hidden layers of 64 on the digits, with a step size at which the plain net fails."""

import brazen as bz
import common


def findings(quick):
    (data, test), epochs = common.digits(600 if quick else 1200), 12 if quick else 20
    for activation, lr in (("sigmoid", 0.5), ("tanh", 1.0)):
        for norm in (False, True):
            net = common.network([64] * 10 + [10], activation, norm=norm)
            common.train(net, data, epochs, bz.optim.SGD(net.params, lr=lr))
            reached = common.accuracy(net, test)
            yield common.Finding(
                f"{activation}, lr {lr:g}, {'batch norm' if norm else 'plain'}: test accuracy",
                "learns" if norm else "fails", common.percent(reached), reached > 0.5 if norm else reached < 0.3,
            )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
