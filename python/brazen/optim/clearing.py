# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of gradients that a step sets to zero: memory that may be written, and is nobody else's. No step."""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import numpy as np

from . import parameters


def require(optimizer, grads) -> None:
    """Raises where zero_grads would write where it must not; looks at what is apart only where memory has changed."""
    if grads is None or len(grads) != len(optimizer._slots):
        return  # the step says so
    places = []
    for slot, grad in zip(optimizer._slots, grads):
        if not (parameters.is_array(grad) or hasattr(grad, "__dlpack__")):
            return
        places.append(_writable_place(grad, slot))
    looked_at = places, [id(slot.array) for slot in optimizer._slots]
    if looked_at == optimizer._cleared:
        return
    _require_apart(optimizer, grads, places)
    optimizer._cleared = looked_at


def _writable_place(array, slot) -> tuple[int, int]:
    """The first byte and the one after the last."""
    if type(array) is np.ndarray and (flags := array.flags).c_contiguous and flags.writeable:
        first = array.__array_interface__["data"][0]
        return first, first + array.nbytes
    name, advice = f"the gradient of {slot.name}", "pass a writable copy, or leave zero_grads away"
    first, strides, item = _memory_of(array, name, advice)
    low, span = first, item
    if 0 in array.shape:
        return first, first
    # Sorted by stride, each axis must step over everything inside it, or two elements share memory.
    for stride, extent in sorted((abs(s), n) for s, n in zip(strides, array.shape) if n > 1):
        if stride < span:
            raise ValueError(f"optim: {name} has elements that share memory (a broadcast view); {advice}")
        span += stride * (extent - 1)
    low += sum(s * (n - 1) for s, n in zip(strides, array.shape) if s < 0)
    return low, low + span


def _memory_of(array, name: str, advice: str) -> tuple[int, tuple[int, ...], int]:
    """The address of the first element, strides in bytes, the size of an element."""
    library = parameters.library_of(array)
    if library == "torch":
        item = array.element_size()
        return array.data_ptr(), tuple(s * item for s in array.stride()), item
    if library == "cupy":  # on a GPU a step takes contiguous gradients alone, and says so
        strides = itertools.accumulate(reversed(array.shape[1:]), operator.mul, initial=array.dtype.itemsize)
        return array.data.ptr, tuple(strides)[::-1], array.dtype.itemsize
    interface: Any = getattr(array, "__array_interface__", None)
    if interface is None or library != "numpy":
        raise TypeError(
            f"optim: {name} is {type(array).__name__}, whose arrays are immutable or of unknown mutability; {advice}"
        )
    first, read_only = interface["data"]
    if read_only or isinstance(array, np.generic):
        raise ValueError(f"optim: {name} is read-only, and zero_grads writes to it; {advice}")
    return first, tuple(array.strides), array.dtype.itemsize


def _require_apart(optimizer, grads, places) -> None:
    owned = [
        (*place, f"the gradient of {slot.name}", grad) for slot, place, grad in zip(optimizer._slots, places, grads)
    ]
    of_gradients = {name for _, _, name, _ in owned}
    beside = [*optimizer.state.items(), ("average", optimizer._averages or []), ("copy", optimizer._copies or [])]
    beside.append(("master", optimizer._masters or []))
    for kind, arrays in [("parameter", [slot.array for slot in optimizer._slots]), *beside]:
        for slot, array in zip(optimizer._slots, arrays):
            if array is not None:
                owned.append((*_place_of_whole(array), f"the {kind} {slot.name}", array))
    over: list[tuple] = []  # those that reach beyond the beginning of the one looked at
    for one in sorted((one for one in owned if one[0] < one[1]), key=lambda one: one[:2]):
        over = [other for other in over if other[1] > one[0]]
        for other in over:
            if not of_gradients.isdisjoint((one[2], other[2])) and _share(one[3], other[3]):
                raise ValueError(
                    f"optim: {one[2]} shares memory with {other[2]}, and zero_grads writes to it; pass a copy"
                )
        over.append(one)


def _share(a, b) -> bool:
    """Of two whose bytes interleave: columns of one matrix do, and are apart."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        try:
            return np.shares_memory(a, b, max_work=100_000)  # type: ignore[arg-type]
        except np.exceptions.TooHardError:
            return True
    return all(_is_whole(array) for array in (a, b))


def _is_whole(array) -> bool:
    return parameters.library_of(array) == "cupy" or array.is_contiguous()


def _place_of_whole(array) -> tuple[int, int]:
    first, _, item = _memory_of(array, "a parameter or state", "pass a copy")
    return first, first + item * math.prod(array.shape)
