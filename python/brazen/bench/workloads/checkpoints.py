# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints on the disk of temporary files, next to the least that a durable and verifiable file can be."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile

import numpy as np

from brazen import checkpoint

from ..case import Case, Side, WrongResult
from . import Workload

_ARRAYS = 20


def _state(shape: tuple[int, ...]):
    random = np.random.default_rng()
    return {f"layer {index}": random.standard_normal(shape[0] // _ARRAYS, dtype=np.float32) for index in range(_ARRAYS)}


def _durable(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """`shape` is (elements,) in 20 arrays. The reference: one array written in one go, fsync, SHA-256."""
    state, place = _state(shape), tempfile.TemporaryDirectory(prefix="brazen-bench-")
    flat = np.concatenate(list(state.values()))
    steps = iter(range(1 << 30))

    def write():
        return checkpoint.write(os.path.join(place.name, "runs"), next(steps), {"weights": state})

    def plain():
        with open(os.path.join(place.name, "plain"), "wb", buffering=0) as file:
            written = 0
            while written < flat.nbytes:
                written += file.write(flat.view(np.uint8)[written:].data)  # type: ignore[operator]
            os.fsync(file.fileno())
        return hashlib.sha256(flat.data).hexdigest()

    def remove():
        shutil.rmtree(os.path.join(place.name, "runs"), ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(place.name, "plain"))

    def check():
        read = checkpoint.read(write())["weights"]
        if list(read) != list(state) or any((read[name] != state[name]).any() for name in state):
            raise WrongResult("checkpoint: what was read is not what was written")

    ours = Side("f()", "remove()", f=write, remove=remove)
    case = Case("checkpoint", "forward", "float32", flat.size, flat.nbytes, {"out": ours}, check)
    if "reference" in peers:
        case.peers["reference"] = {"allocating": [Side("f()", "remove()", f=plain, remove=remove)]}
    return case


def _stall(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """How long `Writer.write` holds its caller, each checkpoint before it finished; the reference copies the arrays."""
    state, place = _state(shape), tempfile.TemporaryDirectory(prefix="brazen-bench-")
    writer, steps = checkpoint.Writer(place.name, keep=1), iter(range(1 << 30))
    buffers = {name: np.zeros_like(array) for name, array in state.items()}

    def write():
        writer.write(next(steps), {"weights": state})

    def copy():
        for name, array in state.items():
            np.copyto(buffers[name], array)

    def check():
        write()
        if (checkpoint.read(writer.wait())["weights"]["layer 1"] != state["layer 1"]).any():
            raise WrongResult("checkpoint: what was read is not what was written")

    ours = Side("f()", "w.wait()", f=write, w=writer, place=place)
    size = sum(array.size for array in state.values())
    case = Case("checkpoint", "forward", "float32", size, 8 * size, {"out": ours}, check)
    if "reference" in peers:
        case.peers["reference"] = {"allocating": [Side("f()", "w.wait()", f=copy, w=writer)]}
    return case


WORKLOADS = (
    Workload("checkpoint, 100 MB", "forward", _durable, (25_000_000,), (1_000_000,), {"reference": 0.7}),
    Workload("checkpoint, 100 MB, stall", "forward", _stall, (25_000_000,), (20_000,), {"reference": 0.8}),
)
