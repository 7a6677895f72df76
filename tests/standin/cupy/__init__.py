# SPDX-License-Identifier: BSD-3-Clause
"""Stands in for CuPy where there is no GPU: "device" memory is NumPy's, seen through CuPy's own attributes. Test-only.

It has what brazen and its tests use, and nothing that CuPy lacks: no `__dlpack__` to fall back on, no buffer protocol,
no NumPy arrays among the operands. `waits` counts what makes the host wait for a real device.
"""

import numpy as _np

from . import cuda, linalg
from .core import _made, asarray, empty, function, ndarray, on_device, waits

__version__ = "standin"
__all__ = [
    "abs", "add", "arange", "argsort", "array", "asarray", "ascontiguousarray", "asnumpy", "broadcast_to", "clip", "concatenate",
    "count_nonzero", "cuda", "diagonal", "dtype", "empty", "empty_like", "eye", "float32", "full", "hypot", "isfinite", "linalg", "matmul",
    "maximum", "minimum", "moveaxis", "multiply", "ndarray", "ones", "ones_like", "random", "sqrt", "stack", "sum", "take",
    "take_along_axis", "waits", "where", "zeros", "zeros_like",
]  # fmt: skip
dtype, float32, float64 = _np.dtype, _np.float32, _np.float64

# Of NumPy's functions those that CuPy has as well, and that do not wait there: bincount does, to know its length.
for _name in (
    "abs", "ascontiguousarray", "broadcast_to", "clip", "concatenate", "count_nonzero", "diagonal", "empty_like", "hypot", "isfinite", "matmul", "maximum",
    "minimum", "moveaxis", "multiply", "ones_like", "sqrt", "stack", "sum", "take_along_axis", "where", "zeros_like",
):  # fmt: skip
    globals()[_name] = function(getattr(_np, _name))


def take(array, indices, axis=None, out=None):
    """CuPy's has no mode: an index beyond the ends takes some row."""
    return function(_np.take)(array, indices, axis=axis, out=out, mode="wrap")


class add:
    """The ufunc's scattered form alone."""

    @staticmethod
    def at(target, indices, values):
        _np.add.at(target._host, indices._host, values._host if isinstance(values, ndarray) else values)


def ones(shape, dtype=float):
    return on_device(_np.ones(shape, dtype))


def zeros(shape, dtype=float):
    return on_device(_np.zeros(shape, dtype))


def full(shape, value, dtype=float):
    return on_device(_np.full(shape, value, dtype))


def eye(rows, columns=None, dtype=float):
    return on_device(_np.eye(rows, columns, dtype=dtype))


def arange(stop, dtype=None):
    return on_device(_np.arange(stop, dtype=dtype))


def argsort(array, kind=None):
    return array.argsort(kind=kind)


def array(given, dtype=None):
    return _made(_np.array(given._host if isinstance(given, ndarray) else given, dtype))


def asnumpy(array):
    return array.get() if isinstance(array, ndarray) else _np.asarray(array)


class _Generator:
    """CuPy's numbers are others; those of NumPy serve here."""

    def __init__(self, seed):
        self._host = _np.random.default_rng(seed)

    def standard_normal(self, size, dtype=float):
        return on_device(self._host.standard_normal(size, dtype=dtype))


class random:
    default_rng = _Generator
