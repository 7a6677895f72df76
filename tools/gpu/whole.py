# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage prove at full size: long and wide arrays, a hundred steps of every optimizer, more than 2^32 elements."""

import functools

import numpy as np
from stages import Skip, step

# Enough rows and channels that one more than a grid's second axis holds (65,535) is among them.
MANY = 70_000
HUGE = (1 << 32) + 4099


def over_rows(shape, dtype):
    """(name, call) for the losses, maps and norms over the rows of `shape`; call(move) gives their results."""
    import brazen as bz
    import test_row_norms
    from brazen import _core
    from loss_table import LOSSES, numbers

    rng = np.random.default_rng(0)
    x, dy = numbers(rng, shape, dtype), numbers(rng, shape, dtype, 1.0)
    for loss in LOSSES:
        given, targets, keywords = loss.draw(shape, dtype, 1, loss.options[0])

        def lose(move, loss=loss, given=given, targets=targets, keywords=keywords):
            there = {name: move(value) if isinstance(value, np.ndarray) else value for name, value in keywords.items()}
            return loss.call(move(given), move(targets), **there)

        yield loss.id, lose
    for name in [entry["name"] for entry in _core.row_operations() if entry["family"] == "row_map"]:
        operation = getattr(bz, name)

        def both(move, operation=operation):
            y = operation(move(x))
            return y, operation.backward(move(dy), y)

        yield name, both
    for name in test_row_norms.WHOLE:
        given, upstream, keywords = test_row_norms._draw(name, shape, dtype, 3)

        operation = getattr(bz, name)

        def normalize(move, operation=operation, given=given, upstream=upstream, keywords=keywords):
            there = {key: move(value) if isinstance(value, np.ndarray) else value for key, value in keywords.items()}
            y, saved = operation(move(given), **there)
            return y, saved.mean, saved.inverse_std, *operation.backward(move(upstream), saved)

        yield name, normalize


def over_channels(shape, dtype, order=np.ascontiguousarray):
    """The same for batch norm, alone and with the whole chain behind it."""
    import brazen as bz
    import samples
    from tolerance import DTYPES

    x, dy, add = (order(samples.ordinary(shape, dtype, seed)) for seed in range(3))
    kind = DTYPES["float64" if dtype == "float64" else "float32"]
    scale, shift = (samples.ordinary((shape[1],), kind.name, seed) for seed in (4, 5))
    chain = {"activation": "silu", "dropout": 0.3, "seed": 7, "offset": 24}
    for name, options in (("batch_norm", {}), ("batch_norm + chain", chain)):

        def both(move, options=options):
            running = [move(np.full(shape[1], value, kind)) for value in (0, 1)]
            more = {**options, "add": move(add)} if options else options
            y, saved = bz.batch_norm(move(x), move(scale), move(shift), *running, **more)
            return y, *running, *bz.batch_norm.backward(move(dy), saved)

        yield name, both


def channels_last(array):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def compare(count, cupy, calls, told):
    """The results on the device against those on the host, bit for bit."""
    import device

    there = functools.partial(device.on_cupy, cupy)
    for name, call in calls:
        for number, (result, wanted) in enumerate(zip(call(there), call(np.asarray), strict=True)):
            if wanted is not None:
                count.compare(device.from_cupy(result), np.asarray(wanted), f"{told} {name} result {number}")


@step
def many(work):
    """70,000 rows and 70,000 channels through everything whose sums run over rows or channels."""
    import device
    from prove import Count

    cupy, count, rows = device.library("cupy"), Count(), device.scaled(MANY)[0]
    for dtype in ("float32", "bfloat16"):
        for shape in ((rows, 33), (3, rows)):
            compare(count, cupy, over_rows(shape, dtype), f"{shape} {dtype}")
        for shape in ((rows, 12), (12, rows), (3, rows, 5)):
            compare(count, cupy, over_channels(shape, dtype), f"{shape} {dtype}")
    return count.entry()


@step
def bits(work):
    """Batch norm, layer norm, softmax, losses, dropout masks over millions of values, in every dtype."""
    import brazen as bz
    import device
    from prove import Count

    cupy, count = device.library("cupy"), Count()
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        if work.left() < 10:
            return {**count.entry(), "note": f"stopped before {dtype}"}
        compare(count, cupy, over_rows(device.scaled(4096, 1000), dtype), dtype)
        shape = device.scaled(64, 64, 28, 28)
        for order in (np.ascontiguousarray, channels_last):
            compare(count, cupy, over_channels(shape, dtype, order), f"{dtype} {order.__name__}")
    ones = np.ones(device.scaled(1 << 25)[0], "float32")

    def mask(move, seed):
        return [bz.dropout(move(ones), 0.3, seed=seed, step=3, site=2)]

    masks = [(f"dropout, seed {seed}", functools.partial(mask, seed=seed)) for seed in (0, 1 << 63)]
    masks.append(("gaussian", lambda move: [bz.gaussian_noise(move(ones[: 1 << 22]), 1.0, seed=5)]))
    compare(count, cupy, masks, "masks")
    return count.entry()


@step
def hundred_steps(work):
    """100 steps of every rule and setting, gradients clipped by their norm: parameters and states, bit for bit."""
    import brazen as bz
    import device
    import optim_cases
    import test_cuda_optim
    from prove import Count

    cupy, count = device.library("cupy"), Count()
    shapes = [device.scaled(1030, 3), (64, 33), (7,), (2, 3, 5)]
    grads = [optim_cases.gradients(step, shapes) for step in range(10)]
    sent = [[device.on_cupy(cupy, grad) for grad in each] for each in grads]
    for done, (name, settings) in enumerate(optim_cases.CASES):
        if work.left() < 5:
            return {**count.entry(), "note": f"{done} of {len(optim_cases.CASES)} settings"}
        ends = []
        for place, given in ((np.asarray, grads), (functools.partial(device.on_cupy, cupy), sent)):
            params = [place(array) for array in optim_cases.arrays(shapes)]
            optimizer = bz.optim.get(name)(params, **settings, clip_norm=1.0)
            for step_number in range(max(100 // device.SHRINK, 2)):
                optimizer.step(given[step_number % len(given)])
            ends.append(test_cuda_optim._everything(optimizer, params))
        for number, (wanted, result) in enumerate(zip(*ends, strict=True)):
            count.compare(device.from_cupy(result), wanted, f"{name} {settings} array {number}")
    return {
        **count.entry(),
        "note": count.note or f"{len(optim_cases.CASES)} settings of {len(bz.optim.names())} rules",
    }


@step
def huge(work):
    """More than 2^32 elements: contiguous, with a remainder, strided, dropout, layer norm, batch norm; against pieces."""
    import brazen as bz
    import device
    from prove import different

    torch = device.library("torch")
    n, slab = HUGE // device.SHRINK, (1 << 28) // device.SHRINK
    if device.PLACE == "cuda" and torch.cuda.mem_get_info()[0] < 30 << 30:
        raise Skip("30 GiB of free device memory are needed")
    torch.manual_seed(0)
    piece = torch.randint(-32768, 32767, ((1 << 26) // device.SHRINK + 7,), dtype=torch.int16, device=device.PLACE)
    x = piece.repeat(n // piece.numel() + 1)[:n].view(torch.float16)
    wrong, checked = 0, 0

    def cut(call, y):
        return sum(different(torch, y[s : s + slab], call(x[s : s + slab], s)) for s in range(0, n, slab))

    for call in (lambda part, first: bz.silu(part), lambda part, first: bz.dropout(part, 0.5, seed=1, offset=first)):
        y = call(x, 0)
        wrong, checked = wrong + cut(call, y), checked + n
        del y
    half = x[: n // 2 * 2].view(-1, 2)[:, 1]
    out = torch.empty(n // 2, dtype=torch.float16, device=device.PLACE)
    bz.relu(half, out=out)
    wrong, checked = wrong + different(torch, out, bz.relu(half.contiguous())), checked + n // 2
    del out
    # Finite values, so that a mean is a number: exponents of all-ones, infinities and NaN, are halved.
    x.view(torch.int16).bitwise_and_(-16385)
    rows = x[: n // 64 * 64].view(-1, 64)
    y = bz.layer_norm(rows)[0]
    for first in range(0, len(rows), slab // 64):
        part = slice(first, first + slab // 64)
        wrong += different(torch, y[part], bz.layer_norm(rows[part])[0])
    y = bz.batch_norm(rows, out=y)[0]
    for channel in (0, 31, 63):
        column = slice(channel, channel + 1)
        wrong += different(torch, y[:, column].contiguous(), bz.batch_norm(rows[:, column].contiguous())[0])
    return {"checked": checked + 2 * rows.numel(), "differing": int(wrong)}
