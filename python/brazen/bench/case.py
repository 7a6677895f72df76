# SPDX-License-Identifier: BSD-3-Clause
"""What a benchmark compares: sides (a statement on named arrays) gathered in a case. No clock here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class WrongResult(AssertionError):
    """A result that differs from the float64 reference, or was not written: no time is printed for it."""


class Side:
    """One contender: `statement` run on `names`; `prepare` runs before every call and `enter` before every block, both
    outside the clock.

    The statement is compiled into its own loop, so that a call pays for its arguments and nothing else.

    >>> side = Side("values.append(1)", values=[])
    >>> side.loop(3); len(side.names["values"])
    3
    """

    enter: Callable[[], None] | None = None
    note = ""

    def __init__(self, statement: str, prepare: str = "", **names: Any):
        self.statement, self.names = statement, names
        self.loop = compiled(f"for _ in repeat(None, calls): {statement}", "calls", names)
        self.prepare = compiled(prepare, "", names) if prepare else None
        self._value = compiled(f"return {statement}", "", names) if ";" not in statement else self.loop

    def __call__(self):
        """Runs it once; the value of the statement."""
        if self.prepare:
            self.prepare()
        return self._value(1) if self._value is self.loop else self._value()

    def __repr__(self) -> str:
        return self.statement + self.note


def compiled(body: str, arguments: str, names: dict[str, Any]) -> Callable[..., Any]:
    """A function of `arguments` whose text is `body`; the texts are constants of this package, never read from a file."""
    from itertools import repeat

    # Defaults, not globals: a local is the cheapest name Python has.
    bound = ", ".join(part for part in [arguments, *(f"{name}={name}" for name in names), "repeat=repeat"] if part)
    scope = {**names, "repeat": repeat}
    exec(f"def run({bound}):\n    {body}", scope)  # noqa: S102
    return scope["run"]


@dataclass
class Case:
    """One operation in one direction on arrays of one size: our sides, the peers', and the check of our result.

    `ours` maps a way to call ("out", "allocating", "in place") to its side, `peers` a peer and a column ("preallocated",
    "allocating") to its candidates, of which the fastest is compared. `bytes` is what must move: each input read once,
    each output written once. `derive` makes further metrics of the seconds of each round, by side.
    """

    name: str
    direction: str
    dtype: str
    elements: int
    bytes: int
    ours: dict[str, Side]
    check: Callable[[], None]
    peers: dict[str, dict[str, list[Side]]] = field(default_factory=dict)
    baseline: Side | None = None  # the same work without what a workload wants the price of
    derive: Callable[[Mapping[str, Sequence[float]]], dict[str, float]] | None = None
