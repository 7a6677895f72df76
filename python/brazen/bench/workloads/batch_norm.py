# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm in training, in the three ways its channels can lie, and with a residual and relu, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

import brazen
from brazen import reference

from ..case import Case, Side, WrongResult
from . import Workload


class _Arrays:
    """One shape's arrays; statistics are taken over all axes but `axis`."""

    def __init__(self, shape: tuple[int, ...], axis: int):
        random = np.random.default_rng()
        self.x, self.dy, self.add = (random.standard_normal(shape, dtype=np.float32) for _ in range(3))
        self.out = np.full_like(self.x, np.nan)
        channels = shape[axis]
        self.scale = random.uniform(0.5, 1.5, channels).astype(np.float32)
        self.shift = random.standard_normal(channels, dtype=np.float32)
        self.running = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        self.axis = axis

    def torch(self) -> dict[str, Any]:
        """The same in tensors, the channel second in the shape and where it is in memory."""
        import torch

        named = {"x": self.x, "dy": self.dy, "a": self.add}
        tensors = {name: torch.from_numpy(np.moveaxis(array.copy(), self.axis, 1)) for name, array in named.items()}
        vectors = {"s": self.scale, "b": self.shift, "m": self.running[0], "v": self.running[1]}
        tensors |= {name: torch.from_numpy(array.copy()) for name, array in vectors.items()}
        return {**tensors, "aten": torch.ops.aten, "relu_": torch.relu_}


def _compare(name: str, ours: np.ndarray, truth: np.ndarray) -> None:
    error = np.abs(ours - truth).max(initial=0.0)
    if not error < 1e-3:
        raise WrongResult(f"{name}: off by {error:.3g}")


def _forward(axis: int, fused: bool = False):
    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        own = _Arrays(shape, axis)
        stages: dict[str, Any] = {"add": own.add, "activation": "relu"} if fused else {}
        names: dict[str, Any] = {"x": own.x, "s": own.scale, "b": own.shift, "axis": axis, "stages": stages}
        names |= {"m": own.running[0], "v": own.running[1]}
        call = "f(x, s, b, m, v, axis=axis, **stages)"

        def check():
            brazen.batch_norm(own.x, own.scale, own.shift, axis=axis, out=own.out, **stages)
            wide = {"add": own.add.astype(np.float64), "activation": "relu"} if fused else {}
            truth, _ = reference.batch_norm(
                own.x.astype(np.float64), own.scale.astype(float), own.shift.astype(float), axis=axis, **wide
            )
            _compare("batch_norm", own.out, truth)

        found: dict[str, dict[str, list[Side]]] = {}
        if "torch" in peers:
            statement = "aten.native_batch_norm(x, s, b, m, v, True, 0.1, 1e-5)"
            if fused:
                statement = f"relu_({statement}[0].add_(a))"
            found["torch"] = {"best": [Side(statement, **own.torch())]}
        if "reference" in peers:
            found["reference"] = {"best": [Side(call, f=reference.batch_norm, **names)]}
        ours = {"out": Side(call[:-1] + ", out=out)", f=brazen.batch_norm, out=own.out, **names)}
        moved = (4 if fused else 3) * own.x.nbytes
        return Case("batch_norm", "forward", "float32", own.x.size, moved, ours, check, found)

    return make


def _backward(axis: int):
    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        own = _Arrays(shape, axis)
        _, saved = brazen.batch_norm(own.x, own.scale, own.shift, axis=axis)

        def check():
            brazen.batch_norm.backward(own.dy, saved, dx=own.out)
            wide = own.x.astype(np.float64), own.scale.astype(float), own.shift.astype(float)
            _, exact = reference.batch_norm(*wide, axis=axis)
            _compare("batch_norm.backward", own.out, reference.batch_norm.backward(own.dy.astype(np.float64), exact).x)

        found: dict[str, dict[str, list[Side]]] = {}
        if "torch" in peers:
            names = own.torch()
            _, mean, deviation = names["aten"].native_batch_norm(
                names["x"], names["s"], names["b"], names["m"], names["v"], True, 0.1, 1e-5
            )
            statement = "aten.native_batch_norm_backward(dy, x, s, m, v, mean, deviation, True, 1e-5, wanted)"
            names |= {"mean": mean, "deviation": deviation, "wanted": [True, True, True]}
            found["torch"] = {"best": [Side(statement, **names)]}
        if "reference" in peers:
            _, exact = reference.batch_norm(own.x, own.scale, own.shift, axis=axis)
            found["reference"] = {"best": [Side("f(dy, s)", f=reference.batch_norm.backward, dy=own.dy, s=exact)]}
        ours = {"out": Side("f(dy, s, dx=out)", f=brazen.batch_norm.backward, dy=own.dy, s=saved, out=own.out)}
        return Case("batch_norm", "backward", "float32", own.x.size, 5 * own.x.nbytes, ours, check, found)

    return make


_NCHW, _SMALL = (128, 64, 32, 32), (4, 8, 6, 6)
_LAST, _SMALL_LAST = (128, 32, 32, 64), (4, 6, 6, 8)
_NC, _SMALL_NC = (8192, 1024), (96, 64)
WORKLOADS = (
    Workload("batch_norm, NCHW", "forward", _forward(1), _NCHW, _SMALL,
             {"torch": 4, "reference": 8, "copy_fraction": 0.95}),
    Workload("batch_norm, NCHW", "backward", _backward(1), _NCHW, _SMALL, {"torch": 4, "reference": 8}),
    Workload("batch_norm, channels last", "forward", _forward(-1), _LAST, _SMALL_LAST,
             {"torch": 2, "reference": 8, "copy_fraction": 0.85}),
    Workload("batch_norm, channels last", "backward", _backward(-1), _LAST, _SMALL_LAST, {"torch": 3, "reference": 8}),
    Workload("batch_norm, NC", "forward", _forward(1), _NC, _SMALL_NC,
             {"torch": 1.3, "reference": 8, "copy_fraction": 0.7}),
    Workload("batch_norm, NC", "backward", _backward(1), _NC, _SMALL_NC, {"torch": 3, "reference": 8}),
    Workload("batch_norm + add + relu, NCHW", "forward", _forward(1, fused=True), _NCHW, _SMALL,
             {"torch": 5, "reference": 8}),
)  # fmt: skip
