# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures every test file shares. No sample, no tolerance, no operation: those have files of their own."""

import importlib.util
import os
import signal
import subprocess
import sys

import brazen as bz
import pytest
from brazen import _core


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes seconds, still part of the suite")
    # The samples hold signalling NaNs, at which NumPy warns whatever is done with them.
    config.addinivalue_line("filterwarnings", "ignore:invalid value encountered:RuntimeWarning")


@pytest.fixture(autouse=True)
def _default_state():
    """A test that fails half way leaves no instruction set and no thread count behind."""
    yield
    _core.set_isa("")
    bz.set_num_threads(None)


@pytest.fixture(params=_core.isas())
def isa(request):
    """Runs the test once on every instruction set of this build and machine."""
    _core.set_isa(request.param)
    return request.param


@pytest.fixture
def interruptible():
    """SIGINT as in a terminal: a shell ignores it for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def run_python():
    """Runs a script in a fresh interpreter and returns what it printed; fails with its standard error."""

    def run(script, *, timeout=60, env=None, check=True):
        place = os.path.dirname(os.path.dirname(os.path.abspath(bz.__file__)))
        tests = os.path.dirname(os.path.abspath(__file__))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([place, tests, os.environ.get("PYTHONPATH", "")]),
            **(env or {}),
        }
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, env=environment
        )
        if check:
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()
        return done

    return run


@pytest.fixture
def torch():
    """PyTorch, or a skip that says what to install."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: pip install 'brazen[peers]' brings it")
    import torch

    return torch
