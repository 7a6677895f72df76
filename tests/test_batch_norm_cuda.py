# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels over channels, compiled for the host, give the bits of the CPU loops: statistics, sums, merging.

It catches a wrong lane, chunk, tail, stride or merging order, and a layout that takes the wrong kernel.
"""

import itertools

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
from brazen.ops.activations import Activation
from emulation import build
from test_batch_norm import CHAINS, Problem
from test_cuda_emulated import cupy  # noqa: F401
from tolerance import DTYPES, same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

# Part chunks, several chunks, channels that fill a block of 32 and that do not, one row, no rows.
SHAPES = [(3, 5, 7, 7), (40, 3, 30), (1025, 2), (70, 33), (5, 64), (9, 31, 20, 16), (1, 4), (0, 3), (4, 0, 2)]


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


ORDERS = [np.array, channels_last, layouts.fortran, layouts.strided, layouts.reversed_]


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics(cupy, dtype):  # noqa: F811
    for shape in SHAPES:
        x = samples.ordinary(shape, dtype, 1) + DTYPES[dtype].type(2)
        expected = bz.batch_norm.statistics(x)
        for change in ORDERS:
            moments = bz.batch_norm.statistics(cupy.on_device(change(x)))
            assert type(moments) is cupy.ndarray
            wrong = same_bits(moments.get(), expected)
            assert not wrong, f"{shape} {change.__name__}: {wrong}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_channel_sums(cupy, dtype):  # noqa: F811
    for shape in SHAPES:
        d, x = samples.ordinary(shape, dtype, 1), samples.ordinary(shape, dtype, 2)
        expected = _core.channel_sums(d, x, 1, True)
        for change in ORDERS:
            for other in (change, np.array):
                sums = _core.channel_sums(cupy.on_device(change(d)), cupy.on_device(other(x)), 1, True)
                for result, wanted in zip(sums, expected):
                    wrong = same_bits(result.get(), wanted)
                    assert not wrong, f"{shape} {change.__name__}: {wrong}"
        assert _core.channel_sums(cupy.on_device(d), None, 1, True)[1] is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_sums(cupy, dtype):  # noqa: F811
    for shape in SHAPES[:6]:
        x, dy = samples.ordinary(shape, dtype, 1), samples.ordinary(shape, dtype, 2)
        _, saved = bz.batch_norm(x)
        expected = bz.batch_norm.backward_sums(dy, saved)
        on_device = {name: cupy.on_device(getattr(saved, name)) for name in ("x", "moments", "coefficients")}
        sums = bz.batch_norm.backward_sums(cupy.on_device(dy), saved._replace(**on_device))
        wrong = same_bits(sums.get(), expected)
        assert not wrong, f"{shape}: {wrong}"


def test_merging(cupy):  # noqa: F811
    for count in (1, 2, 3, 64, 70, 130):
        parts = [bz.batch_norm.statistics(samples.ordinary((k % 5 + 2, 37), "float32", k)) for k in range(count)]
        merged = bz.batch_norm.merge([cupy.on_device(part) for part in parts])
        assert not same_bits(merged.get(), bz.batch_norm.merge(parts))
        sums = [np.ascontiguousarray(part[1:]) for part in parts]
        merged = bz.batch_norm.merge_sums([cupy.on_device(part) for part in sums])
        assert not same_bits(merged.get(), bz.batch_norm.merge_sums(sums))


def test_misaligned_arrays_are_refused(cupy):  # noqa: F811
    with pytest.raises(ValueError, match=r"batch_norm: an array's elements do not lie at multiples of their size"):
        bz.batch_norm.statistics(cupy.on_device(layouts.misaligned(np.ones((4, 3), "float32"))))


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_passes(cupy, dtype, training):  # noqa: F811
    """Both with the whole chain, backward also without: results, gradients and running statistics."""
    for shape, chain in itertools.product([(3, 5, 7, 7), (1100, 3), (5, 64), (9, 31, 20, 6)], CHAINS):
        problem = Problem(shape, dtype, chain, training=training)
        y, on_host, running = problem.forward()
        gradients = bz.batch_norm.backward(problem.dy, on_host)
        for change in ORDERS[:3]:
            convert = lambda a: None if a is None else cupy.on_device(a)  # noqa: E731
            moved = [convert(r.copy()) for r in problem.running]
            add, x = (None if a is None else convert(change(a)) for a in (problem.add, problem.x))
            parameters = convert(problem.scale), convert(problem.shift)
            result, saved = bz.batch_norm(x, *parameters, *moved, add=add, **problem.options)
            for given, wanted in zip([result, *moved], [y, *running]):
                wrong = same_bits(given.get(), wanted)
                assert not wrong, f"{shape} {chain} {change.__name__}: {wrong}"
            dy = convert(change(problem.dy))
            check_gradients(bz.batch_norm.backward(dy, saved), gradients, f"{shape} {chain} {change.__name__}")
            sums = bz.batch_norm.backward_sums(dy, saved)
            assert not same_bits(sums.get(), bz.batch_norm.backward_sums(problem.dy, on_host))
            applied = bz.batch_norm.backward_apply(dy, saved, sums)
            check_gradients(applied, gradients, f"{shape} {chain} {change.__name__} applied")

            _, saved = bz.batch_norm(x, *parameters, *moved, add=add, training=training)
            host = [r.copy() for r in problem.running] if training else [r.get() for r in moved]
            _, own = bz.batch_norm(problem.x, problem.scale, problem.shift, *host, add=problem.add, training=training)
            expected = bz.batch_norm.backward(problem.dy, own)
            check_gradients(bz.batch_norm.backward(dy, saved), expected, f"{shape} {change.__name__} plain")


def check_gradients(results, expected, told):
    for name in expected._fields:
        given, wanted = getattr(results, name), getattr(expected, name)
        assert (given is None) == (wanted is None), f"{told}: {name}"
        wrong = "" if wanted is None else same_bits(given.get(), wanted)
        assert not wrong, f"{told}: {name}: {wrong}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_in_the_backward_sums(cupy, dtype):  # noqa: F811
    x, dy = samples.ordinary((6, 3, 40), dtype, 1), samples.ordinary((6, 3, 40), dtype, 2)
    for name in bz.activations():
        activation = getattr(bz, name)
        if not isinstance(activation, Activation) or name == "threshold":
            continue
        _, saved = bz.batch_norm(x, activation=name, dropout=0.3, seed=1, offset=4)
        _, there = bz.batch_norm(cupy.on_device(x), activation=name, dropout=0.3, seed=1, offset=4)
        sums = bz.batch_norm.backward_sums(cupy.on_device(dy), there)
        wrong = same_bits(sums.get(), bz.batch_norm.backward_sums(dy, saved))
        assert not wrong, f"{name}: {wrong}"


def test_more_axes_than_a_pass_over_elements_has(cupy):  # noqa: F811
    shape = (2,) * 10
    x, dy = (samples.ordinary(shape, "float32", seed).transpose(9, 3, 1, 5, 7, 0, 2, 4, 6, 8) for seed in (1, 2))
    _, saved = bz.batch_norm(x, activation="silu", dropout=0.5, seed=2)
    _, there = bz.batch_norm(cupy.on_device(x), activation="silu", dropout=0.5, seed=2)
    check_gradients(bz.batch_norm.backward(cupy.on_device(dy), there), bz.batch_norm.backward(dy, saved), "ten axes")


@pytest.mark.parametrize("running", ["biased", "unbiased"])
def test_recalibrate(cupy, running):  # noqa: F811
    """Population statistics of batches on the device, written there: the bits of the CPU's."""
    batches = [samples.ordinary((n, 4, 3), "float32", n) for n in (8, 8, 5)]
    expected = np.zeros(4, "float32"), np.zeros(4, "float32")
    bz.batch_norm.recalibrate(batches, *expected, running=running)
    mean, variance = (cupy.on_device(np.zeros(4, "float32")) for _ in range(2))
    bz.batch_norm.recalibrate((cupy.on_device(batch) for batch in batches), mean, variance, running=running)
    assert not same_bits(mean.get(), expected[0]) and not same_bits(variance.get(), expected[1])


@pytest.fixture
def l2(cupy):  # noqa: F811
    """Sets the bytes of the emulated device's L2, and counts launches."""
    emulation = cupy.cuda.emulation()
    yield emulation.emulated_set_l2, emulation.emulated_launches
    emulation.emulated_set_l2(0)


def channels_in_a_slab(shape, dtype, arrays, columns, l2_bytes):
    """Of whole vectors, or of 32 where channels lie side by side; all of them where a slab would hold none."""
    item, channels = DTYPES[dtype].type(0).itemsize, shape[1]
    a_channel = int(np.prod(shape)) // channels * item * arrays
    if a_channel * channels <= l2_bytes // 2:
        return channels
    pixels = int(np.prod(shape[2:]))
    unit = 32 if columns else next(u for u in (1, 2, 4, 8, 16) if u * pixels * item % 16 == 0)
    if not columns and shape[0] > 1 and channels * pixels * item % 16:
        return channels
    return l2_bytes // 2 // a_channel // unit * unit or channels


@pytest.mark.emulation
@pytest.mark.parametrize("dtype", DTYPES)
def test_slabs_of_channels(cupy, l2, dtype):  # noqa: F811
    """What does not fit the L2 is cut into slabs of channels, by the arrays' bytes, and keeps its bits."""
    set_l2, launches = l2
    shapes = [(3, 20, 6, 8), (2, 24, 7, 7), (2, 5, 7, 7), (40, 96), (1, 13, 64)]
    for (shape, chain), order in itertools.product(itertools.product(shapes, CHAINS), (np.array, channels_last)):
        problem = Problem(shape, dtype, chain)
        y, on_host, running = problem.forward()
        expected = bz.batch_norm.backward(problem.dy, on_host)
        counts = {}
        for l2_bytes in (1 << 30, 24 << 10, 512):
            set_l2(l2_bytes)
            moved = [cupy.on_device(r.copy()) for r in problem.running]
            add, x = (None if a is None else cupy.on_device(order(a)) for a in (problem.add, problem.x))
            before = launches()
            result, saved = bz.batch_norm(
                x, cupy.on_device(problem.scale), cupy.on_device(problem.shift), *moved, add=add, **problem.options
            )
            between = launches()
            gradients = bz.batch_norm.backward(cupy.on_device(order(problem.dy)), saved)
            counts[l2_bytes] = between - before, launches() - between
            for given, wanted in zip([result, *moved], [y, *running]):
                wrong = same_bits(given.get(), wanted)
                assert not wrong, f"{shape} {chain} {order.__name__} {l2_bytes}: {wrong}"
            check_gradients(gradients, expected, f"{shape} {chain} {order.__name__} {l2_bytes}")
        columns = len(shape) == 2 or order is channels_last
        for l2_bytes in (24 << 10, 512):
            for pass_ in (0, 1):
                together = channels_in_a_slab(shape, dtype, pass_ + 1, columns, l2_bytes)
                slabs = -(-shape[1] // together)
                least, most = counts[1 << 30][pass_] + 2 * (slabs - 1), counts[1 << 30][pass_] * slabs
                assert least <= counts[l2_bytes][pass_] <= most, f"{shape} {chain} {order.__name__} {l2_bytes} {pass_}"
