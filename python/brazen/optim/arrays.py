# SPDX-License-Identifier: BSD-3-Clause
"""The arrays a rule and its options need beside the parameters: made, and made to fit settings that change. No step."""

from __future__ import annotations

import operator

from .. import _core
from . import parameters
from .settings import GROUP_OPTIONS, checked

_NOTHING = object()


def make(optimizer) -> None:
    """All of them, for the rule that serves the groups."""
    optimizer.state, optimizer._fitted = {}, []
    _make_states(optimizer)
    slots, excluded = optimizer._weights, optimizer._excluded
    optimizer._axes = []
    if optimizer._rule["factored"]:
        for slot in slots:
            shapes = optimizer.axis_states(tuple(slot.array.shape))
            optimizer._axes.append({n: parameters.filled_as(slot.array, shape) for n, shape in shapes.items()})
        optimizer._list.set_axes([list(made.values()) for made in optimizer._axes])
    _set_units(optimizer)
    optimizer._averages = optimizer._copies = None
    if optimizer.options["ema"] is not None:
        _start_averages(optimizer)
    copy_to = optimizer.options["copy_to"]
    if optimizer._masters is not None:
        _set_followers(optimizer)
    elif copy_to is not None:
        if isinstance(copy_to, str):
            given = [parameters.copy_of(slot.array, copy_to) for slot in slots]
        else:
            given = list(parameters.flatten(copy_to, slots, "copy_to"))
            if len(given) != len(slots):
                raise ValueError(f"copy_to holds {len(given)} arrays for {len(slots)} parameters; pass one for each")
        optimizer._copies = [None if "copy_to" in out else array for array, out in zip(given, excluded)]
        optimizer._list.set(_core.copy_role, optimizer._copies)


def fit(optimizer) -> None:
    """After a change of settings: another rule where they ask for one, what it lacks, units, averages."""
    # By identity: a schedule brings every step here, and an array of a GPU is not compared without waiting for it.
    given, fitted = _settings_of(optimizer), optimizer._fitted
    if len(given) == len(fitted) and all(map(operator.is_, given, fitted)):
        return
    known, before = {**optimizer.hyper, **GROUP_OPTIONS}, iter(fitted[1:])
    for group in optimizer.groups:
        changed = {name: value for name, value in group.items() if value is not next(before, _NOTHING)}
        optimizer._require_known(changed, known)
        group.update(checked(changed, known))
        optimizer.check(group)
    given = _settings_of(optimizer)
    kernel = optimizer.kernel(optimizer.groups)
    if kernel != optimizer._kernel:
        from .optimizer import RULES

        optimizer._kernel, optimizer._rule = kernel, RULES[kernel]
        optimizer._kept.clear()
        _make_states(optimizer)
    if _units_wanted(optimizer) != optimizer._units:
        _set_units(optimizer)
    ema = optimizer.options["ema"]
    if (ema is None) != (optimizer._averages is None):
        require_can_start(optimizer, ema)
        if ema is None:
            optimizer._averages = None
            optimizer._list.set(_core.average_role, [None] * len(optimizer._slots))
        else:
            _start_averages(optimizer)
    optimizer._fitted = given


def _settings_of(optimizer) -> list:
    return [optimizer.options["ema"], *(value for group in optimizer.groups for value in group.values())]


def require_can_start(optimizer, ema) -> None:
    """Raises where averages cannot begin now: their correction counts every step."""
    if ema is not None and optimizer._averages is None and optimizer.options["ema_bias_correction"] and optimizer.steps:
        raise ValueError(
            f"ema is {ema!r} after {optimizer.steps} steps, and ema_bias_correction counts from the first; "
            f"make the optimizer with ema, or without ema_bias_correction"
        )


def _make_states(optimizer) -> None:
    """The rule's states, in its order; those that are there are kept."""
    wanted, before = optimizer.options["state_dtype"], optimizer.state
    optimizer.state = {}
    for number, state in enumerate(optimizer._rule["states"]):
        arrays = before.get(state) or [_state_of(optimizer, state, slot, wanted) for slot in optimizer._weights]
        optimizer.state[state] = arrays
        optimizer._list.set(_core.first_state + number, arrays)


def _state_of(optimizer, state, slot, wanted):
    dtype = wanted.get(state) if isinstance(wanted, dict) else wanted
    dtype = dtype or _wide(slot)
    return parameters.filled(slot.array, dtype, optimizer.initial_state(state, optimizer.groups[slot.group]))


def _wide(slot) -> str:
    own = parameters.dtype_name(slot.array)
    return "float32" if own in ("float16", "bfloat16") else own


def _units_wanted(optimizer) -> tuple[bool, ...]:
    return tuple(any(group[n] is not None for group in optimizer.groups) for n in ("max_norm", "agc"))


def _set_units(optimizer) -> None:
    axis, extents = optimizer.options["unit_axis"], [tuple(slot.array.shape) for slot in optimizer._slots]
    optimizer._units = limited, clipped = _units_wanted(optimizer)
    optimizer._list.set_units(
        [parameters.units_of(shape, axis, False) for shape in extents] if limited else [],
        [parameters.units_of(shape, axis, True) for shape in extents] if clipped else [],
    )


def _start_averages(optimizer) -> None:
    # A 16-bit average would not move: 0.995 of it rounds back to it.
    optimizer._averages = [
        None if "ema" in out else parameters.copy_of(slot.array, _wide(slot))
        for slot, out in zip(optimizer._weights, optimizer._excluded)
    ]
    optimizer._list.set(_core.average_role, optimizer._averages)


def make_masters(slots) -> tuple[list, list[parameters.Slot]]:
    """Float32 weights beside the 16-bit parameters, None beside others; and the slots of what the steps update."""
    masters = [parameters.copy_of(slot.array, "float32") if _is_16_bit(slot.array) else None for slot in slots]
    weights = [
        slot if master is None else parameters.Slot(slot.name, masters, number, slot.group)
        for number, (slot, master) in enumerate(zip(slots, masters))
    ]
    return masters, weights


def _is_16_bit(array) -> bool:
    return parameters.dtype_name(array) in ("float16", "bfloat16")


def _set_followers(optimizer) -> None:
    """The parameters that have master weights are their copies."""
    seen = [None if master is None else slot.array for slot, master in zip(optimizer._slots, optimizer._masters)]
    optimizer._list.set(_core.copy_role, seen)
    optimizer._seen = [None if array is None else (array, parameters.address_of(array)) for array in seen]


def follow(optimizer) -> None:
    """Where a parameter was replaced: its master weights become the new one, but where they round to it as they are."""
    replaced = False
    for slot, master, seen in zip(optimizer._slots, optimizer._masters, optimizer._seen):
        if master is None or ((array := slot.array) is seen[0] and parameters.address_of(array) == seen[1]):
            continue
        if (parameters.dtype_name(array), tuple(array.shape)) != (parameters.dtype_name(seen[0]), tuple(master.shape)):
            raise ValueError(
                f"optim: {slot.name} has dtype {parameters.dtype_name(array)} and shape {tuple(array.shape)}; expected "
                f"{parameters.dtype_name(seen[0])} and {tuple(master.shape)}, as it had when it was bound"
            )
        parameters.renew(master, array)
        replaced = True
    if replaced:
        _set_followers(optimizer)
