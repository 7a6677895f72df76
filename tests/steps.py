# SPDX-License-Identifier: BSD-3-Clause
"""How far two runs of the same steps in float64 may part by rounding alone. No rule is named here."""

import numpy as np
from tolerance import tolerance

STEPS = 100
ROUNDINGS = 64  # of one step, each at most half an ulp of the largest number in it


def close(a, b, size=1.0):
    """Equal up to the roundings of STEPS steps of numbers of about `size`."""
    error = np.abs(np.asarray(a) - np.asarray(b)).max(initial=0)
    return bool(error <= STEPS * ROUNDINGS * tolerance("float64").unit * max(1.0, size))
