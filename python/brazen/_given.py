# SPDX-License-Identifier: BSD-3-Clause
"""What a caller gave: numbers by name, arrays that must lie apart, and inputs that the result wrote over. No operation here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import TypeVar

_Call = TypeVar("_Call", bound=Callable)

# Other libraries' words for an argument, and ours.
_OURS = {
    "beta": "shift",
    "bias": "shift",
    "dim": "axis",
    "drop_prob": "rate",
    "epsilon": "eps",
    "gamma": "scale",
    "input": "x",
    "normalized_shape": "axis",
    "p": "rate",
    "weight": "scale",
}


def tells_names(call: _Call) -> _Call:
    """The function or method; an argument it does not have is answered with those it has."""
    code = call.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]

    @functools.wraps(call)
    def told(*arguments, **named):
        try:
            return call(*arguments, **named)
        except TypeError:
            wrong = next((name for name in named if name not in names), None)
            if wrong is None:
                raise
        operation = arguments[0].__name__ if names[0] == "self" else call.__name__
        ours = _OURS.get(wrong)
        hint = f" (here it is {ours})" if ours in names else ""
        taken = ", ".join(name for name in names if name != "self")
        raise TypeError(f"{operation}: there is no argument {wrong}{hint}; it takes {taken}")

    return told  # type: ignore[return-value]


class _Overwritten:
    """Stands in what was saved for an input that is gone."""

    def __repr__(self) -> str:
        return "<overwritten by out>"


OVERWRITTEN = _Overwritten()


def _address(array) -> int | None:
    """Where the first element lies; None where the library does not say."""
    if hasattr(array, "data_ptr"):  # PyTorch
        return array.data_ptr()
    if hasattr(array, "__array_interface__"):
        return array.__array_interface__["data"][0]
    return getattr(getattr(array, "data", None), "ptr", None)  # CuPy


def _layout(array) -> tuple | None:
    """The address of the first element, the strides and the size of an element, in bytes; None for what is no array."""
    address = _address(array)
    if address is None:
        return None
    if hasattr(array, "data_ptr"):
        item = array.element_size()
        return address, tuple(step * item for step in array.stride()), item
    return address, array.strides, array.dtype.itemsize


def _bounds(array):
    """A NumPy array itself, which NumPy compares fast; of another the first byte and the one after the last."""
    import numpy

    if isinstance(array, numpy.ndarray):
        return array
    layout = _layout(array)
    if layout is None or 0 in array.shape:
        return None
    low, strides, item = layout
    high = low + item
    for count, stride in zip(array.shape, strides):
        reach = (count - 1) * stride
        low, high = (low + reach, high) if reach < 0 else (low, high + reach)
    return low, high


def _share(a, b) -> bool:
    """Whether arrays with overlapping bounds share an element: NumPy's answer about addresses that nothing reads."""
    import numpy

    def shadow(array):
        address, strides, item = _layout(array) or (0, (), 0)
        interface = {"version": 3, "shape": tuple(array.shape), "strides": strides, "data": (address, True)}
        interface["typestr"] = f"|V{item}"
        return numpy.asarray(SimpleNamespace(__array_interface__=interface))

    try:
        return numpy.shares_memory(shadow(a), shadow(b), max_work=100_000)  # type: ignore[arg-type]
    except RuntimeError:  # too hard to tell
        return True


def _meet(a, b) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return a[0] < b[1] and b[0] < a[1]
    import numpy

    return isinstance(a, numpy.ndarray) and isinstance(b, numpy.ndarray) and numpy.may_share_memory(a, b)


def require_apart(operation: str, written: dict, *others: dict) -> None:
    """No array of `written` may share memory with another of them, or with one of `others`."""
    slots = [(name, array, _bounds(array)) for name, array in written.items() if array is not None]
    if not slots:
        return
    read = [(name, array, _bounds(array)) for arrays in others for name, array in arrays.items() if array is not None]
    for k, (name, slot, bounds) in enumerate(slots):
        for other_name, other, other_bounds in (*slots[:k], *read):
            if _meet(bounds, other_bounds) and _share(slot, other):
                raise ValueError(f"{operation}: {name} overlaps {other_name} in memory; pass an array apart")


def unless_overwritten(array, out):
    """`array`, or the sign that it is gone. The call accepted `out`: it is apart from the array, or covers it exactly."""
    if out is None or array is None or 0 in getattr(array, "shape", ()):
        return array
    if out is array or ((there := _address(array)) is not None and there == _address(out)):
        return OVERWRITTEN
    return array


def require_kept(operation: str, **arrays) -> None:
    """An error that names the first of `arrays` that is gone."""
    for name, array in arrays.items():
        if array is OVERWRITTEN:
            raise ValueError(
                f"{operation}: {name} is gone, the forward call wrote over it; give it an out apart from {name}"
            )


def require_saved(operation: str, saved, kind: type) -> None:
    """`saved` is the second result of the forward call."""
    if not isinstance(saved, kind):
        raise TypeError(
            f"{operation}: saved is {type(saved).__name__}; expected what the forward call returned beside y: "
            f"y, saved = {operation}(x), then {operation}.backward(dy, saved)"
        )


def number(operation: str, name: str, value, expected: str = "a number", least: float = -inf, most: float = inf):
    """`value`, or an error that names it: no number, below `least`, above `most` or NaN."""
    if type(value) is not float:
        if isinstance(value, (str, bytes)) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
            raise TypeError(f"{operation}: {name} is {value!r}; expected {expected}")
        value = float(value)
    if not least <= value <= most and (value == value or least > -inf or most < inf):
        raise ValueError(f"{operation}: {name} is {value}; expected {expected}")
    return value
