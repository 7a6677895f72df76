# SPDX-License-Identifier: BSD-3-Clause
"""Every Python block of README and docs runs, one namespace a file; every docstring example too."""

import doctest
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    "brazen",
    "brazen.threads",
    "brazen.ops.activations",
    "brazen._doctor",
    "brazen.reference.optim",
    "brazen.reference.optim.functions",
]


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.name)
def test_code_blocks_run(page, tmp_path):
    program = "\n".join(python_blocks(page))
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_run(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


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
