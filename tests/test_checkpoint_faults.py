# SPDX-License-Identifier: BSD-3-Clause
"""What fails, or ends the process, while a checkpoint is written: the one before still loads, and no litter stays."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from brazen import checkpoint
from emulation import build as emulation
from faults import driver

FAULTS = pathlib.Path(__file__).parent / "faults"
# Every write makes some twenty calls; fewer were seen than there are, if less.
FEWEST_CALLS = 20


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """faults.cpp, compiled."""
    compiler = emulation.compiler()
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("the library that makes system calls fail needs Linux and g++ (or CXX), which is not here")
    made = tmp_path_factory.mktemp("faults") / "faults.so"
    flags = ["-std=c++20", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, str(FAULTS / "faults.cpp"), "-o", str(made), "-ldl"], check=True)
    return made


@pytest.fixture
def place():
    """A directory in memory where there is one: thousands of durable writes are for the disk to endure elsewhere."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="brazen-", dir=memory) as made:
        yield pathlib.Path(made)


@pytest.fixture
def play(place):
    """Runs one of the scripts in faults/; returns the lines of JSON it prints."""

    def run(script, *arguments, timeout=300, **environment):
        home = os.path.dirname(os.path.dirname(os.path.dirname(checkpoint.__file__)))
        done = subprocess.run(
            [sys.executable, str(FAULTS / script), str(place / "runs"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": home, "OPENBLAS_NUM_THREADS": "1", **environment},
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize("fault", driver.FAULTS)
def test_every_call_failing(library, play, place, fault):
    results = play("driver.py", fault, BRAZEN_FAULT_ROOT=str(place / "runs"), LD_PRELOAD=str(library))
    assert [situation for situation, _, _ in results] == list(driver.SITUATIONS)
    for situation, calls, wrong in results:
        assert not wrong, f"{situation}: {wrong}"
        assert calls >= (4 if driver.FAULTS[fault][1] & driver.SHORT else FEWEST_CALLS)


@pytest.mark.parametrize(
    "kind, kills", [("loop", 200), ("trainer", 40), pytest.param("trainer", 200, marks=pytest.mark.release)]
)
def test_killed_at_random_instants(play, kind, kills):
    (result,) = play("killed.py", kind, kills)
    assert result["wrong"] == [] and result["kills"] >= kills and result["finished"]


def test_what_is_renamed_is_durable_before_and_what_is_removed_after(tmp_path, monkeypatch):
    """Power may go at any instant: no kill of a process shows in which order the disk learns of things."""
    happened = []

    def path_of(descriptor):
        return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else os.fspath(descriptor)

    def record(name):
        original = getattr(os, name)

        def call(first, *others, **named):
            happened.append((name, path_of(first)))
            return original(first, *others, **named)

        monkeypatch.setattr(os, name, call)

    checkpoint.write(tmp_path, 1, driver.state(1))
    for name in ("write", "fsync", "rename", "mkdir"):
        record(name)
    remove = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path: (happened.append(("remove", path)), remove(path)))
    checkpoint.write(tmp_path, 2, driver.state(2), keep=1)

    made = next(path for name, path in happened if name == "mkdir")
    renamed = happened.index(("rename", made))
    for path in (made, f"{made}/arrays.safetensors", f"{made}/manifest.jsonl"):
        synced = max(index for index, event in enumerate(happened) if event == ("fsync", path))
        assert synced < renamed
        assert all(index < synced for index, event in enumerate(happened) if event == ("write", path))
    assert happened[renamed + 1] == ("fsync", str(tmp_path)), "the new name is durable"
    assert [name for name, _ in happened[renamed + 2 :]] == ["rename", "remove"], "and only then the old one goes"


def test_an_error_says_which_checkpoint(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "runs").mkdir()
    with pytest.raises(OSError, match="No space left on device: '.*step-00000001'"):
        checkpoint.write(tmp_path / "runs", 1, {"a": np.ones(3)})
    assert os.listdir(tmp_path / "runs") == []
