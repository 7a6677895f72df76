# SPDX-License-Identifier: BSD-3-Clause
"""What is minimised: losses by name, weighed sums of them, weights of samples and classes. No network, no loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import brazen

from .._random import namespace
from ..nn.memory import Workspace

# Losses whose targets are classes, or probabilities.
OF_CLASSES = ("softmax_cross_entropy", "multiclass_hinge", "kl_divergence")
_ALIASES = {
    "categorical_crossentropy": "softmax_cross_entropy",
    "sparse_categorical_crossentropy": "softmax_cross_entropy",
    "cross_entropy": "softmax_cross_entropy",
    "binary_crossentropy": "sigmoid_cross_entropy",
    "mean_squared_error": "mse",
    "mean_absolute_error": "mae",
}


class Objective:
    """The sum of one loss or more of the same prediction.

    loss: the name of a loss of `brazen.losses()`, such a function, perhaps with arguments bound by functools.partial, or a
    mapping of them to factors. A function of your own is `f(prediction, target) -> (loss, gradient)`, both of the mean.
    """

    def __init__(self, loss, xp):
        given = loss if isinstance(loss, Mapping) else {loss: 1.0}
        if not given:
            raise ValueError("loss is empty; expected a name, a function, or a mapping of them to factors")
        self.terms = [_Term(one, float(factor)) for one, factor in given.items()]
        self.workspace = Workspace(xp)

    @property
    def of_classes(self) -> bool:
        return any(term.name in OF_CLASSES for term in self.terms)

    def __call__(self, y, target, weights, scale: float = 1.0):
        """(loss, gradient of scale * loss, {term: loss}): means over the samples, with weights sum(w * loss) / samples."""
        loss: Any = None
        total: Any = None
        each: dict[str, Any] = {}
        for number, term in enumerate(self.terms):
            out = self.workspace.get(str(number), y.shape, y.dtype)
            value, gradient = term(y, target, weights, scale * term.factor, out)
            if len(self.terms) == 1:
                if term.factor != 1.0:
                    value = value * term.factor
                return value, gradient, each
            each[term.label] = value
            value = value * term.factor
            loss = value if loss is None else loss + value
            if total is None:
                total = gradient
            else:
                total += gradient
        return loss, total, each

    def config(self) -> dict[str, float]:
        return {term.name: term.factor for term in self.terms}


class _Term:
    def __init__(self, loss, factor: float):
        self.factor, self.own = factor, False
        if isinstance(loss, str):
            name = _ALIASES.get(loss, loss)
            if name not in brazen.losses():
                raise ValueError(f"loss is {loss!r}; expected one of {', '.join(brazen.losses())}, or a function")
            self.function: Callable = getattr(brazen, name)
            self.name = name
        elif callable(loss):
            inner = getattr(loss, "func", loss)
            self.function, self.name = loss, getattr(inner, "__name__", type(loss).__name__)
            self.own = getattr(brazen, self.name, None) is not inner
            if self.own and not {"grad_scale", "out", "reduction"} <= set(_arguments(loss)):
                self.function = _Plain(loss)
        else:
            raise TypeError(f"loss is {loss!r}; expected a name, a function, or a mapping of them to factors")
        self.label = f"{self.name}_loss"
        # Some losses sum unless told otherwise: what is asked for stays, where samples are weighed it is the mean.
        self.sums = _arguments(self.function).get("reduction") == "sum"

    def __call__(self, y, target, weights, scale, out):
        if weights is None:
            return self.function(y, target, grad_scale=scale, out=out)
        # One loss an item, so that the same code serves losses of rows and of elements.
        items, gradient = self.function(y, target, reduction="none", grad_scale=1.0, out=out)
        factor = scale / (1 if self.sums else items.size)
        xp = namespace(weights)
        spread = weights.astype(gradient.dtype if gradient.dtype.itemsize > 2 else "float32")
        gradient *= (spread * factor).astype(gradient.dtype).reshape((-1,) + (1,) * (gradient.ndim - 1))
        weighed = items.reshape(len(items), -1) * spread[:, None]
        return (weighed.sum() if self.sums else weighed.sum() / items.size) * xp.ones((), items.dtype), gradient


def _arguments(function) -> dict[str, Any]:
    try:
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):
        return {}


class _Plain:
    """A user's f(prediction, target) -> (loss, gradient), with the arguments of brazen's."""

    def __init__(self, function):
        self.function = function

    def __call__(self, y, target, *, reduction="mean", grad_scale=1.0, out=None):
        if reduction == "none":
            raise ValueError(
                "weights of samples and classes need a loss that takes reduction=, grad_scale= and out= as brazen's do"
            )
        loss, gradient = self.function(y, target)
        if tuple(gradient.shape) != tuple(y.shape):
            raise ValueError(f"loss gave a gradient of shape {tuple(gradient.shape)}; expected that of y, {y.shape}")
        out[...] = gradient
        if grad_scale != 1.0:
            out *= grad_scale
        return loss, out
