# SPDX-License-Identifier: BSD-3-Clause
"""Claim D18: initial weights decide whether, how fast and where to a network converges. A net of six hidden layers of 64,
relu, on the digits; the training loss after 1, 3 and more epochs from four beginnings."""

import math

import brazen as bz
import common

BEGINNINGS = {
    "N(0, 0.01^2) (D4)": lambda: bz.init.normal(std=0.01),
    "N(0, 1) (D8)": lambda: bz.init.normal(std=1.0),
    "N(0, 1/n) (D11)": lambda: "xavier_fan_in",
    "N(0, 2/n), He's (D13)": lambda: "he_normal",
}


def findings(quick):
    (data, _), epochs = common.digits(600 if quick else 1200), 10 if quick else 40
    curves = {}
    for name, weight in BEGINNINGS.items():
        net = common.network([64] * 6 + [10], "relu", weight=weight())
        curves[name] = common.train(net, data, epochs, bz.optim.SGD(net.params, lr=0.03))
    small, large, xavier, he = (curve[-1] for curve in curves.values())
    verdicts = {
        "N(0, 0.01^2) (D4)": ("stays at ln 10 = 2.303", abs(small - math.log(10)) < 0.05),
        "N(0, 1) (D8)": ("does not learn", not large < 1),
        "N(0, 1/n) (D11)": ("learns", xavier < small - 0.2),
        "N(0, 2/n), He's (D13)": ("learns faster", curves["N(0, 2/n), He's (D13)"][2] < curves["N(0, 1/n) (D11)"][2]),
    }
    for name, curve in curves.items():
        text = ", ".join(f"{curve[epoch - 1]:.3g}" for epoch in (1, 3, epochs))
        yield common.Finding(f"{name}: loss after 1, 3, {epochs} epochs", verdicts[name][0], text, verdicts[name][1])


if __name__ == "__main__":
    common.show(__doc__, findings)
