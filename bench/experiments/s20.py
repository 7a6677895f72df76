# SPDX-License-Identifier: BSD-3-Clause
"""Claim S20: no optimizer wins on every problem, and the adaptive ones are robust (Schaul et al., 2014, unit tests for
stochastic optimization). Every rule on six functions, with five step sizes; solved is a tenth of the value at the start."""

import brazen as bz
import common
import numpy as np

STEP_SIZES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
ADAPTIVE = ("adam", "amsgrad", "adamax", "nadam", "radam", "adabelief", "yogi")


def quadratic(w, noise):
    curvature = np.array([1.0, 100.0])
    return float((curvature * w * w).sum() / 2), curvature * w


def rosenbrock(w, noise):
    a, b = 1 - w[0], w[1] - w[0] ** 2
    return float(a * a + 100 * b * b), np.array([-2 * a - 400 * w[0] * b, 200 * b])


def saddle(w, noise):
    """x^2 - y^2, with a floor at y = 3."""
    y = np.clip(w[1], -3, 3)
    inside = abs(w[1]) < 3
    return float(w[0] ** 2 - y * y + 9), np.array([2 * w[0], -2 * y if inside else 0.0])


def cliff(w, noise):
    """A slope of 1, with a wall of slope 1000 between 1 and 1.1."""
    x = float(np.abs(w).sum())
    slope = 1000.0 if 1 < x < 1.1 else 1.0
    return x + 999 * min(max(x - 1, 0.0), 0.1), slope * np.sign(w)


def plateau(w, noise):
    """Nearly flat far out."""
    r = float((w * w).sum())
    return r / (1 + r), 2 * w / (1 + r) ** 2


def noisy(w, noise):
    return float((w * w).sum() / 2), w + noise


FUNCTIONS = {
    "quadratic": (quadratic, (10.0, 1.0)), "rosenbrock": (rosenbrock, (-1.2, 1.0)), "saddle": (saddle, (1.0, 1e-3)),
    "cliff": (cliff, (2.0, -2.0)), "plateau": (plateau, (4.0, 4.0)), "noisy": (noisy, (5.0, -5.0)),
}  # fmt: skip


def left(rule, function, start, lr, steps):
    """The value after `steps` over the one at the start."""
    weights = [np.array(start)]
    optimizer = bz.optim.get(rule)(weights, lr=lr)
    noise = bz.random.normal((steps, 2), seed=0, dtype="float64")
    first = function(weights[0], 0.0)[0]
    for step in range(steps):
        optimizer.step([function(weights[0], noise[step])[1]])
        if not np.isfinite(weights[0]).all():
            return np.inf
    return function(weights[0], 0.0)[0] / first


def findings(quick):
    steps, values = 200 if quick else 2000, {}
    with np.errstate(over="ignore", invalid="ignore"):
        for rule in bz.optim.names():
            values[rule] = np.array([
                [left(rule, function, start, lr, steps) for lr in STEP_SIZES] for function, start in FUNCTIONS.values()
            ])  # fmt: skip
            text = " ".join(f"{value:.0e}" for value in values[rule].min(axis=1))
            yield common.Finding(f"{rule}: left of {', '.join(FUNCTIONS)}", "", text)
    winners = {min(values, key=lambda rule: values[rule][place].min()) for place in range(len(FUNCTIONS))}
    yield common.Finding("rules that are best on one", "more than one", ", ".join(sorted(winners)), len(winners) > 1)
    solved = {rule: int((found < 0.1).sum()) for rule, found in values.items()}
    family = common.mean(solved[rule] for rule in ADAPTIVE)
    yield common.Finding(
        f"solved of {len(FUNCTIONS) * len(STEP_SIZES)} step sizes and functions: Adam's family, SGD", "more than SGD",
        f"{family:.1f}, {solved['sgd']}", family > solved["sgd"],
    )  # fmt: skip


if __name__ == "__main__":
    common.show(__doc__, findings)
