# SPDX-License-Identifier: BSD-3-Clause
"""Stochastic rounding to 16 bits in plain array code: up with the probability of what is cut off."""

from __future__ import annotations

import numpy as np

from ..._noise import ROUNDING
from ..random import pieces

ROLES = 8  # arrays one parameter may have: itself 0, its gradient 1, states from 2, the average 6, the copy 7


def rounded_randomly(x, dtype, *, seed, step, tensor, role):
    """float32 `x` as `dtype`, "float16" or "bfloat16": element i takes piece i of the draws of site tensor * 8 + role.

    >>> import numpy as np
    >>> rounded_randomly(np.full(4, 1 + 2.0**-11, "float32"), "float16", seed=0, step=1, tensor=0, role=0).tolist()
    [1.0, 1.0009765625, 1.0009765625, 1.0009765625]
    """
    if dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    drawn = pieces(x.shape, seed=seed, step=step, site=tensor * ROLES + role, domain=ROUNDING, like=x)
    with np.errstate(over="ignore", invalid="ignore"):
        bits = np.abs(x).astype(dtype).view("uint16")
        # Towards zero, and the next one away from it; behind the largest comes what would be next.
        bits = bits - (bits.view(dtype).astype("float64") > np.abs(x)).astype("uint16")
        low, before = (b.view(dtype).astype("float64") for b in (bits, np.maximum(bits, 1) - np.uint16(1)))
        high = (bits + np.uint16(1)).view(dtype).astype("float64")
        high = np.where(np.isfinite(high), high, 2 * low - before)
        share = (np.abs(x).astype("float64") - low) / (high - low)
        rounded = (bits + (share * 65536 + drawn >= 65536)).astype("uint16").view(dtype)
    rounded = np.where(np.isfinite(x), rounded, np.abs(x).astype(dtype)).astype(dtype)
    return np.copysign(rounded, x.astype(dtype))
