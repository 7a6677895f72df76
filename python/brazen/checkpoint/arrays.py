# SPDX-License-Identifier: BSD-3-Clause
"""Arrays of NumPy and CuPy into a container's file and out of it. The layout is `container`'s, the file `files`'."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import container, files
from .text import CheckpointError


class Image:
    """What a file of arrays will hold: entries, and the bytes behind the header."""

    def __init__(self, entries: list[container.Entry], pieces: list, nested: bool = False):
        self.entries, self.pieces, self.nested = entries, pieces, nested

    def write(self, path) -> str:
        """Creates the file, durable but for its name; returns its SHA-256."""

        def seal(digest: str) -> bytes:
            return container.header(self.entries, digest, self.nested)

        return files.create_sealed(path, [seal(container.NO_DIGEST), *self.pieces], seal)


def on_host(array) -> np.ndarray:
    """NumPy's, in this machine's byte order, elements in C order."""
    host = array if isinstance(array, np.ndarray) else array.get()
    if not host.dtype.isnative:
        host = host.astype(host.dtype.newbyteorder("="))
    return np.ascontiguousarray(host)


def image(arrays: Mapping[str, Any], nested: bool = False) -> Image:
    """The arrays' own memory where that is contiguous; to be written before they change."""
    entries = container.lay_out(arrays)
    places = container.by_place(entries)
    pieces = [
        on_host(arrays[entry.name]).reshape(-1).view(np.uint8).data for entry in places if entry.stop > entry.start
    ]
    return Image(entries, pieces, nested)


def copied(arrays: Mapping[str, Any], buffer: np.ndarray | None) -> tuple[Image, np.ndarray]:
    """A copy of the arrays in one buffer, the given one where it is large enough."""
    entries = container.lay_out(arrays)
    size = container.size_of(entries)
    if buffer is None or buffer.size < size:
        buffer = np.empty(size, np.uint8)
    for entry in entries:
        if entry.stop > entry.start:
            array = arrays[entry.name]
            target = buffer[entry.start : entry.stop].view(entry.dtype).reshape(entry.shape)
            target[...] = array if isinstance(array, np.ndarray) else array.get()
    return Image(entries, [buffer[:size].data]), buffer


def read(file: files.Reader, check: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, metadata). Nothing is allocated before the header's claims equal the file's size.

    check: against the digest in the header, where there is one.
    """
    first = file.bytes(min(container.LENGTH, file.size))
    raw = file.bytes(container.header_length(first, file.size))
    entries, metadata = container.parse_header(raw, file.size - container.LENGTH - len(raw))
    expected = metadata.get(container.DIGEST) if check else None
    if expected is not None:
        file.digests.append(hashlib.sha256(first + container.without_digest(raw, expected)))
    made = {}
    for entry in container.by_place(entries):
        array = np.empty(entry.stop - entry.start, np.uint8)
        file.into(array.data)
        made[entry.name] = array.view(entry.dtype).reshape(entry.shape)
    if expected is not None and file.digests.pop().hexdigest() != expected:
        raise CheckpointError(f"{file.name} is not what was written: its SHA-256 differs")
    return {entry.name: made[entry.name] for entry in entries}, metadata
