# SPDX-License-Identifier: BSD-3-Clause
"""Memory: 100,000 calls of every operation leave no trace, errors neither; arrays beyond 2^31 elements are whole.

It catches a reference taken and not given back (also on the way out of an error), scratch that grows, a leaked capsule and
an index or size that went through 32 bits.
"""

import gc
import sys

import brazen as bz
import numpy as np
import op_table
import psutil
import pytest
import samples
from brazen import _core

CALLS = 100_000
ELEMENTS = 1_000
GROWTH = 1 << 20  # bytes of resident memory that may come with all calls of an operation
PROCESS = psutil.Process()


def _resident():
    gc.collect()
    return PROCESS.memory_info().rss


def _repeat(call, times):
    for _ in range(times):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("case", op_table.CASES, ids=lambda case: case.id)
def test_calls_leave_no_trace(case):
    """Nine calls in ten with `out`, the others with a new result; the instruction set is the machine's best."""
    bz.set_num_threads(1)
    arrays = [samples.ordinary(s, "float32", k) for k, s in enumerate(case.shapes((ELEMENTS, 1)))]
    results = case.results(*arrays)
    outs = dict(zip(case.outputs, results))
    function, parameters = case._of(bz), case.parameters

    def calls(times):
        _repeat(lambda: function(*arrays, **parameters, **outs), times - times // 10)
        _repeat(lambda: function(*arrays, **parameters), times // 10)

    calls(CALLS // 20)
    before, references = _resident(), [sys.getrefcount(a) for a in [*arrays, *results]]
    calls(CALLS)
    after = [sys.getrefcount(a) for a in [*arrays, *results]]
    assert after == references, "references were kept or given away"
    assert _resident() - before < GROWTH


@pytest.mark.parametrize("case", op_table.CASES, ids=lambda case: case.id)
def test_errors_leave_no_trace(case):
    arrays = [samples.ordinary(s, "float32", k) for k, s in enumerate(case.shapes((10, 4)))]
    wrong = np.ones((3, 3), "float64")
    calls = [
        lambda: case.call(*arrays, out=wrong),
        lambda: case.call(*arrays[:-1], wrong),
        lambda: case.call(*arrays, out=[1]),
        lambda: case.call(*arrays, nonsense=wrong),
    ]

    def fail(times):
        for call in calls:
            for _ in range(times):
                try:
                    call()
                except (TypeError, ValueError):
                    continue
                assert case.family != "activation" or case.direction == "backward" or call is calls[1], "no error"

    fail(50)
    before, references = _resident(), [sys.getrefcount(a) for a in (*arrays, wrong)]
    fail(300)
    assert [sys.getrefcount(a) for a in (*arrays, wrong)] == references
    assert _resident() - before < GROWTH


def test_layouts_and_conversions_leave_no_trace():
    x = samples.ordinary((40, 50), "bfloat16")
    misaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    calls = [lambda: bz.gelu(x.T), lambda: bz.gelu(x[::2, ::-3]), lambda: bz.relu(misaligned, out=x), lambda: bz.relu(np.broadcast_to(x[0], x.shape)),
             lambda: bz.gelu.with_(), lambda: bz.leaky_relu.with_(alpha=0.3)(x), lambda: repr(bz.elu), lambda: bz.info(), lambda: _core.operations()]  # fmt: skip
    for call in calls:
        _repeat(call, 50)
    before, references = _resident(), (sys.getrefcount(x), sys.getrefcount(x.dtype))
    for call in calls:
        _repeat(call, 2000 if "info" not in call.__code__.co_names else 50)
    assert (sys.getrefcount(x), sys.getrefcount(x.dtype)) == references
    assert _resident() - before < GROWTH


def test_scratch_is_bounded():
    """Tiles, not arrays, are buffered: a strided 16-bit call of 64 MB needs no second copy."""
    x = np.full((8000, 4000), 7, "float16").T
    out = np.full((4000, 8000), 7, "float16")  # resident already
    bz.tanh(x[:100], out=out[:100])
    before = _resident()
    bz.tanh(x, out=out)
    assert _resident() - before < 8 * GROWTH


BEYOND = (1 << 31) + 4099
NEEDED = 2 * BEYOND + (1 << 30)  # one bfloat16 array, in place, and room to breathe


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(psutil.virtual_memory().available < NEEDED, reason=f"needs {NEEDED >> 30} GiB of free memory")
def test_more_than_2_to_the_31_elements():
    """Marked elements around every limit of a 32-bit index, in a sea of zeros."""
    marks = [
        0,
        1,
        (1 << 30) - 1,
        1 << 30,
        (1 << 31) - 2,
        (1 << 31) - 1,
        1 << 31,
        (1 << 31) + 1,
        BEYOND - 1025,
        BEYOND - 1,
    ]
    x = np.zeros(BEYOND, samples.DTYPES["bfloat16"])

    def check(view, value, expected):
        x[marks] = value
        assert bz.relu(view, out=view) is view
        assert (x[marks] == expected).all()
        for start in range(0, BEYOND, 1 << 28):  # nothing else was touched
            stop = min(BEYOND, start + (1 << 28))
            assert np.count_nonzero(x[start:stop].view(np.uint16)) == (expected != 0) * sum(
                start <= m < stop for m in marks
            )

    check(x, -3, 0)
    check(x[::-1], 5, 5)
    narrow = x[: BEYOND // 3 * 3].reshape(3, -1)  # rows, a stride of more than 2^30 bytes
    bz.leaky_relu(narrow[::2, :5], -1.0, out=narrow[::2, :5])
    assert x[0] == 5 and x[1] == 5


@pytest.mark.skipif(psutil.virtual_memory().available < NEEDED, reason=f"needs {NEEDED >> 30} GiB of free memory")
def test_broadcast_beyond_2_to_the_31_needs_no_memory_of_its_own():
    """A huge logical size is refused or computed by its size, not by its few bytes: here shapes disagree."""
    wide = np.broadcast_to(np.zeros(1, "float32"), (1 << 33,))
    with pytest.raises(ValueError, match=r"relu: out has shape \(4,\); expected \(8589934592,\)"):
        bz.relu(wide, out=np.zeros(4, "float32"))


NEEDED_BY_A_STEP = 6 << 30  # bfloat16 weights of 4.3 GB; the gradient is one row, seen again and again


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(
    psutil.virtual_memory().available < NEEDED_BY_A_STEP, reason=f"needs {NEEDED_BY_A_STEP >> 30} GiB of free memory"
)
def test_a_step_of_more_than_2_to_the_31_elements():
    half = samples.DTYPES["bfloat16"]
    rows, columns = (1 << 19) + 1, 1 << 12
    weights = np.zeros((rows, columns), half)
    row = np.linspace(-2, 2, columns, dtype="float32").astype(half)
    report = bz.optim.SGD([weights], lr=0.5, skip_nonfinite=True).step([np.broadcast_to(row, weights.shape)])
    expected = (np.float32(-0.5) * row.astype("float32")).astype(half)
    for place in (0, 1, (1 << 18) - 1, 1 << 18, (1 << 19) - 1, 1 << 19):
        assert (weights[place] == expected).all(), place
    square = float((row.astype("float64") ** 2).sum()) * rows
    assert not report.skipped and abs(report.grad_norm**2 / square - 1) < 1e-6
