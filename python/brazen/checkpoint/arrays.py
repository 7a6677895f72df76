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
        """Creates the file, durable but for its name; returns the digest in its header."""

        def header(digest: str) -> bytes:
            return container.header(self.entries, digest, self.nested)

        return files.create_sealed(path, header(container.NO_DIGEST), self.pieces, header)


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


def read(file: files.Reader, expected: str | None = None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, metadata). Nothing is allocated before the header's claims equal the file's size.

    expected: the digest that the header must state; without it that of another writer may state none.
    """
    entries, metadata = _begin(file, expected)
    made = {}
    for entry in container.by_place(entries):
        array = np.empty(entry.stop - entry.start, np.uint8)
        file.into(array.data)
        made[entry.name] = array.view(entry.dtype).reshape(entry.shape)
    _end(file, metadata)
    return {entry.name: made[entry.name] for entry in entries}, metadata


def verify(file: files.Reader, expected: str) -> None:
    """Reads everything and keeps nothing."""
    _, metadata = _begin(file, expected)
    file.rest()
    _end(file, metadata)


def _begin(file, expected):
    first = file.bytes(min(container.LENGTH, file.size))
    header = file.bytes(container.header_length(first, file.size))
    entries, metadata = container.parse_header(header, file.size - container.LENGTH - len(header))
    stated = metadata.get(container.DIGEST)
    if expected is not None and stated != expected:
        raise CheckpointError(f"{file.name} is not the one that the manifest names: it has another SHA-256")
    if stated is not None:
        file.digest = hashlib.sha256(first + container.without_digest(header, stated))
    return entries, metadata


def _end(file, metadata):
    if file.digest is not None and file.digest.hexdigest() != metadata[container.DIGEST]:
        raise CheckpointError(f"{file.name} is not what was written: its SHA-256 differs")
