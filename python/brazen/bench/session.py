# SPDX-License-Identifier: BSD-3-Clause
"""One run of the benchmarks: every item becomes a row of metrics. What is asked of them stands in bars.py.

An item is (case, direction, dtype, kind). Kinds: `stream` far beyond the caches in float32, `half` the same in 16 bits,
`cache` within them, `call` of 1,000 elements, `workload` on shapes and with bars of its own, `import`.

Metrics above 1 are good and say how many times faster we are (`torch_preallocated`, `torch_allocating`, `torch`,
`reference`, `jax`, `keras`); `copy_fraction` is the part of B reached; `of_roof`, `of_float32` and `of_numpy_maximum` are our time
over another, below 1 is good; `overhead_us` is microseconds above a baseline.
"""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import brazen

from . import activations, peers
from .case import Case, Side
from .timing import FULL, QUICK, Copy, Effort, fastest, interleaved, median_ratio
from .workloads import workloads

Item = tuple[str, str, str, str]
HALF = ("bfloat16", "float16")


@dataclass(frozen=True)
class Sizes:
    """Elements of x for each kind; `line` are the two sizes whose difference is the time in L1."""

    stream: int = 32 << 20
    cache: int = 64 << 10
    call: int = 1000
    line: tuple[int, int] = (1024, 3072)
    workloads: bool = True  # else in their small shapes


def half_dtypes() -> list[str]:
    """The 16-bit dtypes there are: bfloat16 needs ml_dtypes."""
    return [dtype for dtype in HALF if dtype != "bfloat16" or importlib.util.find_spec("ml_dtypes")]


def items(names: list[str] | None = None, half: Iterable[str] = HALF) -> Iterator[Item]:
    """Everything there is to measure, or what concerns the operations named; "prelu" includes "prelu.channels".

    >>> next(items(["gelu"]))
    ('gelu', 'forward', 'float32', 'stream')
    """
    known = {name.partition(".")[0] for name in activations.names()}
    known |= {workload.name.partition(",")[0].partition(" ")[0] for workload in workloads().values()}
    unknown = [name for name in names or () if name not in known and name not in activations.names()]
    if unknown:
        raise ValueError(
            f"bench: unknown operation {', '.join(unknown)}; the operations are {', '.join(sorted(known))}"
        )
    for name, direction in activations.cases():
        if not names or name in names or name.partition(".")[0] in names:
            yield name, direction, "float32", "stream"
            for dtype in half:
                yield name, direction, dtype, "half"
            yield name, direction, "float32", "cache"
            yield name, direction, "float32", "call"
    for workload in workloads().values():
        if not workload.runnable:
            continue
        if not names or workload.name.partition(",")[0].partition(" ")[0] in names:
            yield workload.name, workload.direction, "float32", "workload"
    if not names:
        yield "import brazen", "", "", "import"


class Session:
    """Measures items; holds the arrays, the copy bandwidth and the peers of one run."""

    def __init__(
        self,
        wanted_peers: list[str] | None = None,
        quick: bool = False,
        sizes: Sizes | None = None,
        effort: Effort | None = None,
    ):
        self.effort = effort or (QUICK if quick else FULL)
        self.sizes = sizes or (Sizes(stream=8 << 20) if quick else Sizes())
        self.quick = quick
        self.peers, self.absent = peers.choose(wanted_peers)
        self.versions = {
            "brazen": brazen.__version__,
            "numpy": np.__version__,
            **peers.start(self.peers, brazen.num_threads()),
        }
        self._entropy = np.random.SeedSequence()
        self._workspaces: dict[tuple[str, int], activations.Workspace] = {}
        self._l1: dict[tuple[str, str], float] = {}
        self._copy: Copy | None = None
        self._last: tuple[Item | None, Side] = (None, Side("None"))  # the workload measured last: its arrays are large

    @property
    def copy(self) -> Copy:
        if self._copy is None:
            self._copy = Copy(4 * self.sizes.stream, self.effort)
        return self._copy

    def items(self, names: list[str] | None = None) -> Iterator[Item]:
        """What this run measures: a quick one only the first of the 16-bit dtypes."""
        half = half_dtypes()
        return items(names, half[:1] if self.quick else half)

    def row(self, item: Item) -> dict[str, Any]:
        """The metrics of one item; raises WrongResult before a clock runs."""
        name, direction, dtype, kind = item
        if kind == "import":
            return {
                "case": name,
                "direction": "",
                "dtype": "",
                "kind": kind,
                "metrics": import_time(self.effort.rounds),
                "how": {},
            }
        if kind == "workload":
            return self._workload_row(item)
        wanted = {
            "stream": self.peers,
            "half": [],
            "call": [],
            "cache": [peer for peer in self.peers if peer != "reference"],
        }[kind]
        size = self.sizes.stream if kind in ("stream", "half") else getattr(self.sizes, kind)
        case = activations.make(name, direction, self._workspace(dtype, size), tuple(wanted))
        case.check()
        metrics, how = getattr(self, f"_{kind}")(case)
        return {
            "case": name,
            "direction": direction,
            "dtype": dtype,
            "kind": kind,
            "elements": case.elements,
            "bytes": case.bytes,
            "metrics": {key: round(value, 4) for key, value in metrics.items()},
            "how": how,
        }

    def _workload(self, item: Item, wanted: tuple[str, ...]) -> Case:
        workload = workloads()[item[0], item[1]]
        return workload.make(wanted, workload.shape if self.sizes.workloads else workload.small)

    def _workload_row(self, item: Item) -> dict[str, Any]:
        name, direction, dtype, kind = item
        case = self._workload(item, tuple(self.peers))
        case.check()
        ours = fastest(list(case.ours.values()))
        self._last = item, ours
        metrics: dict[str, float] = {}
        how: dict[str, str] = {}
        sides = {"ours": ours, "copy": self.copy.side}
        for peer, columns in case.peers.items():
            best = fastest([side for candidates in columns.values() for side in candidates])
            how[peer] = f"{best} / {ours}"
            if peer == "reference":
                pairs = interleaved([best, ours], replace(self.effort, rounds=2))
                metrics[peer] = statistics.median(theirs / mine for theirs, mine in pairs)
            else:
                sides[peer] = best
        if case.baseline:
            sides["baseline"] = case.baseline
        times = dict(zip(sides, zip(*interleaved(list(sides.values()), self.effort))))
        metrics |= {peer: median_ratio(times[peer], times["ours"]) for peer in case.peers if peer in sides}
        if case.baseline:
            extra = [mine - bare for mine, bare in zip(times["ours"], times["baseline"])]
            metrics["overhead_us"] = 1e6 * statistics.median(extra)
        self._add_copy(metrics, case, times["ours"], times["copy"])
        metrics["of_copy"] = 1 / metrics["copy_fraction"]
        metrics["microseconds"] = 1e6 * statistics.median(times["ours"])
        if case.derive is not None:
            metrics |= case.derive(times)
        rounded = {key: float(f"{value:.5g}") for key, value in metrics.items()}
        return {"case": name, "direction": direction, "dtype": dtype, "kind": kind, "elements": case.elements,
                "bytes": case.bytes, "metrics": rounded, "how": how}  # fmt: skip

    def main_side(self, item: Item) -> Side:
        """Our side of an item, for a harness that wants to time it once more."""
        name, direction, dtype, kind = item
        if kind == "workload":
            if self._last[0] != item:
                self._last = item, next(iter(self._workload(item, ()).ours.values()))
            return self._last[1]
        size = self.sizes.stream if kind in ("stream", "half") else getattr(self.sizes, kind)
        return activations.make(name, direction, self._workspace(dtype, size)).ours[
            "allocating" if kind == "call" else "out"
        ]

    def _workspace(self, dtype: str, elements: int) -> activations.Workspace:
        key = dtype, elements
        if key not in self._workspaces:
            self._workspaces[key] = activations.Workspace(
                elements, dtype, int(self._entropy.spawn(1)[0].generate_state(1)[0])
            )
        return self._workspaces[key]

    def l1_ns(self, name: str, direction: str) -> float:
        """Nanoseconds an element of x while everything lies in L1, on one thread: the slope between two sizes."""
        key = name, direction
        if key not in self._l1:
            small, large = self.sizes.line
            sides = [
                activations.make(name, direction, self._workspace("float32", size)).ours["out"]
                for size in (small, large)
            ]
            effort = replace(self.effort, rounds=max(self.effort.rounds, 9), seconds=0.003, calls=400, settle=0.0005)
            rounds = interleaved(sides, effort)
            self._l1[key] = max(min(b for _, b in rounds) - min(a for a, _ in rounds), 0.0) / (large - small) * 1e9
        return self._l1[key]

    def _stream(self, case: Case):
        metrics = {"l1_ns": self.l1_ns(case.name, case.direction)}
        how: dict[str, str] = {}
        sides = {"ours": case.ours["out"], "copy": self.copy.side}
        versus: dict[str, tuple[str, str]] = {}

        def against(metric, peer_side, our_way):
            sides[metric], sides[f"ours {our_way}"] = peer_side, case.ours[our_way]
            versus[metric] = metric, f"ours {our_way}"
            how[metric] = f"{peer_side} / {case.ours[our_way]}"

        for peer, columns in case.peers.items():
            if peer == "reference":
                continue
            for column, candidates in columns.items():
                best = fastest(candidates)
                way = (
                    "allocating"
                    if column == "allocating"
                    else "in place"
                    if best.prepare and "in place" in case.ours
                    else "out"
                )
                against(f"{peer}_{column}" if peer == "torch" else peer, best, way)
        rounds = interleaved(list(sides.values()), self.effort)
        times = dict(zip(sides, zip(*rounds)))
        # In place and out= are both preallocated: a peer's in-place call meets the better of ours.
        for metric, (peer_key, our_key) in versus.items():
            ours = times[our_key]
            if our_key == "ours in place":
                ours = tuple(min(pair) for pair in zip(ours, times["ours"]))
            metrics[metric] = median_ratio(times[peer_key], ours)
        for column in case.peers.get("reference", {}):
            brief = replace(self.effort, rounds=2)
            pairs = interleaved([case.peers["reference"][column][0], case.ours["allocating"]], brief)
            metrics["reference"] = statistics.median(peer / ours for peer, ours in pairs)
        self._add_copy(metrics, case, times["ours"], times["copy"])
        threads = brazen.num_threads()
        roofs = [
            max(case.bytes * copy / self.copy.bytes, metrics["l1_ns"] * 1e-9 * case.elements / threads)
            for copy in times["copy"]
        ]
        metrics["of_roof"] = median_ratio(times["ours"], roofs)
        return metrics, how

    def _add_copy(self, metrics, case: Case, ours, copies) -> None:
        metrics["copy_fraction"] = statistics.median(
            case.bytes / mine / (self.copy.bytes / copy) for mine, copy in zip(ours, copies)
        )

    def _half(self, case: Case):
        wide = activations.make(case.name, case.direction, self._workspace("float32", self.sizes.stream))
        rounds = interleaved([case.ours["out"], self.copy.side, wide.ours["out"]], self.effort)
        ours, copies, float32 = zip(*rounds)
        metrics = {"l1_ns_float32": self.l1_ns(case.name, case.direction), "of_float32": median_ratio(ours, float32)}
        self._add_copy(metrics, case, ours, copies)
        return metrics, {}

    def _cache(self, case: Case):
        metrics: dict[str, float] = {}
        how: dict[str, str] = {}
        for peer, columns in case.peers.items():
            best = fastest([side for candidates in columns.values() for side in candidates])
            ours = fastest(list(case.ours.values()))
            rounds = interleaved([best, ours], replace(self.effort, seconds=0.004))
            metrics[peer] = median_ratio([a for a, _ in rounds], [b for _, b in rounds])
            how[peer] = f"{best} / {ours}"
        return metrics, how

    def _call(self, case: Case):
        x = np.random.default_rng().standard_normal(case.elements, dtype=np.float32)
        maximum = Side("maximum(x, 0)", maximum=np.maximum, x=x)
        ours = case.ours["allocating"]
        rounds = interleaved(
            [ours, maximum], replace(self.effort, rounds=max(self.effort.rounds, 5), seconds=0.004, calls=1000)
        )
        return {"of_numpy_maximum": median_ratio([a for a, _ in rounds], [b for _, b in rounds])}, {
            "of_numpy_maximum": f"{ours} / {maximum}"
        }


def import_time(rounds: int) -> dict[str, float]:
    """Milliseconds `import numpy, brazen` takes beyond `import numpy`, the least over fresh interpreters; raises if it brings in a peer."""
    code = "import time; start = time.perf_counter(); import {0}; print(time.perf_counter() - start); import sys; print(*sys.modules)"
    spent: dict[str, list[float]] = {"numpy": [], "numpy, brazen": []}
    for _ in range(rounds + 1):
        for module, values in spent.items():
            seconds, modules = subprocess.run(
                [sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True
            ).stdout.splitlines()
            values.append(float(seconds))
            unwanted = {"cupy", "torch", "matplotlib"} & set(modules.split())
            if unwanted:
                raise AssertionError(f"import {module} imported {', '.join(sorted(unwanted))}")
    numpy_ms, brazen_ms = (1e3 * min(values[1:]) for values in spent.values())
    return {"numpy_ms": round(numpy_ms, 2), "extra_ms": round(brazen_ms - numpy_ms, 2)}
