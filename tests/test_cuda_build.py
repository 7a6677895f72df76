# SPDX-License-Identifier: BSD-3-Clause
"""What ptxas says of every kernel: no spills, no local memory, registers that leave a GPU full, and not too many kernels.

A spill or a stack frame sends a kernel that waits for memory to memory once more.
"""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulation import build

# A wheel of 5 MB holds about this many over all architectures, at about 15 KB each.
MOST_KERNELS = 300
# 65,536 registers a multiprocessor: 80 leave room for three blocks of 256 threads, 24 of 64 warps.
MOST_REGISTERS = 80
FLAGS = ["-std=c++20", "-O3", "-fmad=false", "--expt-relaxed-constexpr", "-Xptxas=-v", "-arch=sm_90", "-cubin"]
FLAGS += ["-DBRAZEN_TARGET=cuda", "-DBRAZEN_CUDA_LIBRARY", '-DBRAZEN_CUDA_ARCHS_TEXT="90"']

ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\S+)' for '(?P<arch>\S+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.S,
)


def parse(text):
    return [{k: int(v) if v.isdigit() else v for k, v in m.groupdict().items()} for m in ENTRY.finditer(text)]


def kept_reports():
    """The reports of the newest build in this tree that is no older than its sources, or None."""
    sources = [p for folder in ("core", "cuda", "formulas") for p in (build.ROOT / "csrc" / folder).iterdir()]
    newest = max(p.stat().st_mtime for p in sources)
    names = {p.name for p in sources if p.suffix == ".cu"}
    for folder in build.ROOT.glob("build/*/csrc/cuda/ptxas"):
        reports = list(folder.glob("*.cu.txt"))
        if {p.name.removesuffix(".txt") for p in reports} == names and min(
            p.stat().st_mtime for p in reports
        ) >= newest:
            return [p.read_text() for p in reports]
    return None


def fresh_reports(nvcc, folder):
    def compile_one(source):
        command = [nvcc, *FLAGS, str(source), "-o", str(folder / source.name)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, sorted((build.ROOT / "csrc/cuda").glob("*.cu"))))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not here, so no kernel was compiled for a GPU")
    reports = kept_reports() or fresh_reports(nvcc, tmp_path_factory.mktemp("cubin"))
    found = [kernel for report in reports for kernel in parse(report)]
    assert sum(report.count("Compiling entry function") for report in reports) == len(found) > 0, (
        "a report was not understood"
    )
    return found


def test_nothing_spills(kernels):
    spilling = [k for k in kernels if k["stack"] or k["stores"] or k["loads"]]
    assert not spilling, spilling


def test_registers_leave_room_for_other_warps(kernels):
    greedy = {(k["name"], k["arch"]): k["registers"] for k in kernels if k["registers"] > MOST_REGISTERS}
    assert not greedy, greedy


def test_number_of_kernels(kernels):
    by_arch = {arch: len({k["name"] for k in kernels if k["arch"] == arch}) for arch in {k["arch"] for k in kernels}}
    assert len(set(by_arch.values())) == 1, by_arch
    assert max(by_arch.values()) <= MOST_KERNELS


def test_names_do_not_depend_on_the_folder(kernels):
    """An anonymous namespace would put a hash of the path into every name: two builds would differ."""
    assert not [k["name"] for k in kernels if "_GLOBAL__N_" in k["name"]]


# Any floating-point instruction but these could round differently from the CPU: approximations, flushed subnormals,
# max and min that lose a NaN. A product and a sum that say .rn are never fused later.
EXACT = {"add.rn", "sub.rn", "mul.rn", "div.rn", "rcp.rn", "sqrt.rn", "fma.rn", "neg", "abs", "mov", "selp"}


def test_only_correctly_rounded_instructions(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not here, so there is no PTX to read")
    flags = [flag for flag in FLAGS if flag not in ("-Xptxas=-v", "-arch=sm_90", "-cubin")]

    def compile_one(source):
        output = tmp_path / f"{source.name}.ptx"
        build.run([nvcc, *flags, "-ptx", "-arch=compute_90", str(source), "-o", str(output)])
        return output.read_text()

    with ThreadPoolExecutor(2) as pool:
        text = "\n".join(pool.map(compile_one, sorted((build.ROOT / "csrc/cuda").glob("*_kernels.cu"))))
    used = set(re.findall(r"^\s+(?:@%p\d+ )?([a-z][\w.]*?)\.f(?:32|64)\s", text, re.M))
    arithmetic = {name for name in used if not re.match(r"(setp|ld|st|cvt)\b", name)}
    assert "fma.rn" in arithmetic and arithmetic <= EXACT, arithmetic - EXACT
    assert not re.search(r"\.(ftz|approx|full|sat)\b", text)


def test_the_report_is_understood():
    text = """ptxas info    : Compiling entry function '_Z1kv' for 'sm_90'
ptxas info    : Function properties for _Z1kv
    8 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers, 8 bytes cumulative stack size
"""
    assert parse(text) == [{"name": "_Z1kv", "arch": "sm_90", "stack": 8, "stores": 16, "loads": 24, "registers": 40}]


def test_every_source_is_in_the_build():
    listed = re.search(
        r"add_library\(brazen_cuda13 SHARED\s+([^)]*)\)", (build.ROOT / "csrc/cuda/CMakeLists.txt").read_text()
    )
    assert set(listed[1].split()) == {p.name for p in Path(build.ROOT / "csrc/cuda").glob("*.cu")}
