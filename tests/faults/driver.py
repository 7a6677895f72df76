# SPDX-License-Identifier: BSD-3-Clause
"""Writes checkpoints while the preloaded faults.cpp makes one call after the other fail; prints what was left each time.

Arguments: the directory to work in, below BRAZEN_FAULT_ROOT, and the name of a fault.
"""

import ctypes
import errno
import json
import os
import shutil
import sys
import warnings

import numpy as np
from brazen import checkpoint

ONCE, AFTER, SHORT, KILL = 1, 2, 4, 8
# The error, how it comes, and whether the write must succeed all the same.
FAULTS = {
    "no space, once": (errno.ENOSPC, ONCE, False),
    "no space, from then on": (errno.ENOSPC, AFTER, False),
    "input/output error, once": (errno.EIO, ONCE, False),
    "input/output error, from then on": (errno.EIO, AFTER, False),
    "short write": (0, SHORT | ONCE, True),
    "short write, then no space": (errno.ENOSPC, SHORT | AFTER, False),
    "interrupted": (errno.EINTR, ONCE, False),
    "killed before": (0, KILL, False),
    "killed in the middle of a write": (0, KILL | SHORT, False),
}
# The steps there are, the one whose write fails, how many are kept, and whether a thread writes.
SITUATIONS = {
    "new": ((1, 2), 3, 2, False),
    "first": ((), 1, 2, False),
    "again": ((1, 2), 2, 2, False),
    "background": ((1, 2), 3, 2, True),
}


def state(step, version=0):
    return {"weights": np.full(50, step, "float32"), "step": step, "version": version}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def attempt(directory, situation):
    """Writes the step in question; the error, or None."""
    _, step, keep, background = SITUATIONS[situation]
    try:
        if background:
            with checkpoint.Writer(directory, keep=keep) as writer:
                writer.write(step, state(step, 1))
        else:
            checkpoint.write(directory, step, state(step, 1), keep=keep)
    except OSError as error:
        return error
    return None


def one(library, directory, situation, nth, fault):
    """(calls counted, what went wrong with the promises)."""
    before, step, keep, _ = SITUATIONS[situation]
    error_number, how, must_succeed = FAULTS[fault]
    shutil.rmtree(directory, ignore_errors=True)
    os.mkdir(directory)
    for earlier in before:
        checkpoint.write(directory, earlier, state(earlier), keep=keep)
    if how & KILL:
        child = os.fork()
        if child == 0:
            library.fault_arm(nth, error_number, how)
            attempt(directory, situation)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0
        counted, error, failed = (nth if killed else 0), None, killed
    else:
        library.fault_arm(nth, error_number, how)
        error = attempt(directory, situation)
        counted = library.fault_arm(0, 0, 0)
        failed = error is not None
    wrong = []
    if must_succeed and failed:
        wrong.append(f"failed: {error!r}")
    accepted = [state(step, 1)] + ([state(before[-1])] if failed and before else [])
    path = checkpoint.newest(directory)
    if path is None:
        if before or not failed:
            wrong.append(f"nothing is left: {sorted(os.listdir(directory))}")
    elif not any(same(checkpoint.read(path), each) for each in accepted):
        wrong.append(f"{path} holds something else")
    checkpoint.write(directory, step + 1, state(step + 1), keep=keep)
    left = sorted(os.listdir(directory))
    if len(left) > keep or left[-1] != f"step-{step + 1:08d}" or not all(name.startswith("step-") for name in left):
        wrong.append(f"after the next write: {left}")
    for name in left:
        checkpoint.read(os.path.join(directory, name))
    return counted, wrong


def main(directory, fault):
    library = ctypes.CDLL(None)
    # A child that was killed never joins; what cannot be removed is said, and is removed by the next write.
    warnings.simplefilter("ignore")
    for situation in SITUATIONS:
        nth, counted, wrong = 0, 0, []
        while counted >= nth:
            nth += 1
            counted, found = one(library, directory, situation, nth, fault)
            wrong += [f"call {nth}: {text}" for text in found]
        print(json.dumps([situation, nth - 1, wrong]))


if __name__ == "__main__":
    main(*sys.argv[1:])
