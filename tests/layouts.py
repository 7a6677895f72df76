# SPDX-License-Identifier: BSD-3-Clause
"""The same numbers, differently laid out in memory. No operation is called here."""

import numpy as np


def _padded(array, steps):
    """A view with `steps` of every axis in a larger array whose other elements are poisoned."""
    shape = tuple(extent * abs(step) for extent, step in zip(array.shape, steps))
    store = np.empty(shape, array.dtype)
    store.view("u1")[...] = 0xA5
    view = store[tuple(slice(None, None, step) for step in steps)]
    view[...] = array
    return view


def fortran(array):
    return np.array(array, order="F", copy=True)


def strided(array):
    return _padded(array, [3] + [2] * (array.ndim - 1)) if array.ndim else array.copy()


def reversed_(array):
    return _padded(array, [-1] * array.ndim) if array.ndim else array.copy()


def mixed_signs(array):
    return _padded(array, [(-2, 1, -1, 3)[d % 4] for d in range(array.ndim)]) if array.ndim else array.copy()


def transposed(array):
    """The last axis outermost in memory."""
    moved = array.transpose([array.ndim - 1, *range(array.ndim - 1)]) if array.ndim else array
    return np.array(moved, order="C", copy=True).transpose([*range(1, array.ndim), 0] if array.ndim else [])


def misaligned(array):
    """One byte off every alignment."""
    store = np.empty(array.nbytes + 1, np.uint8)
    view = store[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def misaligned_strided(array):
    record = np.zeros(array.shape, np.dtype([("pad", "u1"), ("value", array.dtype), ("more", "u2")]))
    record["value"] = array
    return record["value"]


def read_only(array):
    view = array.copy()
    view.flags.writeable = False
    return view


def half_element_aligned(array):
    """Where a vector load would have to be split: one element past an allocation's start."""
    store = np.empty(array.size + 1, array.dtype)
    view = store[1:].reshape(array.shape)
    view[...] = array
    return view


# Every one keeps the values.
WRITABLE = [fortran, strided, reversed_, mixed_signs, transposed, misaligned, misaligned_strided, half_element_aligned]
READABLE = [*WRITABLE, read_only]


def broadcast(array):
    """The first entry of every other axis, spread by strides of 0: other values, so compare with a copy of it."""
    if array.ndim == 0 or 0 in array.shape:
        return array
    first = array[tuple(slice(0, 1) if d % 2 == 0 else slice(None) for d in range(array.ndim))]
    return np.broadcast_to(first, array.shape)


# Shapes of the forward result: 1-d, 3-d, 8-d, axes of 1, no elements, no axes.
SHAPES = [(37,), (5, 4, 6), (33, 70), (2, 1, 3, 1, 2, 2, 1, 4), (1, 7, 1, 4), (1, 1), (0,), (3, 0, 4), ()]
