# SPDX-License-Identifier: BSD-3-Clause
"""Step suite: the tests that run the kernels on an emulated GPU everywhere, with CuPy and a real one in its place."""

import importlib.util
import json
import os
import subprocess
import sys
import time

from stages import step

SECONDS = 170


def files(root):
    """The test files that ask for the emulated device: the fixture's own, and those that import it."""
    found = sorted((root / "tests").glob("test_*.py"))
    return [p for p in found if p.stem == "test_cuda_emulated" or "from test_cuda_emulated import" in p.read_text()]


def command(root, *options):
    """pytest without the project's settings: its version here may be another than the one they are written for."""
    there = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(root / "tests"), "-p", "counting"]
    there += ["-p", "no:cacheprovider", "-q", "-m", "not emulation", "--tb=short"]
    return [*there, *options, *map(str, files(root))]


def environment(root, out, until):
    tools = str(root / "tools" / "gpu")
    path = os.pathsep.join([tools, str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    counts = {"BRAZEN_GPU_COUNTS": str(out / "suite.json"), "BRAZEN_GPU_UNTIL": str(until)}
    return {**os.environ, **counts, "PYTHONPATH": path, "BRAZEN_TEST_DEVICE": "1"}


@step
def suite(work):
    """Every test of the emulated kernels, on CuPy arrays and this GPU: op table, chains, rows, channels, optimizers."""
    import device

    device.library("cupy")
    given = environment(device.ROOT, work.scratch, time.time() + min(SECONDS, work.left() - 20))
    options = []
    if importlib.util.find_spec("xdist"):
        # The CPU's side of each comparison is the slower one.
        options = ["-n", str(min(8, os.cpu_count())), "--dist", "load", "--maxschedchunk", "2"]
        given["BRAZEN_NUM_THREADS"] = "2"
    log = work.out / "suite.log"
    with log.open("w") as file:
        there = {"env": given, "stdout": file, "stderr": subprocess.STDOUT, "timeout": max(work.left(), 1)}
        try:
            code = subprocess.run(command(device.ROOT, *options), **there).returncode
        except subprocess.TimeoutExpired:
            code = "no answer in time"
    return outcome(work.scratch / "suite.json", code, log)


def outcome(path, code, log):
    """The entry of a run of pytest."""
    if not path.exists():
        raise AssertionError(f"pytest ended with {code}: {log.read_text()[-400:]}")
    counts = json.loads(path.read_text())
    failures = counts.pop("failures")
    entry = {"tests": counts, "note": ", ".join(f"{number} {name}" for name, number in counts.items())}
    if failures or not counts["passed"]:
        entry.update(ok=False, note=f"{entry['note']}; {failures[0] if failures else 'nothing ran'}"[:700])
    return entry
