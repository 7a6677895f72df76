# SPDX-License-Identifier: BSD-3-Clause
"""The base of every layer: its name, its parameters, its place in a network. No layer's arithmetic."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from .config import describe
from .memory import Workspace
from .program import Program
from .run import Run
from .stages import Stage

Shape = tuple[int, ...]


class LayerType(type):
    """Every layer takes `name` and `trainable`, and remembers its arguments, without a word about it in its own `__init__`."""

    def __call__(cls, *arguments, name: str | None = None, trainable: bool = True, **named):
        layer: Any = object.__new__(cls)  # type: ignore[arg-type]
        layer._prepare(name, trainable)
        layer.__init__(*arguments, **named)
        layer.given = inspect.signature(type(layer).__init__).bind(layer, *arguments, **named).arguments
        return layer


class Layer(metaclass=LayerType):
    """One step of a network. A subclass defines `setup` if it has parameters or changes the shape, and `forward`.

    setup(shape): told the shape of one sample, declares parameters with `add_parameter`, and returns the shape that leaves.
    forward(x, run): returns (y, backward); backward(dy) writes `self.grads[name]` for each parameter and returns dx.

    >>> import numpy as np, brazen as bz
    >>> class Scale(bz.nn.Layer):
    ...     def setup(self, shape):
    ...         self.add_parameter("scale", shape[-1:], "ones")
    ...         return shape
    ...     def forward(self, x, run):
    ...         def backward(dy):
    ...             self.grads["scale"][...] = (dy * x).sum(axis=0)
    ...             return dy * self.params["scale"]
    ...         return x * self.params["scale"], backward
    >>> net = bz.nn.Sequential([Scale()]).build(input_shape=(3,), seed=0)
    >>> net.predict(np.ones((1, 3), "float32"))
    array([[1., 1., 1.]], dtype=float32)
    """

    left_to_weights = 1.0  # by what the next layer's weights are multiplied in prediction
    integer_input = False  # whether what comes in are indices, not numbers of the network's dtype
    name: str
    given: dict[str, Any]  # the arguments it was made with
    workspace: Workspace

    def _prepare(self, name, trainable):
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"name is {name!r}; expected a text without dots")
        self.given_name, self.name, self.path = name, name or "", name or type(self).__name__.lower()
        self._trainable, self.learns = bool(trainable), bool(trainable)
        self.params: dict[str, Any] = {}
        self.grads: dict[str, Any] = {}
        self.buffers: dict[str, Any] = {}
        self.specs: dict[str, tuple] = {}
        self.buffer_specs: dict[str, tuple] = {}
        self.site = 0  # the ordinal among the layers of a network; the place of everything it draws
        self.input_shape: Shape = ()
        self.output_shape: Shape = ()
        self.root: Any = None
        self.dtype: Any = None  # of what passes through; parameters of 16-bit networks are float32
        self.observers: list[Callable] = []
        self._program: Any = None

    # What a subclass defines.

    def setup(self, shape: Shape) -> Shape:
        """Declares parameters for samples of this shape; the shape of a sample that leaves."""
        return shape

    def forward(self, x, run: Run) -> tuple[Any, Callable]:
        """(y, backward). A layer made of stages runs them."""
        if self._program is None:
            if type(self).stages is Layer.stages:
                raise NotImplementedError(f"{type(self).__name__} defines no forward(x, run)")
            self._program = Program(self.stages(), self.root.fuse)
        return self._program(x, run)

    def children(self) -> Iterable[Layer]:
        """The layers inside this one, in the order they are named and numbered."""
        return ()

    def flops(self) -> int:
        """Multiplications and additions of one sample's forward pass, without those of children."""
        return 0

    def stages(self):
        """What the planner may fuse with its neighbours; by default the layer is one indivisible step."""
        return [Stage("layer", self, self.path, self.forward)]

    # What a subclass uses.

    def add_parameter(self, name: str, shape: Shape, init, in_axis: int = -2, out_axis: int = -1) -> None:
        """Declares `self.params[name]` and `self.grads[name]`; `init` is a name or object of brazen.init, or a callable
        `init(shape, seed=…, site=…, out=…)`."""
        self.specs[name] = (tuple(int(extent) for extent in shape), init, in_axis, out_axis)

    def add_buffer(self, name: str, shape: Shape, value: float) -> None:
        """Declares `self.buffers[name]`: saved with the network, but not learned."""
        self.buffer_specs[name] = (tuple(int(extent) for extent in shape), value)

    def empty(self, key: str, shape: Shape, dtype, run: Run):
        """An uninitialised array: in training the same one each time, else a new one."""
        if run.training:
            return self.workspace.get(key, shape, dtype)
        return self.workspace.xp.empty(shape, dtype)

    # What a network does with it.

    def forget_program(self) -> None:
        """Stages are gathered anew at the next call."""
        self._program = None

    def refreeze(self, learns: bool) -> None:
        """Notes whether this layer, and what is inside, learns; `learns` is what holds for the one around it."""
        self.learns = learns and self._trainable
        for child in self.children():
            child.refreeze(self.learns)
        if self._program is not None:
            self._program.refreeze()

    @property
    def trainable(self) -> bool:
        """False freezes this layer and those inside: weights, statistics and their gradients stay as they are."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        if self.root is not None:
            self.root.freeze_anew()

    def take_over(self, factor: float) -> None:
        """Told what the layer before leaves to its weights; those that have none to scale refuse."""
        if factor != 1.0:
            raise ShapeError(
                f"layer {self.path} ({type(self).__name__}) follows a Dropout with mode 'weights'; expected a Dense there"
            )

    def place(self, shape: Shape) -> Shape:
        """Runs `setup`, and names the layer in whatever is wrong with the shape."""
        self.specs, self.buffer_specs = {}, {}
        self.input_shape = tuple(shape)
        try:
            self.output_shape = tuple(self.setup(self.input_shape))
        except ShapeError:
            raise
        except (ValueError, TypeError, IndexError) as error:
            raise ShapeError(
                f"layer {self.path} ({type(self).__name__}) with input shape {self.input_shape}: {error}"
            ) from error
        return self.output_shape

    def config(self) -> dict[str, Any]:
        """Plain data from which `brazen.nn.from_config` makes an equal layer."""
        return describe(self)

    def __repr__(self):
        given = ", ".join(f"{key}={value!r}" for key, value in self.given.items() if key != "self")
        return f"{type(self).__name__}({given})"


class ShapeError(ValueError):
    """A layer cannot take the shape that reaches it."""


def sequence(layers) -> list[Layer]:
    """A list of layers, from a list or one layer."""
    listed = [layers] if isinstance(layers, Layer) else list(layers)
    for position, layer in enumerate(listed):
        if not isinstance(layer, Layer):
            hint = "; write it with parentheses" if isinstance(layer, type) and issubclass(layer, Layer) else ""
            raise TypeError(f"layers[{position}] is {layer!r}; expected a layer{hint}")
    return listed
