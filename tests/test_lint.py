# SPDX-License-Identifier: BSD-3-Clause
"""Rules of the source that a search can decide: what the package never uses, how a file opens, which way includes point."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "csrc").is_dir():
    pytest.skip("no source tree here", allow_module_level=True)

MOST_LINES = 400


def sources(*folders: str, suffixes: tuple[str, ...] = (".py", ".h", ".cpp", ".cu", ".cuh")) -> list[pathlib.Path]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes]
    return [path for path in files if not {"__pycache__", "build"} & set(path.parts) and path.stat().st_size]


def tracked() -> list[pathlib.Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def named(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_comments(text: str) -> str:
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


EVERYWHERE = sources("csrc", "python", "tests", "bench", "tools")
CPP = [path for path in EVERYWHERE if path.suffix != ".py"]

FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
# Timing loops around statements that are constants of the package, as timeit makes them.
MADE_HERE = {"python/brazen/bench/case.py": {"exec"}}


@pytest.mark.parametrize("path", sources("python", suffixes=(".py",)), ids=named)
def test_package_runs_nothing_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = {alias.name for alias in node.names} if isinstance(node, ast.Import) else {node.module or ""}
            found = {module.partition(".")[0] for module in modules} & FORBIDDEN_MODULES
            assert not found, f"line {node.lineno} imports {found}"
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            assert name not in FORBIDDEN_CALLS - MADE_HERE.get(named(path), set()), f"line {node.lineno} calls {name}"
            for keyword in node.keywords:
                on = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                assert not (keyword.arg in ("allow_pickle", "shell") and on), f"line {node.lineno}: {keyword.arg}=True"


@pytest.mark.parametrize("path", EVERYWHERE, ids=named)
def test_opens_with_licence_and_a_sentence(path):
    lines = path.read_text().splitlines()
    if lines[0].startswith("#!"):
        lines = lines[1:]
    mark = "#" if path.suffix == ".py" else "//"
    assert lines[0] == f"{mark} SPDX-License-Identifier: BSD-3-Clause"
    opening = "\n".join(lines[1:12])
    expected = r'\s*"""\S.*' if path.suffix == ".py" else r"// \S.*"
    assert re.match(expected, opening), "the second line says what the file holds"
    sentence = ast.get_docstring(ast.parse(path.read_text())) if path.suffix == ".py" else opening
    assert sentence and re.search(r"[.:]", sentence), "the opening is no sentence"


@pytest.mark.parametrize("path", EVERYWHERE, ids=named)
def test_length(path):
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, "more than one idea in it?"


# Spelled apart so that this file does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", r"\bXX" + r"X\b"]))
MACHINE = re.compile(
    "|".join([r"/(?:home|root|work|tmp)/" + r"\w", r"/usr/local/" + r"bin/", r"\.pyenv/" + r"versions/\d"])
)


# A reader has this repository and nothing else: no design notes kept elsewhere, no tracker.
ELSEWHERE = re.compile(r"\b[A-Z]{3,}\.md\b|\b[Ii]ssues? #?\d")


def test_nothing_points_outside():
    found = []
    for path in tracked():
        if path.suffix in (".json", ".png", ".svg"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            cited = [word for word in ELSEWHERE.findall(line) if not (ROOT / word).is_file()]
            if cited:
                found.append(f"{named(path)}:{number}: {cited[0]}")
    assert not found, "\n".join(found)


def test_nothing_unfinished_and_no_machine():
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if UNFINISHED.search(line) or MACHINE.search(line):
                found.append(f"{named(path)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


# Macros that live on: what formulas are written with, what crosses the C ABI, what a test lowers from the command line.
LASTING = {"FORMULA", "FORMULA_ONCE", "BRAZEN_ABI", "BRAZEN_TARGET", "BRAZEN_MAX_UNITS"}


@pytest.mark.parametrize(
    "path", [path for path in CPP if "csrc" in path.parts and path.suffix in (".h", ".cuh")], ids=named
)
def test_macros_end_where_they_are_used_up(path):
    text = path.read_text()
    defined = set(re.findall(r"^\s*#\s*define\s+(\w+)", text, re.MULTILINE))
    ended = set(re.findall(r"^\s*#\s*undef\s+(\w+)", text, re.MULTILINE))
    assert defined - ended <= LASTING, f"not #undef'ed: {defined - ended - LASTING}"


# Written by the build.
GENERATED = {"archs.h"}

# Which folders of csrc a folder may include, beside itself.
ARROWS = {
    "formulas": set(),
    "core": {"formulas"},
    "cpu": {"core", "formulas"},
    "cuda": {"core", "formulas"},
    "bindings": {"core", "cpu", "cuda"},
}


@pytest.mark.parametrize("path", [path for path in CPP if "csrc" in path.parts], ids=named)
def test_includes_point_one_way(path):
    folder = path.relative_to(ROOT / "csrc").parts[0]
    text = path.read_text()
    for include in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE):
        if include in GENERATED:
            continue
        target = (path.parent / include).resolve()
        assert target.is_file(), f"{include} is not a file of the tree"
        inside = target.relative_to(ROOT / "csrc").parts[0]
        assert inside == folder or inside in ARROWS[folder], f"{folder}/ includes {inside}/: {include}"
        if folder == "bindings" and inside == "cuda":
            assert target.name == "abi.h", "bindings/ know the CUDA library by its ABI alone"
    if folder != "bindings":
        assert "pybind11" not in without_comments(text) and "Python.h" not in text, "pybind11 lives in bindings/"
    if folder == "formulas":
        system = set(re.findall(r"^\s*#\s*include\s+<([^>]+)>", text, re.MULTILINE))
        assert system <= {"cstdint", "cstddef"}, f"formulas/ include {system}"


COMPILED_PER_ISA = [
    *sources("csrc/formulas"),
    *sorted((ROOT / "csrc/cpu").glob("*kernels.cpp")),
    ROOT / "csrc/cpu/convert.h",
]


@pytest.mark.parametrize("path", COMPILED_PER_ISA, ids=named)
def test_no_library_template_where_an_instruction_set_is_chosen(path):
    """The linker may keep the AVX-512 copy of an inline function, and crash an older CPU."""
    assert "std::" not in without_comments(path.read_text())


@pytest.mark.parametrize("path", sources("csrc/formulas"), ids=named)
def test_formulas_call_no_mathematics_library(path):
    """Only + - * / sqrt, fma, comparisons, integers and casts may reach an output."""
    text = without_comments(path.read_text())
    calls = r"__builtin_(?!sqrt|fma|inf|nan|huge_val|bit_cast|memcpy|clz|copysign|fabs|assume|expect|unreachable|constant_p)\w+"
    assert not re.findall(calls, text)
    assert not re.findall(r"\b(?:__expf|__fdividef|rsqrt\w*|__frcp\w*|tanhf|expf|logf|fmaf?x)\s*\(", text)


def test_flags_never_let_the_compiler_change_bits():
    text = (ROOT / "CMakeLists.txt").read_text()
    cuda = ROOT / "csrc/cuda/CMakeLists.txt"
    for forbidden in (
        "-ffast-math",
        "-Ofast",
        "-funsafe-math",
        "-fassociative",
        "-freciprocal",
        "--use_fast_math",
        "-ftz=true",
    ):
        assert forbidden not in text
        assert not cuda.exists() or forbidden not in cuda.read_text()
    assert "-ffp-contract=off" in text
    assert not cuda.exists() or "-fmad=false" in cuda.read_text()
