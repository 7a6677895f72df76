# SPDX-License-Identifier: BSD-3-Clause
"""The fuzzer of the raw bindings, short: 60 s of fixed seeds in a child that may crash, and calls that hypothesis chooses."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZER = pathlib.Path(__file__).with_name("fuzz_bindings.py")
SECONDS = 60


def test_fixed_seeds():
    """`make fuzz` goes on where this stops. A failure names the seed to run again."""
    start = time.perf_counter()
    for seed in range(1_000):
        command = [sys.executable, "-X", "faulthandler", str(FUZZER), "--seed", str(seed), "--calls", "5000"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{command[3:]}\n{result.stdout}{result.stderr}"
        if time.perf_counter() - start > SECONDS:
            break


@settings(max_examples=500, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(rng=st.randoms(use_true_random=False))
def test_chosen_by_hypothesis(rng):
    import numpy as np

    sys.path.insert(0, str(FUZZER.parent))
    try:
        import fuzz_bindings
    finally:
        sys.path.remove(str(FUZZER.parent))
    with np.errstate(all="ignore"):
        fuzz_bindings.POOL.clear()  # an example must depend on nothing but its own choices
        for _ in range(4):
            try:
                fuzz_bindings.step(rng)
            except fuzz_bindings.ALLOWED:
                continue  # its arguments could not be made
        fuzz_bindings._core.set_isa("")
        fuzz_bindings._core.set_num_threads(0)
