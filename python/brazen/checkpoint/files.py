# SPDX-License-Identifier: BSD-3-Clause
"""Files and directories by descriptor: written whole, made durable, read whole, never through a symbolic link.

Nothing here knows a format. Every call of the operating system that a checkpoint makes stands in this file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from .text import CheckpointError

# Of one call: long enough to cost nothing, short enough that what is hashed next is still in the cache.
CHUNK = 1 << 20
# From here on hashing has a thread of its own, beside the writing.
APART = 4 << 20


def token() -> str:
    """Tells temporary names of different writers apart."""
    return secrets.token_hex(4)


@contextlib.contextmanager
def opened(name, flags: int, directory: int | None = None, mode: int = 0o666) -> Iterator[int]:
    """A descriptor for the time of a with block."""
    descriptor = os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_directory(path) -> None:
    """Makes the names in a directory durable."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)


def make_directory(path) -> None:
    """The directory and those above it, durably."""
    path = os.path.abspath(path)
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for made in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(made)
        sync_directory(os.path.dirname(made))


def write_all(descriptor: int, data) -> None:
    """Every byte, however little one call takes."""
    left = memoryview(data).cast("B")
    while left:
        written = os.write(descriptor, left[: 8 * CHUNK])
        if not written:
            raise OSError("the file takes no more bytes")
        left = left[written:]


def create(path, pieces: Iterable) -> None:
    """A new file of these bytes, durable but for its name."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
        for piece in pieces:
            write_all(descriptor, piece)
        os.fsync(descriptor)


def hashed(pieces: Iterable) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def create_sealed(path, pieces: list, seal) -> str:
    """A new file of these bytes whose first piece is `seal(digest of all pieces)`; returns the SHA-256 of the file.

    seal: from a digest to a first piece of the same length. Both digests are made while the disk is at work.
    """
    size, made = sum(memoryview(piece).nbytes for piece in pieces), []

    def digests() -> None:
        made.append(seal(hashed(pieces)))
        made.append(hashed([made[0], *pieces[1:]]))

    apart = threading.Thread(target=digests, name="brazen-checkpoint-digest") if size >= APART else None
    if apart:
        apart.start()
    try:
        with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
            for piece in pieces:
                write_all(descriptor, piece)
            if apart:
                os.fsync(descriptor)
                apart.join()
            else:
                digests()
            os.lseek(descriptor, 0, os.SEEK_SET)
            write_all(descriptor, made[0])
            os.fsync(descriptor)
    finally:
        if apart:
            apart.join()
    return made[1]


def rename(old, new) -> None:
    """Gives a finished file or directory its name, durably."""
    os.rename(old, new)
    sync_directory(os.path.dirname(os.path.abspath(new)))


def remove(path) -> None:
    """A file, or a directory and what is in it; a link is removed, not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


@contextlib.contextmanager
def reading(name, directory: int | None = None) -> Iterator[Reader]:
    """A regular file to be read from its beginning; inside `directory` (a descriptor) not through a link."""
    # Without O_NONBLOCK the open itself would wait for a pipe's writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if directory is not None else 0)
    try:
        with opened(name, flags, directory) as descriptor:
            yield Reader(descriptor, name)
    except OSError as error:
        if directory is None:
            raise
        raise CheckpointError(f"{os.fspath(name)} cannot be read: {error.strerror or error}") from error


class Reader:
    """Exact reads of one regular file; every byte also goes into each of `digests`."""

    def __init__(self, descriptor: int, name):
        self.descriptor, self.name = descriptor, os.fspath(name)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{self.name} is no regular file")
        self.size = status.st_size
        self.digests: list[Any] = []

    def into(self, target) -> None:
        """Fills `target`."""
        left = memoryview(target).cast("B")
        while left:
            count = os.readv(self.descriptor, [left[:CHUNK]])
            if not count:
                raise CheckpointError(f"{self.name} ends early")
            for digest in self.digests:
                digest.update(left[:count])
            left = left[count:]

    def bytes(self, count: int) -> bytes:
        made = bytearray(count)
        self.into(made)
        return bytes(made)

    def rest(self) -> None:
        """Reads to the end for the digests alone."""
        buffer = bytearray(CHUNK)
        while count := os.readv(self.descriptor, [buffer]):
            for digest in self.digests:
                digest.update(memoryview(buffer)[:count])
