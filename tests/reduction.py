# SPDX-License-Identifier: BSD-3-Clause
"""The order of every sum, written a second time in NumPy from the text of csrc/formulas/reduction.h. No operation here."""

from fractions import Fraction

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
    return merged([np.float64(_chunk(terms[start : start + CHUNK])) for start in range(0, terms.size, CHUNK)])


def merged(partials):
    """Float64 partials in the binary tree over them."""
    while len(partials) > 1:  # aligned to powers of two: a lonely last one goes up unchanged
        partials = [
            partials[i] + partials[i + 1] if i + 1 < len(partials) else partials[i] for i in range(0, len(partials), 2)
        ]
    return partials[0] if partials else np.float64(0)


def _exact_fma(a, b, c):
    """a * b + c rounded once: extended precision holds a product of floats; doubles go through fractions."""
    if a.dtype == np.float32:
        return (a.astype(np.longdouble) * b + c).astype(np.float32)
    exact = [float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a.tolist(), b.tolist(), c.tolist())]
    return np.array(exact, a.dtype)


def _tree(lanes):
    offset = LANES // 2
    while offset:
        lanes = lanes + lanes[np.arange(LANES) ^ offset]
        offset //= 2
    return lanes[0]


def _chunk_moments(rows):
    first = np.zeros(LANES, rows.dtype)
    first[: min(LANES, rows.size)] = rows[:LANES]
    pivot = _tree(first) / rows.dtype.type(min(LANES, rows.size))
    sums, squares = np.zeros(LANES, rows.dtype), np.zeros(LANES, rows.dtype)
    for start in range(0, rows.size, LANES):
        distance = rows[start : start + LANES] - pivot
        sums[: distance.size] = sums[: distance.size] + distance
        squares[: distance.size] = _exact_fma(distance, distance, squares[: distance.size])
    total, square, count = float(_tree(sums)), float(_tree(squares)), float(rows.size)
    shift = total / count
    return count, float(pivot) + shift, max(square - total * shift, 0.0)


def merged_moments(a, b):
    """Chan's formula on (count, mean, squares), in float64."""
    count, delta = a[0] + b[0], b[1] - a[1]
    return count, a[1] + delta * (b[0] / count), a[2] + b[2] + delta * delta * (a[0] * b[0] / count)


def ordered_moments(rows):
    """(count, mean, sum of squared distances from it) of a vector of the compute type."""
    parts = [_chunk_moments(rows[start : start + CHUNK]) for start in range(0, rows.size, CHUNK)]
    while len(parts) > 1:
        parts = [merged_moments(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0] if parts else (0.0, 0.0, 0.0)
