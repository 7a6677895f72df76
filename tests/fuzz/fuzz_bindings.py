# SPDX-License-Identifier: BSD-3-Clause
"""Random calls of the raw bindings: whatever is passed, they return or raise TypeError, ValueError or MemoryError, and
write to no byte outside `out`. `make fuzz` makes 10^6 calls; test_bindings.py lets hypothesis choose.

    python tests/fuzz/fuzz_bindings.py --calls 1000 --seed 7     # one seed again, in this process
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import time
import types

import numpy as np
from brazen import _core

ALLOWED = (TypeError, ValueError, MemoryError)

FLOATS = ["float16", "float32", "float64"]
DTYPES = [*FLOATS * 4, "uint8", "bool", "int32", "int64", "int8", "uint64", "complex64", "longdouble", ">f4", ">f8", "S3",
          "U2", "O", "V4", "M8[s]", "m8[s]", "f4,i8", "(2,)f4"]  # fmt: skip
try:
    import ml_dtypes

    DTYPES += [ml_dtypes.bfloat16] * 4 + [ml_dtypes.float8_e4m3fn]
    FLOATS += [ml_dtypes.bfloat16]
except ImportError:
    pass

NAMES = [entry["name"] for entry in _core.operations()]
KERNELS = [entry["name"] for entry in _core.operations() if entry["family"] in ("activation", "function")]
KEYWORDS = ["x", "dy", "out", "alpha", "threshold", "value", "b", "negative_slope", "axis", "nonsense", "", "\ud800"]

# Nothing allocates this: it is more than an address has bits.
HUGE = 2**45


class Broken:
    """Objects that claim to be arrays."""

    def __init__(self, capsule=None, error=None):
        self.capsule, self.error = capsule, error

    def __dlpack__(self, **keywords):
        if self.error:
            raise self.error
        return self.capsule

    def __dlpack_device__(self):
        return (1, 0)


class Subclass(np.ndarray):
    pass


class Uninitialized(_core.Kernel):
    def __init__(self):
        pass


def pick(rng, *makers):
    return makers[rng.randrange(len(makers))]()


def shape(rng):
    """Mostly small; one in a hundred large enough for the thread pool."""
    dims = rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 8])
    if rng.random() < 0.01:
        return rng.choice([(70_001,), (300, 301), (9, 100, 101)])
    return tuple(
        rng.choice([0, 1, 2, 2, 3, 4, 5, 17, 64][: 9 if dims < 3 else 7 if dims < 5 else 4]) for _ in range(dims)
    )


def array(rng, dtype=None, extent=None):
    """A view of some layout into a buffer with room before and behind."""
    dtype = np.dtype(dtype if dtype is not None else rng.choice(DTYPES))
    extent = shape(rng) if extent is None else extent
    if math.prod(extent) > 10**6:  # an array of that shape is only ever claimed, never made
        extent = ()
    if dtype.hasobject or dtype.subdtype or rng.random() < 0.02:
        return np.zeros(extent, dtype)
    item = dtype.itemsize
    axes = list(range(len(extent)))
    if rng.random() < 0.3:
        rng.shuffle(axes)
    gap = rng.choice([1, 1, 1, 1, 2, 3])
    strides, step = [0] * len(extent), item * gap + (rng.random() < 0.05)
    offset = rng.choice([0, 0, 16, 1, 2, 64])
    for axis in reversed(axes):
        strides[axis] = step
        if rng.random() < 0.1:
            strides[axis] = -step
            offset += step * max(0, extent[axis] - 1)
        if rng.random() < 0.03:
            strides[axis] = 0
        step *= max(1, extent[axis])
    buffer = np.zeros(offset + step + item + 64, "u1")
    buffer[: len(buffer) // 2] = rng.randrange(256)
    made = np.ndarray(extent, dtype, buffer.data, offset, tuple(strides))
    if rng.random() < 0.05:
        made.flags.writeable = False
    return made


def junk(rng):
    """Anything but a proper array."""
    return pick(
        rng,
        lambda: None,
        lambda: rng.choice([0, 1, -1, 2**31, 2**63, -(2**70), 10**400]),
        lambda: rng.choice([0.5, float("nan"), float("inf"), -0.0]),
        lambda: rng.choice(["", "gelu", "x", "\0", "\ud800", "a" * 300, b"bytes"]),
        lambda: [1.0, 2.0],
        lambda: {"x": 1},
        lambda: np.float32(1.5),
        lambda: object(),
        lambda: np,
        lambda: np.ndarray,
        lambda: np.broadcast_to(np.float32(1), (HUGE,)),
        lambda: np.broadcast_to(np.float64(1), (2**31, 2**20)),
        lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
        lambda: np.ones((2, 2), "float32").view(Subclass),
        lambda: np.zeros(4, "float32").view(np.recarray),
        lambda: Broken(None),
        lambda: Broken(np.ones(3, "float32").__dlpack__()),
        lambda: Broken(error=rng.choice([TypeError("no"), ValueError("no"), BufferError("no")])),
        lambda: types.SimpleNamespace(__dlpack__=3),
        lambda: memoryview(b"1234"),
    )


def thing(rng, like=None):
    """Most often an array, most often one that fits `like`."""
    draw = rng.random()
    if like is not None and draw < 0.7:
        return array(rng, like.dtype, like.shape)
    if draw < 0.93:
        return array(rng, rng.choice(FLOATS) if draw < 0.88 else None)
    return junk(rng)


def overlapping(rng, x):
    """Another view of x's memory."""
    if not isinstance(x, np.ndarray) or x.ndim == 0 or 0 in x.shape or x.size > 10**6 or x.dtype.hasobject:
        return x
    return pick(
        rng,
        lambda: x,
        lambda: x[::-1],
        lambda: x[1:],
        lambda: x.T,
        lambda: x[...],
        lambda: x.reshape(-1),
        lambda: x.view("u1") if x.flags.c_contiguous else x,
        lambda: np.lib.stride_tricks.as_strided(x, x.shape, tuple(s // 2 for s in x.strides)),
    )


def output(rng, x, extent=None):
    draw = rng.random()
    if draw < 0.4:
        return None
    if draw < 0.6:
        return overlapping(rng, x)
    if draw < 0.95 and isinstance(x, np.ndarray):
        return array(rng, x.dtype, x.shape if extent is None else extent)
    return thing(rng)


def axis(rng):
    if rng.random() < 0.8:
        return rng.choice([-1, -1, -1, 0])
    return rng.choice([0, 1, 2, -2, 7, -9, 2**31, 2**40, None, "0", 1.5])


def grouped(rng, pieces):
    """An array whose last axis splits into groups, most often."""
    if rng.random() < 0.2 or not isinstance(pieces, int) or not 0 < pieces < 64:
        return thing(rng)
    return array(rng, rng.choice(FLOATS), (*shape(rng)[:3], pieces * rng.choice([0, 1, 2, 3, 17])))


def parted(x, pieces=2):
    """The shape of the result over the last axis."""
    whole = isinstance(x, np.ndarray) and x.ndim and isinstance(pieces, int) and pieces > 0
    return (*x.shape[:-1], x.shape[-1] // pieces) if whole else ()


def kernel(rng):
    parameters = rng.choice(
        [(), (), (), (0.5,), (0.5, 1.0), (1, 2, 3), ("a",), [0.5], None, (float("nan"),), (10**400,)]
    )
    aliases = rng.choice(
        [None, None, {}, {"slope": "alpha"}, {"a": "a"}, {"a": 3}, {"a": "b", "b": "a"}, {3: "x"}, 5, []]
    )
    direction = rng.choice(["forward", "backward", "backward", "sideways", "", 3])
    name = rng.choice(KERNELS) if rng.random() < 0.97 else rng.choice([*NAMES, "", "math.", "nonsense", "\0", 3, None])
    if rng.random() < 0.6:
        return _core.Kernel(name, rng.choice(["forward", "backward"]))
    return _core.Kernel(name, direction, parameters, aliases)


POOL: list[_core.Kernel] = []


def call_kernel(rng):
    if not POOL or rng.random() < 0.05:
        made = Uninitialized() if rng.random() < 0.02 else kernel(rng)
        POOL.append(made)
        del POOL[:-64]
    chosen = rng.choice(POOL)
    x = thing(rng)
    like = x if isinstance(x, np.ndarray) and x.size < 10**6 else None
    out = output(rng, x)
    arguments = [thing(rng, like) if rng.random() < 0.5 else x, x][rng.random() < 0.5 :]
    named = {}
    if rng.random() < 0.3:
        arguments += [rng.choice([0.5, 1, -2.0, "a", None, x]) for _ in range(rng.choice([0, 1, 2, 5]))]
        named = {rng.choice([*KEYWORDS, "a", "slope"]): thing(rng) for _ in range(rng.choice([0, 1, 2]))}
    if out is not None:
        named["out"] = out
    return out, lambda: chosen(*arguments, **named)


def call_gate(rng):
    name = rng.choice(["glu", "reglu", "geglu", "swiglu"]) if rng.random() < 0.95 else rng.choice([*NAMES, "", "x"])
    x, at = grouped(rng, 2), axis(rng)
    if rng.random() < 0.5:
        out = output(rng, x, parted(x))
        return out, lambda: _core.gate_forward(name, x, at, out)
    out = output(rng, x)
    dy = array(rng, x.dtype, parted(x)) if isinstance(x, np.ndarray) else thing(rng)
    return out, lambda: _core.gate_backward(name, dy, x, at, out)


def call_maxout(rng):
    pieces = (
        rng.choice([1, 2, 2, 2, 3, 5, 32]) if rng.random() < 0.8 else rng.choice([33, 0, -1, 2**40, 2**70, "2", 2.0])
    )
    x, at = grouped(rng, pieces), axis(rng)
    if rng.random() < 0.5:
        out = output(rng, x, parted(x, pieces))
        return out, lambda: _core.maxout_forward(x, pieces, at, out)
    out = output(rng, x)
    dy = array(rng, x.dtype, parted(x, pieces)) if isinstance(x, np.ndarray) else thing(rng)
    return out, lambda: _core.maxout_backward(dy, x, pieces, at, out)


def call_prelu(rng):
    x, at = thing(rng), axis(rng)
    proper = isinstance(x, np.ndarray) and x.ndim
    alpha = array(rng, x.dtype, rng.choice([(), (1,), (1,), x.shape[:1], x.shape[-1:]])) if proper else thing(rng)
    out = output(rng, x)
    if rng.random() < 0.5:
        return out, lambda: _core.prelu_forward(x, alpha, at, out)
    dy = thing(rng, x if proper and x.size < 10**6 else None)
    # Two outputs: which bytes may change is not tracked.
    return False, lambda: _core.prelu_backward(dy, x, alpha, at, out, output(rng, alpha))


def call_rest(rng):
    return None, rng.choice(
        [
            _core.operations,
            _core.cuda_info,
            _core.isa,
            lambda: _core.set_isa(rng.choice([*_core.isas(), "", "v5", 3, "\0"])),
            lambda: _core.set_num_threads(rng.choice([0, 1, 2, 3, 8, -1, 2**31, "2", None])),
            lambda: _core.stream_copy(thing(rng), thing(rng)),
            lambda: load(rng.choice(["", "/", "/dev/null", "libc.so.6", "\0", 3])),
            lambda: kernel(rng).parameters,
            lambda: kernel(rng).operation,
            lambda: _core.Kernel.__init__(rng.choice(POOL) if POOL else None, rng.choice(NAMES)),
            lambda: Uninitialized().parameters,
        ]
    )


def load(path):
    try:
        _core.load_cuda_library(path)
    except RuntimeError:  # says why that is no CUDA library
        return


class Guard:
    """The memory around and between the elements of `out`, before a call and after it."""

    def __init__(self, out):
        self.buffer = None
        base = out
        while isinstance(base, np.ndarray) and isinstance(base.base, np.ndarray):
            base = base.base
        if not isinstance(base, np.ndarray) or not isinstance(base.base, memoryview) or out.dtype.hasobject:
            return
        self.buffer = np.frombuffer(base.base, "u1")
        self.before = self.buffer.copy()
        first = out.__array_interface__["data"][0] - self.buffer.__array_interface__["data"][0]
        self.inside = np.zeros(len(self.buffer), "u1")
        whole = np.dtype((np.void, out.dtype.itemsize))
        if out.size:
            np.ndarray(out.shape, whole, self.inside.data, first, out.strides)[...] = np.void(b"\1" * whole.itemsize)

    def check(self):
        if self.buffer is not None and ((self.buffer != self.before) & (self.inside == 0)).any():
            raise AssertionError("a byte outside out was written")


def step(rng):
    """One call. Raises AssertionError or an exception that no call may raise."""
    out, call = rng.choices([call_kernel, call_gate, call_maxout, call_prelu, call_rest], [50, 15, 12, 15, 8])[0](rng)
    guard = Guard(out) if isinstance(out, np.ndarray) and rng.random() < 0.3 else None
    try:
        result = call()
    except ALLOWED as error:
        assert str(error), "an error without a message"
        result = None
    if guard:
        guard.check()
    if result is not None and isinstance(out, np.ndarray):
        assert result is out, "the result is not out"


def run(seed: int, calls: int) -> int:
    """The number of calls made; some steps fail before a call, because their arguments cannot be made."""
    rng = random.Random(seed)
    made = 0
    with np.errstate(all="ignore"):
        while made < calls:
            try:
                step(rng)
                made += 1
            except ALLOWED:
                made += 1
    _core.set_isa("")
    _core.set_num_threads(0)
    return made


CHUNK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args()
    if options.seed is not None:
        print(run(options.seed, options.calls), "calls")
        return
    start, done = time.perf_counter(), 0
    for seed in range((options.calls + CHUNK - 1) // CHUNK):
        calls = min(CHUNK, options.calls - done)
        command = [sys.executable, "-X", "faulthandler", __file__, "--seed", str(seed), "--calls", str(calls)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            print(result.stdout + result.stderr)
            raise SystemExit(f"fuzz: exit status {result.returncode}; again: {' '.join(command[1:])}")
        done += calls
        print(f"\r{done} calls, {time.perf_counter() - start:.0f} s", end="", flush=True)
    print(f"\nfuzz: {done} calls, 0 crashes, no error but {', '.join(kind.__name__ for kind in ALLOWED)}")


if __name__ == "__main__":
    main()
