# SPDX-License-Identifier: BSD-3-Clause
"""A descent whose step size is tried: halved where the loss rises, grown where it falls. No registered rule."""

from __future__ import annotations

from . import parameters
from .rules import SGD


class Backtracking:
    """Steps along the negative gradient and looks at the loss after each: it never rises.

    `step` puts the parameters back and multiplies lr by `shrink` until the loss is at most what it was, or `trials` are used
    up, when the parameters are left as they were; after a fall lr is multiplied by `grow`.

    >>> import numpy as np
    >>> w = np.array([4.0])
    >>> search = Backtracking([w], lr=8.0)
    >>> losses = [search.step([2 * w], lambda: (w**2).item()) for _ in range(20)]
    >>> losses == sorted(losses, reverse=True), losses[-1] < 1e-3
    (True, True)
    """

    def __init__(self, params, lr: float = 1.0, *, shrink: float = 0.5, grow: float = 1.1, trials: int = 60):
        if not (0 < shrink < 1 <= grow):
            raise ValueError(f"shrink is {shrink!r}, grow {grow!r}; expected shrink below 1, and grow of at least 1")
        self._descent = SGD(params, lr=lr)
        self.shrink, self.grow, self.trials = shrink, grow, trials

    @property
    def lr(self) -> float:
        return self._descent.lr

    def step(self, grads, loss, before: float | None = None) -> float:
        """One step on the gradients; `loss()` is the loss at the parameters as they are, `before` it before the step."""
        arrays = [slot.array for slot in self._descent._slots]
        kept = [parameters.copy_of(array) for array in arrays]
        start = loss() if before is None else before
        for _ in range(self.trials):
            self._descent.step(grads)
            after = loss()
            if after <= start:
                self._descent.lr *= self.grow
                return after
            self._descent.lr *= self.shrink
            for array, old in zip(arrays, kept):
                parameters.assign(array, old)
        return start
