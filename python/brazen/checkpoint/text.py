# SPDX-License-Identifier: BSD-3-Clause
"""JSON within limits: what is read costs bounded memory, names nothing twice, and gives back the same numbers.

Python's own parser does the work; the bounds are checked before it sees the text.
"""

from __future__ import annotations

import json
import math
from typing import Any

MOST_BYTES = 8 << 20
# Of brackets of either kind: each may become a list or dict of some 100 bytes.
MOST_CONTAINERS = 1 << 18
MOST_COMMAS = 1 << 20
MOST_DIGITS = 1000


class CheckpointError(ValueError):
    """A file or directory is no intact checkpoint: torn, altered, or never one."""


def dump(value: Any, what: str) -> bytes:
    """Compact JSON in ASCII; refuses what `parse` would refuse."""
    made = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")
    try:
        require_bounds(made)
    except CheckpointError as error:
        raise ValueError(f"{what} is too large to be written: {error}") from None
    return made


def parse(text: bytes | bytearray) -> Any:
    """The value of a JSON text, or CheckpointError."""
    require_bounds(text)
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except RecursionError:
        raise CheckpointError("JSON is nested too deep") from None
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"no valid JSON: {error}") from None


def require_bounds(text: bytes | bytearray) -> None:
    """Raises where a text is too long, or would become too many objects."""
    if len(text) > MOST_BYTES:
        raise CheckpointError(f"{len(text)} bytes of JSON, at most {MOST_BYTES}")
    if text.count(b"[") + text.count(b"{") > MOST_CONTAINERS or text.count(b",") > MOST_COMMAS:
        raise CheckpointError(f"JSON has more than {MOST_CONTAINERS} brackets or {MOST_COMMAS} commas")


def _object(pairs):
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise CheckpointError(f"JSON has the key {twice!r} twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise CheckpointError(f"JSON has an integer of {len(digits)} digits, at most {MOST_DIGITS}")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise CheckpointError("JSON has a number beyond float64")
    return value


def _constant(name: str):
    raise CheckpointError(f"JSON has {name}, which is no number of it")
