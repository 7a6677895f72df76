# SPDX-License-Identifier: BSD-3-Clause
"""Weights alone in one file of the safetensors format: `bz.save` and `bz.load`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import arrays, container, files
from .text import CheckpointError
from .tree import is_array, path_of, pointer


def save(path, weights: Mapping[str, Any]) -> None:
    """Writes a dict of arrays, of NumPy or CuPy, nested or not, to one file that is either there whole or not at all.

    The file is in the safetensors format with a SHA-256 of its own. The names of a flat dict are the names in the file; of
    nested ones the keys are joined with "/".

    >>> import os, tempfile, numpy as np, brazen as bz
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     bz.save(os.path.join(directory, "weights.safetensors"), {"w": np.arange(6.0).reshape(2, 3).T})
    ...     bz.load(os.path.join(directory, "weights.safetensors"))["w"].shape
    (3, 2)
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights is {type(weights).__name__}; expected a dict of arrays, such as net.state()")
    flat: dict[tuple[str, ...], Any] = {}
    _flatten(weights, (), flat)
    nested = any(len(keys) > 1 for keys in flat)
    image = arrays.image({pointer(keys) if nested else keys[0]: array for keys, array in flat.items()}, nested)
    path = os.path.realpath(path)
    directory, name = os.path.split(path)
    beside = f".{name}.new-"
    for left in os.listdir(directory):
        if re.fullmatch(re.escape(beside) + "[0-9a-f]{8}", left):
            files.remove(os.path.join(directory, left))
    temporary = os.path.join(directory, beside + files.token())
    with files.finishing(temporary, path):
        image.write(temporary)
        files.rename(temporary, path)


def _flatten(tree, keys, flat):
    for key, value in tree.items():
        if not isinstance(key, str):
            raise TypeError(f"weights{_at(keys)} has the key {key!r}; expected a str")
        place = (*keys, key)
        if isinstance(value, Mapping) and value:
            _flatten(value, place, flat)
        elif is_array(value) or isinstance(value, np.generic):
            flat[place] = np.asarray(value) if isinstance(value, np.generic) else value
        else:
            what = "an empty dict" if isinstance(value, Mapping) else type(value).__name__
            raise TypeError(f"weights{_at(place)} is {what}; expected an array of NumPy or CuPy, or a dict of them")


def _at(keys):
    return f" at {pointer(keys)}" if keys else ""


def load(path, *, xp: Any = np) -> dict[str, Any]:
    """The dict of arrays in a file of `save`, or of any other writer of the safetensors format, in the file's order.

    xp: numpy or cupy. A file of `save` must have its SHA-256; one of another writer has none to check. CheckpointError
    where the file is not whole.
    """
    try:
        with files.reading(path) as file:
            found, metadata = arrays.read(file)
        if xp is not np:
            found = {name: xp.asarray(array) for name, array in found.items()}
        return _nest(found) if metadata.get(container.NESTED) == "1" else found
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)} holds no intact arrays: {error}") from None


def _nest(flat):
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *above, last = path_of(name)
        place = tree
        for key in above:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise CheckpointError(f"{name!r} is inside an array")
        if last in place:
            raise CheckpointError(f"{name!r} is there twice")
        place[last] = array
    return tree
