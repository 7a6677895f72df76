# SPDX-License-Identifier: BSD-3-Clause
"""Every planted bug still fits the source it is planted in; `make mutants` plants them."""

from __future__ import annotations

import importlib
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("planted", pathlib.Path(__file__).with_name("planted.py"))
planted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(planted)


def test_units_are_those_of_the_build(monkeypatch):
    """run.py reads them from CMakeLists.txt: of each kernel unit one for an instruction set, of the rest one."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    run = importlib.import_module("run")
    sources = {source for source, _ in run.UNITS.values()}
    assert sources == {f"csrc/{f}/{p.name}" for f in ("bindings", "cpu") for p in (ROOT / "csrc" / f).glob("*.cpp")}
    assert "kernels" in run.KERNELS and len(run.UNITS) == len(sources) + len(run.KERNELS) * (len(run.ISAS) - 1)
    for file in planted.PLANTED:
        assert run.touched(file), f"a bug in {file} would not be compiled"


def test_enough():
    assert sum(map(len, planted.PLANTED.values())) >= 50


@pytest.mark.parametrize("file", planted.PLANTED)
def test_fits(file):
    text = (ROOT / file).read_text()
    for old, new in planted.PLANTED[file]:
        assert text.count(old) == 1, f"found {text.count(old)} times: {old}"
        assert old != new
