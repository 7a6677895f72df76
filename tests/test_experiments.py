# SPDX-License-Identifier: BSD-3-Clause
"""The experiments of bench/experiments/ in their small sizes: every claim that gives something to hold holds."""

import importlib
import pathlib
import re
import sys

import brazen as bz
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "bench" / "experiments"
if not FOLDER.is_dir():
    pytest.skip("no source tree here", allow_module_level=True)
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if re.search(r"^def findings\(quick\)", path.read_text(), re.M)
)
CLAIMS = {"A2", "A6", "A7", "A13", "D18", "F11", "I7", "I8", "I11", "J16", "J17", "S14", "S15", "S20", "S21", "X7a"}


@pytest.fixture
def experiment(monkeypatch):
    """Imports an experiment; products on one thread, which is quicker for matrices this small."""
    pytest.importorskip("sklearn", reason="pip install scikit-learn, which brings the digits")
    limits = pytest.importorskip("threadpoolctl", reason="pip install scikit-learn, which brings threadpoolctl")
    monkeypatch.syspath_prepend(str(FOLDER))
    bz.set_num_threads(1)
    with limits.threadpool_limits(1):
        yield importlib.import_module
    for name in (*SCRIPTS, "common"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", SCRIPTS)
def test_findings(experiment, name):
    found = list(experiment(name).findings(True))
    assert [finding.what for finding in found if finding.holds is False] == []
    assert any(finding.holds for finding in found)


def test_every_claim_has_its_script():
    opening = " ".join((FOLDER / f"{name}.py").read_text().partition('"""')[2].partition(":")[0] for name in SCRIPTS)
    assert set(re.findall(r"\b[A-Z]\d+a?\b", opening)) >= CLAIMS


def test_what_is_printed(experiment, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["f11.py", "--quick"])
    module = experiment("f11")
    module.common.show(module.__doc__, module.findings)
    printed = capsys.readouterr().out
    assert "Claim F11" in printed and re.search(r"momentum 0.9 +272 +272 +holds\n", printed)
