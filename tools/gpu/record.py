# SPDX-License-Identifier: BSD-3-Clause
"""The JSON of one GPU: merging, and the tables made of it. No host name and no path goes in; no GPU is needed."""

import json
import re

SCHEMA = 1


def file_name(device):
    """
    >>> file_name("NVIDIA H200"), file_name("Tesla T4"), file_name("NVIDIA A100-SXM4-80GB")
    ('h200.json', 't4.json', 'a100-sxm4-80gb.json')
    """
    text = re.sub(r"\b(nvidia|tesla|geforce)\b", " ", device.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-") + ".json"


def read(path):
    data = json.loads(path.read_text())
    if data.get("schema") != SCHEMA:
        raise ValueError(f"{path.name}: schema {data.get('schema')}; expected {SCHEMA}")
    return data


class Results:
    """Merges into OUT/<device>.json: a step of a stage replaces what was there of it, and nothing else."""

    def __init__(self, out, machine, versions):
        self.path = out / file_name(machine["device"])
        self.data = read(self.path) if self.path.exists() else {"schema": SCHEMA}
        self.data.update(machine=machine, versions=versions)

    def add(self, stage, step, entry):
        self.data.setdefault(stage, {})[step] = entry
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(self.data, indent=1, sort_keys=True) + "\n")
        temporary.replace(self.path)


def render(data, stage=None):
    """The tables of one stage, or of all."""
    machine, versions = data["machine"], data["versions"]
    lines = [f"{machine['device']}, {machine['multiprocessors']} multiprocessors, driver {machine['driver']}"]
    lines.append(", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    for each in ("prove", "sanitize", "bench"):
        if each in data and stage in (None, each):
            lines += ["", f"{each}:", *_steps(data[each])]
    if "bench" in data and stage in (None, "bench"):
        lines += ["", *_bench(data["bench"])]
    return "\n".join(lines)


def _steps(entries):
    words = {True: "ok", False: "FAILED", None: "skipped"}
    for name, entry in entries.items():
        counts = ""
        if "checked" in entry:
            counts = f"{entry['checked']:>16,} values, {entry.get('differing', 0):,} differ"
        yield f"  {name:22} {words[entry['ok']]:8} {entry['seconds']:7.1f} s {counts} {entry.get('note', '')}".rstrip()


def _bench(entries):
    rows = [row for entry in entries.values() for row in entry.get("rows", [])]
    if not rows:
        return
    limit = max(entry.get("bytes_per_second", 0) for entry in entries.values())
    yield f"B = {limit / 1e12:.2f} TB/s (best of copy and triad); fractions of B, then times of peers over ours"
    yield f"  {'operation':26} {'dtype':9} {'us':>9} {'of B':>6} {'torch':>6} {'cupy':>6} {'fused':>6}"
    for row in sorted(rows, key=lambda r: (r["dtype"], r["op"], r["direction"])):
        name = row["op"] if row["direction"] == "forward" else f"{row['op']}.{row['direction']}"
        ratios = [
            f"{row['peers'][peer] / row['seconds']:6.2f}" if row["peers"].get(peer) else "     -"
            for peer in ("torch", "cupy", "fuse")
        ]
        fraction = row["bytes"] / row["seconds"] / limit if limit else 0
        yield f"  {name:26} {row['dtype']:9} {row['seconds'] * 1e6:9.1f} {fraction:6.3f} {' '.join(ratios)}"
