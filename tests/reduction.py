# SPDX-License-Identifier: BSD-3-Clause
"""The order of every sum, written a second time in NumPy from the text of csrc/formulas/reduction.h. No operation here."""

import numpy as np

LANES, CHUNK = 32, 1024


def _chunk(rows):
    """Row r belongs to lane r mod 32; lanes start at +0, add in order and meet in an xor-tree, all in the compute type."""
    lanes = np.zeros(LANES, rows.dtype)
    for start in range(0, rows.size, LANES):
        part = rows[start : start + LANES]
        lanes[: part.size] = lanes[: part.size] + part
    offset = LANES // 2
    while offset:
        lanes = lanes + lanes[np.arange(LANES) ^ offset]
        offset //= 2
    return lanes[0]


def ordered_sum(terms):
    """The sum of a vector of terms of the compute type, as float64."""
    partials = [np.float64(_chunk(terms[start : start + CHUNK])) for start in range(0, terms.size, CHUNK)]
    while len(partials) > 1:  # aligned to powers of two: a lonely last one goes up unchanged
        partials = [
            partials[i] + partials[i + 1] if i + 1 < len(partials) else partials[i] for i in range(0, len(partials), 2)
        ]
    return partials[0] if partials else np.float64(0)
