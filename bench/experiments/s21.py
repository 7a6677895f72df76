# SPDX-License-Identifier: BSD-3-Clause
"""Claims S21 and B4: gradient descent converges faster on scaled features. Least squares with two features, one a hundred
times larger: steps until the loss is within 1e-6 of the least, each with the best step size for its curvature."""

import brazen as bz
import common
import numpy as np


def steps(x, y, most):
    curvatures = np.linalg.eigvalsh(x.T @ x / len(x))
    exact = np.linalg.lstsq(x, y, rcond=None)[0]
    least = ((x @ exact - y) ** 2).mean() / 2
    weights = [np.zeros(2)]
    optimizer = bz.optim.SGD(weights, lr=2 / (curvatures[0] + curvatures[-1]))
    for count in range(most):
        error = x @ weights[0] - y
        if (error**2).mean() / 2 < least + 1e-6:
            return count, curvatures[-1] / curvatures[0]
        optimizer.step([x.T @ error / len(x)])
    return most, curvatures[-1] / curvatures[0]


def findings(quick):
    x = bz.random.normal((500, 2), seed=0, dtype="float64") * np.array([1.0, 10.0 if quick else 100.0])
    y = x @ np.array([2.0, -0.1]) + bz.random.normal(500, std=0.1, seed=1, dtype="float64")
    x, y = x - x.mean(axis=0), y - y.mean()
    raw, raw_condition = steps(x, y, 1_000_000 if not quick else 20_000)
    scaled, condition = steps(x / x.std(axis=0), y, 1000)
    yield common.Finding(
        "condition number, raw and scaled", "falls", f"{raw_condition:.0f}, {condition:.2f}", condition < 2
    )
    yield common.Finding("steps, raw and scaled", "fewer scaled", f"{raw}, {scaled}", scaled < raw)


if __name__ == "__main__":
    common.show(__doc__, findings)
