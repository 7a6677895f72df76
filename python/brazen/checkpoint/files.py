# SPDX-License-Identifier: BSD-3-Clause
"""Files and directories by descriptor: written whole, made durable, read whole, never through a symbolic link.

Nothing here knows a format. Every call of the operating system that a checkpoint makes stands in this file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
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


class DirectoryInUse(OSError):
    """Another writer, of this process or another one, writes checkpoints into the directory."""


def hold(directory) -> int | None:
    """A descriptor that keeps other writers out of a directory until `release`, or the process's end: a lock of the kernel's,
    no file. None where the file system has no such locks, as NFS has none for directories."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        said = "another writer holds this directory of checkpoints; let it end, or give another directory"
        raise DirectoryInUse(errno.EBUSY, said, os.fspath(directory)) from None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return None
    return descriptor


def release(descriptor: int | None) -> None:
    """Ends a `hold`, for forked children too, who have the descriptor as well."""
    if descriptor is not None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextlib.contextmanager
def alone(directory) -> Iterator[None]:
    """No other writer in the directory, for the time of a with block."""
    descriptor = hold(directory)
    try:
        yield
    finally:
        release(descriptor)


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


def create_sealed(path, first: bytes, pieces: list, seal: Callable[[str], bytes]) -> str:
    """A new file of these bytes, with `seal(digest)` in the place of `first`; returns the SHA-256 before that."""
    digest = hashlib.sha256(first)

    def hash_all() -> None:
        for piece in pieces:
            digest.update(piece)

    apart = threading.Thread(target=hash_all, name="brazen-checkpoint-digest")
    if sum(memoryview(piece).nbytes for piece in pieces) >= APART:
        apart.start()
    else:
        hash_all()
    try:
        with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as descriptor:
            for piece in (first, *pieces):
                write_all(descriptor, piece)
            if apart.ident is not None:
                # The disk works on the arrays while their digest is made.
                os.fsync(descriptor)
                apart.join()
            os.lseek(descriptor, 0, os.SEEK_SET)
            write_all(descriptor, seal(digest.hexdigest()))
            os.fsync(descriptor)
    finally:
        if apart.ident is not None:
            apart.join()
    return digest.hexdigest()


@contextlib.contextmanager
def finishing(temporary, path) -> Iterator[None]:
    """Removes `temporary` where its making fails; errors that name no file name `path`."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)
        try_remove(temporary, "an unfinished file")
        raise


def try_remove(path, what: str) -> None:
    """Removes, or warns that it could not."""
    try:
        remove(path)
    except OSError as error:
        warnings.warn(f"{what} could not be removed: {error}", RuntimeWarning, stacklevel=3)


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
    """Exact reads of one regular file; what is read also goes into `digest`, where there is one."""

    def __init__(self, descriptor: int, name):
        self.descriptor, self.name = descriptor, os.fspath(name)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError(f"{self.name} is no regular file")
        self.size = status.st_size
        self.digest: Any = None

    def into(self, target) -> None:
        """Fills `target`."""
        left = memoryview(target).cast("B")
        while left:
            count = os.readv(self.descriptor, [left[:CHUNK]])
            if not count:
                raise CheckpointError(f"{self.name} ends early")
            if self.digest is not None:
                self.digest.update(left[:count])
            left = left[count:]

    def bytes(self, count: int) -> bytearray:
        made = bytearray(count)
        self.into(made)
        return made

    def rest(self) -> None:
        """Reads to the end for the digest alone."""
        buffer = bytearray(CHUNK)
        while count := os.readv(self.descriptor, [buffer]):
            if self.digest is not None:
                self.digest.update(memoryview(buffer)[:count])
