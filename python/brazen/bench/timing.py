# SPDX-License-Identifier: BSD-3-Clause
"""How long a side takes: blocks of calls, sides interleaved block by block, ratios taken within a round. No operation
is named here but the copies that define B."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import _core
from .case import Side


@dataclass(frozen=True)
class Effort:
    """How much measuring: `rounds` of blocks, a block of at least 50 calls or `seconds`."""

    rounds: int = 5
    seconds: float = 0.02
    calls: int = 50
    # Another runtime's idle worker spins on the second core for milliseconds after its last call.
    settle: float = 0.005


QUICK = Effort(rounds=2, seconds=0.005, settle=0.003)
FULL = Effort()

# A side this slow is timed by one call a block: the first-call effects that blocks are for are far below it.
_SLOW = 0.1


def block(side: Side, effort: Effort) -> float:
    """Seconds a call over one block, after its first calls were dropped: the lower quartile, which another process that
    takes the core for a while does not move."""
    clock = time.perf_counter
    if side.enter:
        side.enter()
    start = clock()
    first = _timed(side, 1)
    if first > _SLOW:
        return first
    shortest = first
    while clock() - start < effort.settle:
        shortest = min(shortest, _timed(side, 1))
    batch = 1 if side.prepare else max(1, int(50e-6 / max(shortest, 1e-8)))
    times: list[float] = []
    start = clock()
    while True:
        times.append(_timed(side, batch) / batch)
        spent = clock() - start
        enough = len(times) * batch >= effort.calls and spent >= effort.seconds / 10
        if len(times) >= 3 and (enough or spent >= effort.seconds):
            return sorted(times)[(len(times) - 1) // 4]


def _timed(side: Side, calls: int) -> float:
    if side.prepare:
        side.prepare()
    start = time.perf_counter()
    side.loop(calls)
    return time.perf_counter() - start


def interleaved(sides: Sequence[Side], effort: Effort) -> list[list[float]]:
    """For each round the seconds of each side, in the order given; every other round runs backwards."""
    rounds = []
    for number in range(effort.rounds):
        order = range(len(sides)) if number % 2 == 0 else range(len(sides) - 1, -1, -1)
        seconds = {index: block(sides[index], effort) for index in order}
        rounds.append([seconds[index] for index in range(len(sides))])
    return rounds


def fastest(candidates: Sequence[Side]) -> Side:
    """The candidate to compare with, by a short contest (three calls each, or 2 ms of them, the first dropped)."""
    if len(candidates) == 1:
        return candidates[0]
    brief = Effort(rounds=2, seconds=0.002, calls=3, settle=0.002)
    rounds = interleaved(candidates, brief)
    return min(enumerate(candidates), key=lambda item: min(seconds[item[0]] for seconds in rounds))[1]


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(over, under))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


class Copy:
    """B, in bytes read plus written a second: the best of our streaming copy, `np.copyto` and memmove.

    The winner of the contest is timed again beside every operation, in the same rounds.
    """

    def __init__(self, bytes_: int, effort: Effort):
        count = max(bytes_ // 4, 1)
        source = np.random.default_rng().standard_normal(count, dtype=np.float32)
        target = np.empty_like(source)
        self.bytes = 2 * source.nbytes
        sides = {
            "stream_copy": Side("copy(target, source)", copy=_core.stream_copy, target=target, source=source),
            "numpy.copyto": Side("copy(target, source)", copy=np.copyto, target=target, source=source),
            "memmove": Side(
                "move(to, at, size)",
                move=ctypes.memmove,
                to=target.ctypes.data,
                at=source.ctypes.data,
                size=source.nbytes,
            ),
        }
        self._keep = source, target
        reading = Side("norm(arrays)", norm=_core.tensor_norm, arrays=[source])
        rounds = interleaved([*sides.values(), reading], effort)
        seconds = {name: min(times) for name, times in zip([*sides, "reading"], zip(*rounds))}
        # Reading alone is no copy, but two inputs and one output cannot go faster than it lets them.
        self.read_rate = source.nbytes / seconds.pop("reading")
        self.rates = {name: self.bytes / value for name, value in seconds.items()}
        self.best = max(self.rates, key=self.rates.__getitem__)
        self.side = sides[self.best]
