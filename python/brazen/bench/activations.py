# SPDX-License-Identifier: BSD-3-Clause
"""The cases of the activations: which arrays each takes, how many bytes must move, and whether the result is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import brazen
from brazen.ops.activations import Gated, Maxout

from .case import Case, Side, WrongResult

# Values for parameters that have no default, and the operations that come in more than one form.
_GIVEN: dict[str, tuple[float, ...]] = {"threshold": (0.5, -1.0)}
_VARIANTS = {"prelu": ("prelu", "prelu.channels")}
_CHECKED = 1 << 15


def names() -> tuple[str, ...]:
    """The cases, in the order of the registry; "prelu.channels" is prelu with one alpha a channel.

    >>> "gelu" in names() and "prelu.channels" in names()
    True
    """
    return tuple(variant for name in brazen.activations() for variant in _VARIANTS.get(name, (name,)))


def halved(name: str) -> bool:
    """Whether the output has half as many elements as x: the gates, and maxout of two pieces."""
    return isinstance(getattr(brazen, name.partition(".")[0]), (Gated, Maxout))


def _shape(name: str, elements: int) -> tuple[int, ...]:
    """A shape of about `elements` elements whose first axis can be sampled: no result depends on another row."""
    if name == "prelu.channels":
        channels, pixels = (64, 4096) if elements >= 1 << 22 else (8, 128) if elements >= 1024 else (10, 10)
        return max(elements // (channels * pixels), 1), channels, pixels
    columns = 8192 if elements >= 1 << 22 else 1024 if elements >= 1 << 14 else elements
    return max(elements // columns, 1), columns


class Workspace:
    """Arrays of one dtype and size, drawn once a run from fresh entropy and shared by the cases: 32 M normals take longer
    to draw than to use."""

    def __init__(self, elements: int, dtype: str, seed: int):
        random = np.random.default_rng(seed)
        kind = _dtype(dtype)
        self.elements, self.dtype = elements, dtype

        def draw(scale):
            return (random.standard_normal(elements, dtype=np.float32) * np.float32(scale)).astype(kind, copy=False)

        self.x, self.dy = draw(3.0), draw(1.0)
        self.out, self.scratch = np.empty(elements, kind), np.empty(elements, kind)
        self._tensors: dict[str, Any] = {}

    def tensors(self) -> dict[str, Any]:
        """The same data in arrays of PyTorch's own, as it likes to have them aligned."""
        if not self._tensors:
            import torch

            for role, source in {"x": self.x, "dy": self.dy, "out": self.out, "scratch": self.scratch}.items():
                self._tensors[role] = torch.empty(self.elements, dtype=getattr(torch, self.dtype))
                self._tensors[role].copy_(torch.from_numpy(source))
        return self._tensors


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _view(flat, shape):
    count = int(np.prod(shape))
    return flat[:count].reshape(shape)


def make(name: str, direction: str, workspace: Workspace, peers: tuple[str, ...] = ()) -> Case:
    """The case of one activation on a workspace's arrays, with the sides of the peers asked for."""
    base = name.partition(".")[0]
    operation = getattr(brazen, base)
    reference = getattr(brazen.reference, base)
    shape = _shape(name, workspace.elements)
    y_shape = (*shape[:-1], shape[-1] // 2) if halved(name) else shape
    backward = direction == "backward"
    x, dy = _view(workspace.x, shape), _view(workspace.dy, y_shape)
    out = _view(workspace.out, shape if backward else y_shape)
    names: dict[str, Any] = {"f": operation.backward if backward else operation, "x": x}
    arrays = "dy, x" if backward else "x"
    extra = "".join(f", {value}" for value in _GIVEN.get(base, ()))
    if base == "prelu":
        count = shape[1] if name == "prelu.channels" else 1
        names["alpha"] = np.linspace(0.1, 0.4, count, dtype=np.float32).astype(x.dtype)
        extra = ", alpha"
    if backward:
        names["dy"] = dy
    plain = Side(f"f({arrays}{extra})", **names)
    into = ", out=out, dalpha=dalpha" if base == "prelu" and backward else ", out=out"
    dalpha = {"dalpha": np.empty_like(names["alpha"])} if "dalpha" in into else {}
    ours = {"out": Side(f"f({arrays}{extra}{into})", **names, **dalpha, out=out), "allocating": plain}
    if not backward and not halved(name):
        scratch = _view(workspace.scratch, shape)
        there = {**names, "x": scratch}
        ours["in place"] = Side(f"f(x{extra}, out=x)", "copyto(x, original)", **there, original=x, copyto=np.copyto)

    # The gradient of linear is dy itself: x is not read.
    moved = out.nbytes + x.nbytes + dy.nbytes if backward else out.nbytes + x.nbytes
    if base == "linear" and backward:
        moved -= x.nbytes

    def expected(rows):
        wide = {key: value.astype(np.float64) for key, value in names.items() if key == "alpha"}
        wide["x"] = x[rows].astype(np.float64)
        if backward:
            wide["dy"] = dy[rows].astype(np.float64)
        side = Side(f"f({arrays}{extra})", f=reference.backward if backward else reference, **wide)
        value = side()
        return value[0] if isinstance(value, tuple) else value

    def check() -> None:
        _check(f"{name} {direction} {workspace.dtype}", ours["out"], out, expected, x, dy if backward else None)

    case = Case(name, direction, workspace.dtype, x.size, moved, ours, check)
    if "reference" in peers:
        peer = Side(plain.statement, **{**names, "f": reference.backward if backward else reference})
        case.peers["reference"] = {"allocating": [peer]}
    if "torch" in peers or "compile" in peers:
        from . import torch_peer

        shapes = {"x": shape, "dy": y_shape, "out": out.shape, "scratch": shape}
        tensors = {role: _view(tensor, shapes[role]) for role, tensor in workspace.tensors().items()}
        columns = torch_peer.sides(name, direction, tensors, names.get("alpha"), compile_too="compile" in peers)
        if columns:
            case.peers["torch"] = columns
    if "jax" in peers:
        from . import jax_peer

        columns = jax_peer.sides(base, direction, x, dy)
        if columns:
            case.peers["jax"] = columns
    return case


def _check(label: str, side: Side, out, expected: Callable[[Any], Any], x, dy) -> None:
    """Refuses a result that was not written everywhere, or that differs from float64 on rows drawn afresh.

    The bound is loose (the tests hold the accuracy contract): it asks whether this is the operation at all.
    """
    unsigned = {2: np.uint16, 4: np.uint32, 8: np.uint64}[out.dtype.itemsize]
    poison = np.iinfo(unsigned).max  # a NaN in every float format
    bits = out.view(unsigned)
    bits.fill(poison)
    side()
    if (bits == poison).any():
        raise WrongResult(f"{label}: {int((bits == poison).sum())} of {out.size} elements were not written")
    random = np.random.default_rng()
    count = min(max(_CHECKED * x.shape[0] // x.size, 1), x.shape[0])
    rows = np.sort(np.append(random.choice(x.shape[0], count, replace=False), [0, x.shape[0] - 1]))
    exact, given = expected(rows), out[rows].astype(np.float64)
    scale = 1 + np.abs(x[rows].astype(np.float64)).max()
    if dy is not None:
        scale *= 1 + np.abs(dy[rows].astype(np.float64)).max()
    storage = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}[out.dtype.name]
    arithmetic = min(storage, 2.0**-23)
    bound = 4 * storage * np.abs(exact) + 8 * arithmetic * scale
    with np.errstate(over="ignore", invalid="ignore"):
        # A float16 result may rightly overflow.
        wrong = ~((np.abs(given - exact) <= bound) | (exact.astype(out.dtype) == out[rows]))
    if wrong.any():
        worst = tuple(np.argwhere(wrong)[0])
        raise WrongResult(f"{label}: {given[worst]!r} where the float64 reference gives {exact[worst]!r}")


def cases() -> Iterator[tuple[str, str]]:
    """Every (case, direction)."""
    for name in names():
        for direction in ("forward", "backward"):
            yield name, direction
