# SPDX-License-Identifier: BSD-3-Clause
"""Named objects made of one function and its arguments, which can be written down as plain data and rebuilt from it.

Schedules and initialisers are such objects; what they compute, and from what, is theirs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy


def require(condition: bool, argument: str, value: Any, accepted: str) -> None:
    """Raises unless the condition holds."""
    if not condition:
        raise ValueError(f"{argument} is {value!r}; expected {accepted}")


def _listed(value: Any) -> Any:
    """Sequences as lists and NumPy's numbers as Python's, so that a config gives back an equal object."""
    if isinstance(value, list | tuple):
        return [_listed(item) for item in value]
    return value.tolist() if isinstance(value, numpy.generic | numpy.ndarray) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Configured):
        return value.config()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {"function": f"{value.__module__}.{value.__qualname__}"} if callable(value) else value


class Configured:
    """Arguments of a formula, bound and checked; two of the same class and arguments are equal."""

    name: ClassVar[str]
    formula: ClassVar[Callable]
    aliases: ClassVar[Mapping[str, str]] = {}
    arguments: dict[str, Any]

    def __init__(self, *values: Any, **named: Any):
        renamed = {self.aliases.get(key, key): value for key, value in named.items()}
        if len(renamed) != len(named):
            raise TypeError(f"{self.name}: an argument is given under two names: {', '.join(sorted(named))}")
        try:
            bound = self.__signature__.bind(*values, **renamed)  # type: ignore[attr-defined]
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}") from None
        bound.apply_defaults()
        self.arguments = {key: _listed(value) for key, value in bound.arguments.items()}

    def config(self) -> dict[str, Any]:
        """Plain data from which `from_config` builds an equal object."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.arguments.items()}}

    def __eq__(self, other):
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self):
        config = {**self.config(), **self.arguments}
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in config.items() if key != 'name')})"


def define(
    base: type, registry: dict[str, type], formula: Callable, aliases: Mapping[str, str], **members: Any
) -> type:
    """A subclass of `base` with the formula's name, docstring and arguments, but for its first; entered in the registry.

    `members` may hold `extra`, parameters of the class that the formula does not take.
    """
    signature = inspect.signature(formula)
    own = [*list(signature.parameters.values())[1:], *members.pop("extra", [])]
    members |= {
        "name": formula.__name__,
        "formula": staticmethod(formula),
        "aliases": dict(aliases),
        "__doc__": formula.__doc__,
        "__module__": formula.__module__,
        "__signature__": signature.replace(parameters=own, return_annotation=inspect.Signature.empty),
    }
    registry[formula.__name__] = type(formula.__name__, (base,), members)
    return registry[formula.__name__]


def rebuild(
    config: Mapping[str, Any], get: Callable[[str], Any], functions: Mapping[str, Callable] | None = None
) -> Any:
    """The object that `config()` wrote down; functions of the user's are looked up by the name noted there."""

    def revive(value):
        if isinstance(value, Mapping) and "name" in value:
            return rebuild(value, get, functions)
        if isinstance(value, Mapping) and "function" in value:
            named = functions or {}
            require(value["function"] in named, "functions", sorted(named), f"one for {value['function']!r} among them")
            return named[value["function"]]
        return [revive(item) for item in value] if isinstance(value, list) else value

    arguments = {key: revive(value) for key, value in config.items() if key != "name"}
    return get(config["name"])(**arguments)
