# SPDX-License-Identifier: BSD-3-Clause
"""What a layer is told about the call it serves."""

from __future__ import annotations


class Run:
    """One forward pass and its backward pass.

    training: dropout draws, batch statistics are taken, workspaces are reused. seed, step: of everything random. offset:
    how many samples of the whole batch stand before this part of it. wants_dx: whether the gradient of the layer's input
    will be used; set for each layer before its backward is called. keep: whether a backward pass may follow at all.
    """

    __slots__ = ("keep", "offset", "seed", "step", "training", "wants_dx")

    def __init__(self, training=False, seed=None, step=0, offset=0, keep=True):
        self.training, self.seed, self.step, self.offset, self.keep = training, seed, step, offset, keep
        self.wants_dx = True

    def __repr__(self):
        return f"Run(training={self.training}, seed={self.seed}, step={self.step}, offset={self.offset})"
