# SPDX-License-Identifier: BSD-3-Clause
"""The kernels compiled for another machine give the hashes of golden.json: aarch64 under user-mode emulation, and, so that
the driver itself is known to be right, this machine's. It catches a formula whose bits depend on the compiler's target."""

import platform
import shutil
import subprocess
from pathlib import Path

import golden
import op_table
import pytest
from samples import DTYPES

ROOT = Path(__file__).resolve().parent.parent
# CMakeLists.txt's BRAZEN_FLAGS without the warnings; a test below compares them.
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]


def _hashes(compiler, target_flags, target, runner, folder):
    program = folder / "golden"
    sources = [*map(str, sorted((ROOT / "csrc/cpu").glob("*kernels.cpp"))), str(ROOT / "tests/native/golden.cpp")]
    command = [
        compiler,
        "-std=c++20",
        *FLAGS,
        *target_flags,
        f"-DBRAZEN_TARGET={target}",
        f"-I{ROOT}",
        "-w",
        "-static",
        *sources,
        "-o",
        str(program),
    ]
    built = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr[-3000:]
    cases = [(case, dtype) for case in op_table.CASES for dtype in DTYPES]
    lines = []
    for case, dtype in cases:
        values = [*case.parameters.values(), 0, 0][:2]
        if case.family == "activation" and not case.parameters:
            values = [*(v or 0 for v in op_table.REGISTRY[case.name]["parameters"].values()), 0, 0][:2]
        lines.append(f"{case.name} {case.family} {case.direction} {dtype} {values[0]!r} {values[1]!r}\n")
    done = subprocess.run([*runner, str(program)], input="".join(lines), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-3000:]
    return dict(zip((f"{case.id}-{dtype}" for case, dtype in cases), done.stdout.split(), strict=True))


def _compare(hashes):
    stored = golden.stored()
    wrong = [name for name, value in hashes.items() if stored[name] != value]
    assert not wrong, f"other bits: {', '.join(wrong)}"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the host compiler's flags for x86-64 are used")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_this_machine(tmp_path):
    _compare(_hashes("g++", ["-march=x86-64-v3"], "v3", [], tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None,
    reason="needs aarch64-linux-gnu-g++: apt-get install g++-aarch64-linux-gnu",
)
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="needs qemu-aarch64: apt-get install qemu-user")
def test_aarch64(tmp_path):
    _compare(_hashes("aarch64-linux-gnu-g++", ["-march=armv8-a"], "neon", ["qemu-aarch64"], tmp_path))


def test_flags_are_the_build_s():
    text = (ROOT / "CMakeLists.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith("set(BRAZEN_FLAGS"))
    assert [word for word in line.split("BRAZEN_FLAGS")[1].strip(" )").split() if not word.startswith("-W")] == FLAGS
