# SPDX-License-Identifier: BSD-3-Clause
"""Gradients against central differences in float64, for NumPy and CuPy arrays. It knows no operation by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy

from ..reference._kinds import array_namespace

__all__ = ["GradientMismatch", "GradientReport", "gradcheck"]

# Near the cube root of the precision, where the two errors of a central difference are equally small.
_STEP = 2.0**-18
# A derivative this much below the largest of its array is compared with that largest, not with itself.
_NEGLIGIBLE = 1e-3


class GradientMismatch(AssertionError):
    """A gradient differs from its central difference; `report` says where."""

    def __init__(self, report: GradientReport):
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class _Worst:
    """The element of one input whose gradient is furthest off, in units of the tolerance."""

    index: tuple[int, ...]
    at: float
    gradient: float
    difference: float
    relative_error: float
    kink: bool  # the slopes to the left and to the right differ


@dataclass
class GradientReport:
    """What was compared: true if all of it agrees; as text, one line an input."""

    tolerance: float
    checked: dict[str, int] = field(default_factory=dict)  # input → elements compared
    worst: dict[str, _Worst] = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)  # input → elements beyond the tolerance

    @property
    def relative_error(self) -> float:
        """The largest of all."""
        return max((worst.relative_error for worst in self.worst.values()), default=0.0)

    def __bool__(self) -> bool:
        return not any(self.wrong.values())

    def __str__(self) -> str:
        lines = [f"gradcheck: {'agrees' if self else 'DIFFERS'}, relative tolerance {self.tolerance:g}"]
        for name, count in self.checked.items():
            line = f"  {name}: {self.wrong[name]} of {count} elements wrong"
            if name in self.worst:
                worst = self.worst[name]
                place = ", ".join(map(str, worst.index))
                line += (
                    f"; worst {name}[{place}] = {worst.at:g}: gradient {worst.gradient:.10g}, "
                    f"central difference {worst.difference:.10g}, relative error {worst.relative_error:.2g}"
                )
                if worst.kink and self.wrong[name]:
                    line += "; the slopes to its left and right differ: a kink, where no difference is the derivative"
            lines.append(line)
        return "\n".join(lines)


def gradcheck(
    f: Callable,
    *inputs: Any,
    backward: Callable | None = None,
    tolerance: float = 1e-6,
    elements: int = 256,
    raise_exception: bool = True,
    **options: Any,
) -> GradientReport:
    """Compares the gradients of `f(*inputs, **options)` with central differences.

    Float arrays are taken to float64 first; each of them that has a gradient is checked, at most `elements` of its
    elements, drawn at random but always the same. `f` gives one of

    * y, with a `backward` of its own (`bz.gelu`, `bz.dropout`): it is given dy, and of its other arguments those that
      f was given too, or y, by their names; or with one given here: `backward(dy, *inputs)`,
    * (y, saved), with an own `backward(dy, saved)` (`bz.batch_norm`),
    * (y, backward), as layers do: `backward(dy)`,
    * (loss, gradient of the first input).

    The gradients come as one array, as a tuple in the order of the array inputs (None: not checked), or as a named tuple
    or dict by their names. A mismatch raises GradientMismatch, or is only in the report if `raise_exception` is false. An
    `f` that draws new random numbers at each call is an error: hold its seed.

    >>> import numpy as np
    >>> x = np.linspace(-3, 3, 50)
    >>> print(gradcheck(np.sin, x, backward=lambda dy, x: dy * np.cos(x)).checked)
    {'x': 50}
    >>> gradcheck(np.sin, x, backward=lambda dy, x: dy * np.sin(x), raise_exception=False).wrong
    {'x': 50}
    """
    check = _Check(f, inputs, options, backward)
    report = GradientReport(tolerance)
    gradients = check.gradients()
    if not gradients:
        raise TypeError("gradcheck: no gradient of a float array came back; there is nothing to check")
    for name, gradient in gradients.items():
        check.compare(name, gradient, elements, report)
    if raise_exception and not report:
        raise GradientMismatch(report)
    return report


def _is_float_array(value) -> bool:
    return hasattr(value, "dtype") and hasattr(value, "ndim") and _is_float(value.dtype)


def _is_float(dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _bound(f, inputs, options) -> dict[str, Any]:
    """The arguments of a call by their names; `x` and numbers where f's signature cannot be read."""
    try:
        bound = inspect.signature(f).bind(*inputs, **options)
    except (TypeError, ValueError):
        names = ["x"] if len(inputs) == 1 else [f"inputs[{i}]" for i in range(len(inputs))]
        return {**dict(zip(names, inputs)), **options}
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            named |= {f"{name}[{i}]": one for i, one in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            named |= value
        else:
            named[name] = value
    return named


class _Check:
    """One call of f in float64, repeated with one element changed at a time."""

    def __init__(self, f, inputs, options, backward):
        self.f, self.given_backward = f, backward
        self.inputs = [self._wide(value) for value in inputs]
        self.options = {name: self._wide(value) for name, value in options.items()}
        self.named = _bound(f, self.inputs, self.options)
        self.arrays = {name: value for name, value in self.named.items() if _is_float_array(value)}
        if not self.arrays:
            raise TypeError("gradcheck: no float array is given; expected at least one input to differentiate by")
        self.xp = array_namespace(next(iter(self.arrays.values())))
        self.result = self._call()
        self.is_loss = self._is_loss()
        self.y = self._value(self.result)
        self._require_the_same_twice()
        drawn = numpy.random.default_rng(0).normal(size=self.y.shape)
        self.dy = self.xp.ones(self.y.shape) if self.is_loss else self.xp.asarray(drawn)

    @staticmethod
    def _wide(value):
        return value.astype("float64") if _is_float_array(value) else value

    def _call(self, changed=None, at=None, to=None):
        """f of copies, which it may overwrite; element `at` of the array `changed` being `to`."""

        def copied(value):
            if not hasattr(value, "dtype") or not hasattr(value, "copy"):
                return value
            copy = value.copy()
            if value is changed:
                copy[at] = to
            return copy

        return self.f(*map(copied, self.inputs), **{name: copied(value) for name, value in self.options.items()})

    def _own_backward(self):
        return self.given_backward or getattr(self.f, "backward", None)

    def _is_loss(self):
        if not isinstance(self.result, tuple):
            if self._own_backward() is None:
                raise TypeError(
                    "gradcheck: f gives one array and has no backward; give backward=, called as backward(dy, x)"
                )
            return False
        if len(self.result) != 2:
            raise TypeError(
                f"gradcheck: f gives {len(self.result)} values; expected y, (y, saved), (y, backward) or (loss, gradient)"
            )
        return self._own_backward() is None and not callable(self.result[1])

    def _value(self, result):
        value = result[0] if isinstance(result, tuple) else result
        value = value if hasattr(value, "dtype") else numpy.asarray(value)
        if not _is_float(value.dtype):
            raise TypeError(f"gradcheck: f gives dtype {value.dtype}; expected a float")
        if value.dtype.itemsize < 8:
            raise TypeError(f"gradcheck: f gives {value.dtype} for float64 inputs; differences need float64")
        return value

    def _require_the_same_twice(self):
        again = self._value(self._call())
        same = (again == self.y) | ((again != again) & (self.y != self.y))
        if again.shape != self.y.shape or not bool(same.all()):
            raise ValueError(
                "gradcheck: f gives different results for the same input, so it has no derivative; "
                "hold its randomness (seed=, step=) or switch it off"
            )

    def gradients(self) -> dict[str, Any]:
        """By the name of the input."""
        if self.is_loss:
            given = self.result[1]
        elif self.given_backward is not None:
            given = self.given_backward(self.dy.copy(), *(self._copy(value) for value in self.inputs))
        elif isinstance(self.result, tuple) and callable(self.result[1]):
            given = self.result[1](self.dy.copy())
        else:
            given = self._call_own_backward()
        if hasattr(given, "_asdict"):
            given = given._asdict()
        if not isinstance(given, dict):
            given = dict(zip(self.arrays, given if isinstance(given, tuple) else (given,)))
        gradients = {name: value for name, value in given.items() if value is not None and name in self.arrays}
        for name, value in gradients.items():
            if value.shape != self.arrays[name].shape:
                raise ValueError(
                    f"gradcheck: the gradient of {name} has shape {value.shape}; expected {self.arrays[name].shape}"
                )
        return gradients

    @staticmethod
    def _copy(value):
        return value.copy() if hasattr(value, "dtype") and hasattr(value, "copy") else value

    def _call_own_backward(self):
        backward = self._own_backward()
        known = {name: self._copy(value) for name, value in self.named.items()}
        known["dy"] = self.dy.copy()
        if isinstance(self.result, tuple):
            known["saved"] = self.result[1]
        else:
            known["y"] = self.result
        names = inspect.signature(backward).parameters
        return backward(**{name: known[name] for name in names if name in known})

    def compare(self, name, gradient, elements, report):
        """Adds one input to the report."""
        array = self.arrays[name]
        places = numpy.random.default_rng(1).permutation(array.size)[:elements]
        compared = [self._difference(array, gradient, numpy.unravel_index(int(p), array.shape)) for p in sorted(places)]
        report.checked[name] = len(compared)
        report.wrong[name] = 0
        largest = max((abs(worst.difference) for worst, _ in compared), default=0.0)
        furthest = -1.0
        for worst, noise in compared:
            size = max(abs(worst.gradient), abs(worst.difference), _NEGLIGIBLE * largest)
            off = abs(worst.gradient - worst.difference)
            beyond = off / (report.tolerance * size + noise) if off else 0.0
            beyond = math.inf if math.isnan(beyond) else beyond
            report.wrong[name] += beyond > 1
            if beyond > furthest:
                furthest = beyond
                error = off / size if size else 0.0
                report.worst[name] = replace(worst, relative_error=error)

    def _difference(self, array, gradient, index):
        """One element compared, and the rounding noise its difference may have."""
        index = tuple(int(i) for i in index)
        at = float(array[index])
        step = _STEP * max(1.0, abs(at))
        above, below = at + step, at - step
        ends = [self._value(self._call(array, index, to)) for to in (above, below)]
        moved = (ends[0] != ends[1]) * abs(self.dy)
        rise = (ends[0] - ends[1]) * self.dy
        difference = float(rise.sum()) / (above - below)
        size = float((moved * self.xp.maximum(abs(ends[0]), abs(ends[1]))).sum())
        noise = 4 * 2.0**-53 * size / step
        right = float(((ends[0] - self.y) * self.dy).sum()) / (above - at)
        left = float(((self.y - ends[1]) * self.dy).sum()) / (at - below)
        kink = abs(right - left) > 1e-3 * max(abs(right), abs(left)) + 8 * noise
        return _Worst(index, at, float(gradient[index]), difference, 0.0, kink), noise
