# SPDX-License-Identifier: BSD-3-Clause
"""prelu's alpha gradient: the bits of the specified order of summation, whatever layout, instruction set and threads.

It catches a sum in another order, rows numbered by memory instead of logical order, and a chunk lost or counted twice.
"""

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
from reduction import ordered_sum
from tolerance import DTYPES, same_bits, tolerance

SIZES = (0, 1, 31, 32, 33, 1023, 1024, 1025, 2049, 5000)


def _expected(dy, x, alpha_dtype, axis):
    """dalpha by the specification: terms in the compute type, rows in C order over the axes but `axis`."""
    compute = np.float64 if x.dtype == np.float64 else np.float32
    terms = dy.astype(compute) * np.where(x.astype(compute) > 0, compute(0), x.astype(compute))
    rows = terms.reshape(1, -1) if axis is None else np.moveaxis(terms, axis, 0).reshape(x.shape[axis], -1)
    sums = np.array([ordered_sum(row) for row in rows])
    return sums.astype(np.float32).astype(alpha_dtype) if alpha_dtype != np.float64 else sums


def _check(dy, x, alpha, axis, told):
    _, dalpha = bz.prelu.backward(dy, x, alpha, axis=axis)
    wrong = same_bits(dalpha, _expected(dy, x, alpha.dtype, axis if alpha.size > 1 else None).reshape(alpha.shape))
    assert not wrong, f"{told}: {wrong}"


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("size", SIZES)
def test_single_alpha(size, dtype, isa):
    x, dy = samples.ordinary(size, dtype, 1), samples.ordinary(size, dtype, 2)
    for shape in ((1,), ()):
        _check(dy, x, np.full(shape, 0.25, x.dtype), None, f"{size} rows")
    for change in (layouts.strided, layouts.reversed_, layouts.misaligned):
        _check(change(dy), change(x), np.full(1, 0.25, x.dtype), None, f"{size} rows, {change.__name__}")


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(
    "shape", [(2, 5, 7, 9), (3, 4, 33, 31), (1, 3, 1025, 1), (6, 2, 1, 500), (0, 3, 4, 4), (7, 1, 5, 5)]
)
def test_channels(shape, dtype, isa):
    """NCHW, channels-last, transposed, strided: one number per channel, the same bits for all memory orders."""
    x, dy = samples.ordinary(shape, dtype, 1), samples.ordinary(shape, dtype, 2)
    alpha = samples.ordinary(shape[1], dtype, 3)
    last = lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # noqa: E731
    for x_order in (np.array, last, layouts.fortran, layouts.transposed, layouts.strided, layouts.mixed_signs):
        for dy_order in (x_order, np.array):
            _check(dy_order(dy), x_order(x), alpha, 1, f"{shape} {getattr(x_order, '__name__', '')}")
    # Channels last by the axis argument: the rows are then numbered N, H, W as before, so the sums are the same.
    moved_x, moved_dy = np.moveaxis(x, 1, -1), np.moveaxis(dy, 1, -1)
    _check(moved_dy, moved_x, alpha, -1, "axis=-1")
    plain = bz.prelu.backward(dy, x, alpha)[1]
    wrong = same_bits(
        bz.prelu.backward(np.ascontiguousarray(moved_dy), np.ascontiguousarray(moved_x), alpha, axis=3)[1], plain
    )
    assert not wrong, wrong
    assert not same_bits(bz.prelu.backward(dy, x, layouts.strided(alpha))[1], plain)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_threads_and_many_chunks(dtype):
    shape = (4, 3, 300, 301)
    x, dy = samples.ordinary(shape, dtype, 1), samples.ordinary(shape, dtype, 2)
    alpha = samples.ordinary(3, dtype, 3)
    wanted = _expected(dy, x, alpha.dtype, 1)
    for threads in (1, 2, 3, 8):
        bz.set_num_threads(threads)
        for order in (np.array, layouts.fortran):
            wrong = same_bits(bz.prelu.backward(order(dy), order(x), alpha)[1], wanted)
            assert not wrong, f"{threads} threads: {wrong}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_float32_alpha_of_16_bit_arrays(dtype):
    x, dy = samples.ordinary((40, 6, 50), dtype, 1), samples.ordinary((40, 6, 50), dtype, 2)
    alpha = samples.ordinary(6, "float32", 3)
    for isa in _core.isas():
        _core.set_isa(isa)
        dx, dalpha = bz.prelu.backward(dy, x, alpha)
        assert dx.dtype == x.dtype and dalpha.dtype == np.float32
        _check(dy, x, alpha, 1, isa)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_is_the_sum(dtype):
    """The order's error is far below a naive sum's: about the tree's depth in ulps."""
    x, dy = -np.abs(samples.ordinary(200_000, dtype, 1)), np.abs(samples.ordinary(200_000, dtype, 2))
    dalpha = bz.prelu.backward(dy, x, np.ones(1, dtype))[1]
    exact = (x.astype(np.longdouble) * dy.astype(np.longdouble)).sum()
    assert abs(dalpha[0] - exact) <= 40 * tolerance(dtype).unit * abs(exact)
