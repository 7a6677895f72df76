# SPDX-License-Identifier: BSD-3-Clause
"""Hyper-parameters and options: their defaults, what they may be, their value at a step. No rule, no array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import parameters

DTYPES = ("float16", "bfloat16", "float32", "float64")
# Options of every rule: what a group may set for itself, and what holds for a whole step.
GROUP_OPTIONS: dict[str, Any] = {
    "decoupled_weight_decay": None,
    "l1": 0.0,
    "l2": 0.0,
    "clip_value": None,
    "agc": None,
    "agc_eps": 1e-3,
    "max_norm": None,
}
STEP_OPTIONS: dict[str, Any] = {
    "maximize": False,
    "clip_norm": None,
    "unit_axis": -1,
    "ema": None,
    "ema_bias_correction": False,
    "copy_to": None,
    "master_weights": False,
    "zero_grads": False,
    "skip_nonfinite": False,
    "report_norms": False,
    "exclude": None,
    "state_dtype": None,
    "stochastic_rounding": None,
}
# Options of a step that need no other arrays, or are given them, once steps were made.
CHANGEABLE = ("clip_norm", "ema", "maximize", "zero_grads", "skip_nonfinite", "report_norms")
# Bounds that 0 would not turn off: it would leave nothing.
_POSITIVE = ("clip_norm", "clip_value", "agc", "max_norm")
# Of one hyper-parameter: the smallest value accepted, and the smallest not accepted.
_BOUNDS = {
    "lr": (0, math.inf), "betas": (0, 1), "eps": (0, math.inf), "momentum": (0, math.inf), "alpha": (0, math.inf),
    "rho": (0, 1), "weight_decay": (0, math.inf), "l1": (0, math.inf), "l2": (0, math.inf), "lr_decay": (0, math.inf),
    "clip_norm": (0, math.inf), "clip_value": (0, math.inf), "agc": (0, math.inf), "agc_eps": (0, math.inf),
    "max_norm": (0, math.inf), "ema": (0, 1), "initial_accumulator_value": (0, math.inf), "lambd": (0, math.inf), "t0": (0, math.inf),
    "momentum_decay": (0, math.inf), "trust_coefficient": (0, math.inf), "d": (0, math.inf), "threshold": (0, math.inf),
}  # fmt: skip
_PLAIN = frozenset((float, int, bool, str, type(None)))
_CHOICES = {"eps_mode": ("inside", "outside", "none"), "initial": (None, "zero", "gradient")}


def is_plain(value) -> bool:
    """Whether a value is the same at every step: a number, a text, None, or a tuple of them."""
    kind = type(value)
    return kind in _PLAIN or (kind in (tuple, list) and all(type(part) in _PLAIN for part in value))


def kept(store: dict[int, tuple], key: list, make: Callable, place: int, *arguments):
    """make(place, *arguments), or what it gave last if the key is the same and plain: a step of a small network takes 50 µs,
    and its settings as long again."""
    # An array of a GPU equals the number it holds, and is read at every step all the same.
    if not all(map(is_plain, key)):
        return make(place, *arguments)
    known = store.get(place)
    if known is None or known[0] != key:
        known = store[place] = key, make(place, *arguments)
    return known[1]


def is_on(value) -> bool:
    """Whether a hyper-parameter may be other than 0: a schedule may, and an array of a GPU is not waited for."""
    return callable(value) or parameters.on_gpu(value) or bool(value)


def resolve(value, step: Callable[[], int], epoch: int | None = None, name: str = ""):
    """A hyper-parameter's value: a schedule is called with the number of steps done, or with the epoch if it counts those."""
    if callable(value):
        if getattr(value, "unit", "step") != "epoch" or hasattr(value, "state_dict"):
            return value(step())
        if epoch is None:
            raise ValueError(
                f"{name} is a schedule of epochs, and the optimizer was not told the epoch; "
                f"set optimizer.epoch at the start of each, or give the schedule unit='step'"
            )
        return value(epoch)
    return tuple(resolve(v, step, epoch, name) for v in value) if isinstance(value, tuple | list) else value


def normal(name: str, value):
    """A value as it is kept: dtypes by their names, numbers of NumPy and arrays without axes on the host as Python's.

    >>> normal("lr", np.float32(0.5)), normal("betas", (np.float64(0.5), 0.75)), normal("copy_to", np.float16)
    (0.5, (0.5, 0.75), 'float16')
    """
    if name == "state_dtype":
        if isinstance(value, dict):
            return {state: _dtype_name(name, dtype) for state, dtype in value.items()}
        return _dtype_name(name, value)
    if name == "copy_to":
        names_dtype = isinstance(value, str | type | np.dtype) or type(value).__name__ == "dtype"
        return _dtype_name(name, value) if names_dtype else value
    if isinstance(value, tuple | list):
        return type(value)(normal(name, part) for part in value)
    if isinstance(value, np.generic) or (
        parameters.is_array(value) and tuple(value.shape) == () and parameters.on_host(value)
    ):
        number = value.item()
        return float(number) if isinstance(number, np.generic) else number
    return value


def _dtype_name(option: str, value) -> str | None:
    if value is None:
        return None
    try:
        # PyTorch's are no types of NumPy's: torch.float16 is named so.
        name = np.dtype(value).name if isinstance(value, type | np.dtype) else str(value).rpartition(".")[2]
    except TypeError:
        name = ""
    if name not in DTYPES:
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(DTYPES)}")
    return name


def checked(values: dict[str, Any], standards: dict[str, Any]) -> dict[str, Any]:
    """The values as they are kept, each held against its bounds and the form of its default."""
    made = {name: normal(name, value) for name, value in values.items()}
    for name, value in made.items():
        _check_form(name, value, standards[name])
        check_value(name, value)
    return made


def number(name: str, value) -> float:
    """An argument of a step."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}; expected a number") from None


def scheduled(name: str, value, given):
    """What a schedule gave at a step, held against the bounds of its setting. None is no bound, and no number."""
    if callable(given) and value is None and name not in _POSITIVE:
        raise ValueError(f"{name} is None, as its schedule gave it; expected a number")
    value = normal(name, value)
    check_value(name, value)
    return value


def _check_form(name: str, value, standard) -> None:
    if isinstance(standard, tuple):
        if not callable(value) and not (isinstance(value, tuple | list) and len(value) == len(standard)):
            raise ValueError(f"{name} is {value!r}; expected {len(standard)} values, such as {standard!r}")
    elif value is None and type(standard) in (float, int):
        raise ValueError(f"{name} is None; expected a number, such as {standard!r}")
    elif type(standard) is bool and type(value) is not bool and value not in (0, 1):
        raise ValueError(f"{name} is {value!r}; expected True or False")
    elif name in _POSITIVE and type(value) in (float, int) and value == 0:
        raise ValueError(f"{name} is {value!r}; expected a positive number, or None, which bounds nothing")


def check_value(name: str, value) -> None:
    if isinstance(value, tuple | list):
        for item in value:
            check_value(name, item)
    elif name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, _CHOICES[name]))}")
    elif name in _BOUNDS and not callable(value) and value is not None and not hasattr(value, "dtype"):
        low, high = _BOUNDS[name]
        if isinstance(value, str) or not low <= value < high:
            upper = "" if high == math.inf else f" and below {high}"
            raise ValueError(f"{name} is {value!r}; expected a number of at least {low}{upper}, or a schedule")
