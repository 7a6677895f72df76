# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and a transformer's chain over 32 M elements, against PyTorch and JAX."""

from __future__ import annotations

from typing import Any

import numpy as np

import brazen
from brazen import reference

from ..case import Case, Side, WrongResult
from . import Workload

_RATE = 0.1
_CHECKED = 64


def _draw(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape, dtype=np.float32)


def _compare(name: str, ours: np.ndarray, truth: np.ndarray) -> None:
    """Raises where a result is not the reference's, or was not written."""
    error = np.abs(ours.astype(np.float64) - truth).max(initial=0.0)
    if not error < 1e-4:
        raise WrongResult(f"{name}: off by {error:.3g}")


def _dropout(direction: str):
    def make(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
        x = _draw(*shape)
        out = np.full_like(x, np.nan)
        call = brazen.dropout if direction == "forward" else brazen.dropout.backward
        names = {"f": call, "x": x, "out": out, "rate": _RATE}

        def check():
            call(x, _RATE, seed=7, step=3, out=out)
            truth = reference.dropout(x[:_CHECKED].astype(np.float64), _RATE, seed=7, step=3)
            _compare("dropout", out[:_CHECKED], truth)

        found: dict[str, dict[str, list[Side]]] = {}
        if "torch" in peers:
            import torch

            t = torch.from_numpy(x.copy())
            sides = [
                Side("f(t, rate, True)", f=torch.nn.functional.dropout, t=t, rate=_RATE),
                Side("f(t, rate, True)", f=torch.dropout, t=t, rate=_RATE),
            ]
            if direction == "backward":
                mask = torch.rand_like(t) > _RATE
                sides = [Side("f(t, mask, scale)", f=torch.ops.aten.native_dropout_backward, t=t, mask=mask,
                              scale=1 / (1 - _RATE))]  # fmt: skip
            found["torch"] = {"best": sides}
        if "jax" in peers:
            from .. import jax_peer

            found["jax"] = {"best": jax_peer.dropout(x, _RATE, direction)}
        if "reference" in peers:
            own = reference.dropout if direction == "forward" else reference.dropout.backward
            found["reference"] = {"best": [Side("f(x, rate, seed=7, step=3)", f=own, x=x, rate=_RATE)]}
        ours = {"out": Side("f(x, rate, seed=7, step=3, out=out)", **names)}
        return Case("dropout", direction, "float32", x.size, 2 * x.nbytes, ours, check, found)

    return make


def _transformer(peers: tuple[str, ...], shape: tuple[int, ...]) -> Case:
    x, residual, bias = _draw(*shape), _draw(*shape), _draw(shape[-1])
    out = np.full_like(x, np.nan)
    stages: dict[str, Any] = {"bias": bias, "activation": "gelu", "dropout": _RATE, "seed": 7}

    def check():
        brazen.fused(x, **stages, add_after=residual, out=out)
        truth = reference.fused(
            x[:_CHECKED].astype(np.float64),
            **{**stages, "bias": bias.astype(np.float64)},
            add_after=residual[:_CHECKED].astype(np.float64),
        )
        _compare("bias + gelu + dropout + residual", out[:_CHECKED], truth)

    found: dict[str, dict[str, list[Side]]] = {}
    if "torch" in peers:
        import torch

        names: dict[str, Any] = {
            "x": torch.from_numpy(x.copy()),
            "r": torch.from_numpy(residual.copy()),
            "b": torch.from_numpy(bias),
            "nn": torch.nn.functional,
            "out": torch.empty(x.shape),
            "add": torch.add,
        }
        found["torch"] = {
            "best": [
                Side("nn.dropout(nn.gelu(x + b), 0.1, True) + r", **names),
                Side("add(x, b, out=out); nn.dropout(nn.gelu(out), 0.1, True, True).add_(r)", **names),
            ]
        }
    if "reference" in peers:
        found["reference"] = {"best": [Side("f(x, **s, add_after=r)", f=reference.fused, x=x, s=stages, r=residual)]}
    ours = {"out": Side("f(x, bias=b, activation='gelu', dropout=0.1, seed=7, add_after=r, out=out)", f=brazen.fused,
                        x=x, b=bias, r=residual, out=out)}  # fmt: skip
    return Case("bias + gelu + dropout + residual", "forward", "float32", x.size, 3 * x.nbytes, ours, check, found)


_LARGE, _SMALL = (32 << 10, 1024), (96, 64)
WORKLOADS = (
    Workload("dropout, 32 M", "forward", _dropout("forward"), _LARGE, _SMALL,
             {"torch": 25, "jax": 10, "reference": 8}, {"of_copy": 1.8}),
    Workload("dropout, 32 M", "backward", _dropout("backward"), _LARGE, _SMALL, {"reference": 8}, {"of_copy": 1.8}),
    Workload("bias + gelu + dropout + residual, 32 M", "forward", _transformer, _LARGE, _SMALL,
             {"torch": 10, "reference": 8}),
)  # fmt: skip
