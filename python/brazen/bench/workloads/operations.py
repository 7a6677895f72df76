# SPDX-License-Identifier: BSD-3-Clause
"""Every other operation of norms, dropout, losses, softmax, chains and random arrays, against the reference Python and,
where it has the operation, PyTorch: most without a bar of their own, but all in the mean over the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import brazen

from ..case import Case, Side
from . import Workload
from .rows import agrees

_ROWS, _SMALL = (8192, 1024), (48, 96)
_IMAGES, _SMALL_IMAGES = (64, 256, 14, 14), (4, 64, 6, 6)
_CLASSES, _SMALL_CLASSES = (16, 21, 128, 128), (2, 21, 7, 9)

Names = dict[str, Any]


@dataclass(frozen=True)
class _Call:
    """`arrays` draws what `statement` names beside f; `slot` receives the result, which `result` takes out of the value.
    `torch` makes PyTorch's side of our arrays."""

    operation: str
    direction: str
    statement: str
    arrays: Callable[[np.random.Generator, tuple[int, ...]], Names]
    passes: int
    slot: str = "out"
    result: Callable[[Any], Any] = lambda value: value
    torch: Callable[[Names], Side] | None = None

    def function(self, module) -> Any:
        holder = module
        for part in self.operation.split("."):
            holder = getattr(holder, part)
        return holder.backward if self.direction == "backward" else holder

    def make(self, peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        names = self.arrays(np.random.default_rng(), shape)
        out = np.empty(shape, np.float32) if "like" not in names else np.empty_like(names.pop("like"))
        saved = names.pop("saved", None)
        ours: Names = {**names, "f": self.function(brazen)}
        theirs: Names = {**names, "f": self.function(brazen.reference)}
        if saved is not None:
            ours["s"], theirs["s"] = (saved(getattr(module, self.operation)) for module in (brazen, brazen.reference))
        into = f"{self.statement[:-1]}, {self.slot}=out)"
        sides = {"out": Side(into, **ours, out=out), "allocating": Side(self.statement, **ours)}
        check = agrees(self.operation, sides["out"], self.statement, theirs, self.result)
        bytes_moved = self.passes * int(np.prod(shape)) * 4
        case = Case(self.operation, self.direction, "float32", int(np.prod(shape)), bytes_moved, sides, check)
        if "reference" in peers:
            case.peers["reference"] = {"allocating": [Side(self.statement, **theirs)]}
        if "torch" in peers and self.torch is not None:
            case.peers["torch"] = {"allocating": [self.torch(ours)]}
        return case


def _draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _tensors(names: Names) -> Names:
    import torch

    return {key: torch.from_numpy(value) for key, value in names.items() if isinstance(value, np.ndarray)}


# Dropout's relatives: one array in, one out, both ways.


def _torch_alpha(names: Names) -> Side:
    import torch

    return Side("f(x, 0.1, True)", f=torch.nn.functional.alpha_dropout, **_tensors(names))


def _family() -> Iterator[_Call]:
    for operation in ("alpha_dropout", "drop_connect", "gaussian_dropout", "gaussian_noise", "stochastic_depth"):
        # What was added leaves the gradient as it is: dy itself comes back, in no time.
        for direction in ("forward", "backward") if operation != "gaussian_noise" else ("forward",):
            peer = _torch_alpha if (operation, direction) == ("alpha_dropout", "forward") else None
            arrays = lambda rng, shape: {"x": _draw(rng, shape)}  # noqa: E731
            yield _Call(operation, direction, "f(x, 0.1, seed=7, step=3)", arrays, 2, torch=peer)


def _random() -> Iterator[_Call]:
    for name in ("uniform", "normal"):
        yield _Call(f"random.{name}", "forward", "f(shape, seed=7)", lambda rng, shape: {"shape": shape}, 1)
    yield _Call(
        "random.bernoulli", "forward", "f(shape, 0.3, seed=7)",
        lambda rng, shape: {"shape": shape, "like": np.empty(shape, bool)}, 1,
    )  # fmt: skip
    yield _Call(
        "random.permutation", "forward", "f(count, seed=7)",
        lambda rng, shape: {"count": shape[0] * shape[1] // 8, "like": np.empty(shape[0] * shape[1] // 8, np.int64)}, 1,
    )  # fmt: skip


# Norms of samples.


def _norm_arrays(operation: str):
    def arrays(rng: np.random.Generator, shape: tuple[int, ...]) -> Names:
        channels = shape[1]
        return {"x": _draw(rng, shape), "w": rng.random(channels, dtype=np.float32) + 0.5, "b": _draw(rng, (channels,))}

    def backward(rng: np.random.Generator, shape: tuple[int, ...]) -> Names:
        given = arrays(rng, shape)
        groups = (32,) if operation == "group_norm" else ()
        return {"dy": _draw(rng, shape), "saved": lambda f: f(given["x"], *groups, given["w"], given["b"])[1]}

    return arrays, backward


def _torch_norm(operation: str):
    def forward(names: Names) -> Side:
        import torch

        functions = torch.nn.functional
        if operation == "group_norm":
            return Side("f(x, 32, w, b)", f=functions.group_norm, **_tensors(names))
        return Side("f(x, weight=w, bias=b)", f=functions.instance_norm, **_tensors(names))

    def backward(names: Names) -> Side:
        import torch

        saved, functions = names["s"], torch.nn.functional
        x, w, b = (torch.from_numpy(array).requires_grad_() for array in (saved.x, saved.scale, saved.shift))
        with torch.enable_grad():
            if operation == "group_norm":
                y = functions.group_norm(x, 32, w, b)
            else:
                y = functions.instance_norm(x, weight=w, bias=b)
        grad, dy = torch.autograd.grad, torch.from_numpy(names["dy"])
        return Side("grad(y, (x, w, b), dy, retain_graph=True)", grad=grad, x=x, w=w, b=b, y=y, dy=dy)

    return forward, backward


def _norms() -> Iterator[_Call]:
    for operation, statement in (("group_norm", "f(x, 32, w, b)"), ("instance_norm", "f(x, w, b)")):
        forward, backward = _norm_arrays(operation)
        peers = _torch_norm(operation)
        yield _Call(operation, "forward", statement, forward, 2, result=lambda value: value[0], torch=peers[0])
        yield _Call(operation, "backward", "f(dy, s)", backward, 3, "dx", lambda value: value.x, peers[1])


def _row_norms() -> Iterator[_Call]:
    def arrays(rng, shape):
        return {"x": _draw(rng, shape), "like": np.empty(shape[0], np.float32)}

    def torch_side(names):
        import torch

        return Side("f(x, dim=-1)", f=torch.linalg.vector_norm, **_tensors(names))

    yield _Call("row_norms", "forward", "f(x)", arrays, 1, torch=torch_side)


# Losses: value and gradient.


def _torch_loss(name: str):
    def side(names: Names) -> Side:
        import torch

        tensors = _tensors(names)
        x, loss = tensors["x"].clone().requires_grad_(), getattr(torch.nn.functional, name)
        options = {"reduction": "batchmean"} if name == "kl_div" else {}

        @torch.enable_grad()
        def both(x, t):
            return torch.autograd.grad(loss(x, t, **options), x)

        return Side("f(x, t)", f=both, x=x, t=tensors["t"])

    return side


def _pair(rng, shape):
    return {"x": _draw(rng, shape), "t": _draw(rng, shape)}


def _labelled(rng, shape):
    return {"x": _draw(rng, shape), "t": rng.integers(0, shape[-1], shape[0])}


def _probabilities(rng, shape):
    target = rng.random(shape, dtype=np.float32) + 0.01
    logs = np.log(rng.random(shape, dtype=np.float32) + 0.01)
    return {"x": logs, "t": target / target.sum(axis=-1, keepdims=True)}


def _losses() -> Iterator[_Call]:
    either = lambda rng, shape: {**_pair(rng, shape), "t": rng.integers(0, 2, shape).astype(np.float32)}  # noqa: E731
    for operation, arrays, peer in (
        ("sigmoid_cross_entropy", either, "binary_cross_entropy_with_logits"),
        ("multiclass_hinge", _labelled, None),
        ("kl_divergence", _probabilities, "kl_div"),
        ("mae", _pair, "l1_loss"),
        ("huber", _pair, "huber_loss"),
        ("sum_of_squares", _pair, None),
        ("half_squared", _pair, None),
    ):
        torch = _torch_loss(peer) if peer else None
        passes = 2 if operation == "multiclass_hinge" else 3
        yield _Call(operation, "forward", "f(x, t)", arrays, passes, result=lambda value: value[1], torch=torch)


def _classes() -> Iterator[_Call]:
    """A segmentation: few classes, which lie across memory."""

    def arrays(rng, shape):
        return {"x": _draw(rng, shape), "t": rng.integers(0, shape[1], (shape[0], *shape[2:]))}

    torch = _torch_loss("cross_entropy")
    yield _Call(
        "softmax_cross_entropy", "forward", "f(x, t, axis=1)", arrays, 2, result=lambda value: value[1], torch=torch
    )
    for name in ("softmax", "log_softmax"):
        yield _Call(name, "forward", "f(x, axis=1)", lambda rng, shape: {"x": _draw(rng, shape)}, 2,
                    torch=_torch_map(name, 1))  # fmt: skip


# Softmax and its kind.


def _torch_map(name: str, axis: int):
    def side(names: Names) -> Side:
        import torch

        return Side(f"f(x, {axis})", f=getattr(torch, name), **_tensors(names))

    return side


def _map_results(name: str):
    operation = getattr(brazen, name)
    return lambda rng, shape: {"dy": _draw(rng, shape), "y": operation(_draw(rng, shape))}


def _maps() -> Iterator[_Call]:
    for name in ("log_softmax", "sparsemax"):
        peer = None if name == "sparsemax" else _torch_map(name, -1)
        yield _Call(name, "forward", "f(x)", lambda rng, shape: {"x": _draw(rng, shape)}, 2, torch=peer)

        yield _Call(name, "backward", "f(dy, y)", _map_results(name), 3)


def _chain() -> Iterator[_Call]:
    def arrays(rng, shape):
        return {"dy": _draw(rng, shape), "x": _draw(rng, shape), "b": _draw(rng, shape[-1:])}

    statement = "f(dy, x, bias=b, activation='gelu', dropout=0.1, seed=7)"
    yield _Call("fused", "backward", statement, arrays, 3, "dx", lambda value: value.x)


def _workloads() -> Iterator[Workload]:
    for calls, shape, small in (
        ((*_family(), *_random(), *_losses(), *_row_norms(), *_chain()), _ROWS, _SMALL),
        (_maps(), (4096, 1000), _SMALL),
        (_norms(), _IMAGES, _SMALL_IMAGES),
        (_classes(), _CLASSES, _SMALL_CLASSES),
    ):
        size = " x ".join(map(str, shape))
        for call in calls:
            yield Workload(f"{call.operation}, {size}", call.direction, call.make, shape, small)


WORKLOADS = tuple(_workloads())
