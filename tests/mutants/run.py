# SPDX-License-Identifier: BSD-3-Clause
"""Plants each bug of planted.py in a copy of csrc/, compiles what it touches and runs checks until one fails. `make mutants`.

What was found is kept in .cache/mutants/results.json, keyed by the sources and the bug: an interrupted run goes on where
it stopped. Of what is compiled once per instruction set only v3 gets the bug, so that a comparison with the others can see it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time

from planted import PLANTED

ROOT = pathlib.Path(__file__).parents[2]
WORK = ROOT / ".cache" / "mutants"
SITE = WORK / "site"
RESULTS = WORK / "results.json"

# No optimisation changes a bit, so the quickest is good enough.
FLAGS = [
    "-std=c++20",
    "-O1",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-w",
]
ISAS = {"baseline": ["-march=x86-64"], "v3": ["-march=x86-64-v3"], "v4": ["-march=x86-64-v4"]}
# The units that CMakeLists.txt compiles once per instruction set.
KERNELS = re.search(r"set\(BRAZEN_KERNEL_SOURCES\s([^)]*)\)", (ROOT / "CMakeLists.txt").read_text())[1].split()
UNITS = {
    **{
        f"{source}_{isa}": (f"csrc/cpu/{source}.cpp", [*flags, f"-DBRAZEN_TARGET={isa}"])
        for source in KERNELS
        for isa, flags in ISAS.items()
    },
    **{
        f"{folder}.{path.stem}": (path.relative_to(ROOT).as_posix(), [])
        for folder in ("bindings", "cpu")
        for path in sorted((ROOT / "csrc" / folder).glob("*.cpp"))
        if path.stem not in KERNELS
    },
}

# Headers whose code runs outside of the kernels too; the units there that include them are compiled again.
DRIVERS_RUN = {"csrc/core/layout.h"}
DRIVERS_RUN |= {f"csrc/formulas/{name}.h" for name in ("batch_norm", "losses", "normalization", "reduction")}


# Cheapest first; the first that fails has caught the bug.
CHECKS = {
    "selftest": ["-m", "brazen", "selftest"],
    "registry": ["-m", "pytest", "-q", "tests/test_registry.py", "tests/test_reduction.py"],
    "conversion": ["-m", "pytest", "-q", "tests/test_conversion.py", "tests/test_golden.py"],
    "errors": ["-m", "pytest", "-q", "tests/test_errors.py", "tests/test_domains.py"],
    "families": ["-m", "pytest", "-q", "tests/test_dropout_bits.py", "tests/test_losses.py", "tests/test_softmax.py",
                 "tests/test_chain.py", "tests/test_chain_bits.py"],
    "norms": ["-m", "pytest", "-q", "tests/test_batch_norm.py", "tests/test_row_norms.py",
              "tests/test_row_norm_sums.py"],
    "indexed": ["-m", "pytest", "-q", "tests/test_indexed_rows.py", "-k", "order"],
    "layouts": ["-m", "pytest", "-q", "tests/test_layouts.py"],
    "values": ["-m", "pytest", "-q", "tests/test_special_values.py", "tests/test_gradients.py"],
    "sizes": ["-m", "pytest", "-q", "tests/test_sizes.py"],
    "threads": ["tests/mutants/check_threads.py"],
    "accuracy": ["-m", "pytest", "-q", "tests/test_accuracy.py"],
    "processes": ["-m", "pytest", "-q", "tests/test_processes.py"],
}  # fmt: skip


def included(file: str) -> set[str]:
    """The headers of the tree that a file sees, itself among them."""
    seen, waiting = set(), [(ROOT / file).resolve()]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(ROOT).as_posix()
        if name not in seen and path.exists():
            seen.add(name)
            found = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)
            waiting += [(path.parent / header).resolve() for header in found]
    return seen


def touched(file: str) -> list[str]:
    """The units to compile again for a bug in a file: of the kernels, the v3 ones alone."""
    seeing = [name for name, (source, _) in UNITS.items() if file in included(source)]
    kernels = [f"{source}_v3" for source in KERNELS if f"{source}_v3" in seeing]
    if file.startswith("csrc/formulas/") and file not in DRIVERS_RUN:
        return kernels
    return [
        *kernels,
        *(name for name in seeing if not UNITS[name][0].startswith(tuple(f"csrc/cpu/{k}." for k in KERNELS))),
    ]


def compile_unit(name: str, tree: pathlib.Path, objects: pathlib.Path) -> subprocess.CompletedProcess:
    import pybind11

    source, flags = UNITS[name]
    includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_paths()['include']}"]
    level = ["-O0"] if "bindings" in source else []
    command = [
        os.environ.get("CXX", "g++"),
        *FLAGS,
        *level,
        *flags,
        *includes,
        "-c",
        source,
        "-o",
        str(objects / f"{name}.o"),
    ]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True)


def link(objects: list[pathlib.Path]) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    target = SITE / "brazen" / f"_core{suffix}"
    command = [os.environ.get("CXX", "g++"), "-shared", "-o", f"{target}.new", *map(str, objects), "-pthread", "-ldl"]
    subprocess.run(command, check=True)
    os.replace(f"{target}.new", target)


def fingerprint() -> str:
    digest = hashlib.sha256()
    for folder in ("csrc", "python"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".py"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build_original(base: pathlib.Path) -> None:
    done = WORK / "base.txt"
    if done.exists() and done.read_text() == fingerprint():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "brazen", SITE / "brazen", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    base.mkdir(parents=True, exist_ok=True)
    for name in UNITS:
        print("compiling", name, flush=True)
        result = compile_unit(name, ROOT, base)
        assert result.returncode == 0, result.stderr
    done.write_text(fingerprint())


class Checks:
    """Runs the checks until one fails. What fails without a bug planted proves nothing and is left out; it is found out
    when a check is first needed, with the original linked, and is empty in a tree that passes its tests."""

    def __init__(self, environment: dict[str, str], known: dict[str, list[str]]):
        self.environment, self.known = environment, known

    def first_failing(self) -> str:
        """The name of the check that failed; empty if none did, "?name" if what it finds without a bug is not known."""
        for name, arguments in CHECKS.items():
            if name not in self.known:
                return f"?{name}"
            left_out = [word for test in self.known[name] for word in ("--deselect", test)]
            command = [sys.executable, *arguments, *(["-x"] if "pytest" in arguments else []), *left_out]
            try:
                patience = 900 if "pytest" in arguments else 120  # a self-test lasts a second
                result = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, timeout=patience)
            except subprocess.TimeoutExpired:
                return f"{name} (hangs)"
            if result.returncode:
                return name if result.returncode > 0 else f"{name} (signal {-result.returncode})"
        return ""

    def learn(self, name: str) -> None:
        """With the original linked: which tests of a check fail anyway."""
        command = [sys.executable, *CHECKS[name]]
        result = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        failing = re.findall(r"^(?:FAILED|ERROR) (\S+\.py::.*?)(?: - .*)?$", result.stdout, re.MULTILINE)
        if result.returncode and not failing:
            raise SystemExit(
                f"the original fails {name}: nothing can be learned from its mutants\n{result.stdout[-2000:]}"
            )
        if failing:
            print(f"{name}: {len(failing)} tests fail without a bug, and are left out: {failing[0]} ...", flush=True)
        self.known[name] = failing


def try_mutant(file: str, old: str, new: str, base: pathlib.Path, checks: Checks) -> str:
    tree = WORK / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ROOT / "csrc", tree / "csrc")
    text = (tree / file).read_text()
    if text.count(old) != 1:
        return "STALE"
    (tree / file).write_text(text.replace(old, new))
    changed = tree / "objects"
    changed.mkdir()
    for name in touched(file):
        result = compile_unit(name, tree, changed)
        if result.returncode:
            return "NOT COMPILED: " + next((line for line in result.stderr.splitlines() if "error" in line), "")
    mutant = [(changed if (changed / f"{name}.o").exists() else base) / f"{name}.o" for name in UNITS]
    while True:
        link(mutant)
        failed = checks.first_failing()
        if not failed.startswith("?"):
            return failed or "SURVIVED"
        link([base / f"{name}.o" for name in UNITS])
        checks.learn(failed[1:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("only", nargs="?", default="", help="a part of a file name")
    parser.add_argument("--again", action="store_true", help="forget the results of earlier runs")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() and not options.again else {}
    base = WORK / "base"
    build_original(base)
    environment = {**os.environ, "PYTHONPATH": str(SITE), "BRAZEN_NUM_THREADS": "2", "PYTHONDONTWRITEBYTECODE": "1"}
    if results.get("of") != fingerprint():
        results["known"], results["of"] = {}, fingerprint()
    checks = Checks(environment, results["known"])

    missed, count, tried = [], 0, 0
    for file, bugs in PLANTED.items():
        for old, new in bugs:
            count += 1
            if options.only not in file:
                continue
            tried += 1
            key = hashlib.sha256(f"{fingerprint()} {file} {old} {new}".encode()).hexdigest()
            start = time.perf_counter()
            if key not in results:
                results[key] = try_mutant(file, old, new, base, checks)
                RESULTS.write_text(json.dumps(results))
            changed = " ".join(new.split()) or "(nothing)"
            print(
                f"{count:3} {results[key]:22} {file:32} {changed[:90]}  {time.perf_counter() - start:.0f} s", flush=True
            )
            if results[key].isupper() or results[key].startswith("NOT COMPILED"):
                missed.append(f"{file}: {changed}")
    print(f"\n{tried} of {count} planted, {tried - len(missed)} caught")
    if missed:
        raise SystemExit("\n".join(["not caught:", *missed]))


if __name__ == "__main__":
    main()
