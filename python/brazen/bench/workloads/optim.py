# SPDX-License-Identifier: BSD-3-Clause
"""Optimizer steps: every rule on one large array, lists of many small ones, everything at once, the norm of a list."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import brazen

from ... import reference
from ..case import Case, Side, WrongResult
from . import Workload

# Bytes a parameter that a step must move in float32: what the rule reads and writes once.
_BYTES = {
    "sgd": 12, "adagrad": 20, "rmsprop": 20, "adadelta": 28, "adam": 28, "amsgrad": 36, "adamw": 28, "adamax": 28,
    "nadam": 28, "radam": 28, "rprop": 28, "asgd": 20, "lion": 20, "adabelief": 28, "yogi": 28, "adan": 44,
    "ademamix": 36, "lars": 28, "lamb": 40, "novograd": 24, "adafactor": 20, "sm3": 20,
}  # fmt: skip
_TORCH = {
    "sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adadelta": "Adadelta", "adam": "Adam", "adamw": "AdamW",
    "adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam", "rprop": "Rprop", "asgd": "ASGD", "adafactor": "Adafactor",
}  # fmt: skip
_FUSED = ("sgd", "adagrad", "adam", "adamw")  # on the CPU, PyTorch 2.13
_LARGE, _LIST = (32 << 20,), (500, 4096)


def _arrays(count: int, size: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(size, dtype=np.float32) for _ in range(count)]


def _torch_steps(name: str, params, grads, **settings) -> list[Side]:
    """PyTorch's ways to take one step: fused where it has that, else array by array and by foreach."""
    import torch

    made = getattr(torch.optim, _TORCH[name])
    sides = []
    for how in ({"fused": True},) if name in _FUSED else ({"foreach": False}, {"foreach": True}):
        parameters = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in params]
        for parameter, grad in zip(parameters, grads):
            parameter.grad = torch.from_numpy(grad)
        optimizer = made(parameters, lr=1e-3, **how, **settings)
        sides.append(Side("o.step()", o=optimizer))
    return sides


def _check(name: str):
    """Two steps on small arrays against the specification; tests/ has the rest."""

    def check():
        params, grads = _arrays(2, (33, 65)), _arrays(2, (33, 65))[::-1]
        truth = [array.astype("float64") for array in params]
        optimizer, rule = brazen.optim.get(name)(params, lr=1e-3), reference.optim.get(name)(lr=1e-3)
        for _ in range(2):
            optimizer.step(grads)
            rule.step(truth, [array.astype("float64") for array in grads])
        if not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(params, truth)):
            raise WrongResult(f"{name}: two steps differ from the reference's")

    return check


def _rule(name: str):
    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        rows = math.isqrt(shape[0]) if name in ("adafactor", "sm3") else 0
        size = (rows, rows) if rows else shape
        params, grads = _arrays(1, size), _arrays(1, size)
        optimizer = brazen.optim.get(name)(params, lr=1e-3)
        ours = {"out": Side("o.step(g)", o=optimizer, g=grads)}
        case = Case(f"{name}", "forward", "float32", params[0].size, _BYTES[name] * params[0].size, ours, _check(name))
        if "torch" in peers and name in _TORCH:
            case.peers["torch"] = {"preallocated": _torch_steps(name, params, grads)}
        if "reference" in peers:
            rule = reference.optim.get(name)(lr=1e-3)
            case.peers["reference"] = {"allocating": [Side("r.step(p, g)", r=rule, p=[params[0].copy()], g=grads)]}
        return case

    return make


def _list(bound: bool):
    """Adam on (arrays, elements of each), with gradients bound once, or a list made anew for every step."""

    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        params, grads = _arrays(shape[0], shape[1:]), _arrays(shape[0], shape[1:])
        optimizer = brazen.optim.Adam(params, lr=1e-3)
        side = Side("o.step(list(g))", o=optimizer, g=grads)
        if bound:
            optimizer.bind_grads(grads)
            side = Side("o.step()", o=optimizer)
        elements = math.prod(shape)
        case = Case("adam", "forward", "float32", elements, 28 * elements, {"out": side}, _check("adam"))
        if "torch" in peers:
            case.peers["torch"] = {"preallocated": _torch_steps("adam", params, grads)}
        return case

    return make


def _everything(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    """AdamW, unscaling, clipping by the norm, an average of the weights and a bfloat16 copy of them."""
    import ml_dtypes

    params, grads = _arrays(1, shape), _arrays(1, shape)
    optimizer = brazen.optim.AdamW(params, lr=1e-3, clip_norm=1.0, ema=0.995, copy_to="bfloat16")

    def check():
        optimizer.step(grads, scale=2.0)
        if not (optimizer.copies[0] == params[0].astype(ml_dtypes.bfloat16)).all():
            raise WrongResult("adamw: the copy is not the weights rounded")
        _check("adamw")()

    elements = math.prod(shape)
    ours = {"out": Side("o.step(g, scale=1.0)", o=optimizer, g=grads)}
    case = Case("adamw and more", "forward", "float32", elements, 42 * elements, ours, check)
    if "torch" in peers:
        case.peers["torch"] = {"preallocated": [_torch_chain(params, grads)]}
    return case


def _torch_chain(params, grads) -> Side:
    import torch

    parameters = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in params]
    for parameter, grad in zip(parameters, grads):
        parameter.grad = torch.from_numpy(grad.copy())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    averages = [parameter.detach().clone() for parameter in parameters]
    copies = [parameter.detach().to(torch.bfloat16) for parameter in parameters]
    given: Any = [parameter.grad for parameter in parameters]
    weights: Any = parameters

    @torch.no_grad()
    def step():
        torch._foreach_mul_(given, 1.0)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        torch._foreach_lerp_(averages, weights, 0.005)
        torch._foreach_copy_(copies, weights)

    return Side("f()", f=step)


def _norm(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    grads = _arrays(shape[0], shape[1:])

    def check():
        exact = math.sqrt(sum((grad.astype("float64") ** 2).sum() for grad in grads))
        if not math.isclose(brazen.optim.global_norm(grads), exact, rel_tol=1e-6):
            raise WrongResult("global norm: it differs from float64's")

    elements = math.prod(shape)
    ours = {"out": Side("f(g)", f=brazen.optim.global_norm, g=grads)}
    case = Case("global norm", "forward", "float32", elements, 4 * elements, ours, check)
    if "torch" in peers:
        import torch

        tensors = [torch.from_numpy(grad) for grad in grads]
        ways = [Side(f"f(g, foreach={how})", f=torch.nn.utils.get_total_norm, g=tensors) for how in (True, False)]
        case.peers["torch"] = {"preallocated": ways}
    if "reference" in peers:
        case.peers["reference"] = {"allocating": [Side("f(g)", f=reference.optim.global_norm, g=grads)]}
    return case


def _asked(name: str) -> dict[str, float]:
    asked = {"copy_fraction": 1.0} if _BYTES[name] == 28 and name != "lars" else {}
    if name in _TORCH:
        asked["torch"] = 1.0 if name in _FUSED else 2.5
    return asked


WORKLOADS = (
    *(Workload(f"{name} step, 32 M", "forward", _rule(name), _LARGE, (1 << 14,), _asked(name)) for name in _BYTES),
    Workload("adam steps, 500 arrays of 4,096", "forward", _list(False), _LIST, (5, 64), {"torch": 2.5}),
    Workload(
        "adam steps, 1,000 arrays of 64", "forward", _list(False), (1000, 64), (5, 64), at_most={"microseconds": 100.0}
    ),
    Workload(
        "adam steps, 1,000 bound arrays of 64", "forward", _list(True), (1000, 64), (5, 64), at_most={"microseconds": 50.0}
    ),
    Workload("adamw, unscaled, clipped, averaged, copied, 32 M", "forward", _everything, _LARGE, (1 << 14,), {"torch": 1.5}),
    Workload("global norm, 500 arrays of 4,096", "forward", _norm, _LIST, (5, 64), {"torch": 3.0}),
)  # fmt: skip
