# SPDX-License-Identifier: BSD-3-Clause
"""Names, defaults and documentation of the activations. To add one: its formula in C++, one line here.

Every activation is called on arrays of NumPy, CuPy or a DLPack library and returns the same kind; its `backward` gives
the gradient. At a kink the derivative is a documented choice (`relu` has derivative 0 at 0; docs/numbers.md).
"""

from __future__ import annotations

from typing import Any

from .. import _core

__all__ = ["Activation", "activations"]

_registered: dict[str, Any] = {}


def activations() -> tuple[str, ...]:
    """The names of all activations, in the order of the registry.

    >>> "gelu" in activations()
    True
    """
    return tuple(_registered)


def registered(name: str):
    """The activation of that name, None for none."""
    return _registered.get(_spellings.get(name, name))


class _Signed(_core.Kernel):
    """A kernel that tells `inspect` and `help` its arguments."""

    __name__: str
    _arrays: tuple[str, ...] = ("x",)

    @property
    def __signature__(self):
        from inspect import Parameter, Signature

        either = Parameter.POSITIONAL_OR_KEYWORD
        arguments = [Parameter(name, either) for name in self._arrays]
        named = zip(_parameter_names(self.__name__), self.parameters)
        for name, value in named:
            arguments.append(Parameter(name, either, default=Parameter.empty if value != value else value))
        return Signature([*arguments, Parameter("out", either, default=None)])


class Gradient(_Signed):
    """dx = dy * f'(x): `f.backward(dy, x, *parameters, out=None)`."""

    _arrays = ("dy", "x")

    def __init__(self, name: str, parameters: tuple, aliases: dict[str, str]):
        super().__init__(name, "backward", parameters, aliases)
        self.__name__ = name
        self.__qualname__ = f"{name}.backward"


class Activation(_Signed):
    """y = f(x), elementwise: `f(x, *parameters, out=None)`, `f.backward(dy, x, *parameters, out=None)`.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0], "float32"))
    array([0., 2.], dtype=float32)
    """

    def __init__(self, name: str, doc: str, aliases: dict[str, str] | None = None, parameters: tuple = ()):
        super().__init__(name, "forward", parameters, aliases)
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc
        self.aliases = aliases or {}
        self.backward = Gradient(name, parameters, self.aliases)

    def with_(self, **parameters: float) -> Activation:
        """The same activation with other defaults, for places that take an activation: `leaky_relu.with_(alpha=0.2)`."""
        named = dict(zip(_parameter_names(self.__name__), self.parameters))
        meant: dict[str, str] = {}
        for given, value in parameters.items():
            name = self.aliases.get(given, given)
            if name in meant:
                raise TypeError(f"{self.__name__}: {name} is given twice, as {meant[name]} and as {given}")
            meant[name] = given
            if name not in named:
                raise TypeError(f"{self.__name__}: unknown parameter {given}; it has {', '.join(named) or 'none'}")
            named[name] = value
        return Activation(self.__name__, self.__doc__ or "", self.aliases, tuple(named.values()))

    def __repr__(self) -> str:
        named = zip(_parameter_names(self.__name__), self.parameters)
        return f"brazen.{self.__name__}({', '.join(f'{name}={value:g}' for name, value in named)})"

    def __reduce__(self):
        return _restore, (self.__name__, tuple(self.parameters))


def _restore(name: str, parameters: tuple) -> Activation:
    known = _registered[name]
    return Activation(name, known.__doc__, known.aliases, parameters)


_parameters = {entry["name"]: tuple(entry["parameters"]) for entry in _core.operations()}


def _parameter_names(name: str) -> tuple[str, ...]:
    return _parameters[name]


class Gated:
    """y = value * f(gate), the two halves of an axis: `glu(x, axis=-1, out=None)`, `glu.backward(dy, x, axis=-1, out=None)`."""

    def __init__(self, name: str, doc: str):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc

    def __call__(self, x, axis: int = -1, out=None):
        return _core.gate_forward(self.__name__, x, axis, out)

    def backward(self, dy, x, axis: int = -1, out=None):
        """The gradient of x: both halves, joined along `axis`."""
        return _core.gate_backward(self.__name__, dy, x, axis, out)

    def __repr__(self) -> str:
        return f"brazen.{self.__name__}"


class Prelu:
    """x where x > 0, alpha * x elsewhere; alpha is one value, or one for each index of `axis`.

    The form is PyTorch's; max(alpha * x, x) is the same only for alpha <= 1. `axis` is 1, or 0 for a vector.

    >>> import numpy as np
    >>> prelu(np.array([[-2.0, 3.0]], "float32"), np.array([0.5, 0.5], "float32"))
    array([[-1.,  3.]], dtype=float32)
    """

    __name__ = "prelu"

    def __call__(self, x, alpha, axis: int | None = None, out=None):
        return _core.prelu_forward(x, alpha, axis, out)

    def backward(self, dy, x, alpha, axis: int | None = None, out=None, dalpha=None):
        """(dx, dalpha); `out` and `dalpha` receive them."""
        return _core.prelu_backward(dy, x, alpha, axis, out, dalpha)

    def __repr__(self) -> str:
        return "brazen.prelu"


class Maxout:
    """The largest of each group of `pieces` neighbours along `axis` (Goodfellow et al., 2013).

    >>> import numpy as np
    >>> maxout(np.array([1.0, 5.0, 4.0, 2.0], "float32"), 2)
    array([5., 4.], dtype=float32)
    """

    __name__ = "maxout"

    def __call__(self, x, pieces: int = 2, axis: int = -1, out=None):
        return _core.maxout_forward(x, pieces, axis, out)

    def backward(self, dy, x, pieces: int = 2, axis: int = -1, out=None):
        """dy to the winning piece, the first of equal ones; 0 to the others."""
        return _core.maxout_backward(dy, x, pieces, axis, out)

    def __repr__(self) -> str:
        return "brazen.maxout"


def _register(kind):
    def add(name: str, *arguments, **keywords):
        _registered[name] = operation = kind(name, *arguments, **keywords)
        __all__.append(name)
        return operation

    return add


_activation = _register(Activation)
_gate = _register(Gated)
_slope = {"negative_slope": "alpha"}

linear = _activation("linear", "x.")
relu = _activation("relu", "max(0, x).")
relu6 = _activation("relu6", "min(max(0, x), 6).")
leaky_relu = _activation("leaky_relu", "x where x > 0, alpha * x elsewhere; alpha = 0.01.", _slope)
prelu = _register(lambda name: Prelu())("prelu")
elu = _activation("elu", "x where x > 0, alpha * (exp(x) - 1) elsewhere; alpha = 1.")
celu = _activation("celu", "x where x > 0, alpha * (exp(x / alpha) - 1) elsewhere; alpha = 1, above 0.")
selu = _activation("selu", "1.0507 * elu(x, 1.67326): keeps mean 0 and variance 1 (Klambauer et al., 2017).")
gelu = _activation("gelu", "x * P(N(0, 1) <= x), exact.")
gelu_tanh = _activation("gelu_tanh", "x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))).")
silu = _activation("silu", "x * sigmoid(x); also called swish.")
mish = _activation("mish", "x * tanh(log(1 + exp(x))).")
sigmoid = _activation("sigmoid", "1 / (1 + exp(-x)).")
log_sigmoid = _activation("log_sigmoid", "log(sigmoid(x)), without underflow.")
tanh = _activation("tanh", "The hyperbolic tangent.")
softplus = _activation("softplus", "log(1 + exp(x)), without overflow.")
softsign = _activation("softsign", "x / (1 + abs(x)).")
squareplus = _activation("squareplus", "(x + sqrt(x^2 + b)) / 2; b = 4.")
exponential = _activation("exponential", "exp(x).")
hard_sigmoid = _activation("hard_sigmoid", "relu6(x + 3) / 6.")
hard_tanh = _activation("hard_tanh", "min(max(-1, x), 1).")
hard_silu = _activation("hard_silu", "x * hard_sigmoid(x); also called hard swish.")
hard_shrink = _activation("hard_shrink", "0 where abs(x) <= threshold, x elsewhere; threshold = 0.5.")
soft_shrink = _activation("soft_shrink", "x moved towards 0 by threshold, not past it; threshold = 0.5.")
tanh_shrink = _activation("tanh_shrink", "x - tanh(x).")
threshold = _activation("threshold", "x where x > threshold, value elsewhere.", {"default_value": "value"})
sparse_plus = _activation("sparse_plus", "0 up to -1, (x + 1)^2 / 4 up to 1, x above.")
sparse_sigmoid = _activation("sparse_sigmoid", "0 up to -1, (x + 1) / 2 up to 1, 1 above.")
glu = _gate("glu", "value * sigmoid(gate) of the two halves of an axis.")
reglu = _gate("reglu", "value * relu(gate) of the two halves of an axis.")
geglu = _gate("geglu", "value * gelu(gate) of the two halves of an axis.")
swiglu = _gate("swiglu", "value * silu(gate) of the two halves of an axis.")
maxout = _register(lambda name: Maxout())("maxout")

# Keras' other spellings: the same objects, which the registry knows by one name.
swish, hard_swish = silu, hard_silu
_spellings = {"swish": "silu", "hard_swish": "hard_silu"}
__all__ += _spellings
