# SPDX-License-Identifier: BSD-3-Clause
"""Layers made of layers: side by side, and around. One after the other is `network.py`'s Sequential."""

from __future__ import annotations

from .layer import Layer, ShapeError, sequence
from .program import Program
from .stages import Stage, add_arrays


def stages_of(layers) -> list[Stage]:
    """The stages of layers one after the other, and where somebody looks in."""
    made: list[Stage] = []
    for layer in layers:
        made += layer.stages()
        if layer.observers:
            made.append(Stage("tap", layer, f"{layer.path} is observed"))
    return made


def place_all(layers, shape):
    """The shape that leaves layers one after the other; tells each what a dropout before it leaves to its weights."""
    left = 1.0
    for layer in layers:
        layer.take_over(left)
        shape = layer.place(shape)
        left = layer.left_to_weights
    if left != 1.0:
        raise ShapeError(
            f"layer {layers[-1].path}: mode is 'weights', but no Dense follows whose weights could be scaled"
        )
    return shape


class Chain(Layer):
    """Layers one after the other, inside a container."""

    def __init__(self, layers):
        self.layers = sequence(layers)

    def children(self):
        return self.layers

    def setup(self, shape):
        return place_all(self.layers, shape)

    def stages(self):
        return stages_of(self.layers)


class Residual(Layer):
    """y = x + layers(x) (He et al., 2015); `shortcut` are layers for x where the shapes differ.

    The addition belongs to the pass of the layers around it: a batch norm before it and an activation after it take it in.
    """

    def __init__(self, layers, shortcut=()):
        self.layers = sequence(layers)
        self.shortcut = Chain(shortcut, name="shortcut")  # type: ignore[call-arg]

    def children(self):
        return [*self.layers, self.shortcut] if self.shortcut.layers else self.layers

    def setup(self, shape):
        leaves = place_all(self.layers, shape)
        beside = self.shortcut.place(shape)
        if leaves != beside:
            raise ValueError(
                f"the layers give {leaves}, what they are added to has {beside}; expected the same, or shortcut= with "
                "layers that make it so"
            )
        return leaves

    def stages(self):
        if self.shortcut.layers:
            program = Program(self.shortcut.stages(), self.root.fuse)
            first = Stage("fork", self, f"{self.path}.shortcut", program)
        else:
            first = Stage("save", self, self.path)
        return [first, *stages_of(self.layers), Stage("add", self, f"{self.path}.add")]


class Parallel(Layer):
    """The same input through several branches, and the sum of what they give; a branch is a list of layers, [] the input."""

    def __init__(self, branches):
        if isinstance(branches, Layer) or not branches:
            raise ValueError(f"branches is {branches!r}; expected a list of lists of layers")
        self.branches = [
            branch if isinstance(branch, Chain) else Chain(branch, name=f"branch{number}")  # type: ignore[call-arg]
            for number, branch in enumerate(branches, 1)
        ]

    def children(self):
        return self.branches

    def setup(self, shape):
        shapes = [branch.place(shape) for branch in self.branches]
        if len(set(shapes)) > 1:
            raise ValueError(f"the branches give {', '.join(map(str, shapes))}; expected the same shape of all")
        return shapes[0]

    def forward(self, x, run):
        results, backs = zip(*(branch.forward(x, run) for branch in self.branches))
        return self.join(results, x, run), lambda dy: self._back(self.parts(dy), backs, x, run)

    def _back(self, parts, backs, x, run):
        wanted, dx = run.wants_dx, None
        for part, back in zip(parts, backs):
            run.wants_dx = wanted
            own = back(part)
            if not wanted:
                continue
            dx = own if dx is None else add_arrays(dx, own, self.empty("gradient", x.shape, x.dtype, run))
        return dx

    def join(self, results, x, run):
        """What the branches' results make together."""
        y = results[0]
        for result in results[1:]:
            y = add_arrays(y, result, self.empty("sum", y.shape, y.dtype, run))
        return y

    def parts(self, dy):
        """The gradient for each branch."""
        return [dy] * len(self.branches)


class Concat(Parallel):
    """The same input through several branches, and their results side by side along `axis`."""

    def __init__(self, branches, axis: int = -1):
        Parallel.__init__(self, branches)
        self.axis = axis

    def setup(self, shape):
        shapes = [branch.place(shape) for branch in self.branches]
        rank = len(shapes[0])
        if self.axis == 0 or not -rank <= self.axis <= rank:
            raise ValueError(f"axis is {self.axis}; expected one of a sample's, from 1 to {rank} or from the end")
        self.at = self.axis % (rank + 1)
        others = {(*own[: self.at - 1], *own[self.at :]) for own in shapes}
        if len(others) > 1 or len({len(own) for own in shapes}) > 1:
            raise ValueError(
                f"the branches give {', '.join(map(str, shapes))}; expected to differ in axis {self.at} alone"
            )
        self.extents = [own[self.at - 1] for own in shapes]
        return (*shapes[0][: self.at - 1], sum(self.extents), *shapes[0][self.at :])

    def join(self, results, x, run):
        y = self.empty("joined", (x.shape[0], *self.output_shape), results[0].dtype, run)
        for part, result in zip(self.parts(y), results):
            part[...] = result
        return y

    def parts(self, dy):
        made, start = [], 0
        for extent in self.extents:
            made.append(dy[(slice(None),) * self.at + (slice(start, start + extent),)])
            start += extent
        return made
