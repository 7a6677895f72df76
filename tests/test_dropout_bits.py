# SPDX-License-Identifier: BSD-3-Clause
"""Dropout's masks and results are the reference's to the bit: on every instruction set, for every number of threads, memory
layout and dtype, and for every way a batch is split."""

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core, reference
from tolerance import DTYPES, same_bits, tolerance

PLACE = {"seed": 0x123456789ABCDEF, "step": 3, "site": 9, "offset": 21}
EXACT = ["dropout", "drop_connect", "stochastic_depth"]  # a selection and one product
CLOSE = ["alpha_dropout", "gaussian_dropout", "gaussian_noise"]
SHAPES = [*layouts.SHAPES, (2, 60, 7, 7), (2, 60, 7, 9), (3, 1500), (4, 3, 8, 8)]


def test_every_relative_is_here():
    assert set(EXACT) | set(CLOSE) | {"monte_carlo"} == set(reference.dropouts())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_the_reference_s_bits(name, dtype, isa):
    for shape in SHAPES:
        x = samples.ordinary(shape, dtype, 1)
        for options in ({}, {"mode": "vanilla"}, {"mode": "vanilla", "training": False}):
            for rate in (0.0, 0.1, 0.5, 0.999):
                ours, theirs = (
                    getattr(getattr(ops, name), "backward" if options else "__call__")(x, rate, **options, **PLACE)
                    for ops in (bz, reference)
                )
                assert not same_bits(ours, theirs), (shape, options, rate)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype, isa):
    """Kept: times the scale, NaN staying NaN; dropped: +0."""
    x = np.tile(samples.special_values(dtype), 40)
    with np.errstate(all="ignore"):
        assert not same_bits(bz.dropout(x, 0.5, **PLACE), reference.dropout(x, 0.5, **PLACE))
        y = bz.dropout(x, 0.5, **PLACE)
    dropped = ~bz.dropout.mask(x.shape, 0.5, **PLACE)
    assert (y[dropped].view(tolerance(dtype).bits) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CLOSE)
def test_the_reference_s_numbers(name, dtype, isa):
    """Sums of products of values around 1 in the compute type, in one order or another."""
    units = 32 * tolerance("float64" if dtype == "float64" else "float32").unit
    for shape in SHAPES:
        x = samples.ordinary(shape, dtype, 1)
        for direction in ("__call__", "backward"):
            ours, theirs = (getattr(getattr(o, name), direction)(x, 0.3, **PLACE) for o in (bz, reference))
            wide = theirs.astype("float64")
            allowed = units * np.maximum(8, np.abs(wide))
            if np.dtype(x.dtype).itemsize == 2:
                allowed = allowed + tolerance(dtype).ulp(wide)
            assert ours.dtype == x.dtype and (np.abs(ours.astype("float64") - wide) <= allowed).all()


def every(x, noise_shape=None):
    """All results of one input."""
    made = [bz.dropout(x, 0.3, noise_shape=noise_shape, **PLACE), bz.dropout.backward(x, 0.5, **PLACE)]
    return made + [getattr(bz, name)(x, 0.25, **PLACE) for name in (*EXACT[1:], *CLOSE)]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads(threads, isa):
    bz.set_num_threads(1)
    _core.set_isa("")
    x = samples.ordinary((5, 70, 31, 29), "float32", 2)
    usual = every(x, (5, 70, 1, 1)) + every(x.transpose(0, 3, 1, 2))
    bz.set_num_threads(threads)
    _core.set_isa(isa)
    again = every(x, (5, 70, 1, 1)) + every(x.transpose(0, 3, 1, 2))
    assert not any(same_bits(a, b) for a, b in zip(usual, again))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", layouts.READABLE, ids=lambda layout: layout.__name__)
def test_layouts(layout, dtype):
    for shape in SHAPES:
        x = samples.ordinary(shape, dtype, 3)
        noise = tuple(1 if d % 2 else extent for d, extent in enumerate(shape))
        for a, b in zip(every(layout(x), noise), every(x, noise)):
            assert not same_bits(a, b), shape
        if layout in layouts.WRITABLE:
            out = layout(np.empty_like(x))
            assert bz.dropout(x, 0.3, **PLACE, out=out) is out
            assert not same_bits(out, bz.dropout(x, 0.3, **PLACE))
            inplace = layout(x)
            bz.dropout(inplace, 0.3, **PLACE, out=inplace)
            assert not same_bits(inplace, bz.dropout(x, 0.3, **PLACE))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixels", [(7, 7), (7, 9), (8, 8), (1, 1), (3, 11)])
@pytest.mark.parametrize("channels", [1, 3, 60, 64, 1500])
def test_channels_last_draws_the_mask_of_nchw(pixels, channels, dtype, isa):
    """Elements are numbered by the logical shape, not by memory."""
    x = samples.ordinary((3, channels, *pixels), dtype, 4)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for noise_shape in (None, (None, None, 1, 1), (1, None, 1, 1), (None, 1, None, None)):
        for a, b in zip(every(last, noise_shape), every(x, noise_shape)):
            assert not same_bits(a, b)


def test_blocks_are_drawn_anew_for_every_place(isa):
    """Channels-last masks walk along rows of the same blocks, which are kept for the next row, and only for it."""
    place = {"seed": 1, "step": 1, "site": 1, "offset": 0}
    changes = [
        {},
        {"seed": 2},
        {"seed": 1 + (1 << 32)},
        {"step": 2},
        {"site": 2},
        {"offset": 8},
        {"offset": 64},
        {"offset": 3},
    ]
    for channels in (40, 1500, 600):
        last = np.ones((2, 4, 8, channels), "float32").transpose(0, 3, 1, 2)
        for change in [*changes, *changes[::-1]]:
            y = bz.dropout(last, 0.5, **{**place, **change})
            assert np.array_equal(y != 0, reference.dropout.mask(last.shape, 0.5, **{**place, **change}))


def test_broadcast_input():
    x = layouts.broadcast(samples.ordinary((5, 4, 6), "float32", 5))
    for a, b in zip(every(x), every(x.copy())):
        assert not same_bits(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape, noise_shape", [((29, 37), None), ((29, 5, 7), (None, 5, 1)), ((29, 3, 2), (None, 1, 1))]
)
def test_a_split_batch_draws_the_mask_of_the_whole(shape, noise_shape, dtype):
    x = samples.ordinary(shape, dtype, 6)
    whole = bz.dropout(x, 0.4, noise_shape=noise_shape, **PLACE)
    each = int(np.prod([n or full for n, full in zip(noise_shape or shape, shape)][1:]))
    for cut in range(shape[0] + 1):
        parts = []
        for rows, start in ((x[:cut], 0), (x[cut:], cut)):
            place = {**PLACE, "offset": PLACE["offset"] + start * each}
            parts.append(bz.dropout(rows, 0.4, noise_shape=noise_shape, **place))
        assert not same_bits(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", EXACT[:1] + CLOSE)
@pytest.mark.parametrize("count", [1, 1000, 4099])
def test_a_split_at_any_element(name, count):
    operation, x = getattr(bz, name), samples.ordinary((count,), "float32", 7)
    whole = operation(x, 0.4, **PLACE)
    for cut in {0, 1, 2, 7, 8, 9, count // 3, count - 1, count}:
        if cut <= count:
            rest = operation(x[cut:], 0.4, **{**PLACE, "offset": PLACE["offset"] + cut})
            assert not same_bits(np.concatenate([operation(x[:cut], 0.4, **PLACE), rest]), whole)


def test_indices_beyond_two_to_the_32():
    x = np.ones(100, "float32")
    for offset in (2**31 - 50, 2**32 - 50, 2**35 - 50, 2**40 + 3, 2**61):
        place = {**PLACE, "offset": offset}
        assert not same_bits(bz.dropout(x, 0.5, **place), reference.dropout(x, 0.5, **place))
        assert np.array_equal(bz.dropout.mask((100,), 0.5, **place), reference.dropout.mask((100,), 0.5, **place))


def test_nothing_to_drop_gives_the_input_back():
    """No pass over memory: y is x; a given `out` is filled."""
    x = samples.ordinary((5, 6), "float32", 8)
    assert bz.dropout(x, 0.3, training=False) is x
    out = np.empty_like(x)
    assert bz.dropout(x, 0.0, seed=1, out=out) is out and not same_bits(out, x)


def test_errors_of_the_compiled_part():
    x = np.ones((4, 6), "float32")
    with pytest.raises(TypeError, match="int32; expected one of float16"):
        bz.dropout(x.astype("int32"), 0.5, seed=0)
    with pytest.raises(TypeError, match="out has dtype float64"):
        bz.dropout(x, 0.5, seed=0, out=np.empty((4, 6)))
    with pytest.raises(ValueError, match=r"out has shape \(4, 5\)"):
        bz.dropout(x, 0.5, seed=0, out=np.empty((4, 5), "float32"))
    with pytest.raises(ValueError, match="overlap"):
        bz.dropout(x[:2], 0.5, seed=0, out=x[1:3])
    frozen = np.empty_like(x)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        bz.dropout(x, 0.5, seed=0, out=frozen)
    for name, value in {"seed": -1, "step": 1 << 32, "site": 1 << 24, "offset": 1 << 62}.items():
        with pytest.raises(ValueError, match=f"{name} is {value}; expected 0 to"):
            bz.dropout(x, 0.5, **{"seed": 0, name: value})
    with pytest.raises(TypeError, match="seed is 0.5; expected an integer"):
        bz.dropout(x, 0.5, seed=0.5)
