# SPDX-License-Identifier: BSD-3-Clause
"""One row per registered operation: how to call it, its reference, its samples, its accuracy constants.

The rows are made from the registry (`_core.operations()`); what the registry cannot know stands in `_ACCURACY` and
`_PARAMETERS`, and a test fails when a name is missing there. A family says which arrays go in and come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import brazen as bz
import numpy as np
from brazen import _core, reference
from tolerance import DTYPES, WIDE, compute_type
from wide import teach_reference

teach_reference()


@dataclass(frozen=True)
class Accuracy:
    """|error| <= ulps * ulp(y) + c * 2^-p * min(1, |x|); 0 ulps: correctly rounded. `tail`: 4 ulp relative everywhere."""

    ulps: float = 2
    c: float = 0
    derivative_ulps: float = 2
    derivative_c: float = 0
    tail: bool = False


_EXACT = Accuracy(0, 0, 0, 0)
# c as small as it holds (silu and gelu_tanh: a sum of two rounded terms is 2.2 ulps off around 0)
# over the samples of samples.unary_sample, rounded up to a half.
_ACCURACY = {
    "linear": _EXACT,
    "relu": _EXACT,
    "relu6": _EXACT,
    "leaky_relu": Accuracy(0.5, 0, 0, 0),
    "prelu": Accuracy(0.5, 0, 0.5, 0),
    "elu": Accuracy(tail=True),
    "celu": Accuracy(c=0.5, derivative_c=0.5),
    "selu": Accuracy(),
    "gelu": Accuracy(c=3, derivative_c=1.5),
    "gelu_tanh": Accuracy(c=0.5, derivative_c=6),
    "silu": Accuracy(c=0.5, derivative_c=2, tail=True),
    "mish": Accuracy(c=0.5, derivative_c=2.5),
    "sigmoid": Accuracy(derivative_c=0.5, tail=True),
    "log_sigmoid": Accuracy(tail=True),
    "tanh": Accuracy(derivative_c=0.5),
    "softplus": Accuracy(tail=True),
    "softsign": Accuracy(derivative_c=0.5),
    "squareplus": Accuracy(c=1, derivative_c=0.5),
    "exponential": Accuracy(),
    "hard_sigmoid": Accuracy(),
    "hard_tanh": _EXACT,
    "hard_silu": Accuracy(c=0.5),
    "hard_shrink": _EXACT,
    "soft_shrink": Accuracy(0.5, 0, 0, 0),
    "tanh_shrink": Accuracy(c=2, derivative_c=1),
    "threshold": _EXACT,
    "sparse_plus": Accuracy(),
    "sparse_sigmoid": Accuracy(derivative_ulps=0),
    "glu": Accuracy(derivative_c=1),
    "reglu": Accuracy(0.5, 0, 0.5, 0),
    "geglu": Accuracy(c=3, derivative_c=3),
    "swiglu": Accuracy(c=0.5, derivative_c=2),
    "maxout": _EXACT,
    "math.exp": Accuracy(1),
    "math.expm1": Accuracy(1.5),
    "math.log": Accuracy(1.5),
    "math.log1p": Accuracy(1.5),
    "math.tanh": Accuracy(1.5),
    "math.erf": Accuracy(1.5),
    "math.sin": Accuracy(1),
    "math.cos": Accuracy(1),
}

# Parameter sets to try; the first is the usual one, the last is used where one must do.
_PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "leaky_relu": [{}, {"alpha": 1.5}, {"alpha": -0.25}, {"alpha": 0.1}],
    "elu": [{}, {"alpha": 0.3}],
    "celu": [{}, {"alpha": 2.0}, {"alpha": 0.3}],
    "squareplus": [{}, {"b": 1.0}, {"b": 0.3}],
    "hard_shrink": [{}, {"threshold": 1.5}],
    "soft_shrink": [{}, {"threshold": 1.3}],
    "threshold": [{"threshold": 0.5, "value": -1.25}, {"threshold": -2.0, "value": 20.0}],
    "maxout": [{}, {"pieces": 3}],
}

REGISTRY = {entry["name"]: entry for entry in _core.operations()}


@dataclass(frozen=True)
class Case:
    """One direction of one operation. `arguments` names its arrays; x is among them."""

    name: str
    family: str
    direction: str
    arguments: tuple[str, ...]
    parameter_sets: tuple[dict[str, Any], ...]
    ulps: float
    c: float
    tail: bool
    outputs: tuple[str, ...] = ("out",)
    extra: dict = field(default_factory=dict)

    @property
    def id(self):
        return self.name if self.direction == "forward" else f"{self.name}.{self.direction}"

    @property
    def parameters(self):
        return self.parameter_sets[-1]

    @property
    def _defaults(self):
        """The registry's, so that they too are rounded to the compute type."""
        return {name: value for name, value in REGISTRY[self.name]["parameters"].items() if value is not None}

    def _of(self, module):
        function = _core.Kernel(self.name) if module is bz and self.family == "function" else None
        if function is None:
            function = getattr(bz, self.name) if module is bz else reference.find(self.name)
        return function if self.direction == "forward" else function.backward

    def call(self, *arrays, parameters=None, **out):
        """brazen's result."""
        return self._of(bz)(*arrays, **(self.parameters if parameters is None else parameters), **out)

    def results(self, *arrays, parameters=None, **out):
        """brazen's results as a tuple, one for each name of `outputs`."""
        made = self.call(*arrays, parameters=parameters, **out)
        return made if isinstance(made, tuple) else (made,)

    def truth(self, *arrays, parameters=None):
        """The reference's result, of a type wide enough to judge the first array's dtype by."""
        parameters = {**self._defaults, **(self.parameters if parameters is None else parameters)}
        kind = compute_type(arrays[0].dtype)
        rounded = {k: v if isinstance(v, int) else float(np.dtype(kind).type(v)) for k, v in parameters.items()}
        wide = WIDE if kind == "float64" else np.float64
        with np.errstate(invalid="ignore"):  # signalling NaNs
            return self._of(reference)(*(array.astype(wide) for array in arrays), **rounded)

    def shapes(self, shape):
        """The shape of each argument when the forward result has `shape`, or None where the operation has no such shape."""
        pieces = {"gate": 2, "maxout": self.parameters.get("pieces", 2)}.get(self.family, 1)
        if pieces > 1 and not shape:
            return None
        of_x = (*shape[:-1], shape[-1] * pieces) if shape else ()
        of_alpha = (of_x[1 if len(of_x) > 1 else 0],) if of_x else ()
        return [{"x": of_x, "dy": tuple(shape), "alpha": of_alpha}[name] for name in self.arguments]

    def result_shapes(self, shapes):
        """The shapes of the outputs for arguments of `shapes`."""
        by_name = dict(zip(self.arguments, shapes))
        if self.direction == "backward":
            return [by_name["x"], by_name["alpha"]] if self.family == "prelu" else [by_name["x"]]
        pieces = {"gate": 2, "maxout": self.parameters.get("pieces", 2)}.get(self.family, 1)
        x = by_name["x"]
        return [(*x[:-1], x[-1] // pieces) if x else ()]


def _row(name, family):
    accuracy = _ACCURACY[name]
    sets = tuple(_PARAMETERS.get(name, [{}]))
    arrays = ("x", "alpha") if family == "prelu" else ("x",)
    forward = Case(name, family, "forward", arrays, sets, accuracy.ulps, accuracy.c, accuracy.tail)
    if family == "function":
        return [forward]
    outputs = ("out", "dalpha") if family == "prelu" else ("out",)
    return [
        forward,
        Case(
            name,
            family,
            "backward",
            ("dy", *arrays),
            sets,
            accuracy.derivative_ulps,
            accuracy.derivative_c,
            False,
            outputs,
        ),
    ]


CASES = [case for name, entry in REGISTRY.items() if name in _ACCURACY for case in _row(name, entry["family"])]
UNLISTED = set(REGISTRY) ^ set(_ACCURACY)


def each(*, families=None, direction=None, dtypes=tuple(DTYPES)):
    """Parameters for `pytest.mark.parametrize("case, dtype", …)`: an item per operation, direction and dtype."""
    import pytest

    chosen = [c for c in CASES if (families is None or c.family in families) and direction in (None, c.direction)]
    return [pytest.param(case, dtype, id=f"{case.id}-{dtype}") for case in chosen for dtype in dtypes]


UNARY = ("activation", "function")
