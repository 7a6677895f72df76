# SPDX-License-Identifier: BSD-3-Clause
"""Hyper-parameters and options: their defaults, what they may be, their value at a step. No rule, no array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
    "zero_grads": False,
    "skip_nonfinite": False,
    "report_norms": False,
    "exclude": None,
    "state_dtype": None,
    "stochastic_rounding": None,
}
# Of one hyper-parameter: the smallest value accepted, and the smallest not accepted.
_BOUNDS = {
    "lr": (0, math.inf), "betas": (0, 1), "eps": (0, math.inf), "momentum": (0, math.inf), "alpha": (0, math.inf),
    "rho": (0, 1), "weight_decay": (0, math.inf), "l1": (0, math.inf), "l2": (0, math.inf), "lr_decay": (0, math.inf),
    "clip_norm": (0, math.inf), "clip_value": (0, math.inf), "agc": (0, math.inf), "max_norm": (0, math.inf), "ema": (0, 1), "initial_accumulator_value": (0, math.inf),
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
