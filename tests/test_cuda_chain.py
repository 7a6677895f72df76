# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels of the chain and of random fills, compiled for the host, give the bits of the CPU loops.

It catches a stage in the wrong place, a wrong channel, index, vector, tail or cut, and noise drawn for another element.
"""

import itertools

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
from emulation import build
from test_cuda_emulated import LAYOUTS, cupy, odd_rows, rows  # noqa: F401
from tolerance import DTYPES, same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

ACTIVATIONS = [entry for entry in _core.operations() if entry["family"] == "activation"]
# (kind, threshold, scale, kept_shift, dropped, seed, step, site, first index)
DROPOUT = ("dropout", 45875, 65536 / 45875, 0.0, 0.0, 0x123456789ABCDEF, 7, 0x01000003)
ALPHA = ("dropout", 30000, 0.9, 0.25, -1.5, 11, 0, 0x01000000)
NOISES = {
    "none": None,
    "dropout": DROPOUT,
    "alpha": ALPHA,
    "all kept": ("dropout", 65536, 1.5, 0.0, 0.0, 3, 0, 0),
    "multiply": ("multiply", 0, 0.75, 0.0, 0.0, 5, 2, 0x01000001),
    "add": ("add", 0, 0.5, 0.0, 0.0, 6, 0xFFFFFFFF, 0xFFFFFFFF),
}
# A block, half of one, neither, and an index past 32 bits.
OFFSETS = [0, 8, 12, 3, 2**33 + 4, 2**61 + 1]


def activation_of(entry):
    given = {name: 0.75 if value is None else value for name, value in entry["parameters"].items()}
    return getattr(bz, entry["name"]).with_(**given) if given else getattr(bz, entry["name"])


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1) if array.ndim > 1 else array.copy()


def apart(array, change=np.asarray):
    """A vector of coefficients whose values do not lie side by side."""
    store = np.zeros((array.size, 3), array.dtype)
    store[:, 1] = array
    return change(store[:, 1])


def wide(dtype):
    return "float64" if dtype == "float64" else "float32"


def vectors(shape, axis, dtype, seed=20):
    return [samples.ordinary(shape[axis], wide(dtype), seed + k) for k in range(2)] if shape else [None, None]


def noise_at(noise, first):
    return None if noise is None else (*noise, first)


def on_host(array):
    """CuPy's own way to the host, past its dtypes: bfloat16 travels as its bits."""
    return array.view(f"u{array.dtype.itemsize}").get().view(array.dtype)


def check(cupy, call, arrays, told):  # noqa: F811
    """`call` with the same arrays on either side; None stays None."""
    expected = call(*arrays)
    results = call(*[None if a is None else cupy.on_device(a) for a in arrays])
    pairs = [(results, expected)] if not isinstance(expected, tuple) else zip(results, expected)
    for k, (result, wanted) in enumerate(pairs):
        assert (result is None) == (wanted is None), told
        if wanted is None:
            continue
        assert type(result) is cupy.ndarray
        wrong = same_bits(on_host(result), wanted)
        assert not wrong, f"{told}, result {k}: {wrong}"


def check_chain(cupy, dtype, shape, axis, told="", *, parts="sba", change=np.asarray, activation=bz.silu, noise=DROPOUT,  # noqa: F811
                first=0, noise_shape=None, vector=np.asarray):  # fmt: skip
    """Forward and backward, with the sums of scale and bias. parts: s(cale), b(ias), a(dd), A(dd_after)."""
    x, dy, add, after = (change(samples.ordinary(shape, dtype, seed)) for seed in range(4))
    scale, bias = vectors(shape, axis, dtype)
    scale = vector(scale) if "s" in parts and shape else None
    bias = vector(bias) if "b" in parts and shape else None
    add, after = add if "a" in parts else None, after if "A" in parts else None
    drawn = noise_at(noise, first)
    told = f"{dtype} {shape} axis {axis} {parts} {change.__name__} {activation} {drawn} {noise_shape} {told}"
    check(
        cupy,
        lambda x, s, b, a, z: _core.fused_forward(x, s, b, a, activation, drawn, noise_shape, z, axis, None),
        [x, scale, bias, add, after],
        told,
    )
    for wants in (False, True):
        check(
            cupy,
            lambda dy, x, s, b, a, wants=wants: _core.fused_backward(
                dy, x, s, b, a, activation, drawn, noise_shape, axis, wants, None, None, True
            ),
            [dy, x, scale, bias, add],
            f"{told} backward {wants}",
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("entry", ACTIVATIONS, ids=lambda entry: entry["name"])
def test_activations(cupy, entry, dtype):  # noqa: F811
    """On vectors and on elements, with a stage before and one behind."""
    for shape in [(4, 64), (3, 33)]:
        check_chain(cupy, dtype, shape, 1, activation=activation_of(entry), parts="b")
    special = np.resize(samples.special_values(dtype), (16, 48))
    check(
        cupy,
        lambda x: _core.fused_forward(x, None, None, None, activation_of(entry), None, None, None, 0, None),
        [special],
        entry["name"],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", NOISES)
def test_stages(cupy, noise, dtype):  # noqa: F811
    for count in range(5):
        for parts in map("".join, itertools.combinations("sbaA", count)):
            for shape, activation in [((4, 8, 16), bz.silu), ((4, 8, 16), None), ((5, 7, 3), bz.relu)]:
                check_chain(cupy, dtype, shape, 1, parts=parts, activation=activation, noise=NOISES[noise])


# NCHW with rows of whole vectors, of half a float16 vector, of neither; few channels; NC; one axis; many axes; none.
SHAPES = [(2, 6, 4, 8), (3, 8, 2, 6), (2, 16, 7, 7), (5, 3, 33), (2, 24, 5), (9, 64), (7, 100), (6, 3), (64,), (37,)]
SHAPES += [(2, 1, 3, 1, 2, 2, 1, 4), (2,) * 10, (1, 1), (0,), (3, 0, 4), ()]


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_axes(cupy, dtype):  # noqa: F811
    for shape in SHAPES:
        changes = [np.array, channels_last, *LAYOUTS, *([rows, odd_rows] if shape else [])]
        for change in changes:
            for axis in range(len(shape)) if shape else (-1,):
                if change is np.array or axis in (1, len(shape) - 1, -1):
                    check_chain(cupy, dtype, shape, axis, change=change)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_coefficients(cupy, dtype):  # noqa: F811
    for shape in [(4, 64), (2, 8, 16), (3, 5, 7)]:
        check_chain(cupy, dtype, shape, 1, vector=apart)
        check_chain(cupy, dtype, shape, 1, vector=layouts.half_element_aligned)
        check_chain(cupy, dtype, shape, 1, vector=lambda v: apart(v, np.flip))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", [name for name in NOISES if name != "none"])
def test_offsets(cupy, noise, dtype):  # noqa: F811
    for first in OFFSETS:
        for shape in [(200,), (3, 64), (4, 20), (5, 2, 7), (2, 12, 9)]:
            for change in (np.array, channels_last, rows):
                check_chain(cupy, dtype, shape, 1 if len(shape) > 1 else 0, change=change, noise=NOISES[noise],
                            first=first, activation=None, parts="b")  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("noise", ["dropout", "alpha", "multiply", "add"])
def test_noise_shapes(cupy, noise, dtype):  # noqa: F811
    for shape in [(4, 6, 16), (3, 5, 7), (2, 8, 24)]:
        for extents in itertools.product(*[(1, extent) for extent in shape]):
            for change in (np.array, channels_last):
                check_chain(cupy, dtype, shape, 1, change=change, noise=NOISES[noise], noise_shape=extents, first=5,
                            parts="")  # fmt: skip


# Around a vector, a thread's and a block's vectors, a cut pass, a remainder worth a second launch.
SIZES = [*range(1, 18), 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 4104, 16384 + 5, 2 * 20011 - 1, 60040]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes(cupy, dtype):  # noqa: F811
    for size in SIZES:
        for first in (0, 4, 3):
            check_chain(cupy, dtype, (size,), 0, parts="A", first=first, activation=bz.relu)
    for size in (4096, 16384 + 5, 40021):
        for noise in ("multiply", "add"):
            check_chain(cupy, dtype, (size,), 0, parts="A", noise=NOISES[noise], activation=None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cut_passes_keep_channels_and_indices(cupy, dtype):  # noqa: F811
    for shape in [(3, 4, 4096), (4, 4099, 3), (23, 2, 30, 30), (40000, 2), (2, 30011)]:
        for change in (np.array, channels_last):
            check_chain(cupy, dtype, shape, 1, change=change, first=16)


def test_arrays_that_outgrow_the_caches(cupy):  # noqa: F811
    x = np.resize(samples.ordinary((1 << 12, 16), "float32"), ((5 << 20) // 16, 16))
    scale, bias = vectors(x.shape, 1, "float32")
    check(cupy, lambda x, s, b: bz.fused(x, scale=s, bias=b, activation="relu"), [x, scale, bias], "streamed")


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place(cupy, dtype):  # noqa: F811
    for shape in [(37,), (4, 64), (5, 4, 6), (2, 8, 2049)]:
        axis = len(shape) - 1
        scale, bias = vectors(shape, axis, dtype)
        for change in [np.array, *LAYOUTS]:
            x, dy = (change(samples.ordinary(shape, dtype, seed)) for seed in range(2))
            drawn = noise_at(DROPOUT, 8)
            stages = (None, bz.gelu, drawn, None)
            expected = _core.fused_forward(x, scale, bias, *stages, None, axis, None)
            backward = _core.fused_backward(dy, x, scale, bias, *stages, axis, True, None, None)
            s, b = cupy.on_device(scale), cupy.on_device(bias)
            for over in range(2):  # dadd over dy, dx over x; and the other way round
                given = [cupy.on_device(change(a)) for a in (dy, x)]
                results = _core.fused_backward(*given, s, b, *stages, axis, True, given[1 - over], given[over])
                for result, wanted, place in zip(results, backward, (given[over], given[1 - over])):
                    assert result is place and not same_bits(on_host(result), wanted), f"{shape} {change.__name__}"
            given = cupy.on_device(change(x))
            result = _core.fused_forward(given, s, b, *stages, None, axis, given)
            assert result is given and not same_bits(on_host(result), expected), f"{shape} {change.__name__}"


def test_public_calls(cupy):  # noqa: F811
    x = samples.ordinary((6, 32), "float32")
    for call in [
        lambda x: bz.dropout(x, 0.3, seed=4, offset=16),
        lambda x: bz.dropout.backward(x, 0.3, seed=4, noise_shape=(6, 1)),
        lambda x: bz.alpha_dropout(x, 0.3, seed=4),
        lambda x: bz.gaussian_dropout(x, 0.3, seed=4),
        lambda x: bz.gaussian_noise(x, 0.3, seed=4),
        lambda x: bz.stochastic_depth(x, 0.3, seed=4),
        lambda x: tuple(bz.fused.backward(x, x, activation="tanh", dropout=0.5, seed=1, add=x)),
    ]:
        check(cupy, call, [x], "public")


# --- batch norm's chain: center, slope and base ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm(cupy, dtype):  # noqa: F811
    for shape in [(4, 8, 4, 4), (3, 16, 7, 7), (6, 5, 3), (40, 24), (3000, 2)]:
        scale, shift = vectors(shape, 1, dtype)
        mean, variance = vectors(shape, 1, dtype, 30)
        x, dy, add = (samples.ordinary(shape, dtype, seed) for seed in range(3))
        saved_on_host = bz.batch_norm(x, scale, shift, add=add, activation="silu", dropout=0.4, seed=3)[1]
        sums = bz.batch_norm.backward_sums(dy, saved_on_host)
        for change in (np.array, channels_last, layouts.strided):

            def normalize(x, add, scale, shift, dy, sums):
                y, saved = bz.batch_norm(x, scale, shift, add=add, activation="silu", dropout=0.4, seed=3)
                return y, *bz.batch_norm.backward_apply(dy, saved, sums)

            def plain(x, dy, scale, shift):
                y, saved = bz.batch_norm(x, scale, shift)
                return y, *bz.batch_norm.backward(dy, saved)

            def infer(x, scale, shift, mean, variance):
                stages = {"running_mean": mean, "running_var": variance, "training": False, "activation": "relu"}
                return bz.batch_norm(x, scale, shift, **stages)[0]

            given = [change(x), change(add), scale, shift, change(dy), sums]
            check(cupy, normalize, given, f"{shape} {change.__name__}")
            check(cupy, plain, [change(x), change(dy), scale, shift], f"{shape} {change.__name__} plain")
            check(
                cupy, infer, [change(x), scale, shift, mean, np.abs(variance)], f"{shape} {change.__name__} inference"
            )


# --- random fills ----------------------------------------------------------------------------------------------------

FILLS = [(kind, dtype) for kind in ("uniform", "normal") for dtype in DTYPES]
FILLS += [("bernoulli", "bool"), ("bernoulli", "uint8"), ("words", "int64")]


def filled(out, kind, first, **given):
    given = {"scale": 1.0, "shift": 0.0, "threshold": 20000, "seed": 0xFEDCBA9876543210, "step": 3, "site": 9} | given
    _core.random_fill(kind, out, **given, offset=first)
    return out


@pytest.mark.parametrize("kind, dtype", FILLS)
def test_fills(cupy, kind, dtype):  # noqa: F811
    sizes = [(size,) for size in (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 255, 256, 1023, 1025, 2048, 4099, 40023)]
    for shape in [*sizes, *SHAPES, (150, 3, 101)]:
        for change in [np.array, *LAYOUTS, *([rows] if shape else [])]:
            if change is not np.array and shape in sizes[:-2]:
                continue
            for first in OFFSETS if change is np.array else (0, 5):
                store = change(np.zeros(shape, dtype))
                result = on_host(filled(cupy.on_device(store), kind, first))
                wrong = same_bits(_numbers(result), _numbers(filled(np.zeros(shape, dtype), kind, first)))
                assert not wrong, f"{shape} {change.__name__} from {first}: {wrong}"


def _numbers(array):
    """What same_bits knows: it compares floats."""
    return array if array.dtype.kind not in "bui" else array.astype("float64")


@pytest.mark.parametrize("kind, dtype", FILLS)
def test_fill_parameters(cupy, kind, dtype):  # noqa: F811
    for given in [{"threshold": 0}, {"threshold": 65536}, {"scale": 0.1}, {"shift": -3.0}, {"scale": 2.5, "shift": 1e-3},
                  {"seed": 1, "step": 0xFFFFFFFF, "site": 0xFFFFFFFF}]:  # fmt: skip
        result = on_host(filled(cupy.on_device(np.zeros(300, dtype)), kind, 0, **given))
        expected = filled(np.zeros(300, dtype), kind, 0, **given)
        assert (result.view("u1") == expected.view("u1")).all(), given


def test_public_random(cupy):  # noqa: F811
    like = cupy.empty(1, "float32")
    for call in [
        lambda like: bz.random.uniform((3, 5), -2, 4, seed=1, like=like),
        lambda like: bz.random.normal((3, 5), 1, 3, seed=1, like=like, dtype="float64"),
    ]:
        assert not same_bits(call(like).get(), call(None))
    assert (bz.random.bernoulli((3, 5), seed=1, like=like).get() == bz.random.bernoulli((3, 5), seed=1)).all()


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.emulation
def test_refused(cupy, monkeypatch):  # noqa: F811
    x = cupy.on_device(layouts.misaligned(np.ones((4, 3), "float32")))
    with pytest.raises(ValueError, match=r"fused: an array's elements do not lie at multiples of their size"):
        bz.fused(x, activation="relu")
    with pytest.raises(ValueError, match=r"random: an array's elements do not lie at multiples of their size"):
        filled(x, "normal", 0)
    x = cupy.on_device(np.ones((4, 3), "float32"))
    monkeypatch.setenv("BRAZEN_EMULATED_FAILURE", "700")
    for call, name in [(lambda: bz.fused(x, activation="relu"), "fused"), (lambda: filled(x, "uniform", 0), "random")]:
        with pytest.raises(RuntimeError, match=rf"{name}: cudaErrorIllegalAddress on CUDA device 0"):
            call()
