# SPDX-License-Identifier: BSD-3-Clause
"""Fused combinations drawn by hypothesis: gradients by differences, and the bits of the stages one by one, on every
instruction set, for every number of threads, memory layout and dtype."""

import brazen as bz
import hypothesis
import hypothesis.strategies as st
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
from brazen.checks import gradcheck
from tolerance import DTYPES, same_bits, tolerance

NAMES = [e["name"] for e in _core.operations() if e["family"] == "activation" and e["name"] != "threshold"]
PARAMETERS = {"leaky_relu": "alpha", "elu": "alpha", "celu": "alpha", "squareplus": "b", "hard_shrink": "threshold"}
ARRAYS = ("bias", "scale", "add", "add_after")


@st.composite
def activations(draw):
    """None, a name, or an activation with another parameter."""
    name = draw(st.sampled_from([None, None, *NAMES]))
    if name in PARAMETERS and draw(st.booleans()):
        return getattr(bz, name).with_(**{PARAMETERS[name]: draw(st.sampled_from([0.125, 0.75, 1.5]))})
    return name


@st.composite
def chains(draw, most=6):
    """(x's shape, the keywords of a call but for its arrays, the names of those)."""
    shape = tuple(draw(st.lists(st.integers(1, most), min_size=1, max_size=4)))
    given = {"activation": draw(activations()), "axis": draw(st.integers(-len(shape), len(shape) - 1))}
    if draw(st.booleans()):
        given["dropout"] = draw(st.sampled_from([0.1, 0.5, 0.9]))
        given["seed"] = draw(st.integers(0, 2**64 - 1))
        given["step"], given["site"] = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**24 - 1))
        given["offset"] = draw(st.sampled_from([0, 1, 8, 2**33 + 5]))
    return shape, given, [name for name in ARRAYS if draw(st.booleans())]


def arrays_of(shape, axis, names, dtype, seed):
    """The arrays by their names; vectors are float32 for 16-bit x."""
    vector = "float64" if dtype == "float64" else "float32"
    return {
        name: samples.ordinary((shape[axis],), vector, seed + k)
        if name in ("bias", "scale")
        else samples.ordinary(shape, dtype, seed + k)
        for k, name in enumerate(names, 1)
    }


def apart(x, activation=None, dropout=0.0, add=None, add_after=None, axis=-1, bias=None, scale=None, **place):
    """The same stages, one call each."""
    y = bz.fused(x, bias=bias, scale=scale, axis=axis)
    y = y if add is None else np.asarray(y + add)
    activation = getattr(bz, activation) if isinstance(activation, str) else activation
    y = y if activation is None else activation(y)
    y = bz.dropout(y, dropout, **place) if dropout else y
    return y if add_after is None else np.asarray(y + add_after)


usual = hypothesis.settings(deadline=None, derandomize=True, max_examples=150)


@usual
@hypothesis.given(chains(), st.integers(0, 10**6))
def test_gradients(chain, seed):
    shape, given, names = chain
    # Off the multiples of 1/8 there is no kink, unless the stages before the activation lead to one: a hair's breadth.
    arrays = arrays_of(shape, given["axis"], names, "float64", seed)
    x = samples.ordinary(shape, "float64", seed) + 1 / 32 + np.random.default_rng(seed).uniform(0, 1 / 64, shape)
    report = gradcheck(bz.fused, x, elements=24, **arrays, **given)
    assert set(report.checked) == {"x", *names}


@st.composite
def norms(draw):
    """(x's shape with more than one value a channel, batch_norm's keywords but for its arrays, the names of those)."""
    shape, given, names = draw(chains())
    shape = shape if len(shape) > 1 else (*shape, 3)
    given["axis"] = draw(st.integers(-len(shape), len(shape) - 1))
    if np.prod(shape) == shape[given["axis"]]:  # one value a channel is an error
        shape = tuple(2 if d == (given["axis"] + 1) % len(shape) else n for d, n in enumerate(shape))
    given["eps"] = draw(st.sampled_from([1e-5, 1e-3, 0.5]))
    names = [{"bias": "shift"}.get(name, name) for name in names if name != "add_after"]
    return shape, given, names


@usual
@hypothesis.given(norms(), st.integers(0, 10**6), st.booleans())
def test_gradients_of_batch_norm_and_its_epilogue(chain, seed, training):
    """Add, activation and dropout behind batch norm, in training and in inference: forward and backward by differences."""
    shape, given, names = chain
    rng = np.random.default_rng(seed)
    channels = shape[given["axis"]]
    vectors = {name: rng.uniform(0.5, 1.5, channels) for name in names if name != "add"}
    arrays = {**vectors, **({"add": rng.standard_normal(shape)} if "add" in names else {})}
    if not training:
        given |= {"running_mean": rng.standard_normal(channels), "running_var": rng.uniform(0.5, 2.0, channels)}
    # Neighbours of a kink are rare among random numbers; two values a channel, 1 and -1 after normalising, are not.
    x = rng.standard_normal(shape) * 3
    report = gradcheck(bz.batch_norm, x, elements=24, training=training, **arrays, **given, raise_exception=False)
    kinks = [worst for name, worst in report.worst.items() if report.wrong[name] and worst.kink]
    assert report or len(kinks) == sum(count > 0 for count in report.wrong.values()), str(report)
    hypothesis.event("a kink" if kinks else "smooth")
    assert set(report.checked) == {"x", *names}


@usual
@hypothesis.given(
    norms(), st.sampled_from(["float32", "float64"]), st.integers(0, 10**6), st.sampled_from(_core.isas())
)
def test_batch_norm_with_its_epilogue_equals_one_by_one(chain, dtype, seed, isa):
    shape, given, names = chain
    _core.set_isa(isa)
    vectors = [name for name in names if name != "add"]
    vector = samples.ordinary((2, shape[given["axis"]]), dtype, seed)
    arrays = {name: vector[k] for k, name in enumerate(vectors)}
    add = samples.ordinary(shape, dtype, seed + 9) if "add" in names else None
    x = samples.ordinary(shape, dtype, seed + 5)
    y, _ = bz.batch_norm(x, **arrays, **given, add=add)
    plain, _ = bz.batch_norm(x, **arrays, axis=given["axis"], eps=given["eps"])
    stages = {name: value for name, value in given.items() if name not in ("axis", "eps")}
    wrong = same_bits(y, apart(plain, add=add, **stages))
    assert not wrong, wrong


@usual
@hypothesis.given(
    chains(most=40), st.sampled_from(sorted(DTYPES)), st.integers(0, 10**6), st.sampled_from(_core.isas())
)
def test_fused_equals_unfused(chain, dtype, seed, isa):
    """To the bit in float32 and float64; in 16 bits the float32 chain rounded once."""
    shape, given, names = chain
    _core.set_isa(isa)
    x = samples.ordinary(shape, dtype, seed)
    arrays = arrays_of(shape, given["axis"], names, dtype, seed)
    wide = {n: a.astype("float32") if a.dtype.itemsize == 2 else a for n, a in {**arrays, "x": x}.items()}
    fused, unfused = bz.fused(x, **arrays, **given), apart(**wide, **given)
    with np.errstate(all="ignore"):
        assert not same_bits(fused, unfused.astype(x.dtype))


@usual
@hypothesis.given(
    chains(most=20), st.sampled_from(sorted(DTYPES)), st.sampled_from(layouts.READABLE), st.integers(0, 10**6)
)
def test_layouts(chain, dtype, layout, seed):
    shape, given, names = chain
    x, dy = samples.ordinary(shape, dtype, seed), samples.ordinary(shape, dtype, seed + 10)
    arrays = arrays_of(shape, given["axis"], names, dtype, seed)
    moved = {name: layout(array) for name, array in arrays.items()}
    assert not same_bits(bz.fused(layout(x), **moved, **given), bz.fused(x, **arrays, **given))
    assert not same_bits(bz.fused(x, **moved, **given), bz.fused(x, **arrays, **given))
    both = bz.fused.backward(layout(dy), layout(x), **moved, **given), bz.fused.backward(dy, x, **arrays, **given)
    for name, a, b in zip(both[0]._fields, *both):
        assert (a is None) == (b is None), name
        assert a is None or not same_bits(a, b), name


@usual
@hypothesis.given(chains(most=12), st.sampled_from(sorted(DTYPES)), st.integers(0, 10**6), st.data())
def test_split_batches(chain, dtype, seed, data):
    """Two pieces along the first axis, the second's offset moved on by the first's elements, are the whole."""
    shape, given, names = chain
    cut = data.draw(st.integers(0, shape[0]))
    hypothesis.assume(given["axis"] % len(shape) > 0 or not {"bias", "scale"} & set(names))
    x = samples.ordinary(shape, dtype, seed)
    arrays = arrays_of(shape, given["axis"], names, dtype, seed)
    place = {"offset": given["offset"] + cut * int(np.prod(shape[1:]))} if "seed" in given else {}
    parts = []
    for piece, options in ((slice(None, cut), given), (slice(cut, None), {**given, **place})):
        own = {name: a if name in ("bias", "scale") else a[piece] for name, a in arrays.items()}
        parts.append(bz.fused(x[piece], **own, **options))
    assert not same_bits(np.concatenate(parts), bz.fused(x, **arrays, **given))


FULL = {"activation": "gelu", "dropout": 0.25, "seed": 5, "step": 1, "site": 2, "offset": 3}


def everything(x, axis, dtype):
    """Forward and backward of a chain with all its stages."""
    arrays = arrays_of(x.shape, axis, ARRAYS, dtype, 1)
    dy = samples.ordinary(x.shape, dtype, 9)
    return [bz.fused(x, **arrays, axis=axis, **FULL), *bz.fused.backward(dy, x, **arrays, axis=axis, **FULL)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pixels", [(7, 7), (7, 9), (8, 8)])
def test_channels_last(dtype, pixels, isa):
    """The same logical tensor with 60 channels: the same bits, channel sums among them."""
    x = samples.ordinary((3, 60, *pixels), dtype, 2)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for a, b in zip(everything(last, 1, dtype), everything(x, 1, dtype)):
        assert not same_bits(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_and_instruction_sets(dtype, threads, isa):
    x = samples.ordinary((37, 300, 41), dtype, 3)
    ours = everything(x, 1, dtype)
    _core.set_isa("")
    bz.set_num_threads(threads)
    for a, b in zip(ours, everything(x, 1, dtype)):
        assert not same_bits(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_go_through(dtype, isa):
    """NaN and infinities come out where they went in, but where they are dropped."""
    x = np.tile(samples.special_values(dtype), 9)
    zero = np.zeros_like(x)
    y = bz.fused(x, add=zero, activation="relu", dropout=0.5, seed=1, add_after=zero)
    kept = bz.dropout.mask(x.shape, 0.5, seed=1)
    assert np.isnan(y[kept]).sum() == np.isnan(x[kept]).sum() and not np.isnan(y[~kept]).any()
    assert (y[~kept].view(tolerance(dtype).bits) == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place(dtype):
    x = samples.ordinary((9, 33), dtype, 4)
    arrays = arrays_of(x.shape, -1, ARRAYS, dtype, 5)
    wanted = bz.fused(x, **arrays, **FULL)
    for name in ("x", "add", "add_after"):
        call = {"x": x.copy(), **{n: a.copy() for n, a in arrays.items()}}
        assert bz.fused(**call, **FULL, out=call[name]) is call[name]
        assert not same_bits(call[name], wanted), name
    with pytest.raises(ValueError, match="out overlaps add_after"):
        bz.fused(x[1:], add_after=wanted[:-1], out=wanted[1:])


@pytest.mark.parametrize("shape", [*layouts.SHAPES, (1, 1023), (1, 1024), (1, 1025), (4099,)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes(shape, dtype):
    if not shape:
        return
    x = samples.ordinary(shape, dtype, 6)
    made = everything(x, -1, dtype)
    assert all(part.shape == x.shape for part in (made[0], made[1], *made[4:])) and made[2].shape == shape[-1:]
    arrays = arrays_of(shape, -1, ARRAYS, dtype, 1)
    wide = {n: a.astype("float32") if a.dtype.itemsize == 2 else a for n, a in {**arrays, "x": x}.items()}
    assert not same_bits(made[0], apart(**wide, axis=-1, **FULL).astype(x.dtype))
