# SPDX-License-Identifier: BSD-3-Clause
"""Results as tables: aligned text for the terminal, Markdown for the documents. Pure functions of a JSON."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import brazen
import brazen.ops
import brazen.random

from .bars import BARS, judge, label

Table = tuple[list[str], list[list[str]]]


def text(table: Table) -> str:
    """Columns aligned, the first to the left."""
    head, rows = table
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        for line in [head, *rows]
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(table: Table) -> str:
    """A Markdown table, numbers to the right."""
    head, rows = table
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}×" if value < 20 else f"{value:.0f}×"


class Results:
    """Rows of a JSON by what they are about."""

    def __init__(self, data: dict[str, Any]):
        self.data, self.rows = data, data["rows"]
        self.cases = list(
            dict.fromkeys(row["case"] for row in self.rows if row["kind"] not in ("workload", "import", "build"))
        )
        self._by = {(row["case"], row["direction"], row["dtype"], row["kind"]): row["metrics"] for row in self.rows}

    def get(self, case: str, direction: str, kind: str, metric: str, dtype: str = "float32") -> float | None:
        return self._by.get((case, direction, dtype, kind), {}).get(metric)

    def pair(
        self, case: str, kind: str, metric: str, show: Callable[[float | None], str] = number, dtype: str = "float32"
    ) -> str:
        """forward / backward."""
        values = [show(self.get(case, direction, kind, metric, dtype)) or "–" for direction in ("forward", "backward")]
        return "" if values == ["–", "–"] else " / ".join(values)


def activations(results: Results) -> Table:
    """The main table, one line an operation, forward / backward in each cell."""
    head = [
        "operation",
        "fraction of B",
        "of roof",
        "ns in L1",
        "PyTorch, out=",
        "PyTorch, fresh",
        "JAX jit",
        "reference",
        "64 K, PyTorch",
        "call / np.maximum",
    ]
    columns: list[tuple[str, str, Callable[[float | None], str]]] = [
        ("stream", "copy_fraction", number),
        ("stream", "of_roof", number),
        ("stream", "l1_ns", number),
        ("stream", "torch_preallocated", _times),
        ("stream", "torch_allocating", _times),
        ("stream", "jax", _times),
        ("stream", "reference", _times),
        ("cache", "torch", _times),
        ("call", "of_numpy_maximum", number),
    ]
    rows = [
        [case, *(results.pair(case, kind, metric, show) for kind, metric, show in columns)] for case in results.cases
    ]
    return _without_empty_columns(head, rows)


def short(results: Results) -> Table:
    """What fits a README: fraction of B, and how many times faster than PyTorch and the reference Python."""
    head = ["32 M float32", "fraction of B", "PyTorch, out=", "PyTorch, fresh", "reference Python"]
    columns = [
        ("copy_fraction", number),
        ("torch_preallocated", _times),
        ("torch_allocating", _times),
        ("reference", _times),
    ]
    rows = [[case, *(results.pair(case, "stream", metric, show) for metric, show in columns)] for case in results.cases]
    return _without_empty_columns(head, rows)


def sixteen(results: Results) -> Table:
    """16 bits: fraction of B, and time over float32's."""
    head = ["operation", "bfloat16, fraction of B", "over float32", "float16, fraction of B", "over float32"]
    rows = [
        [
            case,
            *(
                results.pair(case, "half", metric, dtype=dtype)
                for dtype in ("bfloat16", "float16")
                for metric in ("copy_fraction", "of_float32")
            ),
        ]
        for case in results.cases
    ]
    return _without_empty_columns(head, rows)


def cheap_and_dear(results: Results) -> Table:
    """Whether the exponential costs anything: the bytes a second reached by cheap and by dear activations."""
    names = ("relu", "leaky_relu", "elu", "tanh", "sigmoid")
    rate = results.data["copy"][results.data["copy"]["best"]]
    rows = []
    for name in names:
        for direction in ("forward", "backward"):
            fraction = results.get(name, direction, "stream", "copy_fraction")
            if fraction is not None:
                rows.append([f"{name} {direction}", number(fraction * rate, 1), number(fraction)])
    return ["activation", "GB/s", "fraction of B"], rows


def workloads(results: Results) -> Table:
    """Shapes with bars of their own, a ' marks backward."""
    columns: list[tuple[str, Callable[[float | None], str]]] = [
        ("copy_fraction", number),
        ("torch", _times),
        ("jax", _times),
        ("keras", _times),
        ("reference", _times),
        ("sklearn", _times),
        ("bare", _times),
    ]
    rows = [
        [label(row), *(show(row["metrics"].get(metric)) for metric, show in columns)]
        for row in results.rows
        if row["kind"] == "workload"
    ]
    return _without_empty_columns(
        [
            "workload, float32",
            "fraction of B",
            "PyTorch",
            "JAX jit",
            "Keras on JAX",
            "reference Python",
            "scikit-learn",
            "bare loop",
        ],
        rows,
    )


def bars(results: Results) -> Table:
    """Each bar: asked, measured, and what misses it."""
    rows = []
    for bar in BARS:
        verdict = judge(bar, results.rows)
        if verdict.value is None and bar.metric in ("jax", "keras"):
            continue  # an optional peer that was not there
        asked = ("≥ " if bar.at_least else "≤ ") + f"{bar.asked:g}"
        if verdict.value is None:
            rows.append([bar.text, asked, "not measured", ""])
            continue
        worst = "" if bar.mean or verdict.rows == 1 else f" ({label(verdict.worst)})" if verdict.worst else ""
        state = (
            "met"
            if verdict.met
            else "missed"
            if bar.mean or verdict.rows == 1
            else f"{len(verdict.misses)} of {verdict.rows} miss"
        )
        rows.append([bar.text, asked, number(verdict.value) + worst, state])
    return ["bar", "asked", "measured (the worst, or the mean)", ""], rows


def misses(results: Results) -> Table:
    """Every operation that misses a bar, by bar."""
    rows = []
    for bar in BARS:
        verdict = judge(bar, results.rows)
        if verdict.misses and verdict.rows > 1:
            rows.append(
                [bar.text, ", ".join(f"{label(row)} {number(row['metrics'][bar.metric])}" for row in verdict.misses)]
            )
    return ["bar", "missed by (a ' marks backward)"], rows


def not_on_a_gpu() -> str:
    """What the table of a GPU says where none was at hand: every operation with a kernel, by name."""
    return "Not yet run on a device: " + ", ".join(f"`{name}`" for name in _operations()) + "."


def _operations() -> list[str]:
    """Every operation with a kernel of its own, by its first name; layers which have one."""
    found = ["nn.Conv2D", "nn.MaxPool2D", "nn.AveragePool2D", "nn.Embedding"]
    for name in brazen.ops.__all__:
        operation = getattr(brazen, name)
        lists_names = inspect.isfunction(operation) and not inspect.signature(operation).parameters
        if operation.__name__ == name and not lists_names and not inspect.isclass(operation) and name != "monte_carlo":
            found.append(name)
    found += [f"random.{name}" for name in brazen.random.__all__]
    functions = ("clip_grad_norm", "clip_grad_value", "ema_update", "global_norm", "norm_partials", "scale_and_check")
    return found + [f"optim.{name}" for name in (*brazen.optim.names(), *functions)]


def machine(results: Results) -> str:
    """What the figures were taken on, in one paragraph."""
    of, versions, copy = results.data["machine"], results.data["versions"], results.data["copy"]
    rates = ", ".join(f"{name} {rate:g}" for name, rate in copy.items() if name != "best")
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    read = results.data.get("read")
    reading = f" Reading alone: {read:g} GB/s." if read else ""
    return (
        f"{of['processor']} ({of['architecture']}, family {of['family']}), {of['threads']} threads, kernels {of['isa']}. {software}. "
        f"B = {copy[copy['best']]:g} GB/s read plus written, the best of: {rates}.{reading}"
    )


def _without_empty_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]
