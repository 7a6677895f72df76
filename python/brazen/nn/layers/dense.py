# SPDX-License-Identifier: BSD-3-Clause
"""Layers that are a matrix product and a bias: Dense, DropConnect, Maxout."""

from __future__ import annotations

import math
import operator

from ... import _core
from ..._matmul import matmul
from ..._noise import DROPOUT, drop_threshold, site_of
from ...ops.fused import activation_of, dropout_noise
from ..layer import Layer
from ..stages import Stage


def positive(name: str, value) -> int:
    """`value` as an integer above 0, or an error that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected a whole number of at least 1") from None
    if number < 1:
        raise ValueError(f"{name} is {value}; expected at least 1")
    return number


class Dense(Layer):
    """y = activation(x @ weight + bias) over the last axis; the weight has shape (inputs, units).

    The weights start as He's, for relu; `weight` and `bias_init` take a name or an initialiser of `brazen.init`.

    >>> import brazen as bz
    >>> net = bz.nn.Sequential([bz.nn.Dense(3)]).build(input_shape=(2,), seed=0)
    >>> {name: array.shape for name, array in net.params.items()}
    {'dense.weight': (2, 3), 'dense.bias': (3,)}
    """

    bias_axis = -1
    kept = 1.0  # what a dropout before it leaves to the weights in prediction

    def __init__(self, units: int, activation=None, bias: bool = True, weight="kaiming_normal", bias_init="zeros"):
        self.units, self.bias = positive("units", units), bool(bias)
        self.weight_init, self.bias_init = weight, bias_init
        self.function = activation_of(activation, "Dense")

    def take_over(self, factor):
        self.kept = factor

    def setup(self, shape):
        if not shape:
            raise ValueError("a sample has no axis to multiply; expected at least one")
        self.inputs = shape[-1]
        self.add_parameter("weight", (self.inputs, self.units), self.weight_init)
        if self.bias:
            self.add_parameter("bias", (self.units,), self.bias_init)
        return (*shape[:-1], self.units)

    def flops(self):
        return 2 * math.prod(self.input_shape) * self.units + (math.prod(self.output_shape) if self.bias else 0)

    def stages(self):
        made = [Stage("product", self, self.path, self.product)]
        if self.bias:
            made.append(Stage("bias", self, f"{self.path}.bias"))
        if self.function is not None:
            made.append(Stage("activation", self, f"{self.path}.{self.function.__name__}"))
        return made

    def product(self, x, run):
        """The matrix product alone."""
        rows = x if x.ndim == 2 else x.reshape(-1, self.inputs)
        weight = self.used_weight(run)
        z = self.empty("product", (*x.shape[:-1], self.units), x.dtype, run)
        matmul(rows, weight, z if z.ndim == 2 else z.reshape(-1, self.units))

        def backward(dy):
            flat = dy if dy.ndim == 2 else dy.reshape(-1, self.units)
            if self.learns:
                matmul(rows.T, flat, self.grads["weight"])
                self.finish_gradient(self.grads["weight"], run)
            if not run.wants_dx:
                return None
            dx = self.empty("product gradient", x.shape, x.dtype, run)
            matmul(flat, weight.T, dx if dx.ndim == 2 else dx.reshape(-1, self.inputs))
            return dx

        return z, backward

    def used_weight(self, run):
        """What multiplies."""
        weight = self.params["weight"]
        if run.training or self.kept == 1.0:
            return weight
        scaled = self.empty("scaled weight", weight.shape, weight.dtype, run)
        factor = dropout_noise(type(self).__name__, 65536, 0, 0, 0, 0, scale=self.kept)
        return _core.fused_forward(weight, None, None, None, None, factor, None, None, -1, scaled)

    def finish_gradient(self, gradient, run):
        """From the gradient of what multiplied to that of the weight, in place."""
        if not run.training and self.kept != 1.0:
            gradient *= self.kept


class DropConnect(Dense):
    """Dense whose weights are dropped instead of its inputs (Wan et al., 2013): one mask for the whole batch.

    A weight is zero with probability `rate`, and the others are divided by 1 - rate; prediction uses all of them.
    """

    def __init__(self, units: int, rate=None, activation=None, bias: bool = True, weight="kaiming_normal",
                 bias_init="zeros", keep=None):  # fmt: skip
        Dense.__init__(self, units, activation, bias, weight, bias_init)
        self.threshold = drop_threshold(rate, keep)

    def _noise(self, run):
        # The weights are the same for all samples: no offset.
        if not run.training or self.threshold == 65536:
            return None
        return dropout_noise("DropConnect", self.threshold, run.seed, run.step, self.site, 0)

    def used_weight(self, run):
        weight, noise = self.params["weight"], self._noise(run)
        if noise is None:
            return Dense.used_weight(self, run)
        masked = self.empty("masked weight", weight.shape, weight.dtype, run)
        return _core.fused_forward(weight, None, None, None, None, noise, None, None, -1, masked)

    def finish_gradient(self, gradient, run):
        noise = self._noise(run)
        if noise is None:
            Dense.finish_gradient(self, gradient, run)
        else:
            _core.fused_backward(gradient, None, None, None, None, None, noise, None, -1, False, gradient, None)


class Maxout(Dense):
    """The largest of `pieces` affine functions for each unit (Goodfellow et al., 2013): neighbouring columns of the weight.

    `units=None` takes the largest of neighbours of its input, without weights.
    """

    def __init__(self, units: int | None = None, pieces: int = 2, bias: bool = True, weight="kaiming_normal",
                 bias_init="zeros"):  # fmt: skip
        self.pieces, self.features = positive("pieces", pieces), units
        Dense.__init__(self, pieces if units is None else units * pieces, None, bias, weight, bias_init)

    def take_over(self, factor):
        (Layer if self.features is None else Dense).take_over(self, factor)

    def setup(self, shape):
        if self.features is not None:
            return (*Dense.setup(self, shape)[:-1], self.features)
        if not shape or shape[-1] % self.pieces:
            raise ValueError(f"the last axis does not divide into groups of {self.pieces}")
        return (*shape[:-1], shape[-1] // self.pieces)

    def flops(self):
        return 2 * math.prod(self.input_shape) * self.units if self.features else 0

    def stages(self):
        made = Dense.stages(self) if self.features is not None else []
        return [*made, Stage("layer", self, f"{self.path}.max", self.largest)]

    def largest(self, x, run):
        """The largest of each group."""
        shape = (*x.shape[:-1], x.shape[-1] // self.pieces)
        y = _core.maxout_forward(x, self.pieces, -1, self.empty("largest", shape, x.dtype, run))

        def backward(dy):
            return _core.maxout_backward(dy, x, self.pieces, -1, self.empty("largest gradient", x.shape, x.dtype, run))

        return y, backward


def site_in_dropout(layer) -> int:
    """The generator's site of what a layer draws."""
    return site_of(layer.site, DROPOUT)
