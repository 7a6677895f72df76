# SPDX-License-Identifier: BSD-3-Clause
"""Lists of arrays spread over processes: which part is whose, and the norm of the whole from its parts. No step.

The chunks of all arrays, 1,024 elements each, are one range. A shard is a run of them, so that the sums of squares that the
shards find are those that the whole list has, and merge to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from . import parameters
from .functions import listed

CHUNK = 1024


class Merged(NamedTuple):
    """The norm of all gradients as they are stored, and whether every element is finite."""

    norm: float
    finite: bool


def shard(arrays, number: int, count: int) -> tuple[list, int]:
    """Part `number` of `count` of a list: flat views of its arrays' memory, and the number of their first chunk.

    >>> whole = [np.zeros((3, 1024)), np.zeros(5)]
    >>> [([part.shape for part in shard(whole, n, 2)[0]], shard(whole, n, 2)[1]) for n in range(2)]
    [([(2048,)], 0), ([(1024,), (5,)], 2)]
    """
    arrays = list(listed("arrays", arrays))
    if not (isinstance(count, int) and isinstance(number, int) and 0 <= number < count):
        raise ValueError(f"number is {number!r}, count {count!r}; expected a number of at least 0 and below count")
    sizes = [math.prod(array.shape) for array in arrays]
    chunks = [-(-size // CHUNK) for size in sizes]
    begin, end = (sum(chunks) * edge // count for edge in (number, number + 1))
    views, first = [], 0
    for place, (array, size, own) in enumerate(zip(arrays, sizes, chunks)):
        low, high = max(begin - first, 0), min(end - first, own)
        if low < high:
            if not _is_contiguous(array):
                raise ValueError(f"arrays[{place}] is not contiguous; a shard is a view, pass ascontiguousarray of it")
            views.append(array.reshape(-1)[low * CHUNK : min(high * CHUNK, size)])
        first += own
    return views, begin


def _is_contiguous(array) -> bool:
    if parameters.library_of(array) == "torch":
        return array.is_contiguous()
    packed = np.cumprod([1, *array.shape[:0:-1]])[::-1] * array.dtype.itemsize
    return all(n == 1 or stride == own for n, stride, own in zip(array.shape, array.strides, packed))


def norm_partials(grads, first_chunk: int = 0) -> np.ndarray:
    """A row for each chunk of the arrays, in order: its number, its sum of squares, 1 where all of them are finite.

    Plain numbers, to be sent to where `merge_norm` takes those of all shards. Of arrays on a GPU this waits for them.

    >>> norm_partials([np.array([3.0]), np.array([[4.0]])], first_chunk=7).tolist()
    [[7.0, 9.0, 1.0], [8.0, 16.0, 1.0]]
    """
    sums, finite = _core.tensor_squares(listed("grads", grads))
    if parameters.is_array(sums):
        sums, finite = parameters.to_host(sums), bool(parameters.to_host(finite))
    rows = np.empty((len(sums), 3))
    rows[:, 0], rows[:, 1], rows[:, 2] = range(first_chunk, first_chunk + len(sums)), sums, finite
    return rows


def merge_norm(partials: Iterable[Any]) -> Merged:
    """The norm of the whole list from the `norm_partials` of its shards, in any order: the bits of `global_norm`.

    >>> merge_norm([norm_partials([np.array([4.0])], first_chunk=1), norm_partials([np.array([3.0])])])
    Merged(norm=5.0, finite=True)
    """
    parts = [np.asarray(part, "float64") for part in partials]
    for place, part in enumerate(parts):
        if part.ndim != 2 or part.shape[1] != 3:
            raise ValueError(f"partials[{place}] has shape {part.shape}; expected (chunks, 3), from norm_partials")
    rows = np.concatenate([np.empty((0, 3)), *parts])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    wrong = np.flatnonzero(rows[:, 0] != np.arange(len(rows)))
    if wrong.size:
        found = int(rows[wrong[0], 0])
        raise ValueError(
            f"partials: after chunk {wrong[0] - 1} comes chunk {found}; expected those of all shards, each chunk once "
            f"(first_chunk is where a shard begins)"
        )
    return Merged(math.sqrt(_core.merge_partials(rows[:, 1].tolist())), bool(rows[:, 2].all()))
