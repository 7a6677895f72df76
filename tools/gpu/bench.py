# SPDX-License-Identifier: BSD-3-Clause
"""Stage bench: every operation's time on the device as a fraction of the measured copy, and its peers' times.

Arrays of 2^26 elements (128 MiB or more), far beyond the L2, drawn at random; results are checked before they are timed.
"""

import dataclasses
import functools
import tempfile
from pathlib import Path

from stages import step

ELEMENTS = 1 << 26


def shape_of(case):
    """(columns of the result) times rows; prelu's alpha belongs to the second axis."""
    import device

    elements = max(ELEMENTS // device.SHRINK, 1 << 13)
    return (64, elements >> 6) if case.family in ("gate", "maxout") else (8, 64, elements >> 9)


def bandwidth(torch):
    """Bytes per second of the best of copy and triad, read and written."""
    import device

    a, b, c = (torch.rand((1 << 29) // device.SHRINK, device=device.PLACE) for _ in range(3))
    copy = 2 * a.nbytes / device.seconds(torch, lambda: b.copy_(a))
    triad = 3 * a.nbytes / device.seconds(torch, lambda: torch.add(a, b, alpha=0.5, out=c))
    return copy, triad


@step
def copy(work):
    """B: the best of a device-to-device copy and a triad over 2 GiB arrays."""
    import device

    best, triad = bandwidth(device.library("torch"))
    note = f"copy {best / 1e12:.3f} TB/s, triad {triad / 1e12:.3f} TB/s"
    return {"bytes_per_second": max(best, triad), "copy": best, "triad": triad, "note": note}


# The steps of other modules come between: those with a bar of their own first.
from chains_and_optim import chains, optimizers  # noqa: E402, F401
from loss_and_norms import losses_and_norms  # noqa: E402, F401
from whole_steps import host, training_step  # noqa: E402, F401


def usual(case):
    """The first set of parameters is the usual one; the peers know no other."""
    return dataclasses.replace(case, parameter_sets=case.parameter_sets[:1])


def bytes_moved(case, arrays, outs):
    return sum(t.numel() * t.element_size() for t in (*arrays, *outs))


def operation(case, dtype, cupy, torch):
    """One row: our time with out=, the bytes that must move, the peers' times."""
    import device
    from measure import row

    kind = getattr(torch, dtype)
    shapes = case.shapes(shape_of(case))
    arrays = [torch.randn(s, device=device.PLACE).mul_(3).to(kind) for s in shapes]
    outs = [torch.full(s, float("nan"), device=device.PLACE, dtype=kind) for s in case.result_shapes(shapes)]
    given = dict(zip(case.outputs, outs))
    ours = functools.partial(case.results, *arrays, **given)
    ours()
    check(device, case, arrays, outs)
    moved = bytes_moved(case, arrays, outs)
    if case.family == "prelu" and case.direction == "backward":
        moved += bytes_moved(case, arrays[:2], ())  # the sum reads dy and x once more
    found = calls_of_peers(torch, case, dtype, arrays, outs, cupy)
    made = row(torch, "activation", case.name, case.direction, dtype, moved, ours, found)
    if cupy is not None:
        cupy.get_default_memory_pool().free_all_blocks()
    return [{**made, "elements": outs[0].numel()}]


def calls_of_peers(torch, case, dtype, arrays, outs, cupy):
    """By name: a function that prepares the call to be timed, so that a peer that cannot is only one column less."""
    import device
    import peers

    found = {}
    forward, backward = peers.torch_peers(torch).get(case.name, (None, None))
    if case.direction == "forward" and forward:
        found["torch"] = lambda: lambda: forward(arrays[0])
    elif case.direction == "backward" and backward:

        def prepared():
            y = forward(arrays[1])
            return lambda: backward(*arrays, y)

        found["torch"] = prepared
    if device.PLACE == "cuda" and case.direction == "forward" and dtype == "float32":
        if case.name in peers.CUB:
            stream = torch.cuda.current_stream().cuda_stream
            found["cub"] = lambda: lambda: cub(device.smi("compute_cap"))(case.name, arrays[0], outs[0], stream)
        if case.name in ("relu", "silu"):
            import triton_peer

            found["triton"] = lambda: lambda: triton_peer.forward(case.name, arrays[0], outs[0])
    if cupy is not None and dtype != "bfloat16":

        def seen(name):
            there = [cupy.from_dlpack(t) for t in arrays]
            return peers.cupy_peers(case, cupy, there)[name]

        found["cupy"] = lambda: seen("cupy")
        if dtype == "float32" and case.family == "activation" and case.name != "gelu":
            found["fuse"] = lambda: seen("fuse")
    return found


@functools.cache
def cub(capability):
    import peers

    return peers.cub_library(Path(tempfile.mkdtemp(prefix="brazen-cub-")), capability)


def check(device, case, arrays, outs):
    """The device's results against the CPU's on the first and last rows: a wrong kernel gets no time."""
    from tolerance import DTYPES as KINDS
    from tolerance import same_bits

    for part in (slice(0, 1), slice(-1, None)):
        cut = [a if name == "alpha" else a[part].contiguous() for name, a in zip(case.arguments, arrays)]
        there = [device.from_torch(a, KINDS[str(a.dtype).partition(".")[2]]) for a in cut]
        expected = case.results(*there)[0]
        wrong = same_bits(device.from_torch(outs[0][part], expected.dtype), expected)
        if wrong:
            raise AssertionError(f"{case.id} {expected.dtype}: {wrong}")


def operations(work, dtype):
    import measure
    import op_table

    cupy = measure.library_or_none("cupy")
    cases = [usual(case) for case in op_table.CASES if case.family != "function"]
    return measure.rows(work, [(case.id, functools.partial(operation, case, dtype, cupy)) for case in cases])


@step
def float32(work):
    """Every operation in float32, forward and backward, beside PyTorch, CuPy and cupy.fuse."""
    return operations(work, "float32")


@step
def bfloat16(work):
    """The same in bfloat16."""
    return operations(work, "bfloat16")


@step
def float16(work):
    """The same in float16."""
    return operations(work, "float16")
