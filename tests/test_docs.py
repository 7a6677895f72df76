# SPDX-License-Identifier: BSD-3-Clause
"""Everything documented runs: the Python blocks of README and docs (one namespace a file), every docstring's example; of
shell commands, that their targets, commands, options, extras and files exist."""

import ast
import doctest
import functools
import importlib
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, *languages):
    """The texts of a page's fenced blocks in these languages; "" is a block without one."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for language, text in fenced if language in languages]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path):
    program = "\n".join(blocks(page, "python"))
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


def modules_with_examples():
    for path in sorted((ROOT / "python").rglob("*.py")):
        if ">>> " in path.read_text():
            parts = path.relative_to(ROOT / "python").with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_docstrings_run(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("brazen"):
            raise
        pytest.skip(f"{name} needs {missing.name}, which is not installed")
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    # Examples of objects that are no functions or classes (an operation made by a call) are found by their docstrings.
    written = {
        node.name
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text()))
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ">>> " in (ast.get_docstring(node) or "")
    }
    assert attempted >= len(written), f"{attempted} examples ran; {', '.join(sorted(written))} have some"


SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PROGRAMS = ("make", "python", "pip", ".venv/bin/python", "brazen")


def commands(page):
    """What a reader may type: the lines of shell blocks and the spans that begin with a program, comments taken off."""
    lines = "\n".join(blocks(page, "bash", "sh", "")).replace("\\\n", " ").splitlines()
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for line in [*lines, *SPAN.findall(text)]:
        line = line.partition("  #")[0].replace("…", "").strip()
        line = re.sub(r"^(?:[A-Z_]+=(?:\"[^\"]*\"|\S*)\s+)+", "", line)  # variables before a command
        if line.split(" ")[0] in PROGRAMS and " " in line:
            yield shlex.split(line.partition(" | ")[0])


@functools.cache
def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@functools.cache
def help_of(*arguments):
    done = subprocess.run([sys.executable, "-m", "brazen", *arguments, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wrong_with_make(words):
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, assigned, _ = word.partition("=")
        if assigned and f"$({name})" not in makefile:
            return f"the Makefile uses no {name}"
        if not assigned and name not in make_targets():
            return f"the Makefile has no target {name}"
    return ""


def wrong_with_brazen(words):
    from brazen.__main__ import COMMANDS

    options = [word for word in words if word.startswith("--")]
    if words and not words[0].startswith("--"):
        if words[0] not in COMMANDS:
            return f"{words[0]} is no command of brazen"
        shown = help_of(words[0])
    else:
        shown = help_of()
    missing = [option for option in options if option not in shown]
    return f"no option {' '.join(missing)}" if missing else ""


def wrong_with_python(words):
    if words[:2] == ["-m", "brazen"]:
        return wrong_with_brazen(words[2:])
    files = [word for word in words if "/" in word and not word.startswith("-")]
    return " ".join(f"{word} is no file" for word in files if not (ROOT / word).exists())


def wrong_with_pip(words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = [extra for word in words for found in re.findall(r"^brazen\[(.*?)\]", word) for extra in found.split(",")]
    return " ".join(f"brazen has no extra {extra}" for extra in named if extra not in extras)


CHECKS = {"make": wrong_with_make, "pip": wrong_with_pip, "brazen": wrong_with_brazen}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    found = []
    for program, *words in commands(page):
        wrong = CHECKS.get(program, wrong_with_python)(words)
        if wrong:
            found.append(f"{' '.join([program, *words])}: {wrong}")
    assert not found, "\n".join(found)


def test_commands_are_found_at_all():
    """The reading of pages must see what is known to be there."""
    seen = {" ".join(words) for page in PAGES for words in commands(page)}
    assert {"make demo", "make test", "python -m brazen info", "pip install brazen[bf16]"} <= seen
    for bad in (
        ["make", "demoo"],
        ["make", "gpu", "STAG=prove"],
        ["python", "-m", "brazen", "bnch"],
        ["pip", "brazen[x]"],
    ):
        assert CHECKS.get(bad[0], wrong_with_python)(bad[1:])
    for bad in (["-m", "brazen", "info", "--jsn"], ["-m", "pytest", "tests/nowhere.py"]):
        assert wrong_with_python(bad)


def test_every_make_target_does_what_help_says():
    """Each documented target is one `make help` lists, and each of those is phony: a folder of its name would stop it."""
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY:((?:.*\\\n)*.*)", text, re.MULTILINE)[1].replace("\\\n", " ").split())
    listed = set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))
    assert listed <= phony <= make_targets()


def test_links_lead_somewhere():
    missing = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not missing


def test_readme_lists_every_activation():
    import brazen

    text = (ROOT / "README.md").read_text()
    assert [name for name in brazen.activations() if not re.search(rf"\b{name}\b", text)] == []
