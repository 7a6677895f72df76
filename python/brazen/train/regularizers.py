# SPDX-License-Identifier: BSD-3-Clause
"""Penalties of weights for a trainer: l1, l2, both. The optimizer adds their gradients in its own pass."""

from __future__ import annotations

import fnmatch
from typing import Any

import numpy

from .._random import namespace
from ..optim import functions


class Regularizer:
    """l1 * sum |w| + l2 / 2 * sum w^2 over the weights of at least two axes; biases and scales are left alone.

    `exclude` names others to leave alone, by pattern such as "head.*". `loss_fn` models are penalised by themselves, with
    the `reg` they are handed.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, *, exclude: tuple[str, ...] = (), biases: bool = False):
        for name, value in (("l1", l1), ("l2", l2)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} is {value!r}; expected a number of at least 0")
        self.l1, self.l2, self.exclude, self.biases = float(l1), float(l2), tuple(exclude), bool(biases)

    def excluded(self) -> list[Any]:
        """What the optimizer's `exclude` calls the weights that are not penalised."""
        return [*self.exclude, *([] if self.biases else [1])]

    def penalized(self, params: dict[str, Any]) -> list[Any]:
        return [
            array
            for name, array in params.items()
            if (self.biases or array.ndim > 1) and not any(fnmatch.fnmatch(name, pattern) for pattern in self.exclude)
        ]

    def penalty(self, params: dict[str, Any]) -> Any:
        """The penalty of these weights; of arrays on a device an array there, which nothing waits for."""
        chosen = self.penalized(params)
        total: Any = 0.0
        if self.l2 and chosen:
            norm = functions.global_norm(chosen)
            norm = norm.reshape(()) if hasattr(norm, "reshape") else norm
            total = total + 0.5 * self.l2 * norm * norm
        if self.l1:
            for array in chosen:
                size = namespace(array).abs(array).sum(dtype="float64")
                total = total + self.l1 * (float(size) if isinstance(array, numpy.ndarray) else size)
        return total

    def config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2, "exclude": list(self.exclude), "biases": self.biases}

    def __repr__(self):
        return f"Regularizer(l1={self.l1}, l2={self.l2})"


def l2(strength: float, *, half: bool = True, exclude: tuple[str, ...] = (), biases: bool = False) -> Regularizer:
    """strength / 2 * sum w^2, whose gradient is strength * w; half=False is without the half."""
    return Regularizer(0.0, strength if half else 2 * strength, exclude=exclude, biases=biases)


def l1(strength: float, *, exclude: tuple[str, ...] = (), biases: bool = False) -> Regularizer:
    """strength * sum |w|; the slope at 0 is 0."""
    return Regularizer(strength, 0.0, exclude=exclude, biases=biases)


def elastic_net(
    l1: float, l2: float, *, half: bool = False, exclude: tuple[str, ...] = (), biases: bool = False
) -> Regularizer:
    """sum (l2 * w^2 + l1 * |w|): as the elastic net is written, without a half."""
    return Regularizer(l1, l2 if half else 2 * l2, exclude=exclude, biases=biases)
