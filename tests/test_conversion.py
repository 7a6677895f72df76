# SPDX-License-Identifier: BSD-3-Clause
"""float16 and bfloat16 to float32 and back, on every instruction set: all 65,536 numbers, a dense sample of float32.

`linear` does nothing but convert, so it shows the conversions alone.
"""

import brazen as bz
import numpy as np
import pytest
import samples
from brazen import _core
from tolerance import same_bits, tolerance

HALVES = ("float16", "bfloat16")


@pytest.mark.parametrize("dtype", HALVES)
def test_there_and_back(dtype, isa):
    x = samples.all_halves(dtype)
    for start in range(17):  # every position in a vector
        wrong = same_bits(bz.linear(x[start:]), x[start:])
        assert not wrong, wrong


@pytest.mark.parametrize("dtype", HALVES)
def test_nan_keeps_no_payload(dtype, isa):
    x = samples.all_halves(dtype)
    y = bz.linear(x[np.isnan(x)]).view(np.uint16)
    assert set(y.tolist()) == {0x7E00 if dtype == "float16" else 0x7FC0}


@pytest.mark.parametrize("dtype", HALVES)
def test_narrowing_rounds_to_nearest_even(dtype, isa):
    """alpha of a 16-bit prelu is float32, so 1 * alpha narrows any float32 number."""
    wide = samples.every_exponent("float32", 300, seed=11)
    # Ties and their neighbours: the halfway points of all finite 16-bit numbers.
    halves = samples.all_halves(dtype).astype(np.float32)
    halves = halves[np.isfinite(halves)]
    ties = halves.view(np.uint32) + np.uint32(1 << (23 - tolerance(dtype).precision))
    wide = np.concatenate([wide, *(samples.from_patterns(ties + np.uint32(k), "float32") for k in (0, 1, 0xFFFFFFFF))])
    minus_one = np.full(wide.size, -1, samples.DTYPES[dtype])
    y = bz.prelu(minus_one, -wide, axis=0)
    expected = tolerance(dtype).round(wide.astype(np.float64))
    same = (y.astype(np.float64) == expected) & (np.signbit(y.astype(np.float64)) == np.signbit(expected))
    same |= np.isnan(wide) & np.isnan(y)
    assert same.all(), (wide[~same][:4], y[~same][:4], expected[~same][:4])


def test_rounding_itself():
    """The tests' own rounding agrees with NumPy's, which knows float16."""
    x = np.concatenate([samples.every_exponent("float64", 20), samples.dense("float64", -70000, 70000, 100001)])
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        assert (tolerance("float16").round(x) == x.astype(np.float16)).all()
        assert (tolerance("float32").round(x) == x.astype(np.float32)).all()


def views(array):
    """The same numbers, lying otherwise."""
    store = np.zeros((*array.shape, 3), array.dtype)
    store[..., 1] = array
    return {
        "contiguous": array.copy(),
        "turned": np.asfortranarray(array),
        "apart": store[..., 1],
        "backwards": array[::-1, ::-1],
    }


@pytest.mark.parametrize("dtype", HALVES)
def test_convert(dtype, isa):
    """The conversion on its own, from any view to any other."""
    narrow = samples.all_halves(dtype)[:65535].reshape(17, -1)
    for source in views(narrow).values():
        expected = source.astype(np.float32)
        expected[np.isnan(expected)] = np.nan
        for target in views(np.empty(narrow.shape, np.float32)).values():
            assert _core.convert(source, target) is target
            assert not same_bits(np.ascontiguousarray(target), np.ascontiguousarray(expected))
    there = samples.every_exponent("float32", 100, seed=3)[: 17 * 500].reshape(17, -1)
    for source in views(there).values():
        back = _core.convert(source, np.empty(there.shape, samples.DTYPES[dtype])).astype(np.float64)
        with np.errstate(over="ignore"):
            expected = tolerance(dtype).round(source.astype(np.float64))
        assert np.array_equal(back, expected, equal_nan=True)


def test_convert_refuses():
    single, double = np.zeros(4, np.float32), np.zeros(4)
    with pytest.raises(TypeError, match="out has dtype float64, x float32; expected both float64, or neither"):
        _core.convert(single, double)
    with pytest.raises(ValueError, match="out has shape"):
        _core.convert(single, np.zeros(5, np.float16))
    with pytest.raises(ValueError, match="out"):
        _core.convert(single, single)
