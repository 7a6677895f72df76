# SPDX-License-Identifier: BSD-3-Clause
"""Claim F11: momentum speeds up directions that agree and damps those that oscillate. Steps until |w| < 1e-6 on a quadratic
with curvatures 1 and 100, from (10, 1), with step size 0.01 and classic momentum."""

import brazen as bz
import common
import numpy as np


def steps(momentum, nesterov=False, most=5000):
    weights, curvature = [np.array([10.0, 1.0])], np.array([1.0, 100.0])
    form = {"form": "classic"} if momentum else {}
    optimizer = bz.optim.SGD(weights, lr=0.01, momentum=momentum, **form)
    for count in range(most):
        if np.linalg.norm(weights[0]) < 1e-6:
            return count
        optimizer.step([curvature * weights[0]])
    return most


def findings(quick):
    for momentum, expected in ((0.0, 1604), (0.5, 783), (0.9, 272)):
        taken = steps(momentum)
        yield common.Finding(f"steps with momentum {momentum}", str(expected), str(taken), taken == expected)


if __name__ == "__main__":
    common.show(__doc__, findings)
