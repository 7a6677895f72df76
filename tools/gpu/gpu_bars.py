# SPDX-License-Identifier: BSD-3-Clause
"""What stage bench is measured against: each bar's rows, what must be reached and what is aimed at. No GPU is needed."""

import math
from collections.abc import Callable
from dataclasses import dataclass

# Operations whose element needs an exponential, a logarithm or a long polynomial: in 16 bits these, not memory, may bind.
DEAR = {
    "celu", "elu", "exponential", "gelu", "gelu_tanh", "log_sigmoid", "mish", "selu", "sigmoid", "silu", "softplus",
    "sparse_sigmoid", "tanh", "tanh_shrink", "glu", "geglu", "swiglu",
}  # fmt: skip
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Bar:
    """`of`: which rows; `value`: a row's figure, given B, or None; below is better where `at_most`; `mean`: of all rows."""

    text: str
    must: float
    aim: float
    of: Callable[[dict], bool]
    value: Callable[[dict, float], float | None]
    at_most: bool = False
    mean: bool = False


def fraction(row, limit):
    return row["bytes"] / row["seconds"] / limit if limit and "bytes" in row else None


def times(peer):
    """How many times faster than that peer."""
    return lambda row, limit: row["peers"][peer] / row["seconds"] if row["peers"].get(peer) else None


def part(peer):
    """Our time as a part of that peer's."""
    return lambda row, limit: row["seconds"] / row["peers"][peer] if row["peers"].get(peer) else None


def microseconds(row, limit):
    return row["seconds"] * 1e6


def _element(row):
    return row["group"] in ("activation", "chain")


def _norm(kind):
    return lambda row: row["op"].startswith(kind) and row["group"] == "norm"


def _block(row):
    return row["group"] == "block"


BARS = (
    Bar("float32 activations, dropout, chains: fraction of B", 0.92, 0.97,
        lambda r: _element(r) and r["dtype"] == "float32", fraction),
    Bar("16 bits, cheap formulas: fraction of B", 0.80, 0.92,
        lambda r: _element(r) and r["dtype"] in HALVES and r["op"] not in DEAR and r["group"] != "chain", fraction),
    Bar("16 bits, the rest: fraction of B", 0.65, 0.92,
        lambda r: _element(r) and r["dtype"] in HALVES and (r["op"] in DEAR or r["group"] == "chain"), fraction),
    Bar("28-byte optimizers, one tensor and 500: fraction of B", 0.90, 0.95,
        lambda r: r.get("bytes_a_parameter") == 28 and not r["op"].startswith("lars"), fraction),
    Bar("full step against PyTorch's fused chain", 1.4, 1.6, lambda r: r["group"] == "full step", times("fused")),
    Bar("optimizer, 1,000 tensors, the host's us", 30, 10,
        lambda r: r["op"] == "step of 1,000 tensors", microseconds, at_most=True),
    Bar("batch norm, NCHW, against PyTorch", 1.5, 2.0, _norm("batch_norm, NCHW"), times("torch")),
    Bar("batch norm, channels last, against PyTorch", 1.0, 1.2, _norm("batch_norm, channels last"), times("torch")),
    Bar("batch norm + add + relu against PyTorch's three", 1.8, 2.2, _block, times("torch")),
    Bar("the same against torch.compile", 1.0, 1.2, _block, times("compile")),
    Bar("softmax cross-entropy, forward + backward, against PyTorch", 2.5, 4.0,
        lambda r: r["group"] == "loss", times("torch")),
    Bar("the same against torch.compile", 1.0, 1.3, lambda r: r["group"] == "loss", times("compile")),
    Bar("layer norm, forward and backward, against PyTorch", 1.0, 1.4, _norm("layer_norm"), times("torch")),
    Bar("every operation against the reference Python on CuPy: mean", 5.0, 8.0,
        lambda r: r["group"] == "activation", times("cupy"), mean=True),
    Bar("the same under cupy.fuse: mean", 1.5, 2.0, lambda r: r["group"] == "activation", times("fuse"), mean=True),
    Bar("call on a small CuPy array, part of the ufunc's time", 1 / 3, 1 / 6,
        lambda r: r["op"] == "relu of a small CuPy array", part("cupy"), at_most=True),
    Bar("MLP step, batch 128, as a CUDA graph, against PyTorch eager", 3.0, 5.0,
        lambda r: r["op"].startswith("MLP step"), times("torch")),
    Bar("the same against torch.compile", 1.0, 1.5, lambda r: r["op"].startswith("MLP step"), times("compile")),
)  # fmt: skip


def rows_of(data):
    """Every row, JAX's times among the peers of the operations it was timed with."""
    entries = data.get("bench", {}).values()
    jax = {each["op"]: each["seconds"] for entry in entries for each in entry.get("jax", [])}
    rows = [row for entry in entries for row in entry.get("rows", [])]
    alike = ("activation", "forward", "float32")
    return [
        {**row, "peers": {**row["peers"], "jax": jax[row["op"]]}}
        if row["op"] in jax and (row["group"], row["direction"], row["dtype"]) == alike
        else row
        for row in rows
    ]


def bandwidth_of(data):
    return max((entry.get("bytes_per_second", 0) for entry in data.get("bench", {}).values()), default=0)


def name_of(row):
    tail = "" if row["direction"] in ("forward", "step", "host") else "'" if row["direction"] == "backward" else " both"
    return f"{row['op']}{tail} {row['dtype']}"


def judge(bar, data):
    """(the worst value or the mean, the worst row, how many rows miss, how many there are); None without a row."""
    limit = bandwidth_of(data)
    found = [(bar.value(row, limit), row) for row in rows_of(data) if bar.of(row)]
    found = [(value, row) for value, row in found if value is not None]
    if not found:
        return None
    worst, row = (max if bar.at_most else min)(found, key=lambda pair: pair[0])
    if bar.mean:
        worst = math.exp(sum(math.log(value) for value, _ in found) / len(found))
        missed = worst < bar.must
    else:
        missed = sum(value > bar.must if bar.at_most else value < bar.must for value, _ in found)
    return worst, row, int(missed), len(found)


def table(data):
    """(head, rows) of every bar: what must be, what is aimed at, the worst or the mean, what misses."""
    lines = []
    for bar in BARS:
        sign = "≤" if bar.at_most else "≥"
        asked = [f"{sign} {bar.must:.2g}", f"{sign} {bar.aim:.2g}"]
        verdict = judge(bar, data)
        if verdict is None:
            lines.append([bar.text, *asked, "not measured", ""])
            continue
        value, row, missed, count = verdict
        named = "" if bar.mean or count == 1 else f" ({name_of(row)})"
        one = bar.mean or count == 1
        state = "met" if not missed else "missed" if one else f"{missed} of {count} miss"
        lines.append([bar.text, *asked, f"{value:.2f}{named}", state])
    return ["bar", "must", "aim", "measured (the worst, or the mean)", ""], lines


def winners(data):
    """(head, rows) of the rows that a peer wins, with the peer's name and by how much."""
    lines = []
    for row in rows_of(data):
        ahead = {peer: row["seconds"] / seconds for peer, seconds in row["peers"].items() if seconds < row["seconds"]}
        if ahead:
            lines.append([name_of(row), ", ".join(f"{peer} {ratio:.2f}×" for peer, ratio in sorted(ahead.items()))])
    return ["row", "faster there, times ours"], sorted(lines)


def figures(data):
    """(head, rows) of everything measured: time, fraction of B, every peer's time over ours."""
    limit, rows = bandwidth_of(data), rows_of(data)
    known = ("torch", "foreach", "fused", "compile", "torch graph", "cupy", "fuse", "triton", "cub", "jax")
    used = [peer for peer in known if any(row["peers"].get(peer) for row in rows)]
    lines = []
    for row in sorted(rows, key=lambda r: (r["group"], r["dtype"], r["op"], r["direction"])):
        of_limit = fraction(row, limit)
        ratios = [f"{row['peers'][p] / row['seconds']:.2f}" if row["peers"].get(p) else "" for p in used]
        lines.append(
            [name_of(row), f"{row['seconds'] * 1e6:.1f}", "" if of_limit is None else f"{of_limit:.3f}", *ratios]
        )
    return ["operation, a ' marks backward", "µs", "of B", *used], lines
