# SPDX-License-Identifier: BSD-3-Clause
"""Stage sanitize: the four tools of compute-sanitizer over a reduced suite, or why they cannot run here."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from stages import Skip, step

SUITE = Path(__file__).with_name("suite.py")
SECONDS = 105  # of each tool: the four and the build fit their stage


def check(work, tool, *options):
    found = shutil.which("compute-sanitizer")
    if found is None:
        raise Skip("compute-sanitizer is not on PATH")
    command = [found, "--tool", tool, "--error-exitcode", "86", *options, sys.executable, str(SUITE)]
    share = min(SECONDS, max(work.left(), 10))
    environment = {**os.environ, "BRAZEN_GPU_UNTIL": str(time.time() + share - 25)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=share, env=environment)
    except subprocess.TimeoutExpired as expired:
        raise Skip(f"{tool} did not end in {expired.timeout:.0f} s") from None
    log = done.stdout + done.stderr
    (work.out / f"{tool}.log").write_text(log)
    summary = [line for line in log.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
    if "Device not supported" in log or not summary:
        raise Skip(f"{tool} cannot run here: {' '.join(log.split())[-200:]}")
    if done.returncode or "suite done" not in log:
        raise AssertionError(f"exit {done.returncode}: {summary[-1]}; see {tool}.log")
    told = next(line for line in log.splitlines() if "suite done" in line)
    return {"note": f"{summary[-1].replace('=', '').strip()}; {told.strip()}"}


@step
def memcheck(work):
    """Reads and writes outside allocations, misaligned ones, leaks."""
    return check(work, "memcheck", "--leak-check", "no")


@step
def racecheck(work):
    """Races in shared memory."""
    return check(work, "racecheck")


@step
def initcheck(work):
    """Reads of device memory that nothing wrote."""
    return check(work, "initcheck")


@step
def synccheck(work):
    """Barriers and shuffles that not all threads reach."""
    return check(work, "synccheck")
