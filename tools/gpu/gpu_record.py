# SPDX-License-Identifier: BSD-3-Clause
"""The JSON of one GPU: merging, and the tables made of it. No host name and no path goes in; no GPU is needed."""

import json
import re

import gpu_bars

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
    """Merges into OUT/<device>.json: a step of a stage replaces what was there of it, and nothing else.

    Where OUT has no such file, that of `recorded` is gone on from.
    """

    def __init__(self, out, machine, versions, recorded=None):
        self.path = out / file_name(machine["device"])
        found = [p for p in (self.path, recorded and recorded / self.path.name) if p and p.exists()]
        self.data = read(found[0]) if found else {"schema": SCHEMA}
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
    if "bench" in data and stage in (None, "bench") and gpu_bars.rows_of(data):
        lines += [
            "",
            f"B = {gpu_bars.bandwidth_of(data) / 1e12:.2f} TB/s (best of copy and triad); peers: their time over ours",
        ]
        for table in (gpu_bars.figures, gpu_bars.winners, gpu_bars.table):
            lines += ["", aligned(table(data))]
    return "\n".join(lines)


def aligned(table):
    """A table as text, the first column to the left."""
    head, rows = table
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))).rstrip()
        for line in [head, *rows]
    )


def _steps(entries):
    words = {True: "ok", False: "FAILED", None: "skipped"}
    for name, entry in entries.items():
        counts = ""
        if "checked" in entry:
            counts = f"{entry['checked']:>16,} values, {entry.get('differing', 0):,} differ"
        yield f"  {name:22} {words[entry['ok']]:8} {entry['seconds']:7.1f} s {counts} {entry.get('note', '')}".rstrip()


# --- the same in the documents -----------------------------------------------------------------------------------------


def markdown(table):
    head, rows = table
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *rows])


def proofs(data):
    """(head, rows) of the steps that prove: what was compared, what differed."""
    words = {True: "passed", False: "failed", None: "not run"}
    lines = []
    for stage in ("prove", "sanitize"):
        for name, entry in data.get(stage, {}).items():
            checked, differing = (f"{entry[key]:,}" if key in entry else "" for key in ("checked", "differing"))
            note = entry.get("note", "").replace("|", "/")
            lines.append([f"{stage} {name}", words[entry["ok"]], checked, differing, entry.get("commit", ""), note])
    return ["step", "", "values", "that differ", "commit", "note"], lines


def short(data):
    """What fits a README: the bars."""
    return f"{data['machine']['device']}:\n\n{markdown(gpu_bars.table(data))}"


def page(data):
    """Everything: the machine, what was proved, the bars, where a peer is ahead, every figure."""
    machine = data["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(data["versions"].items()))
    parts = [
        f"{machine['device']}, {machine['multiprocessors']} multiprocessors, driver {machine['driver']}. {versions}."
    ]
    parts.append(markdown(proofs(data)))
    if gpu_bars.rows_of(data):
        limit = gpu_bars.bandwidth_of(data)
        parts.append(f"B = {limit / 1e12:.2f} TB/s, bytes read and written, the best of copy and triad.")
        parts.append(markdown(gpu_bars.table(data)))
        head, rows = gpu_bars.winners(data)
        parts += ["Where a peer is ahead:", markdown((head, rows)) if rows else "Nowhere."]
        parts += ["Everything measured; a peer's column is its time over ours:", markdown(gpu_bars.figures(data))]
    return "\n\n".join(parts)


def roofline(data, path):
    """Writes a PNG: the bytes a second that each float32 row reaches, against B."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    limit = gpu_bars.bandwidth_of(data) / 1e12
    rows = [row for row in gpu_bars.rows_of(data) if row.get("bytes") and row["dtype"] == "float32"]
    if not rows or not limit:
        raise ValueError("--plot: the record has no float32 rows, or no B; run STAGE=bench")
    rows.sort(key=lambda row: (row["group"], row["op"], row["direction"]))
    colours = {"backward": "#cc6677"}
    figure, panel = pyplot.subplots(figsize=(8, 1.2 + 0.16 * len(rows)), layout="constrained")
    for place, row in enumerate(rows):
        rate = row["bytes"] / row["seconds"] / 1e12
        panel.barh(place, rate, height=0.75, color=colours.get(row["direction"], "#4477aa"))
    panel.axvline(limit, color="grey", linewidth=0.8, linestyle="--")
    panel.set_yticks(range(len(rows)), [gpu_bars.name_of(row).removesuffix(" float32") for row in rows], fontsize=6)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xlabel(f"TB/s; dashed: B = {limit:.2f} TB/s")
    panel.set_title(f"{data['machine']['device']}: bytes that must move over the time taken, float32", fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
