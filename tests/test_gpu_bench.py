# SPDX-License-Identifier: BSD-3-Clause
"""Stage bench of tools/gpu without a GPU: its rows are made on the CPU from small arrays, its bars are judged from a record.

It catches a peer with a wrong signature, a row without its bar, a comparison that would refuse a right result.
"""

import importlib
import importlib.util
import itertools
import json
import sys
import time

import brazen as bz
import numpy as np
import pytest
from test_gpu_tools import RECORDED, TOOLS, run, tools  # noqa: F401


@pytest.fixture
def small(torch, monkeypatch):
    """The stage's modules with their arrays on the CPU, cut to a few values; nothing is compiled, no CuPy."""
    device, measure = importlib.import_module("device"), importlib.import_module("measure")
    monkeypatch.setattr(device, "PLACE", "cpu")
    monkeypatch.setattr(device, "SHRINK", 1 << 16)
    monkeypatch.setattr(measure, "compiled", lambda torch, function: function)
    for name in ("chains_and_optim", "loss_and_norms"):
        monkeypatch.setattr(importlib.import_module(name), "compiled", lambda torch, function: function)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cupy"}
    monkeypatch.setitem(sys.modules, "cupy", None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield device
    torch.set_num_threads(threads)
    sys.modules.update(hidden)


def step(name, tmp_path):
    """One step's entry; every row made, each with the peers that a machine without a GPU has."""
    stages = importlib.import_module("stages")
    [found] = stages.steps("bench", [name])
    entry = found.function(stages.Work(tmp_path, time.time() + 500, 500))
    assert entry.get("ok", True), entry["note"]
    for row in entry.get("rows", []):
        assert row["seconds"] > 0 and not row["notes"], row
    return entry


@pytest.mark.parametrize("name", ["copy", "float32", "bfloat16"])
def test_operations(small, tmp_path, name):
    entry = step(name, tmp_path)
    assert entry["bytes_per_second"] > 0 if name == "copy" else len(entry["rows"]) > 60
    if name == "float32":
        assert sum("torch" in row["peers"] for row in entry["rows"]) >= 38


def test_whole_workloads_have_rows_for_every_bar(small, tmp_path, monkeypatch):
    """But for those that ask CuPy or a GPU."""
    monkeypatch.setattr(importlib.import_module("whole_steps"), "jax_times", lambda work: {"mlp": 1.0, "relu": 1.0})
    bars = importlib.import_module("gpu_bars")
    monkeypatch.setattr(bz.optim, "names", lambda: ["adam", "adamw", "sm3", "sgd"])
    names = ("copy", "chains", "losses_and_norms", "optimizers", "host", "training_step")
    data = {"bench": {name: step(name, tmp_path) for name in names}}
    data["bench"]["float32"] = {"rows": []}
    missing = [bar.text for bar in bars.BARS if bars.judge(bar, data) is None]
    of_cupy = [bar.text for bar in bars.BARS if "CuPy" in bar.text or "cupy" in bar.text]
    assert set(missing) == {*of_cupy, "16 bits, cheap formulas: fraction of B"}
    ops = {row["op"] for row in bars.rows_of(data)}
    assert {"adamw, 500 tensors", "full step, one tensor", "sm3, one tensor", "rms_norm", "softmax"} <= ops


def test_a_wrong_result_gets_no_time(small, tmp_path, monkeypatch):
    measure, stages = importlib.import_module("measure"), importlib.import_module("stages")
    of = importlib.import_module("loss_and_norms")
    monkeypatch.setattr(bz, "softmax", lambda x, out=None: x)
    work = stages.Work(tmp_path, time.time() + 100, 100)
    entry = measure.rows(work, [("softmax", lambda torch: of.softmax(torch, "float32"))])
    assert entry["ok"] is False and "softmax: off by" in entry["note"] and not entry["rows"]


def test_dear_operations_exist():
    import op_table

    bars = importlib.import_module("gpu_bars")
    assert {case.name for case in op_table.CASES} >= bars.DEAR


def synthetic():
    """A record with a row for every bar: made up, for these tests alone; each time misses its bar by half."""
    bars = importlib.import_module("gpu_bars")
    groups = ["activation", "chain", "norm", "block", "loss"]
    ops = {"activation": ["relu", "gelu"], "chain": ["dropout"], "norm": ["batch_norm, NCHW", "batch_norm, channels last", "layer_norm"],
           "block": ["batch_norm + add + relu, NCHW"], "loss": ["softmax_cross_entropy"]}  # fmt: skip
    peers = {"torch": 1e-3, "compile": 1e-3, "cupy": 1e-3, "fuse": 1e-3}
    rows = [
        {"op": op, "direction": "forward", "dtype": dtype, "group": group, "bytes": 4e9, "seconds": 2e-3, "peers": peers, "notes": {}}
        for group, dtype in itertools.product(groups, ("float32", "bfloat16")) for op in ops[group]
    ]  # fmt: skip
    made = {"direction": "step", "dtype": "float32", "notes": {}, "seconds": 2e-3, "bytes": 4e9}
    rows.append(
        {**made, "op": "adam, one tensor", "group": "optimizer", "bytes_a_parameter": 28, "peers": {"fused": 3e-3}}
    )
    rows.append({**made, "op": "full step, one tensor", "group": "full step", "peers": {"fused": 1e-3}})
    for op, other in (("step of 1,000 tensors", "fused"), ("relu of a small CuPy array", "cupy")):
        rows.append({**made, "op": op, "group": "host", "direction": "host", "peers": {other: 1e-3}})
    rows.append(
        {**made, "op": "MLP step, batch 128", "group": "training step", "peers": {"torch": 1e-3, "compile": 1e-3}}
    )
    copy = {"ok": True, "seconds": 1.0, "bytes_per_second": 4e12}
    data = {**RECORDED, "bench": {"copy": copy, "all": {"ok": True, "seconds": 1.0, "rows": rows}}}
    assert all(bars.judge(bar, data) for bar in bars.BARS)
    return data


def test_every_bar_is_judged():
    bars = importlib.import_module("gpu_bars")
    data = synthetic()
    _, lines = bars.table(data)
    assert len(lines) == len(bars.BARS) and all("met" not in line[-1] for line in lines)
    for row in bars.rows_of(data):
        row["seconds"] = (
            1e-5 if row["group"] in ("host", "training step", "loss", "full step", "norm", "block") else 1e-3
        )
    _, lines = bars.table(data)
    assert [line[0] for line in lines if line[-1] != "met"] == [
        "every operation against the reference Python on CuPy: mean", "the same under cupy.fuse: mean",
    ]  # fmt: skip
    assert ["relu float32", "", "1.00"] != bars.winners(data)[1]


def test_a_winning_peer_is_named():
    bars = importlib.import_module("gpu_bars")
    data = synthetic()
    data["bench"]["jax"] = {"jax": [{"op": "gelu", "seconds": 1e-4}]}
    _, lines = bars.winners(data)
    of = {line[0]: line[1] for line in lines}
    assert of["gelu float32"].startswith("jax 20.00×, ") is False and "jax 20.00×" in of["gelu float32"]
    assert "adam, one tensor float32" not in of and "torch 2.00×" in of["relu float32"]


def test_the_report_and_the_documents_render_from_a_record(tmp_path):
    (tmp_path / "h200.json").write_text(json.dumps(synthetic()))
    done = run("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "B = 4.00 TB/s" in done.stdout and "batch norm, NCHW, against PyTorch" in done.stdout
    spec = importlib.util.spec_from_file_location("bench_report", TOOLS.parents[1] / "bench" / "report.py")
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:cuda -->\n<!-- /bench -->\n<!-- bench:cuda-bars -->\n<!-- /bench -->\n")
    arguments = [str(page), "--results", str(tmp_path)]
    assert report.main(arguments) == 0
    text = page.read_text()
    assert "NVIDIA H200, 132 multiprocessors" in text and "| prove halves | passed | 1,234,567 | 0 |" in text
    assert text.count("| bar | must | aim |") == 2 and "Where a peer is ahead" in text and "Not yet run" not in text
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; pip install 'brazen[demo]'")
    assert report.main([*arguments, "--plot", str(tmp_path / "roof.png"), "--of", "h200"]) == 0
    assert (tmp_path / "roof.png").stat().st_size > 10_000
    (tmp_path / "h200.json").unlink()
    assert report.main(arguments) == 0
    assert "Not yet run on a device: " in page.read_text() and page.read_text().endswith(
        "<!-- bench:cuda-bars -->\n<!-- /bench -->\n"
    )


def test_jax_is_timed_in_a_process_of_its_own(monkeypatch, capsys):
    pytest.importorskip("jax", reason="JAX is not installed: pip install 'brazen[jax]' brings it")
    importlib.import_module("jax_peer").main(1 << 12)
    found = json.loads(capsys.readouterr().out)
    assert {"relu", "silu", "gelu"} <= set(found) and ("mlp" in found or "optax" in found["note"])


def test_bandwidth_counts_reads_and_writes(small, torch):
    copy, triad = importlib.import_module("bench").bandwidth(torch)
    assert np.isfinite([copy, triad]).all() and (TOOLS / "cub_peer.cu").exists()
