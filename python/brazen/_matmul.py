# SPDX-License-Identifier: BSD-3-Clause
"""The one place for matrix products, and for rows taken by index: NumPy's and CuPy's own, into arrays of the caller's. The
bits of a product are the BLAS'.

On the CPU no BLAS multiplies 16-bit numbers (NumPy's own loop is hundreds of times slower), so these are widened to float32
a slab at a time, and so bounded in memory; sums stay in float32.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import numpy

from . import _core
from ._random import namespace

__all__ = ["matmul", "take_rows"]

# Elements of one widened slab: 4 MiB of float32, small beside the arrays where it matters.
_SLAB = 1 << 20
_local = threading.local()
# Told the seconds of every product while somebody measures.
watch: Callable[[float], None] | None = None


def matmul(a, b, out):
    """out = a @ b, for matrices; 16-bit and float32 operands may be mixed, and `out` may be the wider one."""
    if watch is not None:
        start = time.perf_counter()
        _product(a, b, out)
        watch(time.perf_counter() - start)
        return out
    return _product(a, b, out)


def _product(a, b, out):
    if a.dtype == b.dtype == out.dtype and a.dtype.itemsize >= 4:
        if type(out) is numpy.ndarray:
            return numpy.matmul(a, b, out=out)
        return namespace(out).matmul(a, b, out=out)
    xp = namespace(out)
    if xp is not numpy:
        # A device multiplies 16-bit numbers with float32 sums; a float32 operand is rounded to the narrow type.
        narrow = min((a.dtype, b.dtype), key=lambda dtype: dtype.itemsize)
        out[...] = xp.matmul(a.astype(narrow, copy=False), b.astype(narrow, copy=False))
        return out
    return _in_slabs(a, b, out)


def take_rows(table, indices, out):
    """out[…, :] = table[indices[…], :]; an index beyond the ends takes some row."""
    if type(out) is numpy.ndarray:
        return numpy.take(table, indices, axis=0, out=out, mode="clip")  # without a mode NumPy fills a copy of `out`
    return namespace(out).take(table, indices, axis=0, out=out)


def _in_slabs(a, b, out):
    rows, inner = a.shape
    columns = b.shape[1]
    if inner >= 4 * max(rows, columns):
        return _slabs_of_the_sum(a, b, out)
    wide = _widened("b", b)
    step = max(1, _SLAB // max(inner, columns, 1))
    for start in range(0, rows, step):
        part = out[start : start + step]
        left = _widened("a", a[start : start + step])
        if part.dtype == numpy.float32:
            numpy.matmul(left, wide, out=part)
        else:
            product = _scratch("product", part.shape)
            _core.convert(numpy.matmul(left, wide, out=product), part)
    return out


def _slabs_of_the_sum(a, b, out):
    """Where the sum is long and the result small, as in a weight's gradient: slabs of the sum are added in their order."""
    rows, inner = a.shape
    columns = b.shape[1]
    total = out if out.dtype == numpy.float32 else _scratch("total", out.shape)
    step = max(1, _SLAB // max(rows, columns, 1))
    for start in range(0, inner, step):
        left, right = _widened("a", a[:, start : start + step]), _widened("b", b[start : start + step])
        if start == 0:
            numpy.matmul(left, right, out=total)
        else:
            total += numpy.matmul(left, right, out=_scratch("product", out.shape))
    if total is not out:
        _core.convert(total, out)
    return out


def _widened(key, array):
    """The array in float32, in its own memory order; itself if it is."""
    if array.dtype == numpy.float32:
        return array
    turned = array.ndim == 2 and array.strides[0] < array.strides[1]
    source = array.T if turned else array
    wide = _scratch(key, source.shape)
    _core.convert(source, wide)
    return wide.T if turned else wide


def _scratch(key, shape):
    """Uninitialised float32, kept by the thread: valid until its next product."""
    count = math.prod(shape)
    held = _local.__dict__.get(key)
    if held is None or held.size < count:
        held = _local.__dict__[key] = numpy.empty(count, "float32")
    return held[:count].reshape(shape)
