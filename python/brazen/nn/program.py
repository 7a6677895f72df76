# SPDX-License-Identifier: BSD-3-Clause
"""A list of stages as executable steps: which neighbours run as one, and the walk forward and back. No arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from .stages import CallStep, ChainStep, Draft, ForkStep, NormStep, SaveStep, TapStep

_CHAINED = {"bias", "norm", "add", "activation", "noise"}
_OWN = {"save": SaveStep, "fork": ForkStep, "tap": TapStep}


class Program:
    """Steps in order. Called with (x, run) it returns (y, backward), as a layer does.

    `fuse=False` makes every stage a step of its own. Results do not depend on it.
    """

    def __init__(self, stages, fuse: bool = True):
        self.steps = _steps(stages, fuse)
        self.refreeze()

    def refreeze(self) -> None:
        """Notes how far down a backward pass must go for the weights alone."""
        learning = [number for number, step in enumerate(self.steps) if step.learns]
        self.lowest = learning[0] if learning else len(self.steps)
        for step in self.steps:
            if isinstance(step, ForkStep):
                step.program.refreeze()

    @property
    def learns(self) -> bool:
        return self.lowest < len(self.steps)

    def __call__(self, x, run):
        stack: list = []
        backs = []
        for step in self.steps:
            x, back = step(x, run, stack)
            backs.append(back)

        def backward(dy):
            stack: list = []
            wanted = run.wants_dx
            lowest = 0 if wanted else self.lowest
            run.wants_dx = True
            try:
                for number in range(len(backs) - 1, lowest, -1):
                    dy = backs[number](dy, stack)
                if lowest < len(backs):
                    run.wants_dx = wanted
                    dy = backs[lowest](dy, stack)
            finally:
                run.wants_dx = wanted
            return dy if wanted else None

        return x, backward

    def text(self) -> list[Group]:
        """What runs together, in order."""
        groups = []
        for step in self.steps:
            if isinstance(step, SaveStep | TapStep) and not isinstance(step, ForkStep):
                continue
            if isinstance(step, ForkStep):
                groups += step.program.text()
                continue
            groups.append(Group(_NAMES.get(type(step), ""), tuple(stage.label for stage in step.stages)))
        return groups


_NAMES = {ChainStep: "fused", NormStep: "batch_norm"}


@dataclass(frozen=True)
class Group:
    """Stages that one call serves; `call` is the operation's name, empty where a layer serves itself."""

    call: str
    stages: tuple[str, ...]


class Plan:
    """What runs together; as text, one line a group."""

    def __init__(self, groups: list[Group]):
        self.groups = groups

    def __repr__(self):
        width = max((len(group.call) for group in self.groups), default=0)
        return "\n".join(f"{group.call:{width}}  {' → '.join(group.stages)}" for group in self.groups)


def _steps(stages, fuse) -> list:
    steps: list = []
    draft: Draft | None = None

    def close():
        nonlocal draft
        if draft is not None:
            steps.append(draft.step(steps[-1] if steps else None))
            draft = None

    for stage in stages:
        if stage.kind in _CHAINED:
            if draft is None or not fuse or not draft.take(stage):
                close()
                draft = Draft(stage)
        else:
            close()
            steps.append(_OWN.get(stage.kind, CallStep)(stage))
    close()
    for step, above in zip(steps, steps[1:]):
        # What these hand down is an array of their own, and nobody looks at it again.
        step.overwrites_gradient = isinstance(above, NormStep) or (
            isinstance(above, CallStep) and above.stages[0].kind == "product"
        )
    return steps
