# SPDX-License-Identifier: BSD-3-Clause
"""tools/gpu without a GPU: every step is listed, the tables render from a record, and the steps' own code runs on the
emulated device. It catches a stage that would fail on the GPU machine for a reason that has nothing to do with a GPU.
"""

import importlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import op_table
import pytest
from emulation import build

TOOLS = build.ROOT / "tools" / "gpu"
STAGES = ("prove", "sanitize", "bench")


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """The modules of tools/gpu, importable for the test alone."""
    if not TOOLS.is_dir():
        pytest.skip("tools/gpu is not part of this tree")
    monkeypatch.syspath_prepend(str(TOOLS))
    names = [p.stem for p in TOOLS.glob("*.py")]
    for name in names:
        sys.modules.pop(name, None)
    yield
    for name in names:
        sys.modules.pop(name, None)


def run(*arguments, path=None):
    environment = {**os.environ, **({"PATH": path} if path is not None else {})}
    return subprocess.run(
        [sys.executable, str(TOOLS / "run"), *arguments], capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_dry_run_lists_every_step_with_its_purpose(stage, tmp_path):
    done = run(stage, str(tmp_path), "--dry-run")
    assert done.returncode == 0, done.stderr
    listed = [line.split(None, 1) for line in done.stdout.splitlines()]
    steps = importlib.import_module("stages").steps(stage)
    assert [name for name, _ in listed] == [f"{stage}.{step.name}" for step in steps] and len(listed) >= 4
    assert all(len(purpose) > 10 for _, purpose in listed)


def test_an_unknown_step_is_refused(tmp_path):
    done = run("prove", str(tmp_path), "--dry-run", "--only", "everything")
    assert done.returncode == 1 and "it has suite, captured_steps" in done.stderr


def test_without_a_gpu_it_says_so(tmp_path):
    for path in (stub_smi(tmp_path, ""), tmp_path):  # the second has no nvidia-smi at all
        done = run("prove", str(tmp_path), path=str(path))
        assert done.returncode == 2 and "shows no GPU here" in done.stderr, done.stderr


def stub_smi(folder, answer):
    """A folder whose nvidia-smi answers with one line."""
    (folder / "bin").mkdir()
    stub = folder / "bin" / "nvidia-smi"
    stub.write_text(f"#!/bin/sh\necho '{answer}'\n")
    stub.chmod(0o755)
    return folder / "bin"


RECORDED = {
    "schema": 1,
    "machine": {"device": "NVIDIA H200", "multiprocessors": 132, "driver": "580.1"},
    "versions": {"torch": "2.11.0", "python": "3.12.3"},
    "prove": {
        "halves": {"ok": True, "seconds": 3.2, "checked": 1234567, "differing": 0},
        "huge": {"ok": None, "seconds": 0.0, "note": "30 GiB of free device memory are needed"},
        "graph": {"ok": False, "seconds": 1.0, "checked": 10, "differing": 2, "note": "replay: first at 3"},
    },
    "bench": {
        "copy": {"ok": True, "seconds": 1.0, "bytes_per_second": 4.0e12},
        "float32": {
            "ok": True,
            "seconds": 9.0,
            "rows": [
                {"op": "gelu", "direction": "backward", "dtype": "float32", "group": "activation", "bytes": 8e8, "seconds": 2.5e-4,
                 "peers": {"torch": 5e-4}, "notes": {}},
            ],
        },
    },
}  # fmt: skip


def test_the_report_renders_from_a_record(tmp_path):
    (tmp_path / "h200.json").write_text(json.dumps(RECORDED))
    done = run("report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "NVIDIA H200, 132 multiprocessors, driver 580.1" in done.stdout
    assert "1,234,567 values, 0 differ" in done.stdout and "skipped" in done.stdout and "FAILED" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("gelu'"))
    assert row.split() == ["gelu'", "float32", "250.0", "0.800", "2.00"]


def test_results_merge_by_step(tmp_path):
    record = importlib.import_module("gpu_record")
    machine = RECORDED["machine"]
    record.Results(tmp_path, machine, {"torch": "1"}).add("prove", "graph", {"ok": True, "seconds": 1.0})
    later = record.Results(tmp_path, machine, {"torch": "2"})
    later.add("bench", "copy", {"ok": True, "seconds": 2.0})
    data = record.read(tmp_path / "h200.json")
    assert set(data) >= {"prove", "bench"} and data["versions"] == {"torch": "2"} and data["prove"]["graph"]["ok"]
    (tmp_path / "h200.json").write_text("{}")
    with pytest.raises(ValueError, match="schema None; expected 1"):
        record.read(tmp_path / "h200.json")


def test_every_result_is_recorded_whatever_happens(tmp_path, monkeypatch):
    stages, device, record = (importlib.import_module(name) for name in ("stages", "device", "gpu_record"))
    monkeypatch.setattr(device, "machine", lambda: RECORDED["machine"])
    monkeypatch.setattr(device, "versions", dict)

    def passes(work):
        """Passes."""
        return {"checked": 3, "differing": 0}

    def differs(work):
        """Differs."""
        return {"checked": 3, "differing": 1}

    def skips(work):
        """Cannot."""
        raise stages.Skip("no such library")

    def breaks(work):
        """Breaks."""
        raise RuntimeError("broken")

    chosen = [stages.Step(f.__name__, f.__doc__, f) for f in (passes, differs, skips, breaks)]
    assert stages.run("prove", chosen, tmp_path, time.time() + 500) == 1
    entries = record.read(tmp_path / "h200.json")["prove"]
    assert {name: entry["ok"] for name, entry in entries.items()} == {
        "passes": True,
        "differs": False,
        "skips": None,
        "breaks": False,
    }
    assert entries["skips"]["note"] == "no such library" and entries["breaks"]["note"] == "RuntimeError: broken"
    assert stages.run("prove", chosen[:1], tmp_path, time.time()) == 0
    assert record.read(tmp_path / "h200.json")["prove"]["passes"]["note"] == "no time was left"


@pytest.fixture
def cupy():
    if build.compiler() is None:
        pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here")
    from brazen import _core

    sys.path.insert(0, str(build.ROOT / "tests" / "standin"))
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cupy"}
    import cupy

    _core.load_cuda_library(str(build.library()))
    yield cupy
    _core.load_cuda_library("")
    sys.path.remove(str(build.ROOT / "tests" / "standin"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
        del sys.modules[name]
    sys.modules.update(hidden)


CHOSEN = [c for c in op_table.CASES if c.name in ("gelu", "swiglu", "prelu", "maxout")]


def test_the_table_step_compares(cupy, tmp_path):
    prove, device, stages = (importlib.import_module(name) for name in ("prove", "device", "stages"))
    count = prove.Count()
    work = stages.Work(tmp_path, time.time() + 300, 300)
    table = prove.Table(count, lambda a: device.on_cupy(cupy, a), lambda r, _: device.from_cupy(r))
    table.run(work, CHOSEN, ("float32", "bfloat16"))
    assert count.entry() == {"checked": count.checked, "differing": 0, "note": ""} and count.checked > 1_000_000
    count.compare(np.zeros(3, "float32"), np.ones(3, "float32"), "planted")
    assert count.differing == 1 and count.note.startswith("planted")


def test_the_suite_for_the_sanitizer_runs(cupy, capsys):
    importlib.import_module("suite").main(cupy, CHOSEN)
    assert capsys.readouterr().out.startswith("suite done: ")
    importlib.import_module("suite").main(cupy, CHOSEN, until=time.time() - 1)
    assert capsys.readouterr().out == "suite done: 0 calls, the rest had no time\n"


def test_layouts_survive_the_way_to_the_device(cupy):
    import layouts

    device = importlib.import_module("device")
    array = np.arange(60, dtype="float32").reshape(3, 4, 5)
    for change in [*layouts.WRITABLE, layouts.broadcast]:
        host = change(array)
        there = device.on_cupy(cupy, host)
        assert there.strides == host.strides and (device.from_cupy(there) == host).all()
        assert there.data.ptr % 16 == host.__array_interface__["data"][0] % 16


@pytest.mark.parametrize("text", ["", "ERROR SUMMARY: 0 errors", "Device not supported"])
def test_the_sanitizer_reports_or_says_why_not(tmp_path, monkeypatch, text):
    """A stub in place of compute-sanitizer: no tool, a clean run, a machine that it does not support."""
    sanitize, stages = importlib.import_module("sanitize"), importlib.import_module("stages")
    if text:
        stub = tmp_path / "compute-sanitizer"
        stub.write_text(f"#!/bin/sh\necho '{text}'\necho 'suite done'\n")
        stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    work = stages.Work(tmp_path, time.time() + 60, 60)
    if "SUMMARY" in text:
        assert sanitize.memcheck(work)["note"] == f"{text}; suite done"
    else:
        with pytest.raises(stages.Skip, match="not on PATH|cannot run here: Device not supported"):
            sanitize.memcheck(work)


def test_torch_peers_are_the_same_functions(torch):
    """The benchmark's peers, on the CPU: a wrong signature would lose a column, a wrong function a comparison."""
    import samples

    peers = importlib.import_module("peers").torch_peers(torch)
    checked = 0
    for case in op_table.CASES:
        forward, backward = peers.get(case.name, (None, None))
        if case.direction == "backward" and not backward or forward is None:
            continue
        arrays = [samples.ordinary(s, "float32", seed) for seed, s in enumerate(case.shapes((5, 8)))]
        tensors = [torch.from_numpy(a) for a in arrays]
        result = forward(*tensors) if case.direction == "forward" else backward(*tensors, forward(tensors[1]))
        expected = case.results(*arrays, parameters=case.parameter_sets[0])[0]
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=case.id)
        checked += 1
    assert checked >= 38


def test_the_largest_steps_fit_their_stage():
    """What the stage must leave for the steps behind it, a third of a minute each, is less than its time."""
    stages = importlib.import_module("stages")
    for stage in STAGES:
        assert 20 * len(stages.steps(stage)) < 500
