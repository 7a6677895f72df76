# SPDX-License-Identifier: BSD-3-Clause
"""A network's weights and statistics out and in, by name or by order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..optim.parameters import assign
from .stages import self_and_inner


@dataclass
class Loaded:
    """What `load_state` did: names of this network, and of the given state where nothing here bears them."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)


def state(net) -> dict[str, Any]:
    """Weights first, in the arena's order, then statistics."""
    found = dict(net.weights)
    for layer in self_and_inner(net):
        for name, array in layer.buffers.items():
            found[f"{layer.path}.{name}"] = array
    return found


def load_state(net, given, strict: bool, by_name: bool, skip_mismatch: bool) -> Loaded:
    own, done = state(net), Loaded()
    if by_name:
        pairs = {name: given[name] for name in own if name in given}
        done.missing = [name for name in own if name not in given]
        done.unknown = [name for name in given if name not in own]
    else:
        pairs = dict(zip(own, given.values()))
        done.missing = list(own)[len(given) :]
        done.unknown = list(given)[len(own) :]
    wrong = []
    if strict:
        wrong += [f"{name} is missing" for name in done.missing] + [f"{name} is not known" for name in done.unknown]
    for name, array in pairs.items():
        if tuple(array.shape) == tuple(own[name].shape):
            done.loaded.append(name)
            continue
        done.mismatched.append(name)
        if not skip_mismatch:
            wrong.append(f"{name} has shape {tuple(array.shape)}, expected {tuple(own[name].shape)}")
    if wrong:
        raise ValueError(
            f"the state does not fit this network: {'; '.join(wrong)} (strict=False lets names differ, skip_mismatch=True "
            "leaves out other shapes)"
        )
    for name in done.loaded:
        if pairs[name] is not own[name]:
            assign(own[name], pairs[name])
    return done
