# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch's in-place functions: its names, arguments, defaults and layout (units, inputs, …), on arrays and with a seed."""

from __future__ import annotations

from . import formulas


def _into(array, initializer, seed, site):
    return initializer(out=array, seed=seed, site=site, in_axis=1, out_axis=0)


def zeros_(array):
    """All 0."""
    return _into(array, formulas.zeros(), None, 0)


def ones_(array):
    """All 1."""
    return _into(array, formulas.ones(), None, 0)


def constant_(array, val):
    """All `val`."""
    return _into(array, formulas.constant(val), None, 0)


def eye_(array):
    """1 on the diagonal of a matrix."""
    return _into(array, formulas.identity(), None, 0)


def dirac_(array, groups=1):
    """A convolution that passes its input on."""
    return _into(array, formulas.dirac(groups), None, 0)


def uniform_(array, a=0.0, b=1.0, *, seed, site=0):
    """Uniform from a to b.

    >>> import numpy as np
    >>> bool(0 <= uniform_(np.empty(5), seed=0).min() <= 1)
    True
    """
    return _into(array, formulas.uniform(a, b), seed, site)


def normal_(array, mean=0.0, std=1.0, *, seed, site=0):
    """Normal."""
    return _into(array, formulas.normal(std=std, mean=mean), seed, site)


def trunc_normal_(array, mean=0.0, std=1.0, a=-2.0, b=2.0, *, seed, site=0):
    """Normal, cut at the values a and b."""
    cut = formulas.truncated_normal(std=std, mean=mean, low=(a - mean) / std, high=(b - mean) / std)
    return _into(array, cut, seed, site)


def xavier_uniform_(array, gain=1.0, *, seed, site=0):
    """Bounds gain sqrt(6 / (in + out))."""
    return _into(array, formulas.xavier_uniform(gain), seed, site)


def xavier_normal_(array, gain=1.0, *, seed, site=0):
    """Standard deviation gain sqrt(2 / (in + out))."""
    return _into(array, formulas.xavier_normal(gain), seed, site)


def kaiming_uniform_(array, a=0, mode="fan_in", nonlinearity="leaky_relu", *, seed, site=0):
    """Bounds gain sqrt(3 / fan)."""
    return _into(array, formulas.kaiming_uniform(a, mode, nonlinearity), seed, site)


def kaiming_normal_(array, a=0, mode="fan_in", nonlinearity="leaky_relu", *, seed, site=0):
    """Standard deviation gain / sqrt(fan)."""
    return _into(array, formulas.kaiming_normal(a, mode, nonlinearity), seed, site)


def orthogonal_(array, gain=1, *, seed, site=0):
    """Orthonormal rows or columns."""
    return _into(array, formulas.orthogonal(gain), seed, site)


__all__ = [name for name in dict(globals()) if name.endswith("_") and not name.startswith("_")]
