# SPDX-License-Identifier: BSD-3-Clause
"""The table of `make demo`: for every activation its error against float64, its speed against the reference Python and its
part of the copy bandwidth. Half a minute at most."""

from __future__ import annotations

from typing import Any

import numpy as np

import brazen

from ..bench import activations
from ..bench.case import Side
from ..bench.tables import number, text
from ..bench.timing import Copy, Effort, interleaved, median_ratio

_ELEMENTS = 16 << 20
_EFFORT = Effort(rounds=3, seconds=0.008, settle=0.0)
# Without SciPy the reference's erf runs element by element: such an operation is not timed against it.
_PATIENCE = 2.0


def error(name: str, direction: str) -> float:
    """The largest error of float32 results against float64, in units of 2^-23 * max(|y|, min(1, |x|)) (1 ulp at most)."""
    space = activations.Workspace(1 << 16, "float32", np.random.SeedSequence().generate_state(1)[0])
    case = activations.make(name, direction, space)
    case.check()
    names = case.ours["allocating"].names
    wide: dict[str, Any] = {
        key: value.astype(np.float64) for key, value in names.items() if isinstance(value, np.ndarray)
    }
    reference = getattr(brazen.reference, name.partition(".")[0])
    exact = Side(
        case.ours["allocating"].statement, f=reference.backward if direction == "backward" else reference, **wide
    )()
    given = case.ours["allocating"]()
    if isinstance(exact, tuple):
        exact, given = exact[0], given[0]
    scale = _scale(name, wide["x"], wide.get("dy"))
    return float(np.max(np.abs(given - exact) / (2.0**-23 * np.maximum(np.abs(exact), scale))))


def _scale(name: str, x, dy):
    """min(1, |x|), times what the formula multiplies by: a product near its own zero has no relative accuracy."""
    slope = 1.0 if dy is None else np.maximum(1, np.abs(dy))
    if not activations.halved(name):
        return np.minimum(1, np.abs(x)) * slope
    if name == "maxout":
        return 1.0
    value, gate = np.split(np.abs(x), 2, -1)
    gate = np.minimum(1, gate)
    return value * gate if dy is None else np.concatenate([gate * slope, value * slope], -1)


def measure(name: str, space: activations.Workspace, copy: Copy) -> tuple[float | None, float]:
    """(times faster than the reference Python, fraction of B), forward."""
    case = activations.make(name, "forward", space, ("reference",))
    case.check()
    reference = case.peers["reference"]["allocating"][0]
    rounds = interleaved([case.ours["out"], copy.side], _EFFORT)
    fraction = median_ratio([case.bytes / ours for ours, _ in rounds], [copy.bytes / seconds for _, seconds in rounds])
    small = Side(reference.statement, **{**reference.names, "x": reference.names["x"][:1]})
    estimate = interleaved([small], Effort(rounds=1, calls=1, settle=0.0))[0][0] * len(space.x) / small.names["x"].size
    if estimate > _PATIENCE:
        return None, fraction
    rounds = interleaved([reference, case.ours["allocating"]], Effort(rounds=1, seconds=0.008, settle=0.0))
    return median_ratio([theirs for theirs, _ in rounds], [ours for _, ours in rounds]), fraction


def main(elements: int = _ELEMENTS) -> int:
    """Prints the table."""
    copy = Copy(4 * elements, _EFFORT)
    space = activations.Workspace(elements, "float32", np.random.SeedSequence().generate_state(1)[0])
    rows = []
    for name in activations.names():
        faster, fraction = measure(name, space, copy)
        shown = "needs SciPy" if faster is None else f"{faster:.1f}×"
        rows.append(
            [name, f"{number(error(name, 'forward'))} / {number(error(name, 'backward'))}", shown, number(fraction)]
        )
    print(f"{elements / 2**20:g} M float32, B = {copy.rates[copy.best] / 1e9:.1f} GB/s ({copy.best})\n")
    print(text((["activation", "error (ulp), forward / backward", "times the reference", "fraction of B"], rows)))
    print(
        "\nError: the largest against float64, in units of 2^-23 * max(|y|, min(1, |x|)). B: the copy bandwidth of this machine."
    )
    return 0
