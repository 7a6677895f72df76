# SPDX-License-Identifier: BSD-3-Clause
"""A state, nested dicts and lists of arrays and plain values, as a JSON value and a flat dict of arrays; and back.

A JSON object with a key that begins with one "$" stands for what JSON has no word for: {"$array": name}, {"$float": "nan"},
{"$floats": name} and {"$integers": name} for long lists. Keys of the state that begin with "$" are written with two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._random import namespace
from .text import MOST_DIGITS, CheckpointError

DEEPEST = 64
# Lists of numbers alone, from this length on, are arrays: exact, 8 bytes a number, and no text to parse.
LONG = 64
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
LARGEST = 10**MOST_DIGITS


def is_array(value) -> bool:
    """An array of NumPy or CuPy."""
    return isinstance(value, np.ndarray) or namespace(value) is not np


def pointer(path: tuple[str, ...]) -> str:
    """The keys of a path in one name, as a JSON pointer without its first slash.

    >>> pointer(("model", "dense/1.weight"))
    'model/dense~11.weight'
    """
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in path)


def path_of(name: str) -> tuple[str, ...]:
    """The keys that `pointer` joined."""
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in name.split("/"))


def flatten(state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(JSON value, arrays by name). The arrays are the state's own; lists become arrays of NumPy where they are long."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state is {type(state).__name__}; expected a dict")
    arrays: dict[str, Any] = {}
    return _flatten(state, (), arrays), arrays


def _flatten(value, path, arrays):
    if len(path) > DEEPEST:
        raise ValueError(f"state is nested more than {DEEPEST} deep at {pointer(path[:8])}/…")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        if abs(value) >= LARGEST:
            raise ValueError(f"{_where(path)} has more than {MOST_DIGITS} digits")
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{_where(path)} has the key {key!r}; expected a str")
        return {
            f"${key}" if key.startswith("$") else str(key): _flatten(item, (*path, str(key)), arrays)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        kind, packed = _pack(value)
        if packed is not None:
            return {kind: _enter(packed, path, arrays)}
        return [_flatten(item, (*path, str(index)), arrays) for index, item in enumerate(value)]
    if is_array(value):
        return {"$array": _enter(value, path, arrays)}
    raise TypeError(
        f"{_where(path)} is {type(value).__name__}; expected an array of NumPy or CuPy, a number, str, bool, None, or a "
        "dict, list or tuple of these"
    )


def _where(path):
    return f"state at {pointer(path)}" if path else "state"


def _enter(array, path, arrays):
    name = pointer(path)
    arrays[name] = array
    return name


def _pack(values):
    if len(values) >= LONG:
        if all(type(value) is float for value in values):
            return "$floats", np.array(values, np.float64)
        if all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
            return "$integers", np.array(values, np.int64)
    return "", None


def unflatten(value: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The state of which `flatten` made this JSON value and these arrays; every array stands in it once."""
    left = dict(arrays)
    state = _unflatten(value, left, 0)
    if not isinstance(state, dict):
        raise CheckpointError("the state is no JSON object")
    if left:
        raise CheckpointError(f"the array {next(iter(left))!r} has no place in the state")
    return state


def _unflatten(value, arrays, depth):
    if depth > DEEPEST:
        raise CheckpointError(f"the state is nested more than {DEEPEST} deep")
    if isinstance(value, list):
        return [_unflatten(item, arrays, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    special = [key for key in value if key.startswith("$") and not key.startswith("$$")]
    if not special:
        return {key.removeprefix("$"): _unflatten(item, arrays, depth + 1) for key, item in value.items()}
    kind, given = special[0], value[special[0]]
    if len(value) > 1 or not isinstance(given, str):
        raise CheckpointError(f"the state has {kind!r} beside other keys, or of no text")
    if kind == "$float" and given in NOT_FINITE:
        return NOT_FINITE[given]
    if kind not in ("$array", "$floats", "$integers") or given not in arrays:
        raise CheckpointError(f"the state refers to {kind} {given!r}, which is not there")
    array = arrays.pop(given)
    if kind == "$array":
        return array
    if array.ndim != 1 or array.dtype != (np.float64 if kind == "$floats" else np.int64):
        raise CheckpointError(f"{kind} {given!r} is an array of {array.dtype} with {array.ndim} axes")
    return array.tolist()
