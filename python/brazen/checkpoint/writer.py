# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints written in the background: the caller waits for a copy of the state, a thread for the disk."""

from __future__ import annotations

import os
import threading
from typing import Any

from . import arrays, files, store
from .text import dump
from .tree import flatten


class Writer:
    """Writes checkpoints into a directory, one after the other, as `checkpoint.write` does.

    `write` returns as soon as the state is copied to a buffer, which is kept for the next one; where the checkpoint before
    is still being written it waits for that first. What went wrong in the thread is raised by the next call. In a with
    block, or with `close`, the last checkpoint is durable at the end.

    >>> import tempfile, numpy as np
    >>> from brazen import checkpoint
    >>> weights = np.zeros(3)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with checkpoint.Writer(directory, keep=2) as writer:
    ...         for step in range(4):
    ...             writer.write(step, {"weights": weights})
    ...             weights += 1
    ...     print(sorted(os.listdir(directory)), checkpoint.read(checkpoint.newest(directory)))
    ['step-00000002', 'step-00000003'] {'weights': array([3., 3., 3.])}
    """

    def __init__(self, directory, keep: int | None = 3, background: bool = True):
        self.directory, self.keep, self.background = os.fspath(directory), store.require_keep(keep), bool(background)
        self.path: str | None = None
        self._lock: int | None = None
        self._held = False
        self._buffer: Any = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._closed = False

    def hold(self) -> None:
        """Keeps other writers out of the directory, until `close`; the first `write` does so too."""
        if not self._held:
            files.make_directory(self.directory)
            self._lock, self._held = files.hold(self.directory), True

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Copies the state, and begins to write it."""
        if self._closed:
            raise RuntimeError("this writer is closed")
        self.wait()
        step = store.require_step(step)
        plain, found = flatten(state)
        text = dump(plain, "state")
        self.hold()
        if not self.background:
            self.path = store.commit(self.directory, step, text, arrays.image(found), self.keep)
            return
        image, self._buffer = arrays.copied(found, self._buffer)
        # Not a daemon: an interpreter that ends waits for the checkpoint.
        self._thread = threading.Thread(target=self._commit, args=(step, text, image), name="brazen-checkpoint")
        self._thread.start()

    def _commit(self, step: int, text: bytes, image: arrays.Image) -> None:
        try:
            self.path = store.commit(self.directory, step, text, image, self.keep)
        except BaseException as error:
            self._error = error

    def wait(self) -> str | None:
        """Returns when nothing is being written: the path of the last checkpoint."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self.path

    def close(self) -> None:
        """Waits, and takes no more."""
        self._closed = True
        try:
            self.wait()
        finally:
            files.release(self._lock)
            self._buffer, self._lock, self._held = None, None, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
