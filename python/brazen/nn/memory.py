# SPDX-License-Identifier: BSD-3-Clause
"""Where a network's numbers live: one arena of aligned tensors, and workspaces that a step reuses. No layer is named here."""

from __future__ import annotations

import math
from typing import Any

ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def aligned_zeros(xp, count: int, dtype):
    """A vector that begins at a multiple of ALIGNMENT; NumPy alone promises 16 bytes."""
    made = aligned_empty(xp, count, dtype)
    made[...] = 0
    return made


def aligned_empty(xp, count: int, dtype):
    dtype = xp.dtype(dtype)
    raw = xp.empty(count * dtype.itemsize + ALIGNMENT, "uint8")
    address = raw.ctypes.data if hasattr(raw, "ctypes") else raw.data.ptr
    start = -address % ALIGNMENT
    return raw[start : start + count * dtype.itemsize].view(dtype)


class Arena:
    """Where each named tensor stands in one flat buffer: at multiples of ALIGNMENT, with zeros between them."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype):
        self.shapes, self.dtype = shapes, dtype
        self.places: dict[str, int] = {}
        unit = max(1, ALIGNMENT // dtype.itemsize)
        size = 0
        for name, shape in shapes.items():
            self.places[name] = size
            size += -(-math.prod(shape) // unit) * unit
        self.size = size

    def new(self, xp):
        """A buffer of zeros."""
        return aligned_zeros(xp, self.size, self.dtype)

    def views(self, buffer) -> dict[str, Any]:
        """The tensors in `buffer`, by name."""
        if tuple(buffer.shape) != (self.size,) or buffer.dtype != self.dtype:
            raise ValueError(
                f"the arena has shape {tuple(buffer.shape)} and dtype {buffer.dtype}; expected ({self.size},) and {self.dtype}"
            )
        return {
            name: buffer[start : start + math.prod(self.shapes[name])].reshape(self.shapes[name])
            for name, start in self.places.items()
        }


class Workspace:
    """Arrays that are made once and handed out again: by key and shape, the shapes of one key in the same memory."""

    def __init__(self, xp):
        self.xp = xp
        self._views: dict[tuple, Any] = {}
        self._memory: dict[str, Any] = {}

    def get(self, key: str, shape: tuple[int, ...], dtype):
        """Uninitialised, or as it was left; a larger shape than ever before gets new memory."""
        view = self._views.get((key, shape))
        return view if view is not None else self._make(key, shape, dtype)

    def _make(self, key, shape, dtype):
        count = math.prod(shape)
        memory = self._memory.get(key)
        if memory is None or memory.size < count:
            memory = self._memory[key] = aligned_empty(self.xp, count, dtype)
            for known in [known for known in self._views if known[0] == key]:
                del self._views[known]
        view = self._views[key, shape] = memory[:count].reshape(shape)
        return view

    @property
    def nbytes(self) -> int:
        return sum(memory.nbytes for memory in self._memory.values())
