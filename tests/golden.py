# SPDX-License-Identifier: BSD-3-Clause
"""Hashes of every operation's bits over a fixed sample. `python tests/golden.py` writes golden.json anew.

A hash changes when a formula does: rewrite the file then, and say in the commit which operations changed and why.
Sample and hash of the registered operations are simple enough for tests/native/golden.cpp to repeat them on another
machine. The other families are the self-test's calls: their arrays, the SHA-256 of their results.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import op_table
from brazen import selftest
from brazen._selftest_cases import families
from samples import all_halves, from_patterns
from tolerance import DTYPES, tolerance

FILE = Path(__file__).with_name("golden.json")
COUNT = 1 << 16


def sample(dtype):
    """All 65,536 numbers in 16 bits; else as many patterns spread over the type, then a dense range [-16, 16)."""
    if DTYPES[dtype].itemsize == 2:
        return all_halves(dtype)
    i = np.arange(COUNT, dtype=np.uint64)
    spread = i * np.uint64(0x9E3779B97F4A7C15)
    patterns = spread if dtype == "float64" else (spread >> np.uint64(32)).astype(np.uint32)
    even = (np.arange(COUNT) - COUNT / 2) / 2048
    return np.concatenate([from_patterns(patterns, dtype), even.astype(dtype)])


def companion(dtype, size):
    """Short numbers in [-4, 4), exact in every dtype: the other argument."""
    i = np.arange(size, dtype=np.uint32)
    return (((i * np.uint32(40503)) % np.uint32(256)).astype(np.float64) / 32 - 4).astype(DTYPES[dtype])


def digest(array):
    """Sum of a mix of every element's bits and position, modulo 2^64; every NaN counts as one."""
    bits = tolerance(array.dtype).bits
    patterns = np.where(np.isnan(array), bits(1), np.ascontiguousarray(array).view(bits)).astype(np.uint64)
    position = np.arange(array.size, dtype=np.uint64) + np.uint64(1)
    mixed = patterns + position * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return f"{int(mixed.sum(dtype=np.uint64)):016x}"


def arguments(case, dtype):
    """(arrays, parameters) of the golden call: x and gate are the sample, everything else the companion."""
    x = sample(dtype)
    other = companion(dtype, x.size)
    parameters = dict(case.parameters)
    if case.family == "gate":
        arrays, parameters = [np.stack([other, x])], {"axis": 0}
    elif case.family == "maxout":
        arrays, parameters = [np.stack([other, x])], {"axis": 0, "pieces": 2}
    elif case.family == "prelu":
        arrays = [x, other[::-1].copy()]
    else:
        arrays = [x]
    if case.direction == "backward":
        arrays.insert(0, other[None] if case.family in ("gate", "maxout") else other)
    return arrays, parameters


def digest_of(case, dtype):
    arrays, parameters = arguments(case, dtype)
    return digest(case.results(*arrays, parameters=parameters)[0].ravel())


def family_digest(case, dtype):
    return hashlib.sha256(selftest.bits(case.call(*case.arrays(DTYPES[dtype])))).hexdigest()[:16]


def stored():
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    hashes = {f"{case.id}-{dtype}": digest_of(case, dtype) for case in op_table.CASES for dtype in DTYPES}
    hashes |= {f"{case.label}-{dtype}": family_digest(case, dtype) for case in families() for dtype in DTYPES}
    FILE.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
    print(f"{len(hashes)} hashes in {FILE}")
