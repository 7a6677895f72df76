# SPDX-License-Identifier: BSD-3-Clause
"""Every registered loop is vectorised for every instruction set from v3 up: the same source has been seen to vectorise in
one loop and not in another, and nothing but the machine code tells.

csrc/cpu/kernels.cpp is compiled to assembly with the build's flags; a loop counts as vectorised when its function computes
on registers of full width. A loop that did not vectorise computes on single elements and has none.
"""

import re
import shutil
import subprocess
from pathlib import Path

import op_table
import pytest
from test_native_golden import FLAGS

ROOT = Path(__file__).resolve().parent.parent
# name: (flags as in CMakeLists.txt, the name of a full-width register)
TARGETS = {"v3": (["-march=x86-64-v3"], "ymm"), "v4": (["-march=x86-64-v4", "-mprefer-vector-width=512"], "zmm")}
# Integer arithmetic of 128 bits, which no vector unit has; no speed is asked of these two.
EXEMPT = {"math.sin", "math.cos"}
COMPUTES = r"\tv(add|sub|mul|div|sqrt|max|min|cmp\w*|blend\w*|and|andn|or|xor|f(n?m(add|sub)\w+))p[sd]\t"

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None or shutil.which("c++filt") is None, reason="needs g++ and c++filt"),
    pytest.mark.skipif(
        "v3" not in __import__("brazen")._core.isas(), reason="x86-64 from v3 up; this machine has none"
    ),
    pytest.mark.timeout(240),
]


def _functions(source, flags, target, folder):
    """Demangled name -> its assembly."""
    output = folder / f"{target}.s"
    command = [
        "g++",
        "-std=c++20",
        *FLAGS,
        *flags,
        f"-DBRAZEN_TARGET={target}",
        f"-I{ROOT}",
        "-w",
        "-S",
        str(source),
        "-o",
        str(output),
    ]
    subprocess.run(command, check=True, timeout=200)
    text = subprocess.run(
        ["c++filt"], input=output.read_text(), capture_output=True, text=True, check=True, timeout=60
    ).stdout
    functions = dict(re.findall(r"^([^\s.][^\n]*):\n(.*?)^\t\.size\t", text, re.MULTILINE | re.DOTALL))
    for name, body in functions.items():  # two of equal code: one jumps to the other
        if jump := re.search(r"^\tjmp\t([^\s.].*)$", body, re.MULTILINE):
            functions[name] = functions.get(jump[1], body)
    return functions


def _is_vectorized(body, register):
    return any(re.match(COMPUTES, line) and register in line for line in body.splitlines())


def _struct_names():
    """Registered name -> the formula's struct, from the headers."""
    names = {}
    for header in ("activations.h", "gates.h"):
        text = (ROOT / "csrc/formulas" / header).read_text()
        found = re.findall(r'struct (\w+)[^{;]*\{(?:(?!struct ).)*?OperationInfo info\{\s*"(\w+)"', text, re.DOTALL)
        names |= {name: struct for struct, name in found}
    text = (ROOT / "csrc/formulas/functions.h").read_text()
    return names | {
        f"math.{name}": struct for struct, name in re.findall(r"^BRAZEN_FUNCTION\((\w+), (\w+),", text, re.MULTILINE)
    }


def _wanted(case, structs, real):
    """How the loop's demangled name goes on after the namespace."""
    if case.family in ("prelu", "maxout"):
        return f"{case.family}_{case.direction}<{real}>("
    prefix = "gate_" if case.family == "gate" else ""
    return f"{prefix}{case.direction}<brazen::TARGET::{structs[case.name]}<{real}>, {real}>("


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_loop(target, tmp_path):
    flags, register = TARGETS[target]
    functions = _functions(ROOT / "csrc/cpu/kernels.cpp", flags, target, tmp_path)
    loops = {
        name.split("(anonymous namespace)::", 1)[-1].replace(f"::{target}::", "::TARGET::"): body
        for name, body in functions.items()
    }
    structs, scalar = _struct_names(), []
    for case in op_table.CASES:
        for real in ("float", "double"):
            wanted = _wanted(case, structs, real)
            bodies = [body for name, body in loops.items() if name.startswith(wanted)]
            assert len(bodies) == 1, f"{len(bodies)} functions called {wanted}"
            copies = case.name == "linear" and ("memmove" in bodies[0] or register in bodies[0])
            if case.name not in EXEMPT and not copies and not _is_vectorized(bodies[0], register):
                scalar.append(f"{case.id} ({real})")
    for name, body in loops.items():
        if name.startswith(("brief<", "widen_bfloat16", "narrow_bfloat16", "prelu_alpha", "sum_chunk")) and not (
            _is_vectorized(body, register) or register in body
        ):
            scalar.append(name)
    assert not scalar, f"not vectorised for {target}: {', '.join(scalar)}"


# Loops of the other units that stay scalar, and why.
SCALAR = {
    "uniform_each<": "one Philox block an element: only odd strides come here",
    "normal_each<": "likewise",
    "uniform_run<double>": "AVX2 has no conversion of 64-bit integers",
    "normal_run<double>": "likewise",
}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("unit", sorted(path.stem for path in (ROOT / "csrc/cpu").glob("*_kernels.cpp")))
def test_every_loop_of(unit, target, tmp_path):
    flags, register = TARGETS[target]
    functions = _functions(ROOT / f"csrc/cpu/{unit}.cpp", flags, target, tmp_path)
    loops = {
        name.split("(anonymous namespace)::", 1)[1]: body
        for name, body in functions.items()
        if "(anonymous namespace)::" in name
    }
    assert len(loops) > 5
    scalar = [name for name, body in loops.items() if not _is_vectorized(body, register) and register not in body]
    scalar = [name for name in scalar if not name.startswith(tuple(SCALAR))]
    assert not scalar, f"not vectorised for {target}: {', '.join(scalar)}"


def test_a_scalar_loop_is_noticed(tmp_path):
    """The check itself: a loop around libm stays scalar, the same loop with a square root does not."""
    source = tmp_path / "loops.cpp"
    loop = "(float* y, const float* x, unsigned long n) { for (unsigned long i = 0; i < n; ++i) y[i] = "
    source.write_text(
        f"#include <cmath>\nvoid calls{loop}std::tgamma(x[i]); }}\nvoid computes{loop}x[i] > 0 ? x[i] * x[i] : __builtin_sqrtf(x[i]); }}\n"
    )
    for target, (flags, register) in TARGETS.items():
        functions = {name.split("(")[0]: body for name, body in _functions(source, flags, target, tmp_path).items()}
        assert not _is_vectorized(functions["calls"], register) and _is_vectorized(functions["computes"], register)


def test_flags_are_the_build_s():
    text = (ROOT / "CMakeLists.txt").read_text()
    for target, (flags, _) in TARGETS.items():
        assert f"set(BRAZEN_{target}_FLAGS {' '.join(flags)})" in text


def test_the_exempt_are_registered():
    assert {case.name for case in op_table.CASES} >= EXEMPT
