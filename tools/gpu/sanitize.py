# SPDX-License-Identifier: BSD-3-Clause
"""Stage sanitize: the four tools of compute-sanitizer over a reduced suite, or why they cannot run here."""

import shutil
import subprocess
import sys
from pathlib import Path

from stages import Skip, step

SUITE = Path(__file__).with_name("suite.py")


def check(work, tool, *options):
    found = shutil.which("compute-sanitizer")
    if found is None:
        raise Skip("compute-sanitizer is not on PATH")
    command = [found, "--tool", tool, "--error-exitcode", "86", *options, sys.executable, str(SUITE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(work.left(), 10))
    except subprocess.TimeoutExpired as expired:
        raise Skip(f"{tool} did not end in {expired.timeout:.0f} s") from None
    log = done.stdout + done.stderr
    (work.out / f"{tool}.log").write_text(log)
    summary = [line for line in log.splitlines() if "ERROR SUMMARY" in line or "RACECHECK SUMMARY" in line]
    if "Device not supported" in log or not summary:
        raise Skip(f"{tool} cannot run here: {' '.join(log.split())[-200:]}")
    if done.returncode or "suite done" not in log:
        raise AssertionError(f"exit {done.returncode}: {summary[-1]}; see {tool}.log")
    return {"note": summary[-1].replace("=", "").strip()}


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
