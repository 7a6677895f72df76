# SPDX-License-Identifier: BSD-3-Clause
"""Stage prove of tools/gpu without a GPU: each step's own code, on the CPU or the emulated device, its sizes cut.

It catches a step that would fail on the machine with a GPU for a reason of its own.
"""

import importlib
import subprocess
import sys
import time

import numpy as np
import pytest
from emulation import build
from test_gpu_tools import TOOLS, cupy, tools  # noqa: F401


def work(tmp_path, seconds=500):
    return importlib.import_module("stages").Work(tmp_path, time.time() + seconds, seconds)


def step(name):
    [found] = importlib.import_module("stages").steps("prove", [name])
    return found.function


@pytest.fixture
def on_cpu(torch, monkeypatch):
    """PyTorch's tensors stay on the CPU, and whole sizes are cut."""
    device = importlib.import_module("device")
    monkeypatch.setattr(device, "PLACE", "cpu")
    monkeypatch.setattr(device, "SHRINK", 1 << 18)
    return device


@pytest.mark.parametrize("name", ["graph", "torch_loop", "huge", "alpha_gradient", "endurance", "every_float32"])
def test_steps_of_pytorch(on_cpu, tmp_path, name):
    entry = step(name)(work(tmp_path))
    assert not entry.get("differing") and entry.get("checked", 1) > 0 and "no time" not in entry.get("note", "")


def test_the_table_of_pytorch(on_cpu, tmp_path, monkeypatch):
    prove, op_table = importlib.import_module("prove"), importlib.import_module("op_table")
    chosen = [case for case in op_table.CASES if case.name in ("gelu", "glu", "prelu", "maxout", "threshold")]
    monkeypatch.setattr(op_table, "CASES", chosen)
    monkeypatch.setattr(prove, "SHAPES", [(37,), (3, 5, 16), (0,), ()])
    monkeypatch.setattr(prove, "SIZES", [1, 7, 1025])
    for name in ("table_torch", "halves"):
        entry = step(name)(work(tmp_path))
        assert entry["checked"] > 10_000 and not entry["differing"] and not entry["note"], entry


@pytest.mark.parametrize("name", ["many", "bits", "hundred_steps", "captured_steps"])
def test_steps_of_cupy(cupy, tmp_path, monkeypatch, name):  # noqa: F811
    device, optim_cases = importlib.import_module("device"), importlib.import_module("optim_cases")
    monkeypatch.setattr(device, "SHRINK", 1 << 11)
    monkeypatch.setattr(optim_cases, "CASES", optim_cases.CASES[::6])
    entry = step(name)(work(tmp_path))
    assert entry["checked"] > 1000 and not entry["differing"] and "stopped" not in entry["note"], entry


def test_networks(cupy, tmp_path):  # noqa: F811
    entry = step("networks")(work(tmp_path))
    assert "the largest difference 0 of its norm" in entry["note"], entry


def test_a_training_step_is_a_graph(cupy, torch):  # noqa: F811
    """What stage bench times: captured once on the emulated device, launched, its loss falling."""
    steps = importlib.import_module("whole_steps")
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((16, 20), dtype="float32"), rng.integers(0, 10, 16)
    launch, loss = steps.ours(torch, x, labels)
    launch()
    before = loss()
    for _ in range(30):
        launch()
    assert loss() < before


def test_the_suite_collects_every_test_of_the_emulated_device(tmp_path):
    emulated = importlib.import_module("emulated")
    files = [path.stem for path in emulated.files(build.ROOT)]
    assert {
        "test_cuda_emulated",
        "test_cuda_chain",
        "test_cuda_rows",
        "test_cuda_optim",
        "test_batch_norm_cuda",
    } <= set(files)
    given = emulated.environment(build.ROOT, tmp_path, time.time() + 300)
    command = emulated.command(build.ROOT, "--collect-only")
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    counts = importlib.import_module("json").loads((tmp_path / "suite.json").read_text())
    assert counts["collected"] > 1000 and "test_failures_name_cause_and_cure" not in done.stdout


PLUGIN_TEST = """
import os, time
def test_passes(): pass
def test_fails(): assert 0, "as planted"
def test_waits(): time.sleep(max(float(os.environ["BRAZEN_GPU_UNTIL"]) - time.time(), 0) + 0.01)
def test_is_late(): pass
"""


def test_the_suite_counts_and_ends_in_time(tmp_path):
    emulated = importlib.import_module("emulated")
    (tmp_path / "test_planted.py").write_text(PLUGIN_TEST)
    given = emulated.environment(build.ROOT, tmp_path, time.time() + 5)
    given["PYTHONPATH"] = str(TOOLS)
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "counting", "-q", str(tmp_path)]
    log = tmp_path / "log"
    with log.open("w") as file:
        done = subprocess.run(command, env=given, stdout=file, stderr=subprocess.STDOUT)
    entry = emulated.outcome(tmp_path / "suite.json", done.returncode, log)
    assert entry["ok"] is False and "as planted" in entry["note"]
    assert entry["tests"]["collected"] == 4 and entry["tests"]["failed"] == 1 and entry["tests"]["passed"] < 3
    with pytest.raises(AssertionError, match="pytest ended with 3"):
        emulated.outcome(tmp_path / "absent.json", 3, log)


def test_the_suite_asks_cupy_for_what_its_tests_use(cupy, monkeypatch):  # noqa: F811
    """The fixture of the device gives the tests what the stand-in gives them."""
    device = importlib.import_module("device")
    monkeypatch.setattr(device, "library", lambda name: cupy)
    there = device.cupy_of_tests()
    array = np.arange(12.0).reshape(3, 4)[:, ::2]
    assert (there.on_device(array).get() == array).all() and there.ndarray is cupy.ndarray
    assert there.empty(3).shape == (3,) and there.cuda.Device is cupy.cuda.Device
