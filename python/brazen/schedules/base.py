# SPDX-License-Identifier: BSD-3-Clause
"""What every schedule can do: be called, listed, written down as a config and rebuilt from it. No formula of a schedule."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy

from .. import _core
from .._configured import Configured, define, rebuild, require

UNITS = ("step", "epoch")
schedules: dict[str, type] = {}

# brazen's own double functions: the same bits on every machine, which the C library's are not.
_cosine, _exp, _log = (_core.Kernel(f"math.{name}") for name in ("cos", "exp", "log"))


def cosine_of(x: float) -> float:
    return float(_cosine(numpy.array([x]))[0])


def exp_of(x: float) -> float:
    return float(_exp(numpy.array([x]))[0])


def raised(base: float, exponent: float) -> float:
    """base ** exponent for base >= 0: by squaring for a whole exponent, so that 0.5 ** 3 is exact, else by exp and log."""
    if exponent == int(exponent) and exponent >= 0:
        result, square, left = 1.0, float(base), int(exponent)
        while left:
            if left & 1:
                result *= square
            square *= square
            left >>= 1
        return result
    return exp_of(exponent * float(_log(numpy.array([float(base)]))[0])) if base else 0.0


class Schedule(Configured):
    """A value as a function of the step or the epoch, counted from 0: `schedule(t)`.

    Two schedules of the same class, arguments and unit are equal. Anything that takes a schedule reads `unit` to know which
    count to call it with.
    """

    _default_unit: ClassVar[str] = "step"

    def __init__(self, *values: Any, **named: Any):
        super().__init__(*values, **named)
        unit = self.arguments.pop("unit")
        inner = {part.unit for part in self._parts()}
        if len(inner) > 1:
            raise ValueError(f"{self.name}: schedules of different units: {', '.join(sorted(inner))}")
        self.unit: str = unit or (inner.pop() if inner else self._default_unit)
        require(self.unit in UNITS, "unit", self.unit, "'step' or 'epoch'")
        if inner and unit not in (None, *inner):
            raise ValueError(f"unit is {unit!r}; the schedules inside count {inner.pop()}s")
        self(0)  # reports arguments that do not fit

    def _parts(self) -> list[Schedule]:
        """The schedules among the arguments."""
        found = []
        for value in self.arguments.values():
            found += [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, Schedule)]
        return found

    def __call__(self, t: float) -> float:
        """The value at step or epoch t."""
        count = int(t) if t == t and abs(t) != math.inf and t == int(t) else float(t)
        require(count >= 0, "t", t, "a step or epoch counted from 0")
        return float(type(self).formula(count, **self.arguments))

    def values(self, n: int, start: int = 0) -> numpy.ndarray:
        """The values at start, start + 1, ..., start + n - 1 as an array, to plot or to look at.

        >>> from brazen import schedules
        >>> schedules.step(0.5, step_size=2, gamma=0.5).values(5)
        array([0.5  , 0.5  , 0.25 , 0.25 , 0.125])
        """
        return numpy.array([self(t) for t in range(start, start + n)], dtype=numpy.float64)

    def config(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds an equal schedule."""
        return {**super().config(), "unit": self.unit}

    def with_warmup(self, warmup_steps: int, start_factor: float = 0.0, shift: bool = True) -> Schedule:
        """This schedule after a linear rise: see `warmup`."""
        return schedules["warmup"](self, warmup_steps, start_factor, shift)


def from_config(config: Mapping[str, Any], functions: Mapping[str, Callable] | None = None) -> Any:
    """The schedule that `config()` wrote down. Functions of the user's are looked up in `functions` by the name noted there.

    >>> from brazen import schedules
    >>> schedules.from_config({"name": "cosine", "lr": 0.1, "T_max": 10, "unit": "epoch"})(5).__round__(12)
    0.05
    """
    return rebuild(config, get, functions)


def names() -> tuple[str, ...]:
    """The names of all schedules.

    >>> "cosine" in names()
    True
    """
    return tuple(schedules)


def get(name: str) -> Any:
    """The schedule class of a name.

    >>> get("step").__name__
    'step'
    """
    require(name in schedules, "name", name, f"one of {', '.join(schedules)}")
    return schedules[name]


def schedule(unit: str = "step", **aliases: str) -> Callable[[Callable], type[Schedule]]:
    """Makes a formula f(t, **arguments) a schedule class of the same name, arguments and docstring."""
    either = inspect.Parameter("unit", inspect.Parameter.KEYWORD_ONLY, default=None)
    return lambda formula: define(Schedule, schedules, formula, aliases, extra=[either], _default_unit=unit)
