# SPDX-License-Identifier: BSD-3-Clause
"""The self-test sees what is wrong: a value, other bits of an instruction set, of threads, of a GPU, of the record.

Whether it passes is `python -m brazen selftest` itself, which the command line's and the wheel's tests run.
"""

import json

import numpy as np
import pytest
from brazen import selftest
from brazen._selftest_cases import Case, cases
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401

needs_emulation = pytest.mark.skipif(build.compiler() is None, reason="the emulation of CUDA needs g++ (or CXX)")


@pytest.fixture
def one_case(monkeypatch):
    """Replaces all cases by one whose call is given."""

    def use(call, expect=lambda x: x, **about):
        monkeypatch.setattr(selftest, "cases", lambda size=7: [Case("one", [(size,)], call, expect, **about)])

    return use


@pytest.fixture
def device(cupy, monkeypatch):  # noqa: F811
    """The emulated library as the GPU that check_cuda finds."""
    monkeypatch.setattr(selftest, "info", lambda: {"cuda": {"devices": 1}, "cupy": "emulated"})
    return cupy


@needs_emulation
def test_every_case_has_the_same_bits_on_the_emulated_gpu(device):
    wrong = [outcome for outcome in selftest.check_cuda() if outcome]
    assert not wrong, wrong[:5]


@needs_emulation
def test_other_bits_on_the_gpu(device, one_case):
    one_case(lambda x: x + 1 if type(x) is device.ndarray else x)
    assert all("the GPU gives other bits" in outcome for outcome in selftest.check_cuda())


def test_a_wrong_value(one_case):
    one_case(lambda x: x * 1.5)
    outcomes = list(selftest.check_instruction_sets())
    assert sum("expected" in outcome for outcome in outcomes) == len(selftest.dtypes())


def test_other_bits(one_case):
    one_case(lambda x: np.nextafter(x, np.inf, dtype=x.dtype) if selftest._core.num_threads() > 1 else x)
    assert all("3 threads give other bits" in outcome for outcome in selftest.check_threads())
    one_case(lambda x: x if x.flags.c_contiguous else x + 1)
    assert any("strided arrays differs" in outcome for outcome in selftest.check_instruction_sets())


def test_another_record(monkeypatch, tmp_path):
    record = tmp_path / "fingerprints.json"
    record.write_text(json.dumps({**selftest.fingerprints(), "dropout": "0", "gone": "1"}))
    monkeypatch.setattr(selftest, "RECORD", record)
    assert [outcome.partition(":")[0] for outcome in selftest.check_record() if outcome] == ["dropout", "gone"]


def test_labels_are_unique():
    labels = [case.label for case in cases()]
    assert len(labels) == len(set(labels))
