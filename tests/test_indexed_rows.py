# SPDX-License-Identifier: BSD-3-Clause
"""Sums of rows by index, the gradient of looked-up rows: values, order, threads, the emulated device's bits, errors.

It catches a row summed in another order, a lost or doubled position, a column beyond a tile, and rows that keep what was there.
"""

import brazen as bz
import numpy as np
import pytest
from brazen import _core
from emulation import build
from test_cuda_chain import on_host
from test_cuda_emulated import cupy  # noqa: F401
from tolerance import DTYPES, same_bits

# Rows, columns and positions: none, a few, beyond a tile, a chunk, a warp's rows, and one index for most positions.
# The last two: several rows and several tiles of a warp, and as many rows as a warp ever takes.
SIZES = [
    (5, 3, 0),
    (1, 1, 1),
    (7, 4, 40),
    (3, 130, 9),
    (300, 129, 500),
    (40, 1500, 200),
    (5000, 300, 150),
    (300_000, 1, 250),
]


def wide(dtype):
    return np.float64 if dtype == "float64" else np.float32


def drawn(rows, columns, positions, dtype, index_dtype="int64"):
    """Numbers whose sums depend on their order, and indices of which one is frequent and some lie outside."""
    rng = np.random.default_rng(rows + columns)
    x = (rng.standard_normal((positions, columns)) * 10.0 ** rng.integers(-3, 4, (positions, 1))).astype(DTYPES[dtype])
    near = rows // 2 + rng.integers(-20, 20, positions)  # neighbours take turns
    anywhere = rng.integers(-2, rows + 2, positions)
    indices = np.choose(rng.integers(0, 3, positions), [np.full(positions, rows // 2), near, anywhere])
    return x, (indices % 256).astype("uint8") if index_dtype == "uint8" else indices.astype(index_dtype)


def one_by_one(x, indices, rows):
    sums = np.zeros((rows, x.shape[1]), wide(x.dtype.name))
    for position, index in enumerate(indices.tolist()):
        if 0 <= index < rows:
            sums[index] += x[position].astype(sums.dtype)
    return sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index_dtype", ["int32", "int64", "uint8"])
def test_in_the_order_of_positions(dtype, index_dtype):
    for rows, columns, positions in SIZES:
        x, indices = drawn(rows, columns, positions, dtype, index_dtype)
        for threads in (1, 2, 8):
            bz.set_num_threads(threads)
            out = np.full((rows, columns), np.nan, wide(dtype))
            assert _core.sum_rows(x, indices, out) is out
            wrong = same_bits(out, one_by_one(x, indices, rows))
            assert not wrong, (rows, columns, positions, threads, wrong)
    bz.set_num_threads(None)


@pytest.mark.skipif(build.compiler() is None, reason="the emulation of CUDA needs g++ (or CXX), which is not here")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index_dtype", ["int32", "int64", "uint8"])
def test_emulated_cuda(cupy, dtype, index_dtype):  # noqa: F811
    for rows, columns, positions in SIZES:
        x, indices = drawn(rows, columns, positions, dtype, index_dtype)
        out = cupy.on_device(np.full((rows, columns), np.nan, wide(dtype)))
        _core.sum_rows(cupy.on_device(x), cupy.on_device(indices), out)
        wrong = same_bits(on_host(out), one_by_one(x, indices, rows))
        assert not wrong, (rows, columns, positions, wrong)


@pytest.mark.parametrize(
    "change, error, text",
    [
        ({"indices": np.zeros(4)}, TypeError, "indices has dtype float64; expected int32, int64 or uint8"),
        ({"indices": np.zeros(5, "int64")}, ValueError, "x has shape"),
        ({"x": np.zeros((4, 2), "float32")}, ValueError, "x has shape"),
        ({"x": np.zeros((4, 6), "float32")[:, ::2]}, ValueError, "x is not contiguous"),
        ({"out": np.zeros((3, 3))}, TypeError, "out has dtype float64"),
        ({"out": np.zeros(3, "float32")}, ValueError, r"expected \(rows, columns\)"),
        ({"x": np.zeros(49, "uint8")[1:].view("float32").reshape(4, 3)}, ValueError, "x does not lie at a multiple"),
    ],
)
def test_errors(change, error, text):
    given = {
        "x": np.ones((4, 3), "float32"),
        "indices": np.zeros(4, "int64"),
        "out": np.full((3, 3), 7, "float32"),
        **change,
    }
    before = given["out"].copy()
    with pytest.raises(error, match=text):
        _core.sum_rows(**given)
    assert np.array_equal(given["out"], before)
