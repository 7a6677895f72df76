# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels over channels, compiled for the host, give the bits of the CPU loops: statistics, sums, merging.

It catches a wrong lane, chunk, tail, stride or merging order, and a layout that takes the wrong kernel.
"""

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
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
    """Forward with its whole chain, backward without: results, gradients and running statistics."""
    for shape in [(3, 5, 7, 7), (1100, 3), (5, 64), (9, 31, 20, 6)]:
        problem = Problem(shape, dtype, CHAINS[4], training=training)
        y, _, running = problem.forward()
        for change in ORDERS[:3]:
            convert = lambda a: None if a is None else cupy.on_device(a)  # noqa: E731
            moved = [convert(r.copy()) for r in problem.running]
            add, x = convert(change(problem.add)), convert(change(problem.x))
            parameters = convert(problem.scale), convert(problem.shift)
            result, _ = bz.batch_norm(x, *parameters, *moved, add=add, **problem.options)
            for given, wanted in zip([result, *moved], [y, *running]):
                wrong = same_bits(given.get(), wanted)
                assert not wrong, f"{shape} {change.__name__}: {wrong}"

            _, saved = bz.batch_norm(x, *parameters, *moved, add=add, training=training)
            host = [r.copy() for r in problem.running] if training else [r.get() for r in moved]
            _, own = bz.batch_norm(problem.x, problem.scale, problem.shift, *host, add=problem.add, training=training)
            expected = bz.batch_norm.backward(problem.dy, own)
            for given, wanted in zip(bz.batch_norm.backward(convert(change(problem.dy)), saved), expected):
                wrong = same_bits(given.get(), wanted)
                assert not wrong, f"{shape} {change.__name__} backward: {wrong}"
