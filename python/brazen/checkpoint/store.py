# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints in a directory: written under a temporary name, renamed when durable, pruned afterwards, found again.

At every instant of this the newest finished checkpoint stands whole under a name that `newest` finds.
"""

from __future__ import annotations

import hashlib
import operator
import os
import re
import stat
import warnings
from typing import Any

from . import arrays, files
from .text import MOST_BYTES, CheckpointError, dump, parse, require_bounds
from .tree import flatten, unflatten

ARRAYS, MANIFEST = "arrays.safetensors", "manifest.jsonl"
VERSION = 1
MOST_STEPS = 10**18
MOST_LAST = 128  # bytes of the manifest's last line
# A finished checkpoint that waits to replace another of the same step.
AGAIN = ".again"
NAME = re.compile(r"step-(\d{8,18})(\.again)?")
# Unfinished ones, and those half removed.
LITTER = re.compile(r"\.step-\d{8,18}\.(?:new|old)-[0-9a-f]{8}")


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def listed(directory) -> list[tuple[int, bool, str]]:
    """(step, whether it replaces another, name) of the checkpoints' names in a directory, the newest last."""
    found = []
    for name in os.listdir(directory):
        match = NAME.fullmatch(name)
        if match and name == name_of(int(match[1])) + (match[2] or ""):
            found.append((int(match[1]), bool(match[2]), name))
    return sorted(found)


def require_keep(keep):
    if keep is None:
        return None
    keep = operator.index(keep)
    if keep < 1:
        raise ValueError(f"keep is {keep}; expected at least 1, or None to keep all")
    return keep


def require_step(step) -> int:
    step = operator.index(step)
    if not 0 <= step < MOST_STEPS:
        raise ValueError(f"step is {step}; expected 0 to 10**18 - 1")
    return step


def write(directory, step: int, state: dict[str, Any], *, keep: int | None = 3) -> str:
    """Writes `directory`/step-00000120/ and returns its path once it is durable; then removes all but the last `keep`.

    state: nested dicts with str keys of arrays (NumPy, CuPy), numbers, str, bool, None, and lists or tuples of these.

    >>> import tempfile, numpy as np
    >>> from brazen import checkpoint
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = checkpoint.write(directory, 120, {"weights": {"w": np.ones(3)}, "loss": [0.5, float("inf")]})
    ...     checkpoint.read(path)
    {'weights': {'w': array([1., 1., 1.])}, 'loss': [0.5, inf]}
    """
    keep, step = require_keep(keep), require_step(step)
    plain, found = flatten(state)
    text, image = dump(plain, "state"), arrays.image(found)
    files.make_directory(directory)
    with files.alone(directory):
        return commit(directory, step, text, image, keep)


def commit(directory, step: int, plain: bytes, image: arrays.Image, keep: int | None) -> str:
    """Makes a checkpoint of a state that is laid out already, in a directory that nobody else writes into."""
    directory = os.fspath(directory)
    files.make_directory(directory)
    sweep(directory)
    name = name_of(step)
    temporary, path = os.path.join(directory, f".{name}.new-{files.token()}"), os.path.join(directory, name)
    os.mkdir(temporary)
    with files.finishing(temporary, path):
        digest = image.write(os.path.join(temporary, ARRAYS))
        files.create(os.path.join(temporary, MANIFEST), [manifest(step, digest, plain)])
        files.sync_directory(temporary)
        replaces = os.path.lexists(path)
        files.rename(temporary, path + AGAIN if replaces else path)
    if replaces:
        settle(directory, name)
    prune(directory, step, keep)
    return path


def manifest(step: int, digest: str, plain: bytes) -> bytes:
    """Two lines: what the checkpoint holds, and the SHA-256 of the first line."""
    head = {"format": "brazen.checkpoint", "version": VERSION, "step": step, "files": {ARRAYS: {"sha256": digest}}}
    first = dump(head, "the manifest")[:-1] + b',"state":' + plain + b"}\n"
    require_bounds(first)
    return first + b'{"sha256":"%s"}\n' % hashlib.sha256(first).hexdigest().encode()


def settle(directory: str, name: str) -> None:
    """Puts a checkpoint that waits in the place of the one it replaces."""
    path = os.path.join(directory, name)
    retire(path)
    files.rename(path + AGAIN, path)


def retire(path: str) -> None:
    """Removes a checkpoint; it is gone, or whole, at every instant."""
    if not os.path.lexists(path):
        return
    directory, name = os.path.split(path)
    hidden = os.path.join(directory, f".{name.removesuffix(AGAIN)}.old-{files.token()}")
    os.rename(path, hidden)
    files.remove(hidden)


def sweep(directory: str) -> None:
    """Finishes what an interrupted writer left."""
    for name in os.listdir(directory):
        if LITTER.fullmatch(name):
            files.try_remove(os.path.join(directory, name), "an unfinished checkpoint")
    for step, again, _ in listed(directory):
        if again:
            settle(directory, name_of(step))


def prune(directory: str, step: int, keep: int | None) -> None:
    """Removes the oldest of those up to `step`; later ones, of another run or unreadable, are not counted or touched."""
    names = [name for found, _, name in listed(directory) if found <= step]
    for name in names[: max(0, len(names) - keep)] if keep is not None else []:
        try:
            retire(os.path.join(directory, name))
        except OSError as error:
            warnings.warn(f"an old checkpoint could not be removed: {error}", RuntimeWarning, stacklevel=2)


def read(path) -> dict[str, Any]:
    """The state of a checkpoint, its arrays NumPy's, its tuples lists; CheckpointError unless every byte is as written."""
    try:
        with opened(path) as directory:
            found = read_manifest(directory)
            with files.reading(ARRAYS, directory) as file:
                given, _ = arrays.read(file, digest_in(found))
            return unflatten(found["state"], given)
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)} is no intact checkpoint: {error}") from None


def verify(path) -> int:
    """The step of an intact checkpoint; reads every byte, keeps no array."""
    with opened(path) as directory:
        found = read_manifest(directory)
        with files.reading(ARRAYS, directory) as file:
            arrays.verify(file, digest_in(found))
    return found["step"]


def opened(path):
    if not stat.S_ISDIR(os.stat(path).st_mode):
        raise CheckpointError("it is no directory")
    return files.opened(path, os.O_RDONLY | os.O_DIRECTORY)


def digest_in(found: dict[str, Any]) -> str:
    return found["files"][ARRAYS]["sha256"]


def read_manifest(directory: int) -> dict[str, Any]:
    """The manifest of an open directory, checked against its last line, and against what this version writes."""
    with files.reading(MANIFEST, directory) as file:
        if file.size > MOST_BYTES + MOST_LAST:
            raise CheckpointError(f"{MANIFEST} has {file.size} bytes, at most {MOST_BYTES + MOST_LAST}")
        text = file.bytes(file.size)
    end = text.rfind(b"\n", 0, -1) + 1
    last = text[end:]
    del text[end:]
    if last != b'{"sha256":"%s"}\n' % hashlib.sha256(text).hexdigest().encode():
        raise CheckpointError(f"{MANIFEST} is not what was written: its last line is not the SHA-256 of what is before")
    found = parse(text)
    if not isinstance(found, dict) or found.get("format") != "brazen.checkpoint":
        raise CheckpointError(f"{MANIFEST} describes no checkpoint")
    if found.get("version") != VERSION:
        raise CheckpointError(f"{MANIFEST} has version {found.get('version')!r}; this brazen reads {VERSION}")
    parts, named = {"format", "version", "step", "files", "state"}, found.get("files")
    described = named.get(ARRAYS) if isinstance(named, dict) and len(named) == 1 else None
    digest = described.get("sha256") if isinstance(described, dict) and len(described) == 1 else None
    if found.keys() != parts or not isinstance(digest, str):
        raise CheckpointError(f"{MANIFEST} lacks a part, or names other files than {ARRAYS}")
    if type(found["step"]) is not int or not 0 <= found["step"] < MOST_STEPS:
        raise CheckpointError(f"{MANIFEST} has no valid step")
    return found


def newest(directory) -> str | None:
    """The path of the newest intact checkpoint of a directory, or None; warns of those it passes over."""
    directory = os.fspath(directory)
    if not os.path.isdir(directory):
        return None
    for step, _, name in reversed(listed(directory)):
        path = os.path.join(directory, name)
        try:
            if os.path.islink(path):
                raise CheckpointError("it is a symbolic link")
            if verify(path) != step:
                raise CheckpointError("it was written as another step")
            return path
        except (CheckpointError, OSError) as error:
            warnings.warn(f"{path} is no intact checkpoint and is passed over: {error}", RuntimeWarning, stacklevel=2)
    return None
