# SPDX-License-Identifier: BSD-3-Clause
"""What the core is told of each group at a step: its GroupStep's numbers, and the arrays of a GPU that stand for some."""

from __future__ import annotations

from .. import _core
from . import arrays, parameters
from .settings import is_plain, kept


def of_all_groups(optimizer, scalars: list) -> list[list[float]]:
    """A row of numbers for each group of the core; (group, place, array) of those on a GPU go to `scalars`."""
    options, rule, before = optimizer.options, optimizer._rule, list(scalars)
    of_all = (options["ema"], options["ema_bias_correction"])
    settings = [
        kept(
            optimizer._kept,
            [*optimizer.groups[number].values(), *of_all],
            _of_group,
            core,
            optimizer,
            number,
            out,
            scalars,
        )
        for core, (number, out) in enumerate(optimizer._kinds)
    ]
    if optimizer._rule is rule:
        return settings
    scalars[:] = before  # a value that was changed asked for another rule, whose settings these are not
    return of_all_groups(optimizer, scalars)


def _of_group(core_group: int, optimizer, number: int, excluded: frozenset[str], scalars: list) -> list[float]:
    """In the order of GroupStep; arrays of a GPU leave a 0."""
    arrays.fit(optimizer)
    options = optimizer.options
    h = {n: v if is_plain(v) else optimizer._resolve(n, v) for n, v in optimizer.groups[number].items()}
    for name in ("weight_decay", "l1", "l2", "clip_value", "max_norm", "agc"):
        if name in excluded:
            h[name] = 0.0
    core = hyper_of(optimizer, h)
    decay = optimizer.outer_decay(h)
    decoupled = optimizer.decoupled if h["decoupled_weight_decay"] is None else h["decoupled_weight_decay"]
    given = [core[name] for name in optimizer._rule["hyper"]]
    given += [0.0] * (_core.max_hyper - len(given))
    given += [
        decay if decoupled else 0.0,
        h["l1"],
        h["l2"],
        0.0 if decoupled else decay,
        h["clip_value"],
        optimizer._resolve("ema", options["ema"]),
        options["ema_bias_correction"],
        "clip_norm" not in excluded,
        h["max_norm"],
        h["agc"],
        h["agc_eps"],
    ]
    values = []
    for place, value in enumerate(given):
        if parameters.on_gpu(value):
            scalars.append((core_group, place, value))
            value = 0.0
        values.append(0.0 if value is None else float(value))
    return values


def hyper_of(optimizer, h: dict) -> dict:
    """The registered rule's hyper-parameters from the public ones, by name."""
    values = dict(h)
    for number, beta in enumerate(h.get("betas", ()), 1):
        values[f"beta{number}"] = beta
    if "eps_mode" in h:
        values["eps_inside"] = h["eps"] if h["eps_mode"] == "inside" else 0.0
        values["eps_outside"] = h["eps"] if h["eps_mode"] == "outside" else 0.0
    if "bias_correction" in h:
        values["correction"] = h["bias_correction"]
    if "initial" in h:
        values["first_gradient"] = h["initial"] == "gradient"
    return {**values, **optimizer.core_hyper(h)}


def number_or_scalar(optimizer, name: str, value, place: tuple[int, int], scalars: list) -> float:
    """A setting of the whole step; 0.0 for None, and for an array of a GPU, which goes to `scalars`."""
    value = optimizer._resolve(name, value)
    if parameters.on_gpu(value):
        scalars.append((*place, value))
        return 0.0
    return float(value or 0.0)
