# SPDX-License-Identifier: BSD-3-Clause
"""What a layer is made of, as the planner sees it, and how runs of such stages are executed in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import _core

# Where a stage may stand in a chain; an addition stands before the activation or at the end.
_ORDER = {"bias": 0, "norm": 0, "add": 1, "activation": 2, "noise": 3}
_LAST = 4


@dataclass(eq=False)
class Stage:
    """kind: product, bias, norm, add, activation, noise, save, fork, tap, or layer for what is indivisible."""

    kind: str
    layer: Any
    label: str
    run: Callable | None = None  # of what does not belong to a chain: run(x, run) → (y, backward)


class Draft:
    """A run of stages that one pass may serve, while it is gathered."""

    def __init__(self, stage):
        self.stages = [stage]
        self.slots = {self._slot(stage, -1): stage}
        self.last = next(iter(self.slots))

    def _slot(self, stage, last):
        order = _ORDER[stage.kind]
        return _LAST if stage.kind == "add" and last >= order else order

    def take(self, stage) -> bool:
        """Appends the stage if it may follow; False if not."""
        slot = self._slot(stage, self.last)
        normed = self.stages[0].kind == "norm"
        if slot <= self.last or stage.kind == "norm" or (normed and slot == _LAST):
            return False
        if normed and stage.kind == "noise" and not stage.layer.per_element:
            return False
        self.stages.append(stage)
        self.slots[slot] = stage
        self.last = slot
        return True

    def step(self, previous):
        """The executable step; `previous` is the one that makes its input."""
        return (NormStep if self.stages[0].kind == "norm" else ChainStep)(self, previous)


class ChainStep:
    """bias → add → activation → noise → add, each where there is one, as one call of the chain."""

    def __init__(self, draft, previous):
        self.stages = draft.stages
        slots = draft.slots
        self.bias = slots[0].layer if 0 in slots else None
        self.axis = self.bias.bias_axis if self.bias else -1
        self.adds = 1 in slots
        self.kernel = slots[2].layer.function if 2 in slots else None
        self.noise = slots[3].layer if 3 in slots else None
        self.adds_after = _LAST in slots
        self.layer = self.stages[-1].layer
        # A product's result is nobody else's; without an activation the backward pass does not look at it again.
        self.in_place = isinstance(previous, CallStep) and previous.stages[0].kind == "product" and self.kernel is None
        self.overwrites_gradient = False  # set by the program, which knows who made it

    @property
    def learns(self) -> bool:
        return self.bias is not None and self.bias.learns

    def __call__(self, z, run, stack):
        add = stack.pop() if self.adds else None
        after = stack.pop() if self.adds_after else None
        bias = self.bias.params["bias"] if self.bias is not None else None
        noise = noise_shape = None
        if self.noise is not None:
            noise, noise_shape = self.noise.draw(run, z.shape)
        kernel, axis = self.kernel, self.axis
        if bias is None and add is None and after is None and kernel is None and noise is None:
            y = z
        else:
            y = z if self.in_place else self.layer.empty("chain", z.shape, z.dtype, run)
            _core.fused_forward(z, None, bias, add, kernel, noise, noise_shape, after, axis, y)
        if not run.keep:
            return y, None
        if noise is not None and noise[0] == "add":
            noise = None  # what is added to the result changes no gradient

        def backward(dy, stack):
            dbias = self.bias.grads["bias"] if self.bias is not None and self.bias.learns else None
            if kernel is None and noise is None:
                dz = dy
                if dbias is not None:
                    _core.channel_sums(dz, None, axis, True, dbias)
            else:
                # What was added at the end gets dy as it is.
                own = self.overwrites_gradient and after is None
                dz = dy if own else self.layer.empty("chain gradient", dy.shape, dy.dtype, run)
                _core.fused_backward(
                    dy, z, None, bias, add, kernel, noise, noise_shape, axis, False, dz, None, dbias is not None, dbias
                )
            if after is not None:
                stack.append(dy)
            if add is not None:
                stack.append(dz)
            return dz

        return y, backward


class NormStep:
    """Batch norm → add → activation → dropout in its two passes."""

    def __init__(self, draft, previous):
        self.stages = draft.stages
        slots = draft.slots
        self.norm = slots[0].layer
        self.adds = 1 in slots
        self.kernel = slots[2].layer.function if 2 in slots else None
        self.noise = slots[3].layer if 3 in slots else None
        self.layer = self.stages[-1].layer
        self.overwrites_gradient = False

    @property
    def learns(self) -> bool:
        return self.norm.learns and bool(self.norm.params)

    def __call__(self, x, run, stack):
        add = stack.pop() if self.adds else None
        noise = self.noise.draw(run, x.shape)[0] if self.noise is not None else None
        norm, kernel = self.norm, self.kernel
        params, buffers = norm.params, norm.buffers
        scale, shift = params.get("scale"), params.get("shift")
        mean, variance = buffers.get("running_mean"), buffers.get("running_var")
        training = (run.training and norm.learns) or mean is None
        axis, eps = norm.axis, norm.eps
        y = self.layer.empty("norm", x.shape, x.dtype, run)
        channels, wide = x.shape[axis], "float64" if x.dtype.itemsize == 8 else "float32"
        moments = norm.empty("moments", (3, channels), "float64", run)
        coefficients = norm.empty("coefficients", (3, channels), wide, run)
        _core.batch_norm_forward(
            x, None if training else False, scale, shift, mean, variance, axis, norm.momentum, norm.unbiased, eps, add,
            kernel, noise, y, moments, coefficients,
        )  # fmt: skip
        if not run.keep:
            return y, None
        if noise is not None and noise[0] == "add":
            noise = None

        def backward(dy, stack):
            # The gradient of what was added is dy itself where nothing follows the addition.
            own = self.overwrites_gradient and add is None
            dx = dy if own else self.layer.empty("norm gradient", dy.shape, dy.dtype, run)
            dadd = self.layer.empty("sum gradient", dy.shape, dy.dtype, run) if add is not None else None
            learns = norm.learns
            grads = norm.grads
            _core.batch_norm_backward(
                dy, x, add, scale, learns and shift is not None, moments, coefficients, axis, training, eps, kernel,
                noise, None, True, dx, grads["scale"] if learns and scale is not None else None,
                grads["shift"] if learns and shift is not None else None, dadd,
                norm.empty("sums", (2, channels), "float64", run), norm.empty("corrections", (2, channels), wide, run),
            )  # fmt: skip
            if add is not None:
                stack.append(dadd)
            return dx

        return y, backward


class CallStep:
    """A stage that serves itself: a matrix product, or an indivisible layer."""

    overwrites_gradient = False

    def __init__(self, stage):
        self.stages = [stage]
        self.run = stage.run
        self.layer = stage.layer

    @property
    def learns(self) -> bool:
        return any(layer.learns and layer.specs for layer in self_and_inner(self.layer))

    def __call__(self, x, run, stack):
        y, back = self.run(x, run)
        if not run.keep:
            return y, None
        return y, lambda dy, stack: back(dy)


class SaveStep:
    """Keeps its input for a later addition; backward adds the gradient that came from there."""

    overwrites_gradient = False

    def __init__(self, stage):
        self.stages = [stage]
        self.layer = stage.layer

    @property
    def learns(self) -> bool:
        return False

    def __call__(self, x, run, stack):
        stack.append(x)

        def backward(dy, stack):
            skip = stack.pop()
            if not run.wants_dx:
                return None
            return add_arrays(dy, skip, self.layer.empty("split gradient", dy.shape, dy.dtype, run))

        return x, backward


class ForkStep(SaveStep):
    """The same, with layers of its own on the way to the addition."""

    def __init__(self, stage):
        super().__init__(stage)
        self.program = stage.run

    @property
    def learns(self) -> bool:
        return self.program.learns

    def __call__(self, x, run, stack):
        shortcut, back = self.program(x, run)
        stack.append(shortcut)

        def backward(dy, stack):
            skip = back(stack.pop())
            if not run.wants_dx:
                return None
            return add_arrays(dy, skip, self.layer.empty("split gradient", dy.shape, dy.dtype, run))

        return x, backward


class TapStep:
    """Shows what passes to the functions that observe a layer."""

    overwrites_gradient = False
    learns = False

    def __init__(self, stage):
        self.stages = [stage]
        self.layer = stage.layer

    def __call__(self, x, run, stack):
        observers = list(self.layer.observers)
        for function in observers:
            function(self.layer, "output", x)

        def backward(dy, stack):
            for function in observers:
                function(self.layer, "gradient", dy)
            return dy

        return x, backward


def add_arrays(a, b, out):
    """out = a + b, which may be a or b."""
    return _core.fused_forward(a, None, None, b, None, None, None, None, -1, out)


def self_and_inner(layer):
    """The layer and all layers inside it."""
    yield layer
    for child in layer.children():
        yield from self_and_inner(child)
