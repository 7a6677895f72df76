# SPDX-License-Identifier: BSD-3-Clause
"""Numbers to call operations with. No operation and no tolerance."""

import numpy as np
from tolerance import DTYPES, tolerance


def from_patterns(patterns, dtype):
    return np.asarray(patterns, tolerance(dtype).bits).view(DTYPES[np.dtype(dtype).name])


def all_halves(dtype):
    """Every one of the 65,536 numbers of a 16-bit dtype."""
    return from_patterns(np.arange(1 << 16, dtype=np.uint16), dtype)


def every_exponent(dtype, per_exponent, seed=0):
    """`per_exponent` random significands for every sign and exponent, NaNs and infinities among them."""
    bits = tolerance(dtype).bits
    total, fraction = np.dtype(bits).itemsize * 8, tolerance(dtype).precision - 1
    heads = np.arange(1 << (total - fraction), dtype=bits)
    tails = np.random.default_rng(seed).integers(0, 1 << fraction, (per_exponent, heads.size), dtype=bits)
    tails[0] = 0
    return from_patterns(((heads << bits(fraction)) | tails).ravel(), dtype)


def dense(dtype, low, high, count):
    """Evenly spaced numbers, where the operations do something, and the neighbours of small integers, where kinks are."""
    with np.errstate(over="ignore"):
        even = np.linspace(low, high, count).astype(DTYPES[np.dtype(dtype).name])
        kinks = (np.arange(-24, 25) / 4).astype(even.dtype)
    above = np.nextafter(kinks, np.asarray(np.inf, even.dtype))
    below = np.nextafter(kinks, np.asarray(-np.inf, even.dtype))
    return np.concatenate([even, kinks, above, below])


def unary_sample(dtype, size="full"):
    """What accuracy is measured on: all inputs in 16 bits, else every exponent and a dense range."""
    if np.dtype(dtype).itemsize == 2:
        return all_halves(dtype)
    scale = {"full": 1, "small": 8}[size]
    if np.dtype(dtype) == np.float32:
        return np.concatenate(
            [
                every_exponent(dtype, 64 // scale),
                dense(dtype, -110, 110, 40000 // scale),
                dense(dtype, -6, 6, 20000 // scale),
            ]
        )
    return np.concatenate(
        [
            every_exponent(dtype, 8 // scale),
            dense(dtype, -760, 760, 20000 // scale),
            dense(dtype, -8, 8, 10000 // scale),
        ]
    )


def special_values(dtype):
    """NaN, infinities, zeros, subnormals, huge numbers, both signs."""
    exact = tolerance(dtype)
    sign = 1 << (np.dtype(dtype).itemsize * 8 - 1)
    smallest_normal = 1 << (exact.precision - 1)
    infinity = ((1 << (np.dtype(dtype).itemsize * 8 - exact.precision)) - 1) << (exact.precision - 1)
    magnitudes = [
        0,
        1,
        2,
        smallest_normal - 1,
        smallest_normal,
        smallest_normal + 1,
        infinity - 1,
        infinity,
        infinity + 1,
        infinity + smallest_normal // 2,
    ]
    values = from_patterns([m | s for m in magnitudes for s in (0, sign)], dtype)
    with np.errstate(over="ignore"):
        some = np.array([1, 3, 6, 0.5, 20, 89, 104, 1e5, 1e30, 1e200]).astype(values.dtype)
    return np.concatenate([values, some, -some])


def ordinary(shape, dtype, seed=0):
    """Normal numbers around the kinks of the operations, some exactly on them."""
    generator = np.random.default_rng(seed)
    values = generator.normal(0, 3, shape)
    values = np.where(generator.random(shape) < 0.1, np.rint(values), values)
    return np.asarray(values).astype(DTYPES[np.dtype(dtype).name])
