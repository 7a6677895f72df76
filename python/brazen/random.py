# SPDX-License-Identifier: BSD-3-Clause
"""Random arrays without state: values are f(seed, step, site, index), the same on every machine and device.

`offset` is the index of the first element, so an array may be drawn in parts. `like` is an array whose library and device
the result shares, of NumPy, CuPy or PyTorch; `out` receives it, and its shape needs no saying.
"""

from __future__ import annotations

from ._noise import CALLER, bounded, keep_threshold
from ._random import fill, stable_order

__all__ = ["bernoulli", "normal", "permutation", "uniform"]


def uniform(shape=None, low=0.0, high=1.0, *, seed, step=0, site=0, offset=0, dtype="float32", like=None, out=None):
    """Uniform numbers from `low` on, below `high` but for rounding.

    >>> uniform(2, seed=7, offset=1).tolist() == uniform(3, seed=7)[1:].tolist()
    True
    """
    return fill("uniform", shape, dtype, like, out, "uniform", seed, step, site, offset, CALLER, high - low, low)


def normal(shape=None, mean=0.0, std=1.0, *, seed, step=0, site=0, offset=0, dtype="float32", like=None, out=None):
    """Normal numbers of the given mean and standard deviation.

    >>> abs(float(normal(10000, seed=0).mean())) < 0.05
    True
    """
    return fill("normal", shape, dtype, like, out, "normal", seed, step, site, offset, CALLER, std, mean)


def bernoulli(shape=None, probability=0.5, *, seed, step=0, site=0, offset=0, like=None, out=None):
    """True with `probability`, rounded to a multiple of 2^-16.

    >>> int(bernoulli(10000, 0.25, seed=0).sum()) // 100
    25
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; expected 0 to 1")
    threshold = keep_threshold(probability)
    if probability > 0 and threshold == 0:
        raise ValueError(f"probability is {probability}, which rounds to 0 in steps of 2^-16")
    return fill("bernoulli", shape, "bool", like, out, "bernoulli", seed, step, site, offset, CALLER,
                threshold=threshold)  # fmt: skip


def permutation(count, *, seed, step=0, site=0, like=None, out=None):
    """The numbers 0 … count - 1 in random order, as int64.

    >>> sorted(permutation(5, seed=3).tolist())
    [0, 1, 2, 3, 4]
    """
    count = bounded("count", count, 62)
    keys = fill("words", count, "int64", like if out is None else out, None, "permutation", seed, step, site, 0, CALLER)
    order = stable_order(keys)
    if out is None:
        return order
    if tuple(out.shape) != (count,):
        raise ValueError(f"permutation: out has shape {tuple(out.shape)}; expected {(count,)}")
    out[...] = order
    return out
