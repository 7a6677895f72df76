# SPDX-License-Identifier: BSD-3-Clause
"""Sizes around vectors, tiles, chunks and the streaming limit, and every thread count: the bits of short calls.

Truth is the same operation on pieces of 100 elements, one thread, which no tile or chunk border crosses. It catches a
wrong tail, an element skipped or done twice at a border, and a result that depends on who computed it.
"""

import brazen as bz
import numpy as np
import op_table
import pytest
import samples
from brazen import _core
from tolerance import same_bits

VECTOR = range(1, 131)
TILE = (1023, 1024, 1025, 2047, 2048, 2049)
CHUNK = (8191, 8192, 8193, 16385, 3 * 65536 + 5)
THREADS = (1, 2, 3, 8)
STREAMED_BYTES = 8 << 20


def _pool(case, dtype, size):
    """Arguments of `size` results, and the results of short calls on them."""
    shapes = case.shapes((size, 1))
    arrays = [samples.ordinary(s, dtype, seed) for seed, s in enumerate(shapes)]
    parts = []
    for start in range(0, size, 100):
        parts.append(case.results(*(_rows(case, k, a, start, start + 100) for k, a in enumerate(arrays)))[0])
    return arrays, np.concatenate(parts)


def _rows(case, k, array, start, stop):
    return array if case.arguments[k] == "alpha" else array[start:stop]


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_sizes(case, dtype):
    bz.set_num_threads(1)
    arrays, expected = _pool(case, dtype, max(TILE))
    for isa in _core.isas():
        _core.set_isa(isa)
        for size in (*VECTOR, *TILE):
            result = case.results(*(_rows(case, k, a, 0, size) for k, a in enumerate(arrays)))[0]
            wrong = same_bits(result, expected[:size])
            assert not wrong, f"{isa}, {size} elements: {wrong}"


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_threads_and_chunks(case, dtype):
    bz.set_num_threads(1)
    arrays, _ = _pool(case, dtype, 100)
    arrays = [
        samples.ordinary((max(CHUNK), a.shape[1]) if case.arguments[k] != "alpha" else a.shape, dtype, k)
        for k, a in enumerate(arrays)
    ]
    strided = [np.repeat(a, 2, 0)[::2] if case.arguments[k] != "alpha" else a for k, a in enumerate(arrays)]
    expected = case.results(*(_rows(case, k, a, 0, max(CHUNK)) for k, a in enumerate(arrays)))
    for threads in THREADS:
        bz.set_num_threads(threads)
        for size in CHUNK:
            result = case.results(*(_rows(case, k, a, 0, size) for k, a in enumerate(arrays)))[0]
            wrong = same_bits(result, expected[0][:size])
            assert not wrong, f"{threads} threads, {size} elements: {wrong}"
        for result, wanted in zip(case.results(*strided), expected):
            wrong = same_bits(result, wanted)
            assert not wrong, f"{threads} threads, strided: {wrong}"


def _streaming_cases():
    """One cheap operation of each family: past the caches only the driver differs, not the formula."""
    cheap = {"relu", "leaky_relu", "reglu", "prelu", "maxout"}
    return [p for p in op_table.each() if p.values[0].name in cheap]


@pytest.mark.parametrize("case, dtype", _streaming_cases())
def test_outputs_past_the_caches(case, dtype):
    """Outputs of 8 MiB and a little around it go another way to memory, also in place, misaligned and strided."""
    item = np.dtype(samples.DTYPES[dtype]).itemsize
    limit = STREAMED_BYTES // item
    for extra in (-1, 0, 3):
        shapes = case.shapes((limit + extra, 1))
        arrays = [np.resize(samples.ordinary(9973, dtype, seed), s) for seed, s in enumerate(shapes)]
        bz.set_num_threads(1)
        expected = np.concatenate(
            [
                case.results(*(_rows(case, k, a, i, i + 100_000) for k, a in enumerate(arrays)))[0]
                for i in range(0, limit + extra, 100_000)
            ]
        )
        for isa, threads in [(isa, t) for isa in _core.isas()[:2] for t in (1, 3)]:
            _core.set_isa(isa)
            bz.set_num_threads(threads)
            store = np.zeros(expected.nbytes + 64, np.uint8)
            for shift in (0, item):
                out = store[shift : shift + expected.nbytes].view(expected.dtype).reshape(expected.shape)
                case.call(*arrays, out=out)
                wrong = same_bits(out, expected)
                assert not wrong, f"{isa}, {threads} threads, {limit + extra} elements, {shift} bytes on: {wrong}"
                assert not store[shift + expected.nbytes :].any() or shift, "written past the end"
                store[:] = 0
        for k, array in enumerate(arrays):
            if array.shape == expected.shape and case.arguments[k] != "alpha":
                given = [a.copy() for a in arrays]
                case.call(*given, out=given[k])
                wrong = same_bits(given[k], expected)
                assert not wrong, f"in place of {case.arguments[k]}: {wrong}"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_fresh_results_past_huge_pages(threads):
    """A fresh large result is cut at huge pages, wherever the allocator put it; no element is left out."""
    x = np.arange(-(3 << 20), 3 << 20, dtype="float32")[3:]
    bz.set_num_threads(threads)
    try:
        for _ in range(3):
            assert np.array_equal(bz.relu(x), np.maximum(x, 0))
            assert np.array_equal(bz.relu.backward(x, x), np.where(x > 0, x, 0))
    finally:
        bz.set_num_threads(None)
