# SPDX-License-Identifier: BSD-3-Clause
"""Sequential: layers one after the other, and, once built, a network with an arena, a forward pass and a backward pass."""

from __future__ import annotations

import contextlib
import operator
import re
from typing import Any

import numpy

from .._random import namespace
from ..optim.parameters import dtype_of
from .containers import place_all, stages_of
from .initial import fill_parameter
from .layer import Layer, sequence
from .memory import Arena, Workspace, aligned_zeros
from .program import Plan, Program
from .run import Run
from .stages import self_and_inner
from .state import load_state, state
from .summary import Summary


class Sequential(Layer):
    """Layers one after the other. `build` makes it a network; inside another one it is a layer.

    Neighbours that one pass over memory can serve run as one; `plan()` tells which. In training y, and what backward
    returns, are valid until this network's next forward pass in training.

    >>> import numpy as np, brazen as bz
    >>> net = bz.nn.Sequential([bz.nn.Dense(4), bz.nn.Activation("relu"), bz.nn.Dense(2)]).build(input_shape=(3,), seed=0)
    >>> y, backward = net(np.ones((8, 3), "float32"), training=True, step=0)
    >>> dx = backward(np.ones_like(y))
    >>> y.shape, dx.shape, net.grads["dense.weight"].shape
    ((8, 2), (8, 3), (3, 4))
    """

    def __init__(self, layers):
        self.layers = sequence(layers)
        self.fuse = True
        self._generation = 0
        self._kept: Any = None

    def children(self):
        return self.layers

    def setup(self, shape):
        return place_all(self.layers, shape)

    def stages(self):
        return stages_of(self.layers)

    # Making a network of it.

    def build(self, input_shape, *, seed: int = 0, dtype="float32", xp=numpy, fuse: bool = True) -> Sequential:
        """Names and numbers the layers, makes and fills the arena; returns the network.

        input_shape: of one sample. seed: of the weights, and of what training draws. dtype: of what passes through; the
        weights of a 16-bit network are float32. xp: numpy or cupy. fuse=False runs every layer for itself.
        """
        shape = (operator.index(input_shape),) if hasattr(input_shape, "__index__") else tuple(input_shape)
        self.seed, self.fuse, self.xp = seed, bool(fuse), xp
        dtype = dtype_of(dtype)
        if dtype.name not in ("float16", "bfloat16", "float32", "float64"):
            raise ValueError(f"dtype is {dtype.name}; expected float16, bfloat16, float32 or float64")
        wide = dtype_of("float32") if dtype.itemsize == 2 else dtype
        name_layers(self)
        everyone = list(self_and_inner(self))
        for site, layer in enumerate(everyone):
            layer.site, layer.dtype, layer.root, layer.workspace = site, dtype, self, Workspace(xp)
            layer.params, layer.grads, layer.buffers = {}, {}, {}
        self.place(shape)
        owners = [(layer, name) for layer in everyone for name in layer.specs]
        self._owners = {full_name(layer, name): (layer, name) for layer, name in owners}
        self.layout = Arena({full: layer.specs[name][0] for full, (layer, name) in self._owners.items()}, wide)
        self.arena, self.gradients = self.layout.new(xp), self.layout.new(xp)
        self.weights: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.grads: dict[str, Any] = {}
        self._bind(self.layout.views(self.arena))
        self._gradient_views = self.layout.views(self.gradients)
        for full, (layer, name) in self._owners.items():
            layer.grads[name] = self._gradient_views[full]
            fill_parameter(layer, name, layer.specs[name], seed)
        for layer in everyone:
            for name, (extents, value) in layer.buffer_specs.items():
                layer.buffers[name] = aligned_zeros(xp, int(numpy.prod(extents)), wide).reshape(extents)
                layer.buffers[name][...] = value
        first = next((layer for layer in everyone if not list(layer.children())), None)
        self.integer_input = first is not None and first.integer_input
        self._plan_anew()
        return self

    def _require_built(self) -> None:
        if self.root is None:
            raise RuntimeError("this network has no weights yet; call build(input_shape=…, seed=…)")

    def _bind(self, views) -> None:
        """Runs on these arrays from now on."""
        for full, (layer, name) in self._owners.items():
            layer.params[name] = self.weights[full] = views[full]
            if full in self.params:
                self.params[full] = views[full]

    def freeze_anew(self) -> None:
        """Takes note of what is trainable; params and grads hold what is."""
        self._require_built()
        self.refreeze(True)
        self.params.clear()
        self.grads.clear()
        for full, (layer, _) in self._owners.items():
            if layer.learns:
                self.params[full], self.grads[full] = self.weights[full], self._gradient_views[full]
            else:
                self._gradient_views[full][...] = 0

    def _plan_anew(self) -> None:
        for layer in self_and_inner(self):
            layer.forget_program()
        self._program = Program(self.stages(), self.fuse)
        if self.observers:
            raise ValueError("the network itself is observed; observe its last layer")
        self.freeze_anew()

    # Running it.

    def __call__(self, x, *, training: bool = False, step: int = 0, offset: int = 0, seed: int | None = None):
        """(y, backward): backward(dy, accumulate=False, dx=True) overwrites `grads`, or adds to them, and returns dx.

        step and offset place what training draws: offset is the number of samples of the whole batch before this part.
        backward(dy, dx=False) computes no gradient of x, and returns None.
        """
        self._require_input(x)
        run = Run(training, self.seed if seed is None else seed, step, offset)
        if training:
            self._generation += 1
        generation = self._generation
        y, back = self._program(x, run)

        def backward(dy, accumulate: bool = False, dx: bool = True):
            if training and generation != self._generation:
                raise RuntimeError(
                    "this backward is stale: the network has run forward in training since, in the same workspaces; call "
                    "backward before the next forward pass"
                )
            if dy.shape != y.shape or dy.dtype != y.dtype:
                raise ValueError(
                    f"dy has shape {tuple(dy.shape)} and dtype {dy.dtype}; expected those of y, {y.shape} and {y.dtype}"
                )
            if accumulate:
                kept = self._keep_gradients()
            run.wants_dx = dx
            result = back(dy)
            if accumulate:
                self.gradients += kept
            return result

        return (y if training or y is not x else x.copy()), backward

    def _keep_gradients(self):
        if self._kept is None:
            self._kept = self.layout.new(self.xp)
        self._kept[...] = self.gradients
        return self._kept

    def predict(self, x, batch_size: int | None = None):
        """y alone, not in training; in parts of `batch_size` samples where given."""
        self._require_input(x)
        run = Run(False, self.seed, keep=False)
        if batch_size is None or len(x) <= batch_size:
            y = self._program(x, run)[0]
            return y if y is not x else x.copy()
        y = self.xp.empty((len(x), *self.output_shape), self.dtype)
        for start in range(0, len(x), batch_size):
            y[start : start + batch_size] = self._program(x[start : start + batch_size], run)[0]
        return y

    def _require_input(self, x) -> None:
        self._require_built()
        if not hasattr(x, "shape"):
            raise TypeError(f"x is {type(x).__name__}; expected an array of {self.xp.__name__}")
        if x.shape[1:] != self.input_shape or not x.shape:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected a batch of {self.input_shape}, that is (batch, "
                f"{', '.join(map(str, self.input_shape))})"
            )
        if x.dtype != self.dtype and not self.integer_input:
            raise TypeError(f'x has dtype {x.dtype}; expected {self.dtype}, the network\'s: x.astype("{self.dtype}")')
        if namespace(x) is not self.xp:
            raise TypeError(f"x is {type(x).__name__}; this network was built with xp={self.xp.__name__}")

    def observe(self, layer, function):
        """Calls function(layer, "output" or "gradient", array) in each pass; returns a function that ends it.

        `layer` is one of this network's, or its path. The arrays belong to the network: copy what should last.
        """
        self._require_built()
        found = self.layer(layer) if isinstance(layer, str) else layer
        if found.root is not self or found is self:
            raise ValueError(f"layer is {layer!r}; expected a layer inside this network")
        if not _watchable(self, found):
            raise ValueError(f"layer {found.path} is inside a layer that calls it itself; observe that one")
        found.observers.append(function)
        self._plan_anew()

        def end() -> None:
            if function in found.observers:
                found.observers.remove(function)
                self._plan_anew()

        return end

    def layer(self, path: str) -> Layer:
        """The layer of that path, such as "residual.dense_2"."""
        for found in self_and_inner(self):
            if found is not self and found.path == path:
                return found
        known = ", ".join(found.path for found in self_and_inner(self) if found is not self)
        raise KeyError(f"no layer {path!r}; this network has {known}")

    # What it is and holds.

    def plan(self) -> Plan:
        """What runs together; printed, one line a call."""
        self._require_built()
        return Plan(self._program.text())

    def summary(self) -> Summary:
        """Layers with shapes, parameters, operations and memory; printed, a table."""
        self._require_built()
        return Summary(self)

    def state(self) -> dict[str, Any]:
        """All weights and statistics by name: the arrays themselves."""
        self._require_built()
        return state(self)

    def load_state(self, given, *, strict: bool = True, by_name: bool = True, skip_mismatch: bool = False):
        """Takes over the arrays of a `state()`, and returns what was loaded and what not.

        strict=False lets names be missing or unknown. by_name=False goes by order alone. skip_mismatch leaves out what has
        another shape. Whatever does not fit is named in one error, and nothing is changed.
        """
        self._require_built()
        return load_state(self, given, strict, by_name, skip_mismatch)

    def clone(self) -> Sequential:
        """An equal network with an arena of its own; observers stay behind. Functions as arguments are not cloned."""
        from . import layer_types
        from .config import from_config

        classes = {type(layer).__name__: type(layer) for layer in self_and_inner(self)}
        made = from_config(self.config(), [own for name, own in classes.items() if name not in layer_types()])
        if self.root is not None:
            made.build(self.input_shape, seed=self.seed, dtype=self.dtype, xp=self.xp, fuse=self.fuse)
            made.load_state(self.state())
        return made

    def set_arena(self, arena) -> None:
        """Runs on another buffer from now on, laid out as `arena` is."""
        self._require_built()
        self._bind(self.layout.views(arena))
        self.arena = arena

    @contextlib.contextmanager
    def with_arena(self, arena):
        """Runs on another buffer, or on a dict of arrays such as an optimizer's averages, inside a `with` block."""
        self._require_built()
        if isinstance(arena, dict):
            views = dict(self.weights)
            for full, array in arena.items():
                if full not in views or tuple(array.shape) != tuple(views[full].shape):
                    raise ValueError(f"{full} of shape {tuple(array.shape)} is no weight of this network")
                views[full] = array
        else:
            views = self.layout.views(arena)
        before = dict(self.weights)
        self._bind(views)
        try:
            yield self
        finally:
            self._bind(before)


def full_name(layer: Layer, name: str) -> str:
    return f"{layer.path}.{name}" if layer.path else name


def name_layers(root: Sequential) -> None:
    """Gives every layer a name, unique beside its neighbours, and a path of names."""
    seen: set[int] = set()

    def inside(parent, path):
        given = [child.given_name for child in parent.children() if child.given_name]
        used: dict[str, int] = dict.fromkeys(given, 1)
        doubles = {name for name in given if given.count(name) > 1}
        if doubles:
            raise ValueError(
                f"layers share the name {', '.join(sorted(doubles))}; expected different names side by side"
            )
        for child in parent.children():
            if id(child) in seen:
                raise ValueError(f"{child!r} stands in this network twice; expected a layer of its own at each place")
            seen.add(id(child))
            if child.root is not None and child.root is not root:
                raise ValueError(f"{child!r} belongs to another network; clone() it")
            name = child.given_name
            if name is None:
                kind = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", type(child).__name__).lower()
                used[kind] = number = used.get(kind, 0) + 1
                name = kind if number == 1 else f"{kind}_{number}"
            child.name, child.path = name, f"{path}.{name}" if path else name
            inside(child, child.path)

    root.name = root.path = ""
    inside(root, "")


def _watchable(parent, layer) -> bool:
    """Whether the layer is reached through containers that run their layers as stages."""
    from .containers import Chain, Parallel, Residual

    return any(
        child is layer or (isinstance(child, Sequential | Chain | Parallel | Residual) and _watchable(child, layer))
        for child in parent.children()
    )
