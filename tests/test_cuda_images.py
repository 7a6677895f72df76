# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels of the windows of images, compiled for the host, give the bits of the CPU loops.

It catches a tap or a window out of order, a wrong edge, group, channel, winner or count.
"""

import numpy as np
import pytest
from brazen import _core
from emulation import build
from test_cuda_chain import on_host
from test_cuda_emulated import cupy  # noqa: F401
from test_images import WINDOWS, extents, wide
from tolerance import DTYPES, same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

BATCH, CHANNELS, SIZE, GROUPS = 3, 6, (7, 5), 2
# Also a plane of one pixel, and windows that only reach it through their padding.
IMAGES = [((BATCH, CHANNELS, *SIZE), window) for window in WINDOWS] + [
    ((1, 2, 1, 1), ((3, 3), (1, 1), (1, 1), (1, 1))),
    ((2, 2, 9, 4), ((2, 2), (3, 1), (1, 1), (1, 1))),
]


def drawn(shape, dtype, seed):
    """Small whole numbers, so that windows have equal largest pixels, and sums that depend on their order."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(shape) < 0.5, rng.integers(-2, 3, shape), rng.standard_normal(shape) * 1e3)
    return values.astype(DTYPES[dtype])


def check(cupy, call, inputs, out):  # noqa: F811
    """`call(*inputs, out)` writes the same bits on either side."""
    expected = np.full_like(out, 7)
    call(*inputs, expected)
    given = cupy.on_device(np.full_like(out, 9))
    assert call(*[None if a is None else cupy.on_device(a) for a in inputs], given) is given
    wrong = same_bits(on_host(given), expected)
    assert not wrong, wrong
    return expected


def arranged(shape, last):
    return (shape[0], *shape[2:], shape[1]) if last else shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_columns_and_back(cupy, dtype, last):  # noqa: F811
    for shape, window in IMAGES:
        count = int(np.prod(extents(shape[2:], *window))) * int(np.prod(window[0])) * shape[0] * shape[1]
        for groups in (1, 2):
            x, columns = drawn(arranged(shape, last), dtype, 0), np.empty(count, wide(dtype))
            check(cupy, lambda a, to, g=groups, w=window: _core.image_columns(a, to, last, g, *w), [x], columns)
            given = drawn(count, wide(dtype), 1)
            check(cupy, lambda a, to, g=groups, w=window: _core.image_from_columns(a, to, last, g, *w), [given], x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pools(cupy, dtype, last, kind):  # noqa: F811
    for shape, (kernel, stride, padding, dilation) in IMAGES:
        padding = tuple(min(p, k // 2) for p, k in zip(padding, kernel))
        window = kernel, stride, padding, dilation
        x = drawn(arranged(shape, last), dtype, 2)
        x.reshape(-1)[3 % x.size] = np.nan
        results = (*shape[:2], *extents(shape[2:], *window))
        y, dy = (drawn(arranged(results, last), dtype, seed) for seed in (3, 4))
        for padded in (False, True):
            told = (last, *window, padded)
            check(cupy, lambda a, to, told=told: _core.pool_forward(kind, a, *told, to), [x], y)
            pixels = x if kind == "max" else None
            check(cupy, lambda d, a, to, told=told: _core.pool_backward(kind, d, a, *told, to), [dy, pixels], x)


def test_errors(cupy):  # noqa: F811
    x, columns = np.zeros((1, 1, 3, 3), "float32"), np.zeros(16, "float32")
    window = ((2, 2), (1, 1), (0, 0), (1, 1))
    with pytest.raises(ValueError, match="columns is on the CPU, x on CUDA device 0"):
        _core.image_columns(cupy.on_device(x), columns, False, 1, *window)
    far = ((1, 1), (2**30 + 1, 1), (0, 0), (1, 1))
    with pytest.raises(ValueError, match="more than 2.30 pixels"):
        _core.image_columns(cupy.on_device(x), cupy.on_device(np.zeros(3, "float32")), False, 1, *far)
    assert not np.any(columns)
