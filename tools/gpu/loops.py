# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage prove: streams, CUDA graphs, loops of PyTorch and CuPy, with the CPU's bits. No case of one operation."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from stages import step


@step
def streams(work):
    """Work follows the caller's stream, for CuPy and PyTorch; nothing synchronises behind his back."""
    import brazen as bz
    import device
    from prove import Count

    torch, count = device.library("torch"), Count()
    x = torch.zeros(1 << 24, device="cuda")
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        bz.leaky_relu(x)
        stream.synchronize()
        torch.cuda._sleep(400_000_000)  # about a fifth of a second
        x.fill_(1.0)
        start = time.time()
        y = bz.leaky_relu(x)
        waited = time.time() - start
    stream.synchronize()
    count.compare(device.from_torch(y, "float32"), np.ones(x.numel(), "float32"), "PyTorch stream")
    if waited > 0.1:
        raise AssertionError(f"a call waited {waited:.2f} s for its stream")
    cupy = device.library("cupy")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        y = bz.leaky_relu(cupy.full(1 << 20, 2.0, "float32"))
        stream.synchronize()
    count.compare(y.get(), np.full(1 << 20, 2, "float32"), "CuPy stream")
    return count.entry()


@step
def graph(work):
    """Calls of every kind recorded in a CUDA graph, those with a workspace among them, and replayed on new values."""
    import brazen as bz
    import device
    import samples
    from prove import Count

    torch, count = device.library("torch"), Count()
    host = [samples.ordinary((96, 300), "float32", seed) for seed in range(3)]
    alpha_host = samples.ordinary(300, "float32", 9)
    labels_host = np.arange(96) * 3

    def results(x, dy, alpha, labels):
        normal, saved = bz.batch_norm(x, alpha, alpha, add=dy, activation="relu", dropout=0.3, seed=1)
        lined, kept = bz.layer_norm(x, alpha)
        soft = bz.softmax(x)
        made = [bz.gelu(x), *bz.prelu.backward(dy, x, alpha), normal, *bz.batch_norm.backward(dy, saved)]
        made += [lined, *bz.layer_norm.backward(dy, kept), soft, bz.softmax.backward(dy, soft)]
        made += [*bz.softmax_cross_entropy(x, labels), bz.fused(x, bias=alpha, activation="silu", dropout=0.2, seed=2)]
        return [array for array in made if array is not None]

    x, dy = (torch.zeros(96, 300, device=device.PLACE) for _ in range(2))
    alpha, labels = (torch.from_numpy(array).to(device.PLACE) for array in (alpha_host, labels_host))
    kept = []

    def calls():
        kept[:] = results(x, dy, alpha, labels)

    replay = device.captured(torch, calls)
    for first, second in zip(host, host[1:]):
        x.copy_(torch.from_numpy(first))
        dy.copy_(torch.from_numpy(second))
        replay()
        device.synchronize(torch)
        for result, expected in zip(kept, results(first, second, alpha_host, labels_host), strict=True):
            count.compare(device.from_torch(result, "float32"), np.asarray(expected), "replay")
    return count.entry()


@step
def captured_steps(work):
    """An optimizer's step in CuPy's graph, launched again and again, goes on as eager steps of the CPU do."""
    import brazen as bz
    import device

    cupy = device.library("cupy")
    weights, twin = [cupy.ones(5000, "float32")], [np.ones(5000, "float32")]
    lr, grad = cupy.asarray(np.array(0.1)), cupy.asarray(np.full(5000, 0.25, "float32"))
    opt, other = bz.optim.AdamW(weights, lr=lr, clip_norm=1.0), bz.optim.AdamW(twin, lr=0.1, clip_norm=1.0)
    opt.bind_grads([grad])
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        opt.step()
        stream.begin_capture()
        opt.step()
        recorded = stream.end_capture()
        other.step([grad.get()])
        for launch in range(5):
            lr[...] = other.lr = 0.1 / (launch + 2)
            recorded.launch(stream)
            other.step([grad.get()])
        stream.synchronize()
    if not (weights[0].get() == twin[0]).all() or opt.steps != 6:
        raise AssertionError("a captured step differs from an eager one")
    return {"checked": 5000, "differing": 0, "note": "6 steps, 5 of them launches of one graph"}


@step
def torch_loop(work):
    """brazen.torch on CUDA tensors: modules, their gradients and an optimizer's step against the same on the CPU."""
    import brazen.torch as bt
    import device
    from prove import Count

    torch = device.library("torch")
    count = Count()
    made = vars(bt)
    torch.manual_seed(0)
    x, residual, dy = (torch.randn(8, 16, 6, 6) for _ in range(3))
    ends = []
    for place in ("cpu", device.PLACE):
        module = made["BatchNorm2d"](16, activation="gelu", dropout=0.3, seed=1).to(place)
        optimizer = made["AdamW"](module.parameters(), lr=0.1, clip_norm=1.0)
        given = [t.to(place).requires_grad_() for t in (x, residual)]
        for _ in range(3):
            optimizer.zero_grad()
            y = module(given[0], add=given[1])
            y.backward(dy.to(place))
            optimizer.step()
        device.synchronize(torch)
        ends.append([y.detach(), *(t.grad for t in given), *module.parameters(), module.running_var])
    for expected, result in zip(*ends):
        count.compare(result.detach().cpu().numpy(), expected.detach().numpy(), "brazen.torch")
    return count.entry()


@step
def networks(work):
    """Every layer of brazen.nn on CuPy arrays, forward, backward and predicting, near NumPy: products are cuBLAS'."""
    import device
    import nn_table
    from brazen import nn

    cupy, worst, told = device.library("cupy"), 0.0, ""
    for name, (layers, shape) in nn_table.EXAMPLES.items():
        x = nn_table.sample_input(name, np, "float32")
        ends = []
        for xp in (np, cupy):
            net = nn.Sequential(layers()).build(input_shape=shape, seed=3, dtype="float32", xp=xp)
            y, backward = net(xp.asarray(x), training=True, step=2)
            dx = backward(xp.asarray(np.cos(np.arange(y.size, dtype="float32")).reshape(y.shape)))
            made = [y, dx, net.gradients, net.predict(xp.asarray(x), batch_size=3)]
            ends.append([device.from_cupy(a) if xp is cupy else a for a in made if a is not None])
        for wanted, result in zip(*ends, strict=True):
            error = np.linalg.norm((result - wanted).ravel()) / max(np.linalg.norm(wanted.ravel()), 1e-20)
            if not error <= worst:
                worst, told = float(error), name
    if not worst < 1e-2:  # tf32 products would be 1e-3 off, a wrong kernel 1
        raise AssertionError(f"{told}: off by {worst:.2g} of its norm")
    return {"note": f"{len(nn_table.EXAMPLES)} layers, the largest difference {worst:.2g} of its norm, in {told}"}


@step
def cupy_example(work):
    """examples/cupy_graph.py, a program that stands alone."""
    example = Path(__file__).parents[2] / "examples" / "cupy_graph.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return {"checked": 1, "differing": 0, "note": done.stdout.strip()}
