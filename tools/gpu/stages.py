# SPDX-License-Identifier: BSD-3-Clause
"""The steps of each stage, found by name, and how they are run: in order, each recorded as soon as it is done."""

import importlib
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gpu_record

STAGES = ("prove", "sanitize", "bench")


@dataclass
class Step:
    name: str
    doc: str
    function: Callable


class Skip(Exception):
    """This machine cannot do the step; the text says why."""


def steps(stage, only=()):
    """The functions of the stage's module that `step` marks, in the order of the text."""
    module = importlib.import_module(stage)
    found = [
        Step(f.__name__, (f.__doc__ or "").split("\n")[0], f)
        for f in vars(module).values()
        if getattr(f, "is_step", False)
    ]
    unknown = set(only) - {s.name for s in found}
    if unknown:
        raise SystemExit(
            f"tools/gpu/run: {stage} has no step {', '.join(sorted(unknown))}; it has {', '.join(s.name for s in found)}"
        )
    return [s for s in found if not only or s.name in only]


def step(function):
    """Marks a function of (Work) -> dict as a step."""
    function.is_step = True
    return function


class Work:
    """What a step is given: where results and logs go, where all else, how long it may take."""

    def __init__(self, out, deadline, share, scratch=None):
        self.out, self.deadline, self.scratch = out, deadline, scratch or out
        self.until = min(deadline, time.time() + share)

    def left(self):
        return self.until - time.time()


def run(stage, chosen, out, deadline, recorded=None):
    """Every step in its turn; `recorded` is a folder whose results of this machine are gone on from."""
    import device

    versions = device.versions()
    results = gpu_record.Results(out, device.machine(), versions, recorded)
    failed, scratch = 0, Path(tempfile.mkdtemp(prefix="brazen-gpu-"))
    for number, each in enumerate(chosen):
        start = time.time()
        # Each may use what is left but for a third of a minute for every step after it.
        work = Work(out, deadline, deadline - start - 20 * (len(chosen) - number - 1), scratch)
        if work.left() < 5:
            entry = {"ok": None, "note": "no time was left"}
        else:
            try:
                entry = {"ok": True, **(each.function(work) or {})}
            except Skip as reason:
                entry = {"ok": None, "note": str(reason)}
            except Exception as error:
                traceback.print_exc()
                entry = {"ok": False, "note": f"{type(error).__name__}: {error}"[:500]}
        if entry.get("differing"):
            entry["ok"] = False
        entry["commit"] = versions.get("commit", "")
        entry["seconds"] = round(time.time() - start, 1)
        failed += entry["ok"] is False
        results.add(stage, each.name, entry)
        print(f"{stage}.{each.name}: {entry['ok']} in {entry['seconds']} s {entry.get('note', '')}", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failed else 0
