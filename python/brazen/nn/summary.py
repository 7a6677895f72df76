# SPDX-License-Identifier: BSD-3-Clause
"""The table of a network: shapes, parameters, operations, memory, fused groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .stages import self_and_inner


@dataclass(frozen=True)
class Row:
    """One layer; `flops` and `activations` (bytes of its result) are of one sample."""

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    trainable: bool
    flops: int
    activations: int


class Summary:
    """Rows and totals; as text, a table."""

    def __init__(self, net):
        self.rows = [self._row(net, layer) for layer in self_and_inner(net) if layer is not net]
        self.parameters = sum(row.parameters for row in self.rows)
        self.trainable = sum(row.parameters for row in self.rows if row.trainable)
        self.flops = sum(row.flops for row in self.rows)
        self.activations = sum(row.activations for row in self.rows)
        self.arena_bytes = net.arena.nbytes
        self.workspace_bytes = sum(layer.workspace.nbytes for layer in self_and_inner(net))
        self.plan = net.plan()

    @staticmethod
    def _row(net, layer):
        inner = bool(list(layer.children()))
        count = sum(math.prod(spec[0]) for spec in layer.specs.values())
        size = 0 if inner else math.prod(layer.output_shape) * net.dtype.itemsize
        return Row(layer.path, type(layer).__name__, layer.output_shape, count, layer.learns, layer.flops(), size)

    def __repr__(self):
        head = ("layer", "kind", "output", "parameters", "FLOP", "bytes")
        table = [head]
        for row in self.rows:
            note = "" if row.trainable or not row.parameters else " (frozen)"
            shape = " x ".join(map(str, row.shape))
            table.append(
                (row.path, row.kind, shape, f"{row.parameters:,}{note}", f"{row.flops:,}", f"{row.activations:,}")
            )
        widths = [max(len(line[column]) for line in table) for column in range(len(head))]
        lines = [
            "  ".join(_cell(text, width, column) for column, (text, width) in enumerate(zip(line, widths)))
            for line in table
        ]
        lines.insert(1, "-" * len(lines[0]))
        lines += [
            "-" * len(lines[0]),
            f"parameters: {self.parameters:,}, of which trainable {self.trainable:,}; FLOP a sample: {self.flops:,}",
            f"bytes: weights {self.arena_bytes:,}, gradients {self.arena_bytes:,}, results a sample {self.activations:,}, "
            f"workspaces so far {self.workspace_bytes:,}",
            "runs as:",
            *(f"  {line}" for line in repr(self.plan).splitlines()),
        ]
        return "\n".join(lines)


def _cell(text, width, column):
    return f"{text:<{width}}" if column < 3 else f"{text:>{width}}"
