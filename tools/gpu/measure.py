# SPDX-License-Identifier: BSD-3-Clause
"""How stage bench makes its rows: a result is checked, then timed, then every peer that can is timed beside it."""

from stages import Skip


def draw(torch, shape, dtype="float32", order=None):
    """Random numbers on the device."""
    import device

    made = torch.randn(shape, device=device.PLACE).to(getattr(torch, dtype))
    return made if order is None else made.to(memory_format=order)


def near(torch, result, expected, told, kinks=False):
    """Equal but for roundings, by norm: a wrong kernel gets no time. At `kinks` a few elements may fall on either side."""
    limit = 2e-2 if kinks or expected.dtype != torch.float32 else 1e-4
    error = (result.float() - expected.float()).norm() / expected.float().norm().clamp_min(1e-20)
    if not float(error) <= limit:
        raise AssertionError(f"{told}: off by {float(error):.2g} of its norm")


def same(result, host, told):
    """The bits of the CPU, for the first rows of a result that no peer can repeat."""
    import device
    from tolerance import same_bits

    wrong = same_bits(device.from_torch(result[: len(host)].contiguous(), host.dtype), host)
    if wrong:
        raise AssertionError(f"{told}: {wrong}")


def to_host(tensor, rows=2):
    """The first rows, as NumPy has them."""
    import device
    from tolerance import DTYPES

    return device.from_torch(tensor[:rows].contiguous(), DTYPES[str(tensor.dtype).partition(".")[2]])


def row(torch, group, op, direction, dtype, moved, ours, peers):
    """`ours` is a call; `peers` holds, by name, functions that prepare the call to be timed. `moved`: bytes, None if few."""
    import device

    made = {"op": op, "direction": direction, "dtype": dtype, "group": group, "peers": {}, "notes": {}}
    if moved:
        made["bytes"] = int(moved)
    made["seconds"] = device.seconds(torch, ours)
    for name, prepare in peers.items():
        try:
            made["peers"][name] = device.seconds(torch, prepare())
        except Exception as error:
            made["notes"][name] = f"{type(error).__name__}: {error}"[:200]
    return made


def rows(work, makers):
    """The entry of a step whose rows `makers` make, each (name, function of torch that yields rows), while there is time."""
    import device

    torch = device.library("torch")
    made, late, failed, longest = [], [], [], 3.0
    for name, make in makers:
        before = work.left()
        if before < longest:
            late.append(name)
            continue
        try:
            made += make(torch)
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}"[:300])
        if device.PLACE == "cuda":
            torch.cuda.empty_cache()
        longest = max(longest, before - work.left())
    return entry(made, late, failed)


def entry(made, late, failed):
    told = {"rows": made, "note": f"{len(made)} rows" + (f"; no time for {', '.join(late)}" if late else "")}
    if failed:
        told.update(ok=False, note="; ".join([told["note"], *failed])[:900])
    return told


def forward_of(torch, function, tensors):
    def call():
        with torch.no_grad():
            return function(*tensors)

    return call


def backward_of(torch, function, tensors, dy=None):
    """PyTorch's gradients of everything in `tensors`, from one forward pass."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    with torch.enable_grad():
        y = function(*leaves)
    return lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True)


def both_of(torch, function, tensors, dy=None):
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]

    @torch.enable_grad()
    def call():
        return torch.autograd.grad(function(*leaves), leaves, dy)

    return call


def compiled(torch, function):
    """torch.compile's, able to run its backward pass twice."""
    import torch._dynamo
    import torch._functorch.config as settings

    settings.donated_buffer = False
    torch._dynamo.reset()
    return torch.compile(function)


def library_or_none(name):
    import device

    try:
        return device.library(name)
    except Skip:
        return None
