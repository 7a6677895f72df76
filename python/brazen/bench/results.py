# SPDX-License-Identifier: BSD-3-Clause
"""The JSON of one machine: its shape, its name, reading, writing and merging. No host name, no path goes in."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import numpy as np

import brazen

SCHEMA = 1
_ROW = {"case": str, "direction": str, "dtype": str, "kind": str, "metrics": dict, "how": dict}
_TOP = {"schema": int, "machine": dict, "versions": dict, "sizes": dict, "copy": dict, "rows": list}
_KINDS = ("stream", "half", "cache", "call", "workload", "import", "build")


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    info = brazen.info()
    return {
        "device": "cpu",
        "processor": fields.get("model name") or platform.processor() or platform.machine(),
        "family": f"{fields.get('cpu family', '')}.{fields.get('model', '')}".strip("."),
        "architecture": platform.machine(),
        "isa": info["isa"],
        "threads": info["threads"],
    }


def machine_name(of: dict[str, Any]) -> str:
    """A file name from the processor, not from the host.

    >>> machine_name({"processor": "AMD EPYC 9B45", "family": "26.2", "isa": "v4", "threads": 2})
    'amd-epyc-9b45-26.2-v4-2'
    """
    text = f"{of['processor']} {of['family']} {of['isa']} {of['threads']}"
    text = re.sub(r"\((r|tm)\)|\bcpu\b|processor|@.*ghz|\d+-core", " ", text.lower())
    return re.sub(r"[^a-z0-9.]+", "-", text).strip("-")


def document(session, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A run as it is written to a file."""
    return {
        "schema": SCHEMA,
        "machine": machine(),
        "versions": {"python": platform.python_version(), **session.versions},
        "sizes": {"stream": session.sizes.stream, "cache": session.sizes.cache, "call": session.sizes.call},
        "quick": session.quick,
        "absent": session.absent,
        "copy": {
            "best": session.copy.best,
            **{name: round(rate / 1e9, 2) for name, rate in session.copy.rates.items()},
        },
        "read": round(session.copy.read_rate / 1e9, 2),
        "rows": rows,
    }


def key(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """What a row is about."""
    return row["case"], row["direction"], row["dtype"], row["kind"]


def check(data: Any, source: str = "results") -> dict[str, Any]:
    """The data, if they have the shape of this schema; else a ValueError that says what is wrong."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(
            f"{source}: schema is {data.get('schema') if isinstance(data, dict) else type(data).__name__}; expected {SCHEMA}"
        )
    for name, kind in _TOP.items():
        if not isinstance(data.get(name), kind):
            raise ValueError(f"{source}: {name} is {type(data.get(name)).__name__}; expected {kind.__name__}")
    for number, row in enumerate(data["rows"]):
        for name, kind in _ROW.items():
            if not isinstance(row.get(name), kind):
                raise ValueError(
                    f"{source}: row {number}: {name} is {type(row.get(name)).__name__}; expected {kind.__name__}"
                )
        if row["kind"] not in _KINDS:
            raise ValueError(f"{source}: row {number}: kind is {row['kind']!r}; expected one of {', '.join(_KINDS)}")
        for name, value in row["metrics"].items():
            if not isinstance(value, (int, float)) or not np.isfinite(value):
                raise ValueError(f"{source}: row {number}: metric {name} is {value!r}; expected a finite number")
    return data


def load(path: str | Path) -> dict[str, Any]:
    """A file of results, checked."""
    return check(json.loads(Path(path).read_text()), str(path))


def save(path: str | Path, data: dict[str, Any]) -> None:
    """Writes one row a line, so that two runs can be told apart by `git diff`; replaces the file at once."""
    check(data)
    head = {name: value for name, value in data.items() if name != "rows"}
    text = json.dumps(head, indent=1)[:-2]
    rows = ",\n".join("  " + json.dumps(row) for row in data["rows"])
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
    temporary.write_text(f'{text},\n "rows": [\n{rows}\n ]\n}}\n')
    temporary.replace(target)


def merge(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """The new run, with the rows of the old one that it did not measure (the builds' sizes and times, say)."""
    measured = {key(row) for row in new["rows"]}
    kept = [row for row in old["rows"] if key(row) not in measured] if old else []
    return {**new, "rows": new["rows"] + kept}


def record_build(path: str | Path, metrics: dict[str, float]) -> None:
    """Adds what a build target measured: `wheel_megabytes`, `cpu_build_seconds`, `one_arch_build_seconds`."""
    data = load(path)
    row = next((row for row in data["rows"] if row["kind"] == "build"), None)
    if row is None:
        row = {"case": "build", "direction": "", "dtype": "", "kind": "build", "metrics": {}, "how": {}}
        data["rows"].append(row)
    row["metrics"].update({name: float(value) for name, value in metrics.items()})
    save(path, data)
