# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels, compiled for the host, give the bits of the CPU loops: the whole op table through a stand-in CuPy.

From Python through the bindings and the C ABI to the kernels' own source. It catches a wrong index, stride, tail, merge
order, dtype switch or launch size; not what only a GPU's own instructions can get wrong.
"""

import os
import sys
import threading
from pathlib import Path

import brazen as bz
import layouts
import numpy as np
import op_table
import pytest
import samples
from brazen import _core
from emulation import build
from tolerance import DTYPES, same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)


@pytest.fixture(scope="module")
def cupy():
    """The stand-in as `cupy`, and the emulated library behind the bindings; with BRAZEN_TEST_DEVICE set, CuPy and a GPU."""
    if os.environ.get("BRAZEN_TEST_DEVICE"):
        import device

        yield device.cupy_of_tests()
        return
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cupy"}
    place = str(Path(__file__).parent / "standin")
    sys.path.insert(0, place)
    import cupy

    _core.load_cuda_library(str(build.library()))
    yield cupy
    _core.load_cuda_library("")
    sys.path.remove(place)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        del sys.modules[name]
    sys.modules.update(hidden)


def rows(array):
    """Rows a whole number of vectors apart, of which they fill only a part."""
    return _apart(array, 64 - array.shape[-1] % 32)


def odd_rows(array):
    """Rows that begin off a vector's alignment, all but the first."""
    return _apart(array, 1)


def _apart(array, more):
    store = np.zeros((*array.shape[:-1], array.shape[-1] + more), array.dtype)
    view = store[..., : array.shape[-1]]
    view[...] = array
    return view


# NumPy's layouts but those off an element's own alignment, which a GPU cannot read.
LAYOUTS = [c for c in layouts.WRITABLE if not c.__name__.startswith("misaligned")]
SHAPES = [*layouts.SHAPES, (6, 32), (3, 5, 16), (2, 64, 3), (2,) * 10]


def _arrays(case, dtype, shape):
    shapes = case.shapes(shape)
    return None if shapes is None else [samples.ordinary(s, dtype, seed) for seed, s in enumerate(shapes)]


def _compare(cupy, case, arrays, told, outs=None):
    expected = case.results(*arrays)
    given = dict(zip(case.outputs, map(cupy.on_device, outs))) if outs else {}
    results = case.results(*map(cupy.on_device, arrays), **given)
    for name, result, wanted in zip(case.outputs, results, expected):
        assert type(result) is cupy.ndarray
        wrong = same_bits(result.get(), wanted)
        assert not wrong, f"{told}: {name}: {wrong}"
        assert result is given.get(name, result), f"{told}: {name} is not what was given"


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_layouts(cupy, case, dtype):
    for shape in SHAPES:
        arrays = _arrays(case, dtype, shape)
        if arrays is None:
            continue
        _compare(cupy, case, arrays, f"{shape}")
        for change in [*LAYOUTS, layouts.broadcast, *([rows, odd_rows] if shape else [])]:
            _compare(cupy, case, [change(a) for a in arrays], f"{shape} {change.__name__}")
        for change in [*LAYOUTS, *([rows, odd_rows] if shape else [])]:
            outs = [change(np.full(s, 77, arrays[0].dtype)) for s in case.result_shapes([a.shape for a in arrays])]
            if case.family == "prelu":
                outs = outs[:1]
            _compare(cupy, case, arrays, f"{shape} out {change.__name__}", outs)


# Around a vector, the vectors and elements of a block, a cut pass, a pass with a remainder worth a second launch.
SIZES = [*range(1, 18), 1023, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 16384 + 5, 2 * 20011 - 1]


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_sizes(cupy, case, dtype):
    for size in SIZES:
        arrays = _arrays(case, dtype, (size, 1) if case.family in ("gate", "maxout") else (size,))
        if case.family == "prelu":
            arrays[-1] = arrays[-1][:1].copy()
        _compare(cupy, case, arrays, f"{size} elements")
    if case.family == "gate":
        for size in SIZES:
            _compare(cupy, case, _arrays(case, dtype, (2, size)), f"rows of {size} elements")


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_values(cupy, case, dtype):
    """All 16-bit inputs, all exponents, special values, every set of parameters."""
    special = samples.special_values(dtype)
    x = np.concatenate([special, samples.unary_sample(dtype, "small"), np.resize(special, -special.size % 48)])
    x = np.resize(x, x.size + -x.size % 48)
    for parameters in case.parameter_sets:
        if case.family == "prelu":
            alpha = np.array([0.25], x.dtype)
            arrays = [x, alpha] if case.direction == "forward" else [x[::-1].copy(), x, alpha]
        else:
            pieces = {"gate": 2, "maxout": parameters.get("pieces", 2)}.get(case.family, 1)
            dy = samples.ordinary(x.size // pieces, dtype, 3)
            arrays = [x] if case.direction == "forward" else [dy, x]
        expected = case.results(*arrays, parameters=parameters)
        results = case.results(*map(cupy.on_device, arrays), parameters=parameters)
        for result, wanted in zip(results, expected):
            wrong = same_bits(result.get(), wanted)
            assert not wrong, f"{parameters}: {wrong}"


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_in_place(cupy, case, dtype):
    for shape in [(37,), (5, 4, 6), (4096,), (3, 64)]:
        arrays = _arrays(case, dtype, shape)
        expected = case.results(*arrays)
        for change in LAYOUTS:
            for k, array in enumerate(arrays):
                if array.shape != expected[0].shape or case.arguments[k] == "alpha":
                    continue
                given = [cupy.on_device(change(a)) for a in arrays]
                results = case.results(*given, out=given[k])
                assert results[0] is given[k]
                for result, wanted in zip(results, expected):
                    wrong = same_bits(result.get(), wanted)
                    assert not wrong, f"{shape} {change.__name__} over {case.arguments[k]}: {wrong}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape, axis, channels",
    [
        ((1023,), 0, 1), ((1024,), 0, 1), ((1025,), 0, 1), ((5000,), 0, 1), ((3, 5000), 0, 3), ((7, 33, 49), 1, 33),
        ((700, 3, 5), 1, 3), ((9, 7, 2, 60), 3, 60), ((2, 3000), 1, 3000), ((40, 2, 30, 1), 2, 30), ((0, 3), 1, 3), ((4, 0), 1, 0),
        ((1 << 21) + 1025, 0, 1),
    ],
)  # fmt: skip
def test_alpha_gradient(cupy, shape, axis, channels, dtype):
    """The reduction: part chunks, many chunks, many channels, two levels of merging, each way the rows can lie."""
    shape = shape if isinstance(shape, tuple) else (shape,)
    dy, x, alpha = (samples.ordinary(s, dtype, seed) for seed, s in enumerate([shape, shape, (channels,)]))
    changes = [np.asarray, layouts.transposed, layouts.strided, layouts.reversed_] if x.size < 1 << 20 else [np.asarray]
    for change in changes:
        arrays = [change(dy), change(x), alpha]
        expected = bz.prelu.backward(*arrays, axis=axis)
        for result, wanted in zip(bz.prelu.backward(*map(cupy.on_device, arrays), axis=axis), expected):
            wrong = same_bits(result.get(), wanted)
            assert not wrong, f"{change.__name__}: {wrong}"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_float32_alpha_of_16_bit_arrays(cupy, dtype):
    x, dy = samples.ordinary((6, 16, 8), dtype, 0), samples.ordinary((6, 16, 8), dtype, 1)
    for alpha, axis in [
        (np.full(1, 0.3, "float32"), 1),
        (samples.ordinary(16, "float32", 2), 1),
        (samples.ordinary(8, "float32", 2), 2),
    ]:
        given = [cupy.on_device(a) for a in (dy, x, alpha)]
        assert not same_bits(bz.prelu(*given[1:], axis=axis).get(), bz.prelu(x, alpha, axis=axis))
        for result, wanted in zip(bz.prelu.backward(*given, axis=axis), bz.prelu.backward(dy, x, alpha, axis=axis)):
            assert not same_bits(result.get(), wanted)


def test_arrays_that_outgrow_the_caches(cupy):
    x = samples.ordinary(1 << 16, "float32")
    x = np.resize(x, (32 << 20) // 8 + 4)
    assert not same_bits(bz.relu(cupy.on_device(x)).get(), bz.relu(x))


def test_result_keeps_the_memory_order_of_x(cupy):
    x = np.asfortranarray(samples.ordinary((5, 6), "float32"))
    assert bz.relu(cupy.on_device(x)).strides == x.strides


def test_concurrent_calls(cupy):
    x = samples.ordinary(5000, "float32")
    dy = samples.ordinary(5000, "float32", 1)
    expected = bz.gelu(x), bz.prelu.backward(dy, x, np.full(1, 0.5, "float32"))[1]
    wrong = []

    def work():
        given = [cupy.on_device(a) for a in (dy, x, np.full(1, 0.5, "float32"))]
        for _ in range(20):
            wrong.append(
                same_bits(bz.gelu(given[1]).get(), expected[0])
                or same_bits(bz.prelu.backward(*given)[1].get(), expected[1])
            )

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 160 and not any(wrong)


@pytest.mark.emulation
def test_mixed_places_and_wrong_outputs(cupy):
    host = np.ones((4, 3), "float32")
    device = cupy.on_device(host)
    with pytest.raises(ValueError, match=r"silu: dy is on the CPU, x on CUDA device 0; move one of them"):
        bz.silu.backward(host, device)
    with pytest.raises(ValueError, match=r"silu: out is on the CPU, x on CUDA device 0"):
        bz.silu(device, out=np.empty((4, 3), "float32"))
    with cupy.cuda.Device(1):
        other = cupy.on_device(host)
    with pytest.raises(ValueError, match=r"silu: dy is on CUDA device 1, x on CUDA device 0"):
        bz.silu.backward(other, device)
    with pytest.raises(
        ValueError, match=r"silu: there is no CUDA device 1; this process sees 1, see CUDA_VISIBLE_DEVICES"
    ):
        bz.silu(other)
    with pytest.raises(TypeError, match=r"out has dtype float64; expected float32"):
        bz.silu(device, out=cupy.empty((4, 3), "float64"))
    with pytest.raises(ValueError, match=r"out has shape \(3, 4\); expected \(4, 3\)"):
        bz.silu(device, out=cupy.empty((3, 4), "float32"))
    with pytest.raises(ValueError, match=r"out overlaps x in memory"):
        store = cupy.empty(9, "float32")
        bz.silu(store[:8], out=store[1:])


@pytest.mark.emulation
def test_results_lie_on_the_device_of_x(cupy):
    """CuPy allocates on its current device, which need not be the array's."""
    arrays = [cupy.on_device(samples.ordinary((4, 6), "float32", k)) for k in range(2)]
    alpha = cupy.on_device(np.full(6, 0.5, "float32"))
    for order in ((lambda x: x), (lambda x: x.transpose(1, 0))):  # C order and another are allocated differently
        dy, x = map(order, arrays)
        with cupy.cuda.Device(1):
            made = [bz.silu(x), bz.silu.backward(dy, x), bz.glu(x), bz.maxout(x, 3 if x.shape[1] % 2 else 2)]
            if x.shape == (4, 6):
                made += bz.prelu.backward(dy, x, alpha)
            assert cupy.cuda.Device().id == 1, "the caller's device is put back"
        assert [result.device.id for result in made] == [0] * len(made)
    with cupy.cuda.Device(1):
        elsewhere = cupy.empty((0, 3), "float32")
    assert bz.silu(elsewhere).device.id == 1 and cupy.cuda.Device().id == 0


def test_misaligned_arrays_are_refused(cupy):
    """A GPU cannot read an element across its own alignment; the CPU path can."""
    out = np.full(9, 7, "float32")
    with pytest.raises(
        ValueError, match=r"silu: an array's elements do not lie at multiples of their size.*pass a copy"
    ):
        bz.silu(cupy.on_device(layouts.misaligned(np.ones(9, "float32"))), out=cupy.on_device(out))
    assert (out == 7).all()
    with pytest.raises(ValueError, match=r"multiples of their size"):
        x = cupy.on_device(layouts.misaligned_strided(np.ones(9, "float64")))
        bz.prelu.backward(x, x, cupy.on_device(np.ones(1)))


FAILURES = [
    (35, "no_driver", RuntimeError, r"no NVIDIA driver was found; install driver 580 or newer"),
    (35, "12040", RuntimeError, r"driver serves CUDA 12\.4, too old for this library's CUDA 13\.0; install driver 580"),
    (100, "13000", RuntimeError, r"the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES"),
    (209, "13000", RuntimeError, r"compute capability 7\.0, this library was built for the host.*BRAZEN_CUDA_ARCHS=70"),
    (2, "13000", MemoryError, r"CUDA device 0 is out of memory; free arrays"),
    (400, "13000", ValueError, r"the current stream is no live stream of CUDA device 0"),
    (700, "13000", RuntimeError, r"cudaErrorIllegalAddress on CUDA device 0.*CUDA_LAUNCH_BLOCKING=1"),
]


@pytest.mark.emulation
@pytest.mark.parametrize("code, driver, kind, text", FAILURES, ids=lambda v: str(v)[:12])
def test_failures_name_cause_and_cure(cupy, monkeypatch, code, driver, kind, text):
    x = cupy.on_device(samples.ordinary(5000, "float32"))
    monkeypatch.setenv("BRAZEN_EMULATED_FAILURE", str(code))
    monkeypatch.setenv("BRAZEN_EMULATED_DRIVER", "0" if driver == "no_driver" else driver)
    with pytest.raises(kind, match=rf"^prelu_alpha: .*{text}"):
        bz.prelu.backward(x, x, x[:1])
    if code != 2:
        with pytest.raises(kind, match=rf"^silu: .*{text}"):
            bz.silu(x)
    assert bz.silu(x[:0]).shape == (0,), "an empty call asks nothing of the device"
    if code in (35, 100):
        assert bz.info()["cuda"]["devices"] == 0 and bz.info()["why_not"]
    monkeypatch.delenv("BRAZEN_EMULATED_FAILURE")
    assert not same_bits(bz.silu(x).get(), bz.silu(x.get())), "the process lives on"


@pytest.mark.emulation
def test_info_reports_the_library(cupy):
    info = bz.info()
    assert info["cuda"]["library"].endswith("libbrazen_host.so") and info["cuda"]["devices"] == 1
    assert info["cuda"]["archs"] == "the host (emulation)" and info["cupy"] == "standin" and not info["why_not"]


def test_the_stream_is_passed_on(cupy):
    """Bindings read the current stream; the emulation runs in order whatever it is."""
    with cupy.cuda.Stream():
        x = cupy.on_device(np.ones(8, "float32"))
        assert (bz.relu(x).get() == 1).all()


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_convert(cupy, narrow):
    """`linear` between two dtypes, dense and from an odd place."""
    for source, target in ((narrow, "float32"), ("float32", narrow)):
        with np.errstate(over="ignore"):
            x = samples.every_exponent("float32", 100, seed=4).astype(DTYPES[source])
        for start, step in ((0, 1), (1, 1), (0, 2)):
            part = x[start::step]
            expected = _core.convert(part, np.empty(part.shape, DTYPES[target]))
            given = cupy.on_device(np.empty(part.shape, DTYPES[target]))
            _core.convert(cupy.on_device(part), given)
            assert not same_bits(given.get(), expected)
