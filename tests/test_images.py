# SPDX-License-Identifier: BSD-3-Clause
"""The compiled windows of images: against plain loops, the same bits for every thread count, layout and dtype, and errors."""

import itertools

import brazen as bz
import numpy as np
import pytest
from brazen import _core
from tolerance import DTYPES, same_bits

RNG = np.random.default_rng(0)
WINDOWS = [
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((2, 3), (2, 1), (0, 2), (1, 1)),
    ((3, 2), (1, 3), (1, 0), (2, 2)),
    ((1, 1), (2, 2), (0, 0), (1, 1)),
]


def extents(shape, kernel, stride, padding, dilation):
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(shape, kernel, stride, padding, dilation)]


def windows_of(x, kernel, stride, padding, dilation, fill):
    """(N, C, kernel, kernel, windows, windows) of x (N, C, H, W), slowly."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
    rows, columns = extents(x.shape[2:], kernel, stride, padding, dilation)
    made = np.empty((*x.shape[:2], *kernel, rows, columns), x.dtype)
    for kh, kw in itertools.product(*map(range, kernel)):
        top, left = kh * dilation[0], kw * dilation[1]
        made[:, :, kh, kw] = padded[
            :, :, top : top + rows * stride[0] : stride[0], left : left + columns * stride[1] : stride[1]
        ][:, :, :rows, :columns]
    return made


def last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def wide(dtype):
    return "float64" if dtype == "float64" else "float32"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("threads", [1, 2])
def test_columns_and_back(dtype, window, threads):
    bz.set_num_threads(threads)
    x = RNG.normal(size=(3, 4, 7, 6)).astype(DTYPES[dtype])
    expected = windows_of(x.astype(wide(dtype)), *window, 0)
    columns = np.full(expected.size, np.nan, wide(dtype))
    _core.image_columns(x, columns, False, 1, *window)
    first = expected.transpose(1, 2, 3, 0, 4, 5)
    assert not same_bits(columns.reshape(first.shape), np.ascontiguousarray(first))
    by_group = expected.reshape(3, 2, 2, *expected.shape[2:]).transpose(0, 5, 6, 1, 3, 4, 2)
    _core.image_columns(last(x), columns, True, 2, *window)
    assert not same_bits(columns.reshape(by_group.shape), np.ascontiguousarray(by_group))

    drawn = RNG.normal(size=expected.shape).astype(wide(dtype))
    back = np.full(x.shape, np.nan, x.dtype)
    _core.image_from_columns(np.ascontiguousarray(drawn.transpose(1, 2, 3, 0, 4, 5)), back, False, 1, *window)
    total = np.zeros((3, 4, 7 + 2 * window[2][0], 6 + 2 * window[2][1]), wide(dtype))
    rows, width = expected.shape[4:]
    (sh, sw), (ph, pw), (dh, dw) = window[1:]
    for kh, kw in itertools.product(*map(range, window[0])):
        total[:, :, kh * dh : kh * dh + rows * sh : sh, kw * dw : kw * dw + width * sw : sw][:, :, :rows, :width] += (
            drawn[:, :, kh, kw]
        )
    assert not same_bits(back, total[:, :, ph : ph + 7, pw : pw + 6].astype(x.dtype))
    moved = np.ascontiguousarray(drawn.reshape(3, 2, 2, *expected.shape[2:]).transpose(0, 5, 6, 1, 3, 4, 2))
    back_last = np.empty_like(last(x))
    _core.image_from_columns(moved, back_last, True, 2, *window)
    assert not same_bits(back_last, last(back))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pools(dtype, window, kind):
    kernel, stride, padding, dilation = window
    padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
    window = (kernel, stride, padding, dilation)
    x = RNG.integers(-3, 4, size=(2, 70, 7, 6)).astype(DTYPES[dtype])
    given = windows_of(x.astype(wide(dtype)), *window, -np.inf if kind == "max" else 0)
    if kind == "max":
        expected = given.max(axis=(2, 3))
    else:
        expected = sum(given[:, :, kh, kw] for kh, kw in np.ndindex(*kernel)) / np.array(
            kernel[0] * kernel[1], wide(dtype)
        )
    y = np.empty(expected.shape, x.dtype)
    results = []
    for threads in (1, 2):
        bz.set_num_threads(threads)
        _core.pool_forward(kind, x, False, *window, True, y)
        assert not same_bits(y, expected.astype(wide(dtype)).astype(x.dtype))
        y_last = np.empty_like(last(y))
        _core.pool_forward(kind, last(x), True, *window, True, y_last)
        assert not same_bits(y_last, last(y))
        dy = (np.arange(y.size) % 7 - 3).reshape(y.shape).astype(x.dtype)
        dx, dx_last = np.empty_like(x), np.empty_like(last(x))
        _core.pool_backward(kind, dy, x, False, *window, True, dx)
        _core.pool_backward(kind, last(dy), last(x), True, *window, True, dx_last)
        assert not same_bits(dx_last, last(dx))
        results.append(dx)
    assert not same_bits(*results)


def zeros(*shape):
    return np.zeros(shape, "float32")


ONE = ((2, 2), (1, 1), (0, 0), (1, 1))
ERRORS = [
    (lambda: _core.image_columns(zeros(2, 3, 4), zeros(9), False, 1, *ONE), r"x has shape \(2, 3, 4\); expected \(batch,"),
    (lambda: _core.image_columns(zeros(2, 4, 3, 3)[:, ::2], zeros(9), False, 1, *ONE), "x is not contiguous"),
    (lambda: _core.image_columns(zeros(1, 1, 3, 3), zeros(15), False, 1, *ONE), "expected 16 numbers"),
    (lambda: _core.image_columns(zeros(1, 1, 3, 3), np.zeros(16), False, 1, *ONE), "columns has dtype float64"),
    (lambda: _core.image_columns(zeros(1, 3, 3, 3), zeros(48), False, 2, *ONE), "groups is 2"),
    (lambda: _core.image_columns(zeros(1, 1, 1, 3), zeros(16), False, 1, *ONE), "a window of 2 pixels does not fit into 1"),
    (lambda: _core.image_columns(zeros(1, 1, 3, 3), zeros(16), False, 1, (0, 1), *ONE[1:]), "kernel is 0"),
    (lambda: _core.image_columns(zeros(1, 1, 3, 3), zeros(16), False, 1, (1,), *ONE[1:]), "kernel has 1 numbers"),
    (lambda: _core.image_from_columns(zeros(15), zeros(1, 1, 3, 3), False, 1, *ONE), "expected 16 numbers"),
    (lambda: _core.pool_forward("least", zeros(1, 1, 3, 3), False, *ONE, True, zeros(1, 1, 2, 2)), "kind is 'least'"),
    (lambda: _core.pool_forward("max", zeros(1, 1, 3, 3), False, *ONE, True, zeros(1, 1, 3, 2)), "out has shape"),
    (lambda: _core.pool_forward("max", zeros(1, 1, 3, 3), False, (2, 2), (1, 1), (2, 0), (1, 1), True, zeros(1)), "padding is 2"),
    (lambda: _core.pool_backward("max", zeros(1, 1, 2, 2), zeros(1, 1, 3, 4), False, *ONE, True, zeros(1, 1, 3, 3)), "x has shape"),
    (lambda: _core.pool_backward("max", zeros(1, 1, 2, 3), zeros(1, 1, 3, 3), False, *ONE, True, zeros(1, 1, 3, 3)), "dy has shape"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[1])
def test_errors(case):
    call, text = case
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_empty_batches():
    y = zeros(0, 1, 2, 2)
    assert _core.pool_forward("max", zeros(0, 1, 3, 3), False, *ONE, True, y) is y
    columns = zeros(0)
    assert _core.image_columns(zeros(0, 1, 3, 3), columns, False, 1, *ONE) is columns
