# SPDX-License-Identifier: BSD-3-Clause
"""Compiles csrc/cuda/*.cu for the host, behind the C ABI of the CUDA library. Test-only; no CUDA is needed."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "emulation"
# The host's flags of CMakeLists.txt, which keep the bits; passes are cut early, so that short ones are cut at all.
FLAGS = [
    "-x",
    "c++",
    "-std=c++20",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
]
FLAGS += ["-march=native", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror"]
# A GPU faults on what x86 forgives: a vector off its alignment ends the process here too.
FLAGS += ["-fsanitize=alignment,bounds,shift,signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]
FLAGS += [
    "-DBRAZEN_TARGET=emulated",
    "-DBRAZEN_CUDA_LIBRARY",
    '-DBRAZEN_CUDA_ARCHS_TEXT="the host (emulation)"',
    "-DBRAZEN_MAX_UNITS=20011",
    "-DBRAZEN_CHANNEL_BYTES=0",
]

# `tools/coverage` asks which lines of the kernels the emulation reaches; the notes lie beside the objects.
COVERAGE = ["-g", "--coverage", "-fprofile-update=atomic"] if os.environ.get("BRAZEN_EMULATION_COVERAGE") else []
FLAGS += COVERAGE


def compiler():
    """The C++ compiler to use, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("g++")


def sources():
    return [*sorted((ROOT / "csrc/cuda").glob("*.cu")), ROOT / "tests/emulation/emulation.cpp"]


def library():
    """libbrazen_host.so, built anew when a source of it changed."""
    read = [*sources(), ROOT / "tests/emulation/cuda_runtime.h"]
    read += sorted(p for folder in ("core", "cuda", "formulas") for p in (ROOT / "csrc" / folder).glob("*.h"))
    state = hashlib.sha256(
        " ".join(FLAGS).encode() + b"".join(p.name.encode() + p.read_bytes() for p in read)
    ).hexdigest()[:16]
    made = CACHE / state / "libbrazen_host.so"
    if made.exists():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    # Counts are written where the objects were made: those are not moved.
    folder = made.parent if COVERAGE else Path(tempfile.mkdtemp(dir=CACHE))
    folder.mkdir(exist_ok=True)

    def compile_one(source):
        output = folder / f"{source.name}.o"
        run([compiler(), *FLAGS, f"-I{ROOT}/tests/emulation", "-c", str(source), "-o", str(output)])
        return str(output)

    try:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            objects = list(pool.map(compile_one, sources()))
        run([compiler(), "-shared", "-o", str(folder / made.name), *objects, "-Wl,-z,defs", *COVERAGE])
        if not COVERAGE:
            folder.rename(made.parent)
    except OSError:
        if not made.exists():  # another process was not first
            raise
    finally:
        if not COVERAGE:
            shutil.rmtree(folder, ignore_errors=True)
    return made


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
