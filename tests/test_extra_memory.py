# SPDX-License-Identifier: BSD-3-Clause
"""Beside its results, an operation takes 1/32 of x and a little for every channel and thread: the peak of a call tells.

It catches a widened copy, a gradient that is stored to be summed, a mask that is kept, and normals drawn for a whole array.
"""

import ctypes
import gc
import multiprocessing
import pathlib
import re
from concurrent.futures import ProcessPoolExecutor

import brazen as bz
import numpy as np
import pytest
from samples import DTYPES

THREADS = 2
# Tiles of all kinds, a row that is held, a few claims of partial sums.
PER_THREAD = 256 << 10
SHAPE = (32, 64, 64, 64)  # 8 million elements
ROWS = (8192, 1024)

SEED = {"seed": 1}
TAIL = {"activation": "gelu", "dropout": 0.3, **SEED}


LIBC = ctypes.CDLL(None)
M_MMAP_THRESHOLD = -3


def status(field):
    return int(re.search(rf"{field}:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) << 10


def peak(call):
    """(results, bytes of resident memory at their most, beyond those before the call)."""
    gc.collect()
    LIBC.malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = status("VmRSS")
    results = call()
    return results, status("VmHWM") - before


def memory(thing):
    """{address: bytes} of the arrays in it."""
    if isinstance(thing, np.ndarray):
        return {thing.__array_interface__["data"][0]: thing.nbytes}
    parts = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple) else ()
    return {address: size for part in parts for address, size in memory(part).items()}


def made_by(call, results):
    """Bytes of the results that are not arguments, which the call's cells hold."""
    given = memory(tuple(cell.cell_contents for cell in call.__closure__ or ()))
    return sum(size for address, size in memory(results).items() if address not in given)


def normal_array(shape, dtype, channels_last=False):
    x = bz.random.normal(shape, seed=len(shape), dtype=DTYPES[dtype])
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if channels_last else x


def batch_norm(dtype, shape=SHAPE, channels_last=False, stages=None):
    x, dy, add = (normal_array(shape, dtype, channels_last) for _ in range(3))
    stages = {} if stages is None else {**stages, "add": add}
    saved = bz.batch_norm(x, **stages)[1]
    return [lambda: bz.batch_norm(x, **stages), lambda: bz.batch_norm.backward(dy, saved)]


def norm(name, *arguments, shape=ROWS):
    def calls(dtype):
        x, dy, function = normal_array(shape, dtype), normal_array(shape, dtype), getattr(bz, name)
        saved = function(x, *arguments)[1]
        return [lambda: function(x, *arguments), lambda: function.backward(dy, saved)]

    return calls


def fused(dtype, axis=-1, **stages):
    x, dy, add = (normal_array(SHAPE, dtype) for _ in range(3))
    vector = np.ones(SHAPE[axis], "float32")
    stages = {"scale": vector, "bias": vector, "axis": axis, **TAIL, **stages}
    return [
        lambda: bz.fused(x, add_after=add, **stages),
        lambda: bz.fused.backward(dy, x, **stages),
        lambda: bz.fused.backward(dy, x, add=add, **stages),
    ]


def noise(name, **options):
    def calls(dtype):
        x, function = normal_array(SHAPE, dtype), getattr(bz, name)
        return [lambda: function(x, **options, **SEED), lambda: function.backward(x, **options, **SEED)]

    return calls


def rows(name, shape=ROWS, axis=-1):
    def calls(dtype):
        x, function = normal_array(shape, dtype), getattr(bz, name)
        y = function(x, axis)
        return [lambda: function(x, axis), lambda: function.backward(x, y, axis)]

    return calls


def loss(name, with_labels=False):
    def calls(dtype):
        x = normal_array(ROWS, dtype)
        target = np.arange(ROWS[0]) % ROWS[1] if with_labels else abs(x)
        return [lambda: getattr(bz, name)(x, target), lambda: getattr(bz, name)(x, target, reduction="none")]

    return calls


def row_norms(dtype):
    x = normal_array(ROWS, dtype)
    return [lambda: bz.row_norms(x)]


CALLS = {
    "batch_norm": batch_norm,
    "batch_norm.fused": lambda dtype: batch_norm(dtype, stages=TAIL),
    "batch_norm.channels_last": lambda dtype: batch_norm(dtype, channels_last=True, stages=TAIL),
    "batch_norm.columns": lambda dtype: batch_norm(dtype, ROWS),
    "layer_norm": norm("layer_norm"),
    "rms_norm": norm("rms_norm"),
    "group_norm": norm("group_norm", 8, shape=SHAPE),
    "instance_norm": norm("instance_norm", shape=SHAPE),
    "group_norm.short": norm("group_norm", 8, *np.ones((2, 32), "float32"), shape=(8192, 32, 6, 6)),
    "row_norms": row_norms,
    "fused": fused,
    "fused.channels": lambda dtype: fused(dtype, axis=1),
    **{name: noise(name, rate=0.3) for name in ("dropout", "drop_connect", "stochastic_depth", "alpha_dropout")},
    "dropout.spatial": noise("dropout", noise_shape=(*SHAPE[:2], 1, 1)),
    "gaussian_dropout": noise("gaussian_dropout"),
    "gaussian_noise": noise("gaussian_noise"),
    **{name: rows(name) for name in ("softmax", "log_softmax", "sparsemax")},
    "softmax.across": rows("softmax", (8, 1024, 1024), 1),
    **{name: loss(name, with_labels=True) for name in ("softmax_cross_entropy", "multiclass_hinge")},
    "softmax_cross_entropy.soft": loss("softmax_cross_entropy"),
    **{name: loss(name) for name in ("kl_divergence", "sigmoid_cross_entropy")},
    **{name: loss(name) for name in ("mse", "sum_of_squares", "half_squared", "mae", "huber")},
    "random.uniform": lambda dtype: [lambda: bz.random.uniform(SHAPE, 1, 3, **SEED, dtype=DTYPES[dtype])],
    "random.normal": lambda dtype: [lambda: bz.random.normal(SHAPE, 1, 3, **SEED, dtype=DTYPES[dtype])],
    "random.bernoulli": lambda dtype: [lambda: bz.random.bernoulli(SHAPE, **SEED)],
}
# An average of what the caller computes; a sort of keys.
OTHERWISE = {"monte_carlo", "random.permutation"}


def begin():
    """What is freed leaves the process at once, so that nothing is hidden in it."""
    bz.set_num_threads(THREADS)
    LIBC.mallopt(M_MMAP_THRESHOLD, 128 << 10)


def measured(name, dtype):
    """(bytes made, bytes at the most) of each call, of whose tries the least counts: a first one brings pages of code."""
    figures = []
    for call in CALLS[name](dtype):
        tries = []
        for _ in range(3):
            results, most = peak(call)
            tries.append((made_by(call, results), most))
            del results
        figures.append(min(tries, key=lambda figure: figure[1]))
    return figures


@pytest.fixture(scope="module")
def process():
    """A process where nothing else runs: what earlier tests freed, or still do beside, would count as memory of ours."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin) as pool:
        yield pool


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CALLS)
def test_extra_memory(name, dtype, process):
    x_bytes = int(np.prod(SHAPE)) * DTYPES[dtype].itemsize
    allowed = x_bytes // 32 + THREADS * PER_THREAD
    for number, (made, most) in enumerate(process.submit(measured, name, dtype).result()):
        assert most >= made * 0.9 or made < 1 << 20, f"call {number}: the peak was not seen"
        extra = most - made
        assert extra <= allowed, f"call {number}: {extra >> 10} KiB beside its results, {allowed >> 10} are allowed"


def test_every_operation_is_measured():
    elementwise = {*bz.activations(), "swish", "hard_swish"}
    public = {name for name in bz.ops.__all__ if name not in elementwise and not isinstance(getattr(bz, name), type)}
    public = {name for name in public if name not in ("activations", "losses")}
    public |= {f"random.{name}" for name in bz.random.__all__}
    assert public - OTHERWISE == {name for name in CALLS if name in public}


def most_of_a_copy():
    x = normal_array(SHAPE, "float32")
    return peak(lambda: np.tanh(x * 2).sum())[1]


def test_a_copy_would_be_seen(process):
    assert process.submit(most_of_a_copy).result() > np.prod(SHAPE) * 4
