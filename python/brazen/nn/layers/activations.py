# SPDX-License-Identifier: BSD-3-Clause
"""Activations as layers: all of `brazen.activations()`, with a learned slope, and of two halves of an axis."""

from __future__ import annotations

import math

from ... import _core
from ...ops.activations import Gated, Maxout, Prelu, registered
from ...ops.fused import activation_of
from ..layer import Layer
from ..stages import Stage

_LAYERS: dict[type, str] = {Prelu: "PReLU()", Gated: "GLU(kind)", Maxout: "Maxout(pieces=2)"}


class Activation(Layer):
    """y = f(x): a name, or an activation with parameters such as `bz.leaky_relu.with_(alpha=0.2)`."""

    def __init__(self, function):
        found = registered(function) if isinstance(function, str) else function
        for kind, instead in _LAYERS.items():
            if isinstance(found, kind):
                raise TypeError(
                    f"Activation: {getattr(found, '__name__', found)} is a layer of its own; write bz.nn.{instead}"
                )
        if function is None:
            raise TypeError("Activation: function is None; expected a name of brazen.activations() or an activation")
        self.function = activation_of(function, "Activation")

    def flops(self):
        return math.prod(self.input_shape)

    def stages(self):
        return [Stage("activation", self, self.function.__name__)]


class PReLU(Layer):
    """x where x > 0, alpha x elsewhere; alpha is learned, one for each index of `axis`, or a single one with `axis=None`."""

    def __init__(self, init=0.25, axis: int | None = None):
        self.init, self.axis = init, axis

    def setup(self, shape):
        if self.axis is not None and not (-len(shape) <= self.axis <= len(shape) and self.axis != 0):
            raise ValueError(f"axis is {self.axis}; expected one of the axes after the batch's")
        extent = 1 if self.axis is None else (0, *shape)[self.axis]
        self.add_parameter("alpha", (extent,), self.init)
        return shape

    def flops(self):
        return math.prod(self.input_shape)

    def forward(self, x, run):
        alpha = self.params["alpha"]
        y = _core.prelu_forward(x, alpha, self.axis, self.empty("result", x.shape, x.dtype, run))

        def backward(dy):
            dx = self.empty("gradient", x.shape, x.dtype, run)
            dalpha = self.grads["alpha"] if self.learns else self.empty("frozen", alpha.shape, alpha.dtype, run)
            return _core.prelu_backward(dy, x, alpha, self.axis, dx, dalpha)[0]

        return y, backward


class GLU(Layer):
    """value * f(gate) of the two halves of an axis; kind is "glu", "reglu", "geglu" or "swiglu"."""

    def __init__(self, kind: str = "glu", axis: int = -1):
        self.kind, self.axis = kind, axis
        if not isinstance(registered(kind), Gated):
            raise ValueError(f"kind is {kind!r}; expected glu, reglu, geglu or swiglu")

    def setup(self, shape):
        full = [0, *shape]
        if not (-len(shape) <= self.axis <= len(shape)) or self.axis == 0 or full[self.axis] % 2:
            raise ValueError(f"axis {self.axis} has no two halves")
        full[self.axis] //= 2
        return tuple(full[1:])

    def flops(self):
        return math.prod(self.input_shape)

    def forward(self, x, run):
        y = self.empty("result", (x.shape[0], *self.output_shape), x.dtype, run)
        _core.gate_forward(self.kind, x, self.axis, y)

        def backward(dy):
            return _core.gate_backward(self.kind, dy, x, self.axis, self.empty("gradient", x.shape, x.dtype, run))

        return y, backward
