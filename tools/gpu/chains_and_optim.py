# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage bench: dropout and chains, every optimizer on one array and on 500, the full step; beside PyTorch's."""

import functools
import itertools
import math

from measure import backward_of, compiled, draw, forward_of, near, row, rows, same, to_host
from stages import step


def dropout(torch, dtype):
    import brazen as bz
    import device

    x, out = (draw(torch, device.scaled(1 << 26), dtype) for _ in range(2))
    bz.dropout(x, 0.3, seed=1, out=out)
    same(out, bz.dropout(to_host(x, 1 << 16), 0.3, seed=1), "dropout")
    theirs = functools.partial(torch.nn.functional.dropout, p=0.3)
    of = functools.partial(row, torch, "chain", "dropout")
    peers = {"torch": lambda: forward_of(torch, theirs, [x])}
    yield of("forward", dtype, 2 * x.nbytes, lambda: bz.dropout(x, 0.3, seed=1, out=out), peers)
    peers = {"torch": lambda: backward_of(torch, theirs, [x], x)}
    yield of("backward", dtype, 2 * x.nbytes, lambda: bz.dropout.backward(x, 0.3, seed=1, out=out), peers)


def chain(torch, dtype, activation, residual):
    """bias -> activation -> dropout, and a residual after them."""
    import brazen as bz
    import device

    shape = device.scaled(8192, 8192) if device.SHRINK == 1 else (8, 64)
    x, dy, add, out = (draw(torch, shape, dtype) for _ in range(4))
    bias = draw(torch, shape[1:], dtype)
    wide = bias.float()
    given = {"activation": activation, "dropout": 0.3, "seed": 1}
    after = {"add_after": add} if residual else {}
    ours = functools.partial(bz.fused, x, bias=wide, **given, **after, out=out)
    ours()
    host = {name: to_host(tensor) for name, tensor in after.items()}
    bias_host = device.from_torch(wide, "float32")
    same(out, bz.fused(to_host(x), bias=bias_host, **given, **host), "fused")
    functional = torch.nn.functional

    def theirs(x, bias, *add):
        y = functional.dropout(getattr(functional, activation)(x + bias), 0.3)
        return y + add[0] if add else y

    tensors = [x, bias, *after.values()]
    name = f"bias + {activation} + dropout{' + residual' if residual else ''}"
    of = functools.partial(row, torch, "chain", name)
    peers = {"torch": lambda: forward_of(torch, theirs, tensors)}
    if dtype == "float32":  # a compilation takes seconds
        peers["compile"] = lambda: forward_of(torch, compiled(torch, theirs), tensors)
    yield of("forward", dtype, (3 if residual else 2) * x.nbytes, ours, peers)
    peers = {"torch": lambda: backward_of(torch, theirs, tensors, dy)}
    if dtype == "float32":
        peers["compile"] = lambda: backward_of(torch, compiled(torch, theirs), tensors, dy)
    ours = functools.partial(bz.fused.backward, dy, x, bias=wide, **given, **after)
    yield of("backward", dtype, 3 * x.nbytes, ours, peers)


@step
def chains(work):
    """Dropout, bias + activation + dropout, the same with a residual, forward and backward, float32 and bfloat16."""
    makers = [(f"dropout {d}", functools.partial(dropout, dtype=d)) for d in ("float32", "bfloat16", "float16")]
    for dtype, activation, residual in itertools.product(("float32", "bfloat16"), ("silu", "gelu"), (False, True)):
        make = functools.partial(chain, dtype=dtype, activation=activation, residual=residual)
        makers.append((f"{activation}{' residual' * residual} {dtype}", make))
    return rows(work, makers)


# --- optimizers ------------------------------------------------------------------------------------------------------


def parameters(torch, count, elements, name=""):
    """`count` tensors that hold `elements` together, square where a rule works by rows and columns."""
    each = elements // count
    root = math.isqrt(each)
    shape = (root, root) if name in ("adafactor", "sm3") else (each,)
    return [draw(torch, shape) for _ in range(count)]


def torch_steps(torch, name, params, grads):
    """PyTorch's ways to take the step, by name."""
    from brazen.bench.workloads.optim import _TORCH

    if name not in _TORCH:
        return {}

    def prepared(**how):
        copies = [torch.nn.Parameter(p.detach().clone()) for p in params]
        for copy, grad in zip(copies, grads):
            copy.grad = grad
        return getattr(torch.optim, _TORCH[name])(copies, lr=1e-3, **how).step

    found = {"foreach": lambda: prepared(foreach=True)}
    if name in ("adam", "adamw", "sgd", "adagrad"):
        found["fused"] = lambda: prepared(fused=True)
    return found


def rule(torch, name, count=1, elements=1 << 26):
    import brazen as bz
    import device
    from brazen.bench.workloads.optim import _BYTES

    params = parameters(torch, count, max(elements // device.SHRINK, 64 * count), name)
    grads = [p * 0.1 for p in params]
    before = params[0].clone()
    optimizer = bz.optim.get(name)(params, lr=1e-3)
    optimizer.bind_grads(grads)
    optimizer.step()
    if name in ("adam", "adamw"):
        twin = torch.nn.Parameter(before)
        twin.grad = grads[0]
        getattr(torch.optim, {"adam": "Adam", "adamw": "AdamW"}[name])([twin], lr=1e-3).step()
        near(torch, params[0], twin.detach(), name)
    elif not bool(torch.isfinite(params[0]).all()) or torch.equal(params[0], before):
        raise AssertionError(f"{name}: a step gave no new finite numbers")
    peers = torch_steps(torch, name, params, grads)
    if name == "adamw" and count == 1 and device.PLACE == "cuda":
        peers["triton"] = functools.partial(triton_step, torch, params, grads)
    moved = _BYTES[name] * sum(p.numel() for p in params)
    op = f"{name}, {'one tensor' if count == 1 else f'{count} tensors'}"
    made = row(torch, "optimizer", op, "step", "float32", moved, optimizer.step, peers)
    yield {**made, "bytes_a_parameter": _BYTES[name]}


def triton_step(torch, params, grads):
    import triton_peer

    given = [params[0].clone(), grads[0], torch.zeros_like(params[0]), torch.zeros_like(params[0])]
    return lambda: triton_peer.adamw(*given, step=10)


def full_step(torch, count, elements=1 << 26):
    """Unscale, clip by the norm, decay, update, average, a bfloat16 copy: one call against PyTorch's chain of calls."""
    import brazen as bz
    import device

    params = parameters(torch, count, max(elements // device.SHRINK, 64 * count))
    grads = [p * 0.1 for p in params]
    theirs = [torch.nn.Parameter(p.clone()) for p in params]
    optimizer = bz.optim.AdamW(params, lr=1e-3, clip_norm=1.0, ema=0.999, copy_to="bfloat16")
    optimizer.bind_grads(grads)

    def ours():
        optimizer.step(scale=2.0)

    def chained():
        for p, grad in zip(theirs, grads):
            p.grad = grad.clone()
        averages = [p.detach().clone() for p in theirs]
        copies = [p.detach().bfloat16() for p in theirs]
        fused = torch.optim.AdamW(theirs, lr=1e-3, fused=True)
        found_inf, inverse = torch.zeros(1, device=device.PLACE), torch.full((1,), 0.5, device=device.PLACE)
        held = [p.grad for p in theirs]

        def call():
            torch._amp_foreach_non_finite_check_and_unscale_(held, found_inf, inverse)
            torch.nn.utils.clip_grad_norm_(theirs, 1.0, foreach=True)
            fused.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, theirs, 1e-3)
                torch._foreach_copy_(copies, theirs)

        return call

    call = chained()
    ours(), call()
    near(torch, params[0], theirs[0].detach(), "full step")
    moved = 42 * sum(p.numel() for p in params)
    op = f"full step, {'one tensor' if count == 1 else f'{count} tensors'}"
    yield row(torch, "full step", op, "step", "float32", moved, ours, {"fused": lambda: call})


@step
def optimizers(work):
    """Every rule on 2^26 parameters, Adam and AdamW on 500 tensors, the full step; beside PyTorch's fused and foreach."""
    import brazen as bz

    makers = [(f"{name}, 500", functools.partial(rule, name=name, count=500)) for name in ("adam", "adamw")]
    makers += [(f"full step, {count}", functools.partial(full_step, count=count)) for count in (1, 500)]
    first = ("adam", "adamw")
    names = [*first, *(name for name in bz.optim.names() if name not in first)]
    return rows(work, makers + [(name, functools.partial(rule, name=name)) for name in names])
