# SPDX-License-Identifier: BSD-3-Clause
"""Steps of stage prove: loops of PyTorch and CuPy on the device, with the CPU's bits. No case of a single operation."""

import subprocess
import sys
from pathlib import Path

from stages import step


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
    for place in ("cpu", "cuda"):
        module = made["BatchNorm2d"](16, activation="gelu", dropout=0.3, seed=1).to(place)
        optimizer = made["AdamW"](module.parameters(), lr=0.1, clip_norm=1.0)
        given = [t.to(place).requires_grad_() for t in (x, residual)]
        for _ in range(3):
            optimizer.zero_grad()
            y = module(given[0], add=given[1])
            y.backward(dy.to(place))
            optimizer.step()
        torch.cuda.synchronize()
        ends.append([y.detach(), *(t.grad for t in given), *module.parameters(), module.running_var])
    for expected, result in zip(*ends):
        count.compare(result.detach().cpu().numpy(), expected.detach().numpy(), "brazen.torch")
    return count.entry()


@step
def cupy_example(work):
    """examples/cupy_graph.py, a program that stands alone."""
    example = Path(__file__).parents[2] / "examples" / "cupy_graph.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return {"checked": 1, "differing": 0, "note": done.stdout.strip()}
