# SPDX-License-Identifier: BSD-3-Clause
"""What is measured on shapes of its own, with a bar of its own: batch norm, dropout, chains, losses, optimizer steps,
training steps, checkpoints. Each module lists its workloads in WORKLOADS; this one only gathers them.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..case import Case

_MODULES = ("batch_norm", "chains", "checkpoints", "fitting", "operations", "optim", "rows", "torch_loop", "training")


@dataclass(frozen=True)
class Workload:
    """`make(peers, shape)` builds the case: our best ways in `ours`, the peers' in `peers` (any columns). `small` is the
    shape for tests.

    `asked` holds the bars, each a metric and the least or, with `at_most`, the most it may be: `torch`, `jax`, `keras`, `reference`
    (how many times faster we are), `copy_fraction` (the part of B reached with the case's bytes), `of_copy` (our time
    over a plain copy of as many bytes), `microseconds`, `overhead_us` (microseconds above the case's baseline), `sklearn`,
    `bare` (the same loop without the trainer; of PyTorch's loops, what both sides have, alone) or `step_us` (microseconds a step more than that).
    """

    name: str
    direction: str
    make: Callable[[tuple[str, ...], tuple[int, ...]], Case]
    shape: tuple[int, ...]
    small: tuple[int, ...]
    asked: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    needs: str = ""  # a package without which there is nothing to measure

    @property
    def runnable(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.direction


def workloads() -> dict[tuple[str, str], Workload]:
    """All of them by name and direction.

    >>> ("dropout, 32 M", "forward") in workloads()
    True
    """
    found: dict[tuple[str, str], Workload] = {}
    for module in _MODULES:
        for workload in importlib.import_module(f"{__name__}.{module}").WORKLOADS:
            if workload.key in found:
                raise ValueError(f"bench: two workloads are called {workload.key}")
            found[workload.key] = workload
    return found
