# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage bench: batch norm in both layouts, layer norm, softmax, cross-entropy, beside PyTorch, eager and compiled."""

import functools

from measure import backward_of, both_of, compiled, draw, forward_of, near, row, rows
from stages import step

# Bytes an element, in elements: what must move when x is read twice (statistics come before the first result).
FORWARD, BACKWARD, BLOCK_FORWARD, BLOCK_BACKWARD = 3, 5, 4, 6


def batch_norm(torch, dtype, last, block):
    """(rows) of batch norm, with `block` of batch norm + add + relu; `last`: channels-last memory."""
    import brazen as bz
    import device

    shape = device.scaled(256, 64, 56, 56)
    order = torch.channels_last if last else torch.contiguous_format
    x, dy, add = (draw(torch, shape, dtype, order) for _ in range(3))
    scale, shift = draw(torch, (64,)) * 0.1 + 1, draw(torch, (64,))
    mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
    more = {"add": add, "activation": "relu"} if block else {}
    tensors = [x, scale, shift, *([add] if block else [])]

    def theirs(x, scale, shift, add=None):
        y = torch.nn.functional.batch_norm(x, mean, variance, scale, shift, training=True)
        return torch.relu(y + add) if block else y

    out, dx = torch.empty_like(x), torch.empty_like(x)
    _, saved = bz.batch_norm(x, scale, shift, out=out, **more)
    ours = {
        "forward": lambda: bz.batch_norm(x, scale, shift, mean, variance, out=out, **more),
        "backward": lambda: bz.batch_norm.backward(dy, saved, dx=dx),
    }

    def both():
        _, kept = ours["forward"]()
        return bz.batch_norm.backward(dy, kept, dx=dx)

    near(torch, out, theirs(*tensors), "batch_norm")
    exact = backward_of(torch, theirs, tensors, dy)()
    gradients = ours["backward"]()
    for name, wanted in zip(("x", "scale", "shift"), exact):
        # An element whose sum is within a rounding of 0 may pass relu on one side alone; in 16 bits many are.
        if not (block and dtype != "float32"):
            near(torch, getattr(gradients, name), wanted, f"batch_norm.backward {name}", kinks=block)
    op = f"batch_norm{' + add + relu' if block else ''}, {'channels last' if last else 'NCHW'}"
    of = functools.partial(row, torch, "block" if block else "norm", op)
    passes = (BLOCK_FORWARD, BLOCK_BACKWARD) if block else (FORWARD, BACKWARD)
    for direction, times, peer in zip(ours, passes, (forward_of, backward_of)):
        given = [torch, theirs, tensors, *([dy] if direction == "backward" else [])]
        peers = {"torch": lambda given=given, peer=peer: peer(*given)}
        yield of(direction, dtype, times * x.nbytes, ours[direction], peers)
    if block:
        peers = {"torch": lambda: both_of(torch, theirs, tensors, dy)}
        peers["compile"] = lambda: both_of(torch, compiled(torch, theirs), tensors, dy)
        yield of("both", dtype, sum(passes) * x.nbytes, both, peers)


def layer_norm(torch, dtype, name="layer_norm"):
    import brazen as bz
    import device

    shape = device.scaled(65536, 1024)
    x, dy, out, dx = (draw(torch, shape, dtype) for _ in range(4))
    weights = [draw(torch, (1024,), dtype) * 0.1 + 1, draw(torch, (1024,), dtype)]
    wide = [w.float() for w in weights]
    functional = torch.nn.functional
    if name == "rms_norm":
        weights, wide = weights[:1], wide[:1]

    def theirs(x, *weights):
        if name == "rms_norm":
            return functional.rms_norm(x, (1024,), *weights, eps=1e-5)
        return functional.layer_norm(x, (1024,), *weights)

    operation = getattr(bz, name)
    _, saved = operation(x, *wide, out=out)
    gradients = operation.backward(dy, saved, dx=dx)
    tensors = [x, *weights]
    near(torch, out, theirs(*tensors), name)
    for result, wanted in zip((gradients.x, gradients.scale), backward_of(torch, theirs, tensors, dy)()):
        near(torch, result, wanted, f"{name}.backward")
    of = functools.partial(row, torch, "norm", name)
    peers = {"torch": lambda: forward_of(torch, theirs, tensors)}
    peers["compile"] = lambda: forward_of(torch, compiled(torch, theirs), tensors)
    yield of("forward", dtype, 2 * x.nbytes, lambda: operation(x, *wide, out=out), peers)
    peers = {"torch": lambda: backward_of(torch, theirs, tensors, dy)}
    peers["compile"] = lambda: backward_of(torch, compiled(torch, theirs), tensors, dy)
    yield of("backward", dtype, 3 * x.nbytes, lambda: operation.backward(dy, saved, dx=dx), peers)


def cross_entropy(torch, dtype):
    import brazen as bz
    import device

    shape = device.scaled(8192, 32768) if device.SHRINK == 1 else (8, 64)
    x, out = draw(torch, shape, dtype) * 3, draw(torch, shape, dtype)
    labels = torch.randint(0, shape[1], shape[:1], device=device.PLACE)
    theirs = functools.partial(torch.nn.functional.cross_entropy, target=labels)
    bz.softmax_cross_entropy(x, labels, out=out)
    near(torch, out, backward_of(torch, theirs, [x])()[0], "softmax_cross_entropy")
    peers = {"torch": lambda: both_of(torch, theirs, [x])}
    peers["compile"] = lambda: both_of(torch, compiled(torch, theirs), [x])
    ours = functools.partial(bz.softmax_cross_entropy, x, labels, out=out)
    yield row(torch, "loss", "softmax_cross_entropy", "both", dtype, 2 * x.nbytes, ours, peers)


def softmax(torch, dtype):
    import brazen as bz
    import device

    shape = device.scaled(16384, 4096) if device.SHRINK == 1 else (8, 64)
    x, dy, out = (draw(torch, shape, dtype) for _ in range(3))
    theirs = functools.partial(torch.softmax, dim=-1)
    y = bz.softmax(x)
    near(torch, y, theirs(x), "softmax")
    near(torch, bz.softmax.backward(dy, y), backward_of(torch, theirs, [x], dy)()[0], "softmax.backward")
    of = functools.partial(row, torch, "norm", "softmax")
    yield of(
        "forward",
        dtype,
        2 * x.nbytes,
        lambda: bz.softmax(x, out=out),
        {"torch": lambda: forward_of(torch, theirs, [x])},
    )
    peers = {"torch": lambda: backward_of(torch, theirs, [x], dy)}
    yield of("backward", dtype, 3 * x.nbytes, lambda: bz.softmax.backward(dy, y, out=out), peers)


@step
def losses_and_norms(work):
    """Batch norm in both layouts, alone and with add and relu, layer norm, softmax, cross-entropy forward + backward."""
    makers = []
    for dtype in ("float32", "bfloat16"):
        for last in (False, True):
            for block in (False, True):
                name = f"batch_norm{' block' * block}{' channels last' * last} {dtype}"
                makers.append((name, lambda torch, given=(dtype, last, block): batch_norm(torch, *given)))
        for make in (layer_norm, cross_entropy, softmax):
            makers.append((f"{make.__name__} {dtype}", lambda torch, make=make, dtype=dtype: make(torch, dtype)))
        makers.append((f"rms_norm {dtype}", lambda torch, dtype=dtype: layer_norm(torch, dtype, "rms_norm")))
    return rows(work, makers)
