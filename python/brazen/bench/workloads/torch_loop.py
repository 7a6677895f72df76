# SPDX-License-Identifier: BSD-3-Clause
"""brazen.torch in PyTorch's own loops: a block of ResNet, an MLP, optimizer steps, the price of one bridged call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import brazen

from ..case import Case, Side, WrongResult
from . import Workload

_WIDTHS = (784, 512, 512, 10)


def _resnet50() -> list[tuple[int, ...]]:
    """The shapes of ResNet-50's 161 parameters."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += [(width, inputs, 1, 1), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            shapes += [(4 * width, width, 1, 1), (4 * width,), (4 * width,)]
            if not block:
                shapes += [(4 * width, inputs, 1, 1), (4 * width,), (4 * width,)]
            inputs = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def _gpt() -> list[tuple[int, ...]]:
    """The shapes of the 124 million parameters of a GPT: 12 layers of 768."""
    width = 768
    layer = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,), (width,), (width,)]
    layer += [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [(50257, width), (1024, width), *12 * layer, (width,), (width,)]


_SHAPES = {"ResNet-50": _resnet50, "GPT 124 M": _gpt}


def _optimizer(network: str, against: str):
    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        """`shape` is (the smallest part of each tensor that is kept,)."""
        import torch

        import brazen.torch as bt

        random = np.random.default_rng()
        shapes = [(max(1, s[0] // shape[0]), *s[1:]) for s in _SHAPES[network]()]
        elements = sum(map(math.prod, shapes))

        def parameters():
            made = [torch.nn.Parameter(torch.from_numpy(random.standard_normal(s, dtype=np.float32))) for s in shapes]
            for p in made:
                p.grad = torch.full_like(p, 1e-3)
            return made

        options: dict[str, Any] = {"clip_norm": 1.0, "ema": 0.999} if against == "clip and average" else {}
        ours = parameters()
        step = vars(bt)["AdamW"](ours, lr=1e-4, **options).step

        def check():
            before, twin = ours[0].detach().clone(), torch.nn.Parameter(ours[0].detach().clone())
            twin.grad = ours[0].grad.clone()
            if options:
                twin.grad *= 1.0 / max(1.0, 1e-3 * math.sqrt(elements))
            step()
            torch.optim.AdamW([twin], lr=1e-4).step()
            if not torch.allclose(ours[0], twin, rtol=1e-5, atol=1e-6) or torch.equal(ours[0].detach(), before):
                raise WrongResult(f"AdamW on {network}: the step is not PyTorch's")

        moved = 28 + (8 if options else 0)  # w, m, v read and written, g read; the average read and written
        case = Case("AdamW", "forward", "float32", elements, moved * elements, {"out": Side("f()", f=step)}, check)
        if "torch" in peers:
            candidates = [_torch_step(parameters(), against, fused=True)]
            if against == "default":
                candidates = [_torch_step(parameters(), against)]
            case.peers["torch"] = {"allocating": candidates}
        return case

    return make


def _torch_step(params: list, against: str, **options: Any) -> Side:
    import torch

    optimizer = torch.optim.AdamW(params, lr=1e-4, **options)
    if against != "clip and average":
        return Side("f()", f=optimizer.step)
    averages = [p.detach().clone() for p in params]

    def step():
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, params, 1e-3)

    return Side("f()", f=step)


def _mlp(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """784-512-512-10 with batch norm, relu, dropout, cross-entropy and AdamW; `shape` is (batch, inputs)."""
    import torch

    import brazen.torch as bt

    random = np.random.default_rng()
    widths = (shape[1], *_WIDTHS[1:])
    x = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
    labels = torch.from_numpy(random.integers(0, widths[-1], shape[0]))

    def training(hidden: Callable[[int], list], optimizer: Callable | None, loss_of: Callable):
        layers: list = []
        for inputs, width in zip(widths[:-2], widths[1:-1]):
            layers += [torch.nn.Linear(inputs, width), *hidden(width)]
        model = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-2], widths[-1]))
        steps = optimizer(model.parameters()) if optimizer else None

        @torch.enable_grad()
        def step():
            model.zero_grad()
            loss = loss_of(model(x), labels)
            loss.backward()
            if steps is not None:
                steps.step()
            return loss

        return step

    made = vars(bt)
    ours = training(
        lambda width: [made["BatchNorm1d"](width, activation="relu", dropout=0.5)],
        lambda params: made["AdamW"](params, lr=1e-3),
        made["softmax_cross_entropy"],
    )

    def check():
        first = float(ours().detach())
        for _ in range(30):
            last = float(ours().detach())
        if not last < first:
            raise WrongResult(f"MLP in PyTorch's loop: the loss went from {first:g} to {last:g}")

    weights = sum(a * b for a, b in zip(widths, widths[1:]))
    case = Case("MLP", "forward", "float32", x.numel(), 40 * weights, {"out": Side("f()", f=ours)}, check)
    # PyTorch's matrix products alone, which both sides have: what no norm and no optimizer can go below.
    products = training(lambda width: [], None, torch.nn.functional.cross_entropy)
    case.peers["bare"] = {"allocating": [Side("f()", f=products)]}
    if "torch" in peers:
        theirs = training(
            lambda width: [torch.nn.BatchNorm1d(width), torch.nn.ReLU(inplace=True), torch.nn.Dropout(0.5)],
            lambda params: torch.optim.AdamW(params, lr=1e-3, fused=True),
            torch.nn.functional.cross_entropy,
        )
        case.peers["torch"] = {"allocating": [Side("f()", f=theirs)]}
    return case


def _block(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """A bottleneck of ResNet-50 forward and backward, its convolutions PyTorch's on both sides; `shape` is (N, C, H, W)."""
    import torch

    import brazen.torch as bt

    random = np.random.default_rng()
    channels, width = shape[1], shape[1] // 4
    x, dy = (torch.from_numpy(random.standard_normal(shape, dtype=np.float32)) for _ in range(2))

    def convolutions():
        torch.manual_seed(0)
        sizes = ((channels, width, 1), (width, width, 3), (width, channels, 1))
        return [torch.nn.Conv2d(a, b, k, padding=k // 2, bias=False) for a, b, k in sizes]

    def both(normalize, order):
        convs, norms = convolutions(), [normalize(n) for n in (width, width, channels)]
        model = torch.nn.ModuleList([*convs, *norms]).to(memory_format=order)  # type: ignore[call-overload]
        given, gradient = x.clone(memory_format=order).requires_grad_(), dy.clone(memory_format=order)
        wanted = [given, *model.parameters()]

        @torch.enable_grad()
        def run():
            y = norms[0](convs[0](given))
            y = norms[1](convs[1](y))
            y = norms[2](convs[2](y), given)
            return torch.autograd.grad(y, wanted, gradient)

        return run

    orders = (torch.contiguous_format, torch.channels_last)
    ours = [both(lambda n: vars(bt)["BatchNorm2d"](n, activation="relu"), order) for order in orders]
    theirs = [both(_torch_norm_relu(), order) for order in orders]

    def check():
        for mine, exact in zip(ours[0](), theirs[0]()):
            # By norm: an element within a rounding of 0 may pass relu on one side alone.
            if not (mine - exact).norm() <= 1e-2 * exact.norm():
                raise WrongResult("ResNet block: a gradient is not PyTorch's")

    sides = {name: Side("f()", f=f) for name, f in zip(("out", "allocating"), ours)}
    case = Case("ResNet block", "forward", "float32", x.numel(), 12 * x.numel() * 4, sides, check)
    passed_on = _passed_on()
    # The convolutions alone, which both sides have.
    alone = [both(lambda n: passed_on(), order) for order in orders]
    case.peers["bare"] = {"allocating": [Side("f()", f=f) for f in alone]}
    if "torch" in peers:
        case.peers["torch"] = {"allocating": [Side("f()", f=f) for f in theirs]}
    return case


def _passed_on():
    """In a norm's place, where a block is timed without."""
    import torch

    class PassedOn(torch.nn.Module):
        def forward(self, x, add=None):
            return x

    return PassedOn


def _torch_norm_relu():
    """PyTorch's batch norm, then the addition and relu in place."""
    import torch

    class NormRelu(torch.nn.BatchNorm2d):
        def forward(self, x, add=None):
            y = super().forward(x)
            return torch.relu_(y if add is None else y.add_(add))

    return NormRelu


def _call(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """relu of a small tensor that requires grad, beside the same on a NumPy array."""
    import torch

    import brazen.torch as bt

    x = np.random.default_rng().standard_normal(shape, dtype=np.float32)
    tensor = torch.from_numpy(x).requires_grad_()
    relu = vars(bt)["relu"]

    def check():
        with torch.enable_grad():
            y = relu(tensor)
        if not (y.requires_grad and (y.detach().numpy() == brazen.relu(x)).all()):
            raise WrongResult("bridged call: the result is not NumPy's")

    case = Case(
        "bridged call",
        "forward",
        "float32",
        x.size,
        8 * x.size,
        {"out": Side("f(t)", f=torch.enable_grad()(relu), t=tensor)},
        check,
    )
    case.baseline = Side("f(x)", f=brazen.relu, x=x)
    return case


def _workload(name: str, make, shape, small, asked=(), at_most=()) -> Workload:
    return Workload(name, "forward", make, shape, small, dict(asked), dict(at_most), needs="torch")


WORKLOADS = (
    _workload("pytorch ResNet block", _block, (16, 256, 56, 56), (2, 8, 5, 6), {"torch": 1.3}),
    _workload("pytorch MLP, batch 128", _mlp, (128, 784), (8, 20), {"torch": 1.5}),
    *(
        _workload(f"pytorch AdamW, {network}, {against}", _optimizer(network, against), (1,), (512,), {"torch": bar})
        for network in _SHAPES
        for against, bar in (("fused", 1.0), ("default", 3.0), ("clip and average", 1.5))
    ),
    _workload("pytorch bridged call", _call, (1000,), (100,), at_most={"overhead_us": 10.0}),
)  # fmt: skip
