# SPDX-License-Identifier: BSD-3-Clause
"""Every memory layout of every array gives the bits of contiguous copies, on every instruction set, and stays unchanged.

It catches a wrong stride, offset or axis order, an aligned load of unaligned memory, a lost write to a strided output,
and a result that depends on the instruction set.
"""

import layouts
import numpy as np
import op_table
import pytest
import samples
from brazen import _core
from tolerance import same_bits


def _arrays(case, dtype, shape):
    shapes = case.shapes(shape)
    return None if shapes is None else [samples.ordinary(s, dtype, seed) for seed, s in enumerate(shapes)]


def _check(case, arrays, told, outs=None):
    copies = [np.array(a, order="C", copy=True) for a in arrays]
    expected = case.results(*copies)
    before = [a.copy() for a in arrays]
    given = dict(zip(case.outputs, outs)) if outs else {}
    results = case.results(*arrays, **given)
    for name, result, wanted in zip(case.outputs, results, expected):
        wrong = same_bits(result, wanted)
        assert not wrong, f"{told}: {name}: {wrong}"
        if outs:
            assert result is given.get(name, result), f"{told}: {name} is not what was given"
    for array, old in zip(arrays, before):
        assert not same_bits(array, old), f"{told}: an input was written"


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_layouts(case, dtype):
    """Inputs: each layout for all arrays, and each for one array among contiguous ones; outputs: each writable layout."""
    for isa in _core.isas():
        _core.set_isa(isa)
        for shape in layouts.SHAPES:
            arrays = _arrays(case, dtype, shape)
            if arrays is None:
                continue
            for change in [*layouts.READABLE, layouts.broadcast]:
                told = f"{isa} {shape} {change.__name__}"
                _check(case, [change(a) for a in arrays], told)
                if len(arrays) > 1:
                    for k in range(len(arrays)):
                        _check(
                            case,
                            [change(a) if i == k else a for i, a in enumerate(arrays)],
                            f"{told} of {case.arguments[k]}",
                        )
            for change in layouts.WRITABLE:
                results = case.results(*arrays)
                outs = [change(np.full_like(r, 77)) for r in results[:1]] + [np.full_like(r, 77) for r in results[1:]]
                _check(case, arrays, f"{isa} {shape} out {change.__name__}", outs)


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_result_is_a_plain_array_of_the_same_kind(case, dtype):
    arrays = _arrays(case, dtype, (5, 4, 6))
    shapes = case.result_shapes([a.shape for a in arrays])
    for change in layouts.READABLE:
        for result, shape in zip(case.results(*map(change, arrays)), shapes):
            assert type(result) is np.ndarray and result.dtype == arrays[0].dtype and result.shape == tuple(shape)
            assert result.flags.writeable and result.flags.aligned and result.flags.owndata
            assert all(not np.shares_memory(result, a) for a in arrays)
    if case.family in op_table.UNARY:  # the memory order of x is kept, so that the next operation is as fast
        kept = case.call(*(np.asfortranarray(a) for a in arrays))
        assert kept.flags.f_contiguous


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_in_place(case, dtype):
    """`out` may be any input of its shape, in every layout."""
    for shape in [(37,), (5, 4, 6), (3000,), ()]:
        arrays = _arrays(case, dtype, shape)
        if arrays is None:
            continue
        expected = case.results(*arrays)
        for change in layouts.WRITABLE:
            for k, array in enumerate(arrays):
                if array.shape != expected[0].shape or case.arguments[k] == "alpha":
                    continue
                given = [change(a) for a in arrays]
                results = case.results(*given, out=given[k])
                assert results[0] is given[k]
                for result, wanted in zip(results, expected):
                    wrong = same_bits(result, wanted)
                    assert not wrong, f"{shape} {change.__name__} over {case.arguments[k]}: {wrong}"


def _overlapping(array):
    """Pairs (input with the values of `array`, output) that share memory without being the same view."""
    n = array.size
    store = np.zeros(n + 1, array.dtype)
    store[:n] = array
    yield "shifted by one", store[:n], store[1:]
    store = array.copy()
    yield "reversed", store, store[::-1]
    store = np.zeros(2 * n, array.dtype)
    store[::2] = array
    yield "interleaved, then contiguous", store[::2], store[:n]
    store = np.zeros(n * array.itemsize + 1, np.uint8)
    first = store[: n * array.itemsize].view(array.dtype)
    first[...] = array
    yield "shifted by a byte", first, store[1:].view(array.dtype)


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_partial_overlap_raises_and_writes_nothing(case, dtype):
    arrays = _arrays(case, dtype, (36,))
    size = case.result_shapes([a.shape for a in arrays])[0][0]
    for k, array in enumerate(arrays):
        if array.size != size:
            continue
        for told, given, out in _overlapping(array):
            before = [a.copy() for a in (given, out)]
            with pytest.raises(ValueError, match=rf"out overlaps {case.arguments[k]} in memory.*pass"):
                case.call(*[given if i == k else a for i, a in enumerate(arrays)], out=out)
            assert not same_bits(given, before[0]) and not same_bits(out, before[1]), f"{told}: something was written"


@pytest.mark.parametrize("case, dtype", op_table.each(dtypes=("float32",)))
def test_interlocked_views_do_not_overlap(case, dtype):
    """Even and odd elements of one array lie between each other but share nothing: they are welcome."""
    arrays = _arrays(case, dtype, (40,))
    expected = case.results(*arrays)
    store = np.zeros(2 * max(arrays[0].size, expected[0].size), dtype)
    first, out = store[::2][: arrays[0].size], store[1::2][: expected[0].size]
    first[...] = arrays[0]
    wrong = same_bits(case.results(first, *arrays[1:], out=out)[0], expected[0])
    assert not wrong, wrong
