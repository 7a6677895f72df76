# SPDX-License-Identifier: BSD-3-Clause
"""Every program of docs/your-loop.md runs in a namespace of its own; the pairs differ by as much as they say.

A program whose package is absent is skipped by name; CuPy's run on the stand-in and the emulated kernels where there is none.
"""

import ast
import difflib
import importlib
import importlib.util
import pathlib
import re

import pytest
from emulation import build

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your-loop.md").read_text()
OPTIONAL = ("torch", "jax", "keras", "sklearn", "cupy")
NUMBERS = {"one": 1, "two": 2, "three": 3}


def _programs():
    """(heading and number, text) of every block."""
    heading, count = "", 0
    for title, text in re.findall(r"^#+ ([^\n]+)$|^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        if title:
            heading, count = title, 0
        else:
            count += 1
            yield f"{heading} ({count})", text


PROGRAMS = dict(_programs())


def _imports(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def _missing(text):
    needed = {name.partition(".")[0] if not name.startswith("brazen.torch") else "torch" for name in _imports(text)}
    return [name for name in OPTIONAL if name in needed and importlib.util.find_spec(name) is None]


@pytest.mark.parametrize("name", PROGRAMS)
def test_runs(name, run_python):
    text, missing = PROGRAMS[name], _missing(PROGRAMS[name])
    if missing == ["cupy"]:
        if build.compiler() is None:
            pytest.skip("CuPy is not installed, and its stand-in needs g++ (or CXX)")
        # Emulated threads are slow: a few steps, which have to go down as well.
        text = text.replace("range(200)", "range(6)").replace("float(losses[0]) / 3", "float(losses[0])")
        place = ROOT / "tests" / "standin"
        start = f"import sys; sys.path.insert(0, {str(place)!r})\nfrom brazen import _core\n"
        run_python(f"{start}_core.load_cuda_library({str(build.library())!r})\n{text}", timeout=300)
    elif missing:
        pytest.skip(f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}")
    elif "keras" in _imports(text):
        # Once imported, Keras keeps its backend; NumPy's, which other tests choose, cannot fit.
        backends = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name)]
        if not backends:
            pytest.skip("Keras has no backend here that trains: pip install torch")
        # Steps this small gain nothing from a second thread, and lose much where it must wait for a core.
        run_python(text, timeout=300, env={"KERAS_BACKEND": backends[0], "OMP_NUM_THREADS": "1"})
    else:
        if "torch" in _imports(text):
            importlib.import_module("torch").set_num_threads(1)  # a step of these is microseconds of work
        exec(compile(text, name, "exec"), {"__name__": "__main__"})  # noqa: S102, the page is the project's own


def test_there_are_ten_pairs():
    pairs = [name for name in PROGRAMS if re.match(r"\d+\. ", name)]
    assert len(pairs) == 20 and len({name.partition(" (")[0] for name in pairs}) == 10


def test_pairs_differ_by_what_they_say():
    said = re.findall(r"^### (\d+\. .+)\n\n(One|Two|Three) lines? changes?", PAGE, re.MULTILINE)
    assert len(said) == 7
    for heading, number in said:
        theirs, ours = (PROGRAMS[f"{heading} ({k})"].splitlines() for k in (1, 2))
        added = [line for line in difflib.ndiff(theirs, ours) if line.startswith("+ ")]
        assert len(added) == NUMBERS[number.lower()] <= 2, heading


def test_the_loops_have_thirty_lines():
    for name in ("One network, three loops (1)", "One network, three loops (2)", "One network, three loops (3)"):
        assert len(PROGRAMS[name].splitlines()) <= 30, name


def test_the_example_is_the_file_s():
    example = (ROOT / "examples" / "cupy_graph.py").read_text()
    assert f"```py\n{example}```" in PAGE
