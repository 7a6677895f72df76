# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage bench: the host's time for small calls and long lists, and whole training steps as a CUDA graph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from stages import Skip, step

WIDTHS = (784, 512, 512, 10)
BATCH = 128


def host_row(torch, op, ours, peers):
    import device

    times = (3, 10) if device.PLACE == "cpu" else (30, 200)
    row = {"op": op, "direction": "host", "dtype": "float32", "group": "host", "notes": {}}
    row["seconds"] = device.host_seconds(torch, ours, *times)
    row["peers"] = {name: device.host_seconds(torch, call, *times) for name, call in peers.items()}
    return row


@step
def host(work):
    """The host's time: a call on a small CuPy array beside CuPy's ufunc, on a PyTorch tensor, a step of 1,000 tensors."""
    import brazen as bz
    import device

    torch = device.library("torch")
    rows = []
    x = torch.ones(1000, device=device.PLACE)
    out = torch.empty_like(x)
    rows.append(
        host_row(
            torch, "relu of a small PyTorch tensor", lambda: bz.relu(x, out=out), {"torch": lambda: torch.relu_(x)}
        )
    )
    params = [torch.ones(64, device=device.PLACE) for _ in range(1000)]
    grads = [torch.ones_like(p) for p in params]
    optimizer = bz.optim.AdamW(params)
    optimizer.bind_grads(grads)
    theirs = [torch.nn.Parameter(p.clone()) for p in params]
    for p, grad in zip(theirs, grads):
        p.grad = grad
    fused = torch.optim.AdamW(theirs, fused=True)
    optimizer.step(), fused.step()
    rows.append(host_row(torch, "step of 1,000 tensors", optimizer.step, {"fused": fused.step}))
    told = []
    try:
        cupy = device.library("cupy")
    except Skip as reason:
        told.append(str(reason))
    else:
        x, out = cupy.ones(1000, "float32"), cupy.empty(1000, "float32")
        peers = {"cupy": lambda: cupy.maximum(x, 0, out=out)} if hasattr(cupy, "maximum") else {}
        rows.append(host_row(torch, "relu of a small CuPy array", lambda: bz.relu(x, out=out), peers))
    told += [f"{row['op']} {row['seconds'] * 1e6:.1f} us" for row in rows]
    return {"rows": rows, "note": ", ".join(told)}


def ours(torch, x, labels):
    """A training step of brazen.nn on CuPy arrays, recorded in a graph once: (the call that launches it, the loss's getter)."""
    import brazen as bz
    import device

    xp = device.library("cupy") if device.PLACE == "cuda" else np
    layers = []
    for width in WIDTHS[1:-1]:
        layers += [bz.nn.Dense(width), bz.nn.BatchNorm(), bz.nn.Activation("relu"), bz.nn.Dropout(0.5)]
    net = bz.nn.Sequential([*layers, bz.nn.Dense(WIDTHS[-1])]).build(input_shape=x.shape[1], seed=0, xp=xp)
    optimizer = bz.optim.Adam(net.params, lr=1e-3)
    optimizer.bind_grads(net.grads)
    given, classes = xp.asarray(x), xp.asarray(labels)
    dy = xp.empty((len(x), WIDTHS[-1]), "float32")
    kept = []

    def one():
        y, backward = net(given, training=True, step=0)
        loss, _ = bz.softmax_cross_entropy(y, classes, out=dy)
        backward(dy, dx=False)
        optimizer.step()
        kept[:] = [loss]

    if device.PLACE == "cpu":
        return one, lambda: float(kept[0])
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        for _ in range(3):  # what is allocated, is allocated before the capture
            one()
        stream.begin_capture()
        one()
        graph = stream.end_capture()
    stream.synchronize()
    ours.alive = (net, optimizer, given, classes, dy, kept, graph)  # a graph keeps addresses, not arrays
    # PyTorch's stream is CuPy's null stream, on which events are recorded.
    null = xp.cuda.get_current_stream()
    return lambda: graph.launch(null), lambda: float(kept[0])


def theirs(torch, x, labels, how):
    """The same network in PyTorch: eager, compiled, or the eager step recorded in a graph."""
    import device

    layers = []
    for inputs, width in zip((x.shape[1], *WIDTHS[1:]), WIDTHS[1:-1]):
        layers += [torch.nn.Linear(inputs, width), torch.nn.BatchNorm1d(width), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTHS[-2], WIDTHS[-1])).to(device.PLACE)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-3, fused=True, **({"capturable": True} if how == "graph" else {})
    )
    given, classes = torch.from_numpy(x).to(device.PLACE), torch.from_numpy(labels).to(device.PLACE)

    def loss_of(given, classes):
        return torch.nn.functional.cross_entropy(model(given), classes)

    if how == "compile":
        import torch._dynamo

        torch._dynamo.reset()
        loss_of = torch.compile(loss_of, mode="reduce-overhead")

    @torch.enable_grad()
    def one():
        optimizer.zero_grad(set_to_none=how != "graph")
        loss = loss_of(given, classes)
        loss.backward()
        optimizer.step()

    return device.captured(torch, one) if how == "graph" else one


@step
def training_step(work):
    """784-512-512-10, batch norm, relu, dropout, Adam, batch 128: ours as a CUDA graph; PyTorch eager, compiled, as a graph; JAX."""
    import device
    from measure import row

    torch = device.library("torch")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, WIDTHS[0]), dtype="float32")
    labels = rng.integers(0, WIDTHS[-1], BATCH)
    call, loss = ours(torch, x, labels)
    call()
    device.synchronize(torch)
    before = loss()
    for _ in range(50):
        call()
    device.synchronize(torch)
    if not loss() < before:
        raise AssertionError(f"the loss went from {before:g} to {loss():g}")
    peers = {"torch": "eager", "compile": "compile", "torch graph": "graph"}
    prepared = {name: (lambda how=how: theirs(torch, x, labels, how)) for name, how in peers.items()}
    made = row(torch, "training step", "MLP step, batch 128", "both", "float32", None, call, prepared)
    of_jax = jax_times(work)
    made["peers"] |= {"jax": of_jax["mlp"]} if "mlp" in of_jax else {}
    made["notes"] |= {"jax": of_jax["note"]} if "note" in of_jax else {}
    jax_rows = [{"op": name, "seconds": seconds} for name, seconds in of_jax.items() if name not in ("mlp", "note")]
    note = f"{made['seconds'] * 1e6:.1f} us; " + ", ".join(f"{k} {v * 1e6:.0f}" for k, v in made["peers"].items())
    return {
        "rows": [made],
        "jax": jax_rows,
        "note": "; ".join([note, *(f"{k}: {v}" for k, v in made["notes"].items())]),
    }


def jax_times(work):
    """Seconds by name from a process of its own, which gives its memory back; or a note that says why not."""
    script = Path(__file__).with_name("jax_peer.py")
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=max(work.left() - 5, 5),
        )
    except subprocess.TimeoutExpired as expired:
        return {"note": f"JAX did not end in {expired.timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else {"note": done.stderr.strip()[-200:]}
