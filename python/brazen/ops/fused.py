# SPDX-License-Identifier: BSD-3-Clause
"""The chain: scale and bias, add, activation, dropout, add, in one pass over memory. Its stages are compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import _core
from .._given import require_apart
from .._noise import DROPOUT, bounded, chain_rate, drop_threshold, seeded, site_of
from .activations import Activation, Gated, Maxout, Prelu, activations, registered

__all__ = ["fused"]


def activation_of(value, operation: str):
    """The activation a name or an activation means, None for none."""
    if value is None:
        return None
    found = registered(value) if isinstance(value, str) else value
    if isinstance(found, Activation):
        return found
    if isinstance(found, (Gated, Prelu, Maxout)):
        raise TypeError(f"{operation}: {found.__name__} takes more than one array; it cannot stand in a chain")
    if isinstance(value, str):
        from difflib import get_close_matches

        near = get_close_matches(value, activations(), 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{operation}: activation is {value!r}; {hint}brazen.activations() lists the names")
    raise TypeError(
        f"{operation}: activation is {type(value).__name__}; expected a name, or an activation such as "
        "bz.leaky_relu.with_(alpha=0.2)"
    )


def dropout_noise(operation, threshold, seed, step, site, offset, scale=None, kept_shift=0.0, dropped=0.0):
    """What the compiled chain draws for dropout; None where everything is kept as it is."""
    if threshold == 65536 and scale is None:
        return None
    scale = 65536 / threshold if scale is None else scale
    return ("dropout", threshold, scale, kept_shift, dropped, *_place(operation, seed, step, site, offset))


def normal_noise(operation, kind, deviation, seed, step, site, offset):
    """What the compiled chain draws for normal noise; `kind` is "multiply" or "add"."""
    return (kind, 0, deviation, 0.0, 0.0, *_place(operation, seed, step, site, offset))


def _place(operation, seed, step, site, offset):
    seed = bounded("seed", seeded(seed, f"{operation}(…, seed=0, step=step)"), 64)
    return seed, bounded("step", step, 32), site_of(site, DROPOUT), bounded("offset", offset, 62)


class FusedGradients(NamedTuple):
    """The gradients of the arrays given, None for the others."""

    x: Any
    bias: Any
    scale: Any
    add: Any
    add_after: Any


class Fused:
    """y = dropout(activation(x * scale + bias + add)) + add_after, each stage left out that is not asked for.

    `scale` and `bias` have one value for each index of `axis` (float32 where x is 16 bits); `add` and `add_after` have x's
    shape. `activation` is a name or an activation with parameters. In float32 and float64 the result has the bits of the
    same stages called one by one; 16-bit arrays run through the chain in float32 and are rounded once.

    >>> import numpy as np
    >>> x = np.array([[-1.0, 2.0]], "float32")
    >>> fused(x, bias=np.array([0.5, 0.5], "float32"), activation="relu")
    array([[0. , 2.5]], dtype=float32)
    """

    __name__ = "fused"

    def __call__(self, x, *, bias=None, scale=None, add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, add_after=None, axis=-1, out=None):  # fmt: skip
        noise = dropout_noise("fused", drop_threshold(chain_rate("fused", dropout)), seed, step, site, offset)
        return _core.fused_forward(
            x, scale, bias, add, activation_of(activation, "fused"), noise, None, add_after, axis, out
        )

    def backward(self, dy, x, *, bias=None, scale=None, add=None, activation=None, dropout=0.0, seed=None, step=0, site=0,
                 offset=0, add_after=None, axis=-1, dx=None, dbias=None, dscale=None, dadd=None):  # fmt: skip
        """The gradients of x, bias, scale, add and add_after; all but dy as in the forward pass.

        Nothing is copied: without `scale`, the gradient of `add` is the array that is x's, and `add_after`'s is dy. `dx`,
        `dbias`, `dscale` and `dadd` are arrays to write into; dx may be dy or x itself.

        >>> import numpy as np
        >>> x, dbias = np.ones((2, 3), "float32"), np.empty(3, "float32")
        >>> fused.backward(x, x, bias=np.zeros(3, "float32"), activation="relu", dbias=dbias).bias is dbias
        True
        """
        noise = dropout_noise("fused", drop_threshold(chain_rate("fused", dropout)), seed, step, site, offset)
        if not (dx is dbias is dscale is dadd is None):
            given = {"dbias": (dbias, bias), "dscale": (dscale, scale), "dadd": (dadd, add)}
            self._require_slots(given, scale, {"dx": dx, "dadd": dadd}, {"dy": dy, "x": x, "add": add}, add_after)
        stages = (scale, bias, add, activation_of(activation, "fused"), noise, None, axis)
        dadd, dx, dbias, dscale = _core.fused_backward(
            dy, x, *stages, add is not None, dx, dadd, wants_sums=True, dbias=dbias, dscale=dscale
        )
        dx = dadd if dx is None else dx
        return FusedGradients(
            x=dx,
            bias=dbias,
            scale=dscale,
            add=None if add is None else dadd,
            add_after=None if add_after is None else dy,
        )

    def _require_slots(self, given, scale, written, read, add_after) -> None:
        """What is to be written belongs to an array of the call, and lies apart from what is read after it."""
        for slot, (array, owner) in given.items():
            if array is not None and owner is None:
                raise ValueError(f"fused: {slot} is given, but {slot[1:]} is not")
        if written["dadd"] is not None and scale is None:
            raise ValueError(
                "fused: dadd is given without scale, where the gradient of add is that of x; pass dx alone"
            )
        vectors = {slot: array for slot, (array, _) in given.items() if slot != "dadd"}
        coefficients = {"scale": scale, "bias": given["dbias"][1]}
        # The gradient of add_after is dy as it lies there.
        require_apart("fused", written, coefficients, {} if add_after is None else {"dy": read["dy"]})
        require_apart("fused", vectors, coefficients, written, read)

    def __repr__(self) -> str:
        return "brazen.fused"


fused = Fused()
