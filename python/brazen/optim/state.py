# SPDX-License-Identifier: BSD-3-Clause
"""What an optimizer saves: its state as flat, named arrays, and its settings as plain data. No step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import parameters
from .settings import GROUP_OPTIONS, STEP_OPTIONS


def _listening(optimizer) -> dict[str, Any]:
    """Schedules that keep what they have heard, by the name their state is saved under."""
    return {
        f"schedule.{number}.{name}": value
        for number, group in enumerate(optimizer.groups)
        for name, value in group.items()
        if hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    }


def collect(optimizer) -> dict[str, Any]:
    made = optimizer._require_bound()
    on_device = made.on_device
    state: dict[str, Any] = {
        "memory": optimizer._memory if on_device else np.array(made.memory, "float64").reshape(-1, 2)
    }
    if optimizer._rule["layerwise"]:
        state["tensor_memory"] = optimizer._tensor_memory if on_device else np.array(made.tensor_memory, "float64")
    for slot, own in zip(optimizer._slots, optimizer._axes):
        state |= {f"{kind}.{slot.name}": array for kind, array in own.items()}
    kept = {kind: arrays for kind, arrays in optimizer.state.items() if kind != "direction"}
    for kind, arrays in [*kept.items(), ("average", optimizer._averages or []), ("master", optimizer._masters or [])]:
        for slot, array in zip(optimizer._slots, arrays):
            if array is not None:
                state[f"{kind}.{slot.name}"] = array
    for name, schedule in _listening(optimizer).items():
        state[name] = np.array(list(schedule.state_dict().values()), "float64")
    return state


def load(optimizer, state: dict[str, Any]) -> None:
    made = optimizer._require_bound()
    if not isinstance(state, Mapping):
        raise TypeError(f"the state is {type(state).__name__}; expected a dict of arrays, as state_dict() gives it")
    own = collect(optimizer)
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} is not known" for name in state if name not in own]
    for name in own.keys() & state.keys():
        array, given = own[name], state[name]
        if not parameters.is_array(given):
            wrong.append(f"{name} is {type(given).__name__}, expected an array")
        elif tuple(array.shape) != tuple(given.shape):
            wrong.append(f"{name} has shape {tuple(given.shape)}, expected {tuple(array.shape)}")
        elif parameters.dtype_name(array) != parameters.dtype_name(given):
            wrong.append(f"{name} has dtype {parameters.dtype_name(given)}, expected {parameters.dtype_name(array)}")
    listening = _listening(optimizer)
    heard: dict[str, dict] = {}
    if not wrong:
        memory = parameters.to_host(state["memory"])
        if not (np.isfinite(memory).all() and (memory[:, 0] >= 0).all()):
            wrong.append("memory holds negative numbers of steps, NaN or infinities")
        for name, schedule in listening.items():
            heard[name] = dict(zip(schedule.state_dict(), parameters.to_host(state[name]).tolist()))
            try:
                copy.deepcopy(schedule).load_state_dict(heard[name])
            except (TypeError, ValueError, OverflowError) as error:
                wrong.append(f"{name} is refused: {error}")
    if wrong:
        raise ValueError(f"the state does not fit this {type(optimizer).__name__}: " + "; ".join(sorted(wrong)))
    for name, array in own.items():
        if name in listening:
            listening[name].load_state_dict(heard[name])
        elif name == "tensor_memory" and not made.on_device:
            made.tensor_memory = parameters.to_host(state[name]).tolist()
        elif name != "memory" or made.on_device:
            parameters.assign(array, state[name])
    if not made.on_device:
        made.memory = [(float(step), float(product)) for step, product in memory]
    optimizer._steps, optimizer._uncertain = int(memory[0, 0]), False


def _plain(name: str, value) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(name, v) for v in value]
    if hasattr(value, "config"):
        return value.config()
    if callable(value) or parameters.is_array(value):
        raise TypeError(f"{name} is {type(value).__name__}, which has no config(); give a schedule of brazen.schedules")
    return value


def config(optimizer) -> dict[str, Any]:
    standard = {**optimizer.hyper, **GROUP_OPTIONS}
    given = {n: v for n, v in optimizer.defaults.items() if v != standard[n]}
    given |= {n: v for n, v in optimizer.options.items() if v != STEP_OPTIONS[n]}
    made = {"rule": optimizer.name, **{n: _plain(n, v) for n, v in given.items()}}
    own = optimizer._own if optimizer._list is None else [_overrides(optimizer, group) for group in optimizer.groups]
    if any(own):
        made["groups"] = [{n: _plain(n, v) for n, v in group.items()} for group in own]
    return made


def _overrides(optimizer, group: dict[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in group.items() if v is not optimizer.defaults[n] and v != optimizer.defaults[n]}


def rebuilt(value) -> Any:
    """A value as `_plain` wrote it down: schedules and tuples again."""
    from .. import schedules

    if isinstance(value, list):
        return tuple(rebuilt(v) for v in value)
    if isinstance(value, dict) and "name" in value and "unit" in value:
        return schedules.from_config(value)
    return value
