# SPDX-License-Identifier: BSD-3-Clause
"""Stage prove: the GPU gives the CPU's bits, on every path into it, and every error leaves the process alive."""

import functools
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from emulated import suite  # noqa: F401
from loops import captured_steps, cupy_example, graph, networks, streams, torch_loop  # noqa: F401
from stages import step
from whole import bits, huge, hundred_steps, many  # noqa: F401

SHAPES = [
    (37,),
    (33, 70),
    (6, 32),
    (3, 5, 16),
    (2, 64, 3),
    (2, 1, 3, 1, 2, 2, 1, 4),
    (1,),
    (0,),
    (3, 0, 4),
    (),
    (2,) * 10,
]
SIZES = [*range(1, 18), 1023, 1024, 1025, 2048, 4095, 4096, 4097, (1 << 14) + 5, (1 << 20) + 3]


class Count:
    """Values compared and values that differ, with the first difference told."""

    def __init__(self):
        self.checked = self.differing = 0
        self.note = ""

    def compare(self, result, expected, told):
        from tolerance import same_bits

        self.checked += expected.size
        wrong = same_bits(result, expected)
        if wrong:
            self.differing += 1
            self.note = self.note or f"{told}: {wrong}"

    def entry(self):
        return {"checked": self.checked, "differing": self.differing, "note": self.note}


def odd_rows(array):
    """Rows that begin off a vector's alignment, all but the first."""
    if array.ndim == 0:
        return array.copy()
    store = np.zeros((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
    store[..., :-1] = array
    return store[..., :-1]


def changes():
    import layouts

    # A GPU cannot read an element off its own alignment.
    writable = [odd_rows, *(c for c in layouts.WRITABLE if not c.__name__.startswith("misaligned"))]
    return writable, [*writable, layouts.broadcast]


class Table:
    """The op table on one library's arrays; `to_device` gives None for a layout the library does not have."""

    def __init__(self, count, to_device, to_host):
        self.count, self.to_device, self.to_host = count, to_device, to_host

    def compare(self, case, arrays, told, outs=()):
        sent = [self.to_device(a) for a in arrays]
        given = {name: self.to_device(o) for name, o in zip(case.outputs, outs)}
        if any(a is None for a in [*sent, *given.values()]):
            return
        for name, result, wanted in zip(case.outputs, case.results(*sent, **given), case.results(*arrays)):
            self.count.compare(self.to_host(result, wanted.dtype), wanted, f"{case.id} {wanted.dtype} {told} {name}")

    def layouts(self, case, dtype):
        import samples

        writable, readable = changes()
        for shape in SHAPES:
            shapes = case.shapes(shape)
            if shapes is None:
                continue
            arrays = [samples.ordinary(s, dtype, seed) for seed, s in enumerate(shapes)]
            for change in readable:
                self.compare(case, [change(a) for a in arrays], f"{shape} {change.__name__}")
            for change in writable:
                outs = [change(np.full(s, 77, arrays[0].dtype)) for s in case.result_shapes(shapes)[:1]]
                self.compare(case, arrays, f"{shape} out {change.__name__}", outs)

    def sizes(self, case, dtype):
        import samples

        for size in SIZES:
            shapes = case.shapes((size, 1) if case.family in ("gate", "maxout") else (size,))
            arrays = [samples.ordinary(s, dtype, seed) for seed, s in enumerate(shapes)]
            if case.family == "prelu":
                arrays[-1] = arrays[-1][:1].copy()
            self.compare(case, arrays, f"{size} elements")

    def run(self, work, cases=None, dtypes=("float32", "bfloat16", "float16", "float64")):
        """As far as the time allows; the entry."""
        import op_table

        for case in cases or op_table.CASES:
            for dtype in dtypes:
                if work.left() < 1:
                    self.count.note = self.count.note or f"stopped before {case.id} {dtype}"
                    return self.count.entry()
                self.layouts(case, dtype)
                self.sizes(case, dtype)
        return self.count.entry()


@step
def table_torch(work):
    """The op table on PyTorch CUDA tensors."""
    import device

    torch = device.library("torch")
    return Table(Count(), lambda a: device.on_torch(torch, a), device.from_torch).run(limited(work, 90))


def limited(work, seconds):
    from stages import Work

    return Work(work.out, work.until, seconds)


@step
def halves(work):
    """All 65,536 inputs of both 16-bit dtypes and the special values of all, every operation and parameter set."""
    import device
    import op_table
    import samples

    torch = device.library("torch")
    count = Count()
    for case in op_table.CASES:
        for dtype in ("float16", "bfloat16", "float32", "float64"):
            x = np.concatenate([samples.unary_sample(dtype, "small"), samples.special_values(dtype)])
            x = np.resize(x, x.size + -x.size % 48)
            for parameters in case.parameter_sets:
                pieces = {"gate": 2, "maxout": parameters.get("pieces", 2)}.get(case.family, 1)
                named = {"x": x, "dy": samples.ordinary(x.size // pieces, dtype, 3), "alpha": np.array([0.25], x.dtype)}
                arrays = [named[name] for name in case.arguments]
                sent = [device.on_torch(torch, a) for a in arrays]
                wanted = case.results(*arrays, parameters=parameters)
                for result, expected in zip(case.results(*sent, parameters=parameters), wanted):
                    told = f"{case.id} {dtype} {parameters}"
                    count.compare(device.from_torch(result, expected.dtype), expected, told)
    return count.entry()


@step
def alpha_gradient(work):
    """prelu's reduction: 70,000 channels, 70,000 rows, one alpha over 2^27 values, channels last."""
    import brazen as bz
    import device
    import samples

    torch = device.library("torch")
    count = Count()
    for shape, axis, channels, order in [
        ((64, 70000), 1, 70000, "C"), ((70000, 64), 1, 64, "C"), ((32, 96, 49), 1, 96, "C"), ((32, 49, 96), 2, 96, "C"),
        ((1 << 27,), 0, 1, "C"), ((3, 5, 2049), 1, 5, "F"), ((2, 70000, 3), 1, 70000, "C"),
    ]:  # fmt: skip
        shape, channels = (tuple(max(n // device.SHRINK, min(n, 5)) for n in of) for of in (shape, (channels,)))
        for dtype in ("float32", "bfloat16", "float64"):
            if np.prod(shape) > 1e8 and dtype != "float32":
                continue
            base = samples.ordinary(min(int(np.prod(shape)), 1 << 22), dtype, 1)
            x, dy = (np.asarray(np.resize(np.roll(base, k), shape), order=order) for k in (0, 12345))
            alpha = samples.ordinary(channels, dtype, 2)
            sent = [device.on_torch(torch, a) for a in (dy, x, alpha)]
            for result, wanted in zip(bz.prelu.backward(*sent, axis=axis), bz.prelu.backward(dy, x, alpha, axis=axis)):
                count.compare(device.from_torch(result, wanted.dtype), wanted, f"{shape} {dtype}")
    return count.entry()


def different(torch, a, b):
    """How many bits patterns differ, a NaN being equal to any other."""
    kind = {2: torch.int16, 4: torch.int32}[a.element_size()]
    return int(((a.view(kind) != b.view(kind)) & ~((a != a) & (b != b))).sum())


@step
def errors(work):
    """Out of memory, a wrong device, a dead stream, mixed places, a library without this architecture; then a good call."""
    import brazen as bz
    import device

    torch = device.library("torch")
    x = torch.ones(1000, device="cuda")
    told = []

    def expect(kinds, call, text=""):
        try:
            call()
        except kinds as error:
            assert text in str(error), f"{text!r} is not in: {error}"
            told.append(f"{type(error).__name__}: {str(error)[:90]}")
        else:
            raise AssertionError(f"no error where one with {text!r} was due")
        assert bool((bz.relu(x) == 1).all()), "the call after an error gave a wrong result"

    free = torch.cuda.mem_get_info()[0]
    filler = torch.empty(max(free - (1 << 30), 0), dtype=torch.uint8, device="cuda")
    large = torch.ones(400_000_000, dtype=torch.int8, device="cuda").view(torch.float16)
    expect((MemoryError, RuntimeError), functools.partial(bz.relu, large.expand(8, -1)), "memory")
    del filler, large
    torch.cuda.empty_cache()
    expect(ValueError, lambda: bz.relu(x, out=np.ones(1000, "float32")), "")
    script = "import torch, brazen as bz, sys\nx = torch.ones(1000, device='cuda')\n"
    dead = script + (
        "stream = torch.cuda.ExternalStream(0xdead0000)\n"
        "try:\n    with torch.cuda.stream(stream): bz.relu(x)\nexcept Exception as e: print(type(e).__name__, e)\nelse: print('accepted')\n"
    )
    done = subprocess.run([sys.executable, "-c", dead], capture_output=True, text=True, timeout=60)
    told.append(f"dead stream: exit {done.returncode}, {done.stdout.strip()[:120] or done.stderr.strip()[-120:]}")
    other = script + (
        "from brazen import _core\n_core.load_cuda_library(sys.argv[1])\n"
        "try: bz.relu(x)\nexcept RuntimeError as e: print(e)\n_core.load_cuda_library('')\nassert bool((bz.relu(x) == 1).all())\n"
    )
    stub = other_architecture(work)
    done = subprocess.run([sys.executable, "-c", other, stub], capture_output=True, text=True, timeout=60)
    assert "BRAZEN_CUDA_ARCHS" in done.stdout, (
        f"a library without this architecture: {done.stdout} {done.stderr[-300:]}"
    )
    told.append(done.stdout.strip()[:120])
    return {"note": " | ".join(told)}


def other_architecture(work):
    """The library built for another architecture alone."""
    import device

    source = device.ROOT / "csrc" / "cuda"
    arch = "80" if device.smi("compute_cap") != "8.0" else "90"
    folder = work.scratch / "other"
    folder.mkdir(exist_ok=True)
    flags = ["-std=c++20", "-O1", "-fmad=false", "--expt-relaxed-constexpr", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
    flags += ["-DBRAZEN_TARGET=cuda", "-DBRAZEN_CUDA_LIBRARY", f'-DBRAZEN_CUDA_ARCHS_TEXT="{arch}"']
    flags += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]

    def compile_one(path):
        made = folder / f"{path.stem}.o"
        subprocess.run(["nvcc", *flags, "-c", str(path), "-o", str(made)], check=True, capture_output=True)
        return str(made)

    with ThreadPoolExecutor() as pool:
        objects = list(pool.map(compile_one, sorted(source.glob("*.cu"))))
    made = folder / "libother.so"
    subprocess.run(["nvcc", "-shared", *objects, "-o", str(made)], check=True)
    return str(made)


@step
def endurance(work):
    """200,000 calls of every kind, optimizer steps among them: neither host nor device memory grows."""
    import brazen as bz
    import device

    torch = device.library("torch")
    x, dy, out = (torch.ones(64, 48, device=device.PLACE) for _ in range(3))
    alpha, dalpha = torch.ones(48, device=device.PLACE), torch.ones(48, device=device.PLACE)
    labels = torch.arange(64, device=device.PLACE) % 48
    optimizer = bz.optim.AdamW([torch.ones(64, 48, device=device.PLACE)], clip_norm=1.0)

    def round_of_ten():
        bz.gelu(x, out=out)
        bz.relu(x)
        bz.prelu.backward(dy, x, alpha, out=out, dalpha=dalpha)
        _, saved = bz.batch_norm(x, alpha, alpha, add=dy, activation="relu", dropout=0.5, seed=1)
        bz.batch_norm.backward(dy, saved)
        _, saved = bz.layer_norm(x, alpha)
        bz.layer_norm.backward(dy, saved)
        bz.softmax_cross_entropy(x, labels)
        bz.dropout(x, 0.5, seed=1)
        optimizer.step([dy])

    def memory():
        device.synchronize(torch)
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return resident, torch.cuda.mem_get_info()[0] if device.PLACE == "cuda" else 0

    def rounds(count):
        for _ in range(max(count // device.SHRINK, 2)):
            round_of_ten()
        return memory()

    before = rounds(500)
    start = time.time()
    after = rounds(20_000)
    seconds = time.time() - start
    host, card = after[0] - before[0], before[1] - after[1]
    if host > 8 << 20 or card > 8 << 20:
        raise AssertionError(f"host memory grew by {host} bytes, device memory by {card}")
    return {"note": f"{seconds / 2e5 * 1e6:.1f} us a call; host {host:+} bytes, device {card:+} bytes"}


@step
def every_float32(work):
    """All 2^32 inputs of every float32 operation of one argument, as many as fit the time; derivatives after values."""
    import device
    import op_table

    torch = device.library("torch")
    slab, total = (1 << 27) // device.SHRINK, (1 << 32) // device.SHRINK
    # Pinned: the CPU's results travel at the speed of the bus.
    host_x, host_y, host_one = (torch.ones(slab, pin_memory=device.PLACE == "cuda") for _ in range(3))
    y, one = torch.empty(slab, device=device.PLACE), torch.ones(slab, device=device.PLACE)
    done, wrong, skipped, longest = [], {}, [], 0.0
    unary = [c for c in op_table.CASES if c.family in op_table.UNARY]
    for case in sorted(unary, key=lambda c: c.direction == "backward"):
        if work.left() < 2 * longest + 3:
            skipped.append(case.id)
            continue
        start = time.time()
        differing = 0
        for first in range(0, total, slab):
            every = torch.arange(first, first + slab, dtype=torch.int64, device=device.PLACE)
            x = every.to(torch.int32).view(torch.float32)
            host_x.copy_(x)
            before, host_before = ([], []) if case.direction == "forward" else ([one], [host_one.numpy()])
            case.call(*host_before, host_x.numpy(), out=host_y.numpy())
            y.fill_(float("nan"))
            case.call(*before, x, out=y)
            differing += different(torch, y, host_y.to(device.PLACE))
        longest = max(longest, time.time() - start)
        done.append(case.id)
        if differing:
            wrong[case.id] = differing
    note = f"{len(done)} operations" + (f"; no time for {', '.join(skipped)}" if skipped else "")
    note += f"; wrong: {wrong}" if wrong else ""
    return {"checked": len(done) * total, "differing": sum(wrong.values()), "note": note, "operations": done}
