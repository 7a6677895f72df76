# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of the metrics: one table, read by the command line, the benchmark cases and the documents."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .timing import geometric_mean
from .workloads import workloads

Row = dict[str, Any]

_MARKS = {"forward": "", "backward": "'", "": ""}
_METRICS = {
    "torch": "times PyTorch's speed",
    "jax": "times JAX's",
    "keras": "times Keras' on JAX",
    "reference": "times the reference Python's",
    "copy_fraction": "fraction of B",
    "of_copy": "time over a plain copy",
    "microseconds": "µs",
    "overhead_us": "µs above the bare call",
    "sklearn": "times scikit-learn's",
    "bare": "times the speed of the loop written out",
    "step_us": "µs a step more than the loop written out",
}


@dataclass(frozen=True)
class Bar:
    """`metric` of the rows of `kind` must be at least, or at most, `asked`: each of them, or their geometric mean."""

    key: str
    text: str
    kind: str
    metric: str
    asked: float
    at_least: bool = True
    mean: bool = False
    applies: Callable[[Row], bool] = lambda row: True

    def rows(self, rows: Iterable[Row]) -> list[Row]:
        """The rows this bar speaks of."""
        return [
            row
            for row in rows
            if row["kind"] == self.kind and row["metrics"].get(self.metric) is not None and self.applies(row)
        ]

    def holds(self, value: float) -> bool:
        return value >= self.asked if self.at_least else value <= self.asked


@dataclass(frozen=True)
class Verdict:
    """A bar against what was measured: `value` is the mean or the worst, None where nothing was."""

    bar: Bar
    value: float | None
    worst: Row | None
    misses: list[Row]
    rows: int

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.bar.holds(self.value)


def label(row: Row) -> str:
    """How a row is named in a list of misses."""
    direction = _MARKS[row["direction"]]
    dtype = {"float32": "", "": ""}.get(row["dtype"], " " + row["dtype"])
    return f"{row['case']}{direction}{dtype}"


def _light(row: Row) -> bool:
    """Under 0.2 ns an element in L1: the memory, not the arithmetic, should bind."""
    return row["metrics"].get("l1_ns", row["metrics"].get("l1_ns_float32", 1.0)) < 0.2


@functools.cache
def _names(*modules: str) -> frozenset[str]:
    """What the workloads of these modules are called."""
    found = (importlib.import_module(f"{__package__}.workloads.{module}").WORKLOADS for module in modules)
    return frozenset(workload.name for listed in found for workload in listed)


def _of_workloads() -> Iterator[Bar]:
    """The bars that a workload brings with it, one a metric."""
    for workload in workloads().values():
        for metrics, at_least in ((workload.asked, True), (workload.at_most, False)):
            for metric, asked in metrics.items():
                text = f"{workload.name}{_MARKS[workload.direction]}: {_METRICS[metric]}"

                def applies(row, key=workload.key):
                    return (row["case"], row["direction"]) == key

                key = f"{workload.name}{_MARKS[workload.direction]} {metric}".replace(" ", "-")
                yield Bar(key, text, "workload", metric, asked, at_least, applies=applies)


BARS = (
    Bar("roof", "32 M float32, `out=`: time over the roof", "stream", "of_roof", 1.12, at_least=False),
    Bar(
        "copy",
        "the same, fraction of B where an element takes < 0.2 ns in L1",
        "stream",
        "copy_fraction",
        0.90,
        applies=_light,
    ),
    Bar(
        "half-copy",
        "16 bits, fraction of B where an element takes < 0.2 ns in L1",
        "half",
        "copy_fraction",
        round(1 / 1.3, 4),
        applies=_light,
    ),
    Bar(
        "half-float32",
        "16 bits elsewhere: time over float32's",
        "half",
        "of_float32",
        1.0,
        at_least=False,
        applies=lambda row: not _light(row),
    ),
    Bar("torch-preallocated", "PyTorch, preallocated: each", "stream", "torch_preallocated", 1.0),
    Bar(
        "torch-preallocated-mean",
        "PyTorch, preallocated: geometric mean",
        "stream",
        "torch_preallocated",
        1.3,
        mean=True,
    ),
    Bar("torch-allocating-mean", "PyTorch, allocating: geometric mean", "stream", "torch_allocating", 1.5, mean=True),
    Bar("reference-mean", "reference Python: geometric mean", "stream", "reference", 8.0, mean=True),
    Bar("cache", "64 K elements, PyTorch at its best: each", "cache", "torch", 1.0),
    Bar(
        "call",
        "a call of 1,000 elements, time over `np.maximum(x, 0)`",
        "call",
        "of_numpy_maximum",
        1.0,
        at_least=False,
        applies=lambda row: row["direction"] == "forward",
    ),
    Bar("import", "`import brazen`, ms beyond NumPy's own", "import", "extra_ms", 30.0, at_least=False),
    Bar("wheel", "wheel for 7 architectures and PTX, MB", "build", "wheel_megabytes", 5.0, at_least=False),
    Bar("build", "clean CPU build on 2 cores, s", "build", "cpu_build_seconds", 90.0, at_least=False),
    Bar(
        "build-cuda",
        "clean build with one CUDA architecture on 2 cores, s",
        "build",
        "one_arch_build_seconds",
        150.0,
        at_least=False,
    ),
    Bar(
        "reference-steps",
        "optimizer steps, reference Python: geometric mean",
        "workload",
        "reference",
        8.0,
        mean=True,
        applies=lambda row: row["case"].endswith(" step, 32 M"),
    ),
    Bar(
        "reference-operations",
        "norms, dropout, chains, losses, softmax, random arrays, reference Python: geometric mean",
        "workload",
        "reference",
        8.0,
        mean=True,
        applies=lambda row: row["case"] in _names("batch_norm", "chains", "operations", "rows"),
    ),
    *_of_workloads(),
)


def judge(bar: Bar, rows: Iterable[Row]) -> Verdict:
    """The verdict on one bar.

    >>> row = {"case": "gelu", "direction": "forward", "dtype": "float32", "kind": "stream", "metrics": {"reference": 9.0}}
    >>> judge(BARS[7], [row]).met
    True
    """
    concerned = bar.rows(rows)
    if not concerned:
        return Verdict(bar, None, None, [], 0)
    ordered = sorted(concerned, key=lambda row: row["metrics"][bar.metric], reverse=not bar.at_least)
    worst = ordered[0]
    misses = [] if bar.mean else [row for row in ordered if not bar.holds(row["metrics"][bar.metric])]
    value = (
        geometric_mean([row["metrics"][bar.metric] for row in concerned]) if bar.mean else worst["metrics"][bar.metric]
    )
    return Verdict(bar, value, worst, misses, len(concerned))
