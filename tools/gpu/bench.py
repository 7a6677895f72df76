# SPDX-License-Identifier: BSD-3-Clause
"""Stage bench: every operation's time on the device as a fraction of the measured copy, and its peers' times.

Arrays of 2^26 elements (128 MiB or more), far beyond the L2, drawn at random; results are checked before they are timed.
"""

import numpy as np
from stages import Skip, step

ELEMENTS = 1 << 26
DTYPES = ("float32", "bfloat16", "float16")


def shape_of(case):
    """(columns of the result) times rows; prelu's alpha belongs to the second axis."""
    return (1 << 12, ELEMENTS >> 12) if case.family in ("gate", "maxout") else (64, 1024, ELEMENTS >> 16)


def bandwidth(torch):
    """Bytes per second of the best of copy and triad, read and written."""
    import device

    a, b, c = (torch.rand(1 << 29, device="cuda") for _ in range(3))
    copy = 2 * a.nbytes / device.seconds(torch, lambda: b.copy_(a))
    triad = 3 * a.nbytes / device.seconds(torch, lambda: torch.add(a, b, alpha=0.5, out=c))
    return copy, triad


def torch_peers(torch):
    """PyTorch's own functions where it has one: (forward(x), backward(dy, x, y)), by operation."""
    functional, aten = torch.nn.functional, torch.ops.aten
    return {
        "relu": (functional.relu, lambda dy, x, y: aten.threshold_backward(dy, y, 0)),
        "relu6": (functional.relu6, lambda dy, x, y: aten.hardtanh_backward(dy, x, 0, 6)),
        "leaky_relu": (
            lambda x: functional.leaky_relu(x, 0.01),
            lambda dy, x, y: aten.leaky_relu_backward(dy, x, 0.01, False),
        ),
        "elu": (functional.elu, lambda dy, x, y: aten.elu_backward(dy, 1.0, 1, 1, False, x)),
        "celu": (functional.celu, lambda dy, x, y: aten.elu_backward(dy, 1.0, 1, 1, False, x)),
        "selu": (functional.selu, None),
        "gelu": (functional.gelu, lambda dy, x, y: aten.gelu_backward(dy, x)),
        "gelu_tanh": (
            lambda x: functional.gelu(x, approximate="tanh"),
            lambda dy, x, y: aten.gelu_backward(dy, x, approximate="tanh"),
        ),
        "silu": (functional.silu, lambda dy, x, y: aten.silu_backward(dy, x)),
        "mish": (functional.mish, lambda dy, x, y: aten.mish_backward(dy, x)),
        "sigmoid": (torch.sigmoid, lambda dy, x, y: aten.sigmoid_backward(dy, y)),
        "log_sigmoid": (functional.logsigmoid, None),
        "tanh": (torch.tanh, lambda dy, x, y: aten.tanh_backward(dy, y)),
        "softplus": (functional.softplus, lambda dy, x, y: aten.softplus_backward(dy, x, 1, 20)),
        "softsign": (functional.softsign, None),
        "exponential": (torch.exp, None),
        "hard_sigmoid": (functional.hardsigmoid, lambda dy, x, y: aten.hardsigmoid_backward(dy, x)),
        "hard_tanh": (functional.hardtanh, lambda dy, x, y: aten.hardtanh_backward(dy, x, -1, 1)),
        "hard_silu": (functional.hardswish, lambda dy, x, y: aten.hardswish_backward(dy, x)),
        "hard_shrink": (functional.hardshrink, lambda dy, x, y: aten.hardshrink_backward(dy, x, 0.5)),
        "soft_shrink": (functional.softshrink, lambda dy, x, y: aten.softshrink_backward(dy, x, 0.5)),
        "tanh_shrink": (functional.tanhshrink, None),
        "glu": (functional.glu, lambda dy, x, y: aten.glu_backward(dy, x, -1)),
    }


def cupy_peers(case, cupy, arrays):
    """brazen.reference on CuPy arrays, plain, and under cupy.fuse where it is one expression; a reason where it is not."""
    from brazen import reference

    found = reference.find(case.name)
    call = found if case.direction == "forward" else found.backward
    peers = {"cupy": lambda: call(*arrays)}
    if case.family == "activation" and case.name not in ("gelu",):
        part = found.value if case.direction == "forward" else found.derivative
        defaults = tuple(found.parameters.values())
        if case.direction == "forward":
            fused = cupy.fuse()(lambda x: part(cupy, x, *defaults))
            peers["fuse"] = lambda: fused(arrays[0])
        else:
            fused = cupy.fuse()(lambda dy, x: dy * part(cupy, x, *defaults))
            peers["fuse"] = lambda: fused(*arrays)
    return peers


def usual(case):
    """The first set of parameters is the usual one; the peers know no other."""
    return case.parameter_sets[0]


def bytes_moved(case, arrays, outs):
    return sum(t.numel() * t.element_size() for t in (*arrays, *outs))


def measure(torch, case, dtype, cupy):
    """One row: our time with out=, the bytes that must move, the peers' times."""
    import device

    kind = getattr(torch, dtype)
    shapes = case.shapes(shape_of(case))
    arrays = [torch.randn(s, device="cuda").mul_(3).to(kind) for s in shapes]
    outs = [torch.full(s, float("nan"), device="cuda", dtype=kind) for s in case.result_shapes(shapes)]
    given = dict(zip(case.outputs, outs))
    parameters = usual(case)
    case.results(*arrays, parameters=parameters, **given)
    check(device, case, arrays, outs, parameters)
    row = {"op": case.name, "direction": case.direction, "dtype": dtype, "elements": outs[0].numel()}
    row["bytes"] = bytes_moved(case, arrays, outs)
    if case.family == "prelu" and case.direction == "backward":
        row["bytes"] += bytes_moved(case, arrays[:2], ())  # the sum reads dy and x once more
    row["seconds"] = device.seconds(torch, lambda: case.results(*arrays, parameters=parameters, **given))
    row["peers"], row["notes"] = {}, {}
    forward, backward = torch_peers(torch).get(case.name, (None, None))
    try:
        if case.direction == "forward" and forward:
            row["peers"]["torch"] = device.seconds(torch, lambda: forward(arrays[0]))
        elif case.direction == "backward" and backward:
            y = forward(arrays[1])
            row["peers"]["torch"] = device.seconds(torch, lambda: backward(*arrays, y))
    except Exception as error:
        row["notes"]["torch"] = f"{type(error).__name__}: {error}"[:200]
    if cupy is not None and dtype != "bfloat16":
        try:
            seen = [cupy.from_dlpack(t) for t in arrays]
            with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
                for name, call in cupy_peers(case, cupy, seen).items():
                    row["peers"][name] = device.seconds(torch, call, repeats=7)
        except Exception as error:
            row["notes"]["cupy"] = f"{type(error).__name__}: {error}"[:200]
    return row


def check(device, case, arrays, outs, parameters):
    """The device's results against the CPU's on the first and last rows: a wrong kernel gets no time."""
    from tolerance import DTYPES as KINDS
    from tolerance import same_bits

    for part in (slice(0, 1), slice(-1, None)):
        cut = [a if name == "alpha" else a[part].contiguous() for name, a in zip(case.arguments, arrays)]
        host = [device.from_torch(a, KINDS[str(a.dtype).partition(".")[2]]) for a in cut]
        expected = case.results(*host, parameters=parameters)[0]
        wrong = same_bits(device.from_torch(outs[0][part], expected.dtype), expected)
        if wrong:
            raise AssertionError(f"{case.id} {expected.dtype}: {wrong}")


def rows(work, dtype):
    import device
    import op_table

    torch = device.library("torch")
    try:
        cupy = device.library("cupy")
    except Skip:
        cupy = None
    made, late, failed = [], [], []
    for case in op_table.CASES:
        if case.family == "function":
            continue
        if work.left() < 3:
            late.append(case.id)
            continue
        try:
            made.append(measure(torch, case, dtype, cupy))
        except AssertionError as error:
            failed.append(str(error))
        torch.cuda.empty_cache()
        if cupy is not None:
            cupy.get_default_memory_pool().free_all_blocks()
    entry = {"rows": made, "note": f"{len(made)} rows" + (f"; no time for {', '.join(late)}" if late else "")}
    if failed:
        entry.update(ok=False, note="; ".join(failed)[:500])
    return entry


@step
def copy(work):
    """B: the best of a device-to-device copy and a triad over 2 GiB arrays."""
    import device

    best, triad = bandwidth(device.library("torch"))
    note = f"copy {best / 1e12:.3f} TB/s, triad {triad / 1e12:.3f} TB/s"
    return {"bytes_per_second": max(best, triad), "copy": best, "triad": triad, "note": note}


@step
def float32(work):
    """Every operation in float32, forward and backward, beside PyTorch, CuPy and cupy.fuse."""
    return rows(work, "float32")


@step
def bfloat16(work):
    """The same in bfloat16."""
    return rows(work, "bfloat16")


@step
def float16(work):
    """The same in float16."""
    return rows(work, "float16")


@step
def call(work):
    """The host's time for a call on a small CuPy array, beside CuPy's own ufunc, and on a PyTorch tensor."""
    import time

    import brazen as bz
    import device

    torch = device.library("torch")
    pairs = {}

    def host(function, synchronize):
        samples = []
        for _ in range(30):
            start = time.perf_counter()
            for _ in range(200):
                function()
            samples.append((time.perf_counter() - start) / 200)
            synchronize()
        return float(np.median(samples))

    x = torch.ones(1000, device="cuda")
    out = torch.empty_like(x)
    pairs["torch tensor"] = host(lambda: bz.relu(x, out=out), torch.cuda.synchronize)
    pairs["torch relu_"] = host(lambda: torch.relu_(x), torch.cuda.synchronize)
    cupy = device.library("cupy")
    x, out = cupy.ones(1000, "float32"), cupy.empty(1000, "float32")
    wait = cupy.cuda.Device().synchronize
    pairs["cupy array"] = host(lambda: bz.relu(x, out=out), wait)
    pairs["cupy maximum"] = host(lambda: cupy.maximum(x, 0, out=out), wait)
    return {"seconds_a_call": pairs, "note": ", ".join(f"{k} {v * 1e6:.1f} us" for k, v in pairs.items())}
