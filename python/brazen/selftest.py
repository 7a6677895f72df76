# SPDX-License-Identifier: BSD-3-Clause
"""`python -m brazen selftest`: is this installation right, on this machine? Needs NumPy only; a few seconds.

Every operation, direction and dtype is computed by every instruction set that runs here: the bits must be the same, also
with other thread counts and memory layouts, the values must be the reference's, and the hash of the bits the one that is
recorded in fingerprints.json, which is how two machines know that they agree.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _core, info
from ._selftest_cases import Case, cases

RECORD = pathlib.Path(__file__).with_name("fingerprints.json")

# Work enough for the pool: 10 us is its threshold.
LARGE = 131_101

MOST_SHOWN = 50


def dtypes() -> dict[str, Any]:
    """The computing dtypes that this installation can make; bfloat16 is ml_dtypes'."""
    found: dict[str, Any] = {name: np.dtype(name) for name in ("float16", "float32", "float64")}
    with contextlib.suppress(ImportError):
        import ml_dtypes

        found["bfloat16"] = np.dtype(ml_dtypes.bfloat16)
    return found


def as_tuple(result: Any) -> tuple[np.ndarray, ...]:
    return result if isinstance(result, tuple) else (result,)


def bits(result: Any) -> bytes:
    """The bytes of a result, every NaN made the same one: its payload is not promised."""
    parts = []
    for array in as_tuple(result):
        array = np.ascontiguousarray(array)
        integers = array.view(f"u{array.dtype.itemsize}").copy()
        integers[np.isnan(array.astype("float64"))] = (1 << (8 * array.dtype.itemsize - 1)) - 1
        parts.append(integers.astype(integers.dtype.newbyteorder("<")).tobytes())
    return b"".join(parts)


def strided(array: np.ndarray) -> np.ndarray:
    """The same values, backwards in memory with gaps between them, and not aligned."""
    step = 2 * array.dtype.itemsize + 1
    room = np.zeros(array.size * step + 1, "u1")
    view = np.ndarray(array.shape, array.dtype, room.data, 1 + (array.size - 1) * step, _packed(array.shape, -step))
    view[...] = array
    return view


def _packed(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    return tuple(step * int(np.prod(shape[d + 1 :])) for d in range(len(shape)))


# The distance from 1 to the next value, and the largest value.
ROUNDING = {"float16": (2.0**-10, 65504.0), "bfloat16": (2.0**-7, 3.38e38), "float32": (2.0**-23, 3.4e38)}


def wrong_values(case: Case, arrays: list[np.ndarray], name: str, result: Any) -> str:
    """Empty where the result is within a few roundings of the float64 reference; else where it is not."""
    eps, largest = ROUNDING.get(name, (2.0**-52, 1.79e308))
    wide = [array.astype(case.truth(array.dtype)) for array in arrays]
    for got, expected in zip(as_tuple(result), as_tuple(case.expect(*wide))):
        given, expected = got.astype("float64"), np.asarray(expected).astype("float64")
        with np.errstate(all="ignore"):
            slack = 8 * eps * (abs(expected) + case.scale(got.shape)) + (2.0**-24 if name == "float16" else 0.0)
            right = (given == expected) | (np.isnan(given) & np.isnan(expected)) | (abs(given - expected) <= slack)
            right |= np.isinf(given) & (abs(expected) >= largest) & (np.sign(given) == np.sign(expected))
        if not right.all():
            at = int(np.flatnonzero(~right.ravel())[0])
            return f"element {at} is {given.ravel()[at]}, expected {expected.ravel()[at]}"
    return ""


@contextlib.contextmanager
def machine_state(isa: str, threads: int) -> Iterator[None]:
    before = _core.isa(), _core.num_threads()
    _core.set_isa(isa)
    _core.set_num_threads(threads)
    try:
        yield
    finally:
        _core.set_isa(before[0])
        _core.set_num_threads(before[1])


def fingerprints() -> dict[str, str]:
    """A hash of the bits of each operation in float16, float32 and float64, the same on every machine."""
    return {
        case.label: hashlib.sha256(
            b"".join(bits(case.call(*case.arrays(dtype))) for dtype in ("float16", "float32", "float64"))
        ).hexdigest()[:16]
        for case in cases()
    }


def check_instruction_sets() -> Iterator[str]:
    """Values, and equal bits on every instruction set and layout. Yields what is wrong, or an empty text, per result."""
    best = _core.isas()[0]
    for name, dtype in dtypes().items():
        for case in cases():
            arrays = case.arrays(dtype)
            with machine_state(best, 1):
                result = case.call(*arrays)
            wrong = wrong_values(case, arrays, name, result)
            yield f"{case.label} {name}: {wrong}" if wrong else ""
            expected = bits(result)
            for isa in _core.isas():
                with machine_state(isa, 1):
                    results = {"contiguous": case.call(*arrays), "strided": case.call(*map(strided, arrays))}
                for layout, other in results.items():
                    same = bits(other) == expected
                    yield "" if same else f"{case.label} {name}: {isa} on {layout} arrays differs from {best}"


def check_threads() -> Iterator[str]:
    for case in cases(LARGE):
        arrays = case.arrays("float32")
        results = []
        for threads in (1, 3):
            with machine_state(_core.isas()[0], threads):
                results.append(bits(case.call(*arrays)))
        yield "" if results[0] == results[1] else f"{case.label} float32: 3 threads give other bits than 1"


def check_record() -> Iterator[str]:
    if not RECORD.exists():
        return
    recorded, now = json.loads(RECORD.read_text()), fingerprints()
    for label in {**now, **recorded}:
        same = now.get(label) == recorded.get(label)
        yield "" if same else f"{label}: fingerprint {now.get(label)}, recorded {recorded.get(label)}"


def check_cuda() -> Iterator[str]:
    """The same bits on the GPU, where there is one and CuPy to reach it."""
    facts = info()
    if not facts["cuda"]["devices"] or not facts["cupy"]:
        return
    import cupy

    for dtype in ("float16", "float32", "float64"):
        for case in cases():
            arrays = case.arrays(dtype)
            there = as_tuple(case.call(*map(cupy.asarray, arrays)))
            same = bits(tuple(map(cupy.asnumpy, there))) == bits(case.call(*arrays))
            yield "" if same else f"{case.label} {dtype}: the GPU gives other bits than the CPU"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "brazen selftest", description="Every operation on every instruction set, checked."
    )
    parser.add_argument("--record", metavar="FILE", help="write the fingerprints there instead")
    if path := parser.parse_args(arguments).record:
        pathlib.Path(path).write_text(json.dumps(fingerprints(), indent=1, sort_keys=True) + "\n")
        return 0
    start = time.perf_counter()
    outcomes = [
        outcome for check in (check_instruction_sets, check_threads, check_record, check_cuda) for outcome in check()
    ]
    failures = [outcome for outcome in outcomes if outcome]
    for failure in failures[:MOST_SHOWN]:
        print("FAILED", failure)
    if len(failures) > MOST_SHOWN:
        print(f"... and {len(failures) - MOST_SHOWN} more")
    fingerprint = hashlib.sha256(json.dumps(fingerprints(), sort_keys=True).encode()).hexdigest()[:16]
    devices = f" and {info()['cuda']['devices']} GPU" if info()["cuda"]["devices"] and info()["cupy"] else ""
    print(f"{len(outcomes)} checks of {', '.join(dtypes())} on {', '.join(_core.isas())}{devices}")
    print(f"fingerprint {fingerprint}: every machine with this version of brazen has it")
    print(
        f"selftest: {len(failures)} FAILED" if failures else "selftest: passed",
        f"({time.perf_counter() - start:.1f} s)",
    )
    return 1 if failures else 0
