# SPDX-License-Identifier: BSD-3-Clause
"""Losses, softmax and the norms over rows, each with its PyTorch and its reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import brazen

from ..case import Case, Side, WrongResult
from . import Workload

_LOSSES = ("softmax_cross_entropy", "mse")
_NORMS = ("layer_norm", "rms_norm")


def _of(operation: str, direction: str) -> Callable[[tuple[str, ...], tuple[int, ...]], Case]:
    return lambda peers, shape: _make(operation, direction, peers, shape)


def _make(operation: str, direction: str, peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    rows, columns = shape
    random = np.random.default_rng()
    x = random.standard_normal((rows, columns), dtype=np.float32)
    dy = random.standard_normal((rows, columns), dtype=np.float32)
    out = np.empty_like(x)
    names: dict[str, Any] = {"f": getattr(brazen, operation), "x": x}
    backward = direction == "backward"
    if operation in _LOSSES:
        names["t"] = random.integers(0, columns, rows) if operation == "softmax_cross_entropy" else dy
        statement, into, result = "f(x, t)", "f(x, t, out=out)", lambda value: value[1]
        passes = 2 if operation == "softmax_cross_entropy" else 3
    elif operation in _NORMS:
        names["w"] = random.random(columns, dtype=np.float32) + 0.5
        statement, into, result = "f(x, w)", "f(x, w, out=out)", lambda value: value[0]
        passes = 2
        if backward:
            names = {"f": names["f"].backward, "dy": dy, "s": names["f"](x, names["w"])[1]}
            statement, into, result = "f(dy, s)", "f(dy, s, dx=out)", lambda value: value.x
            passes = 3
    else:
        statement, into, result, passes = "f(x)", "f(x, out=out)", lambda value: value, 2
        if backward:
            names = {"f": names["f"].backward, "dy": dy, "y": names["f"](x)}
            statement, into, passes = "f(dy, y)", "f(dy, y, out=out)", 3
    ours = {"out": Side(into, **names, out=out), "allocating": Side(statement, **names)}
    reference = _reference(operation, names, backward)
    check = agrees(operation, ours["out"], statement, reference, result)
    case = Case(operation, direction, "float32", x.size, passes * x.nbytes, ours, check)
    if "reference" in peers:
        case.peers["reference"] = {"allocating": [Side(statement, **reference)]}
    if "torch" in peers:
        case.peers["torch"] = {"allocating": [_torch(operation, names, backward)]}
    return case


def _reference(operation: str, names: dict[str, Any], backward: bool) -> dict[str, Any]:
    function = getattr(brazen.reference, operation)
    if not backward:
        return {**names, "f": function}
    if "s" not in names:
        return {**names, "f": function.backward}
    return {**names, "f": function.backward, "s": function(names["s"].x, names["s"].scale)[1]}


def agrees(name: str, side: Side, statement: str, reference: dict[str, Any], result: Callable) -> Callable[[], None]:
    """A check of our side against the statement on the reference's names. Loose: it asks whether this is the operation at
    all; the tests hold the accuracy."""

    def check() -> None:
        given, exact = result(side()), result(Side(statement, **reference)())
        if not np.allclose(given, exact, rtol=1e-4, atol=1e-4 * float(np.abs(exact).max())):
            raise WrongResult(f"{name}: the result differs from the reference")

    return check


def _torch(operation: str, names: dict[str, Any], backward: bool) -> Side:
    import torch

    functions = torch.nn.functional
    tensors: dict[str, Any] = {
        key: torch.from_numpy(value) for key, value in names.items() if isinstance(value, np.ndarray)
    }
    if operation in ("softmax_cross_entropy", "mse"):
        loss = functions.cross_entropy if operation == "softmax_cross_entropy" else functions.mse_loss
        x = tensors["x"].clone().requires_grad_()

        @torch.enable_grad()
        def both(x, t):
            return torch.autograd.grad(loss(x, t), x)

        return Side("f(x, t)", f=both, x=x, t=tensors["t"])
    if operation == "softmax":
        if backward:
            f = torch.ops.aten._softmax_backward_data
            return Side("f(dy, y, -1, kind)", f=f, kind=torch.float32, **tensors)
        return Side("f(x, -1)", f=torch.softmax, x=tensors["x"])
    if not backward:
        shape = tuple(names["w"].shape)
        if operation == "rms_norm":
            return Side("f(x, shape, w, 1e-6)", f=functions.rms_norm, shape=shape, **tensors)
        return Side("f(x, shape, w, None)", f=functions.layer_norm, shape=shape, **tensors)
    saved = names["s"]
    x, w = torch.from_numpy(saved.x).requires_grad_(), torch.from_numpy(saved.scale).requires_grad_()
    shape = tuple(w.shape)
    norm = functions.rms_norm if operation == "rms_norm" else functions.layer_norm
    with torch.enable_grad():
        y = norm(x, shape, w)
    return Side("grad(y, (x, w), dy, retain_graph=True)", grad=torch.autograd.grad, x=x, w=w, y=y, dy=tensors["dy"])


def _workload(name: str, operation: str, direction: str, shape: tuple[int, int], **asked: float) -> Workload:
    return Workload(name, direction, _of(operation, direction), shape, (48, 96), {"reference": 8, **asked})


WORKLOADS = (
    _workload("softmax cross-entropy, 4096 x 1000", "softmax_cross_entropy", "forward", (4096, 1000), torch=2),
    _workload("softmax cross-entropy, 512 x 50257", "softmax_cross_entropy", "forward", (512, 50257), torch=2),
    _workload("mse, 8192 x 1024", "mse", "forward", (8192, 1024)),
    _workload("layer norm, 8192 x 1024", "layer_norm", "forward", (8192, 1024), torch=1.3),
    _workload("layer norm, 8192 x 1024", "layer_norm", "backward", (8192, 1024), torch=1.3),
    _workload("rms norm, 8192 x 1024", "rms_norm", "forward", (8192, 1024)),
    _workload("rms norm, 8192 x 1024", "rms_norm", "backward", (8192, 1024)),
    _workload("softmax, 4096 x 1000", "softmax", "forward", (4096, 1000)),
    _workload("softmax, 4096 x 1000", "softmax", "backward", (4096, 1000)),
)
