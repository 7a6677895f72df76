# SPDX-License-Identifier: BSD-3-Clause
"""The safetensors layout: names, dtypes, shapes and places of arrays in a header. No file is opened here.

8 bytes, the header's length, little endian; the header, JSON; the arrays' bytes without a hole, little endian, C order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .text import MOST_BYTES, CheckpointError, dump, parse

# Names in the file and in NumPy; those with a leading dot are ml_dtypes'.
NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "BF16": ".bfloat16",
    "F8_E4M3": ".float8_e4m3fn",
    "F8_E5M2": ".float8_e5m2",
    "F8_E8M0": ".float8_e8m0fnu",
}
CODES = {name.removeprefix("."): code for code, name in NAMES.items()}
ITEMSIZE = {
    code: 1 if name.startswith(".float8") else 2 if name == ".bfloat16" else np.dtype(name).itemsize
    for code, name in NAMES.items()
}

LENGTH = 8
MOST_HEADER = MOST_BYTES
ALIGNMENT = 64
# As many as NumPy 2 has; older ones stop at 32 themselves.
MOST_AXES = 64
# Metadata of the header. Files of other writers lack them, and are read without a check.
FORMAT, DIGEST, NESTED = "brazen.format", "brazen.sha256", "brazen.nested"
NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One array: its bytes stand at `start` to `stop` after the header."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def dtype(self) -> np.dtype:
        return dtype_of(self.code)


def dtype_of(code: str) -> np.dtype:
    name = NAMES[code]
    if not name.startswith("."):
        return np.dtype(name)
    try:
        import ml_dtypes
    except ImportError:
        raise ImportError(f"arrays of {name[1:]} need ml_dtypes: pip install 'brazen[bf16]'") from None
    return np.dtype(getattr(ml_dtypes, name[1:]))


def lay_out(arrays: Mapping[str, Any]) -> list[Entry]:
    """Where each array goes. Wide items stand first, so that every array is aligned to its items."""
    coded = []
    for name, array in arrays.items():
        code = CODES.get(array.dtype.name)
        if code is None or array.dtype.fields is not None:
            raise TypeError(f"{name or 'an array'} has dtype {array.dtype}; expected one of {', '.join(CODES)}")
        if name == "__metadata__":
            raise ValueError("the name __metadata__ is the format's own; give the array another")
        if len(array.shape) > MOST_AXES:
            raise ValueError(f"{name} has {len(array.shape)} axes, at most {MOST_AXES}")
        coded.append((name, code, tuple(map(int, array.shape))))
    placed, start = {}, 0
    for name, code, shape in sorted(coded, key=lambda item: -ITEMSIZE[item[1]]):
        stop = start + math.prod(shape) * ITEMSIZE[code]
        placed[name] = Entry(name, code, shape, start, stop)
        start = stop
    return [placed[name] for name in arrays]


def by_place(entries: list[Entry]) -> list[Entry]:
    """In the order of their bytes."""
    return sorted(entries, key=lambda entry: (entry.start, entry.stop))


def size_of(entries: list[Entry]) -> int:
    return max((entry.stop for entry in entries), default=0)


def header(entries: list[Entry], digest: str = NO_DIGEST, nested: bool = False) -> bytes:
    """The file up to its first array; as long with any digest."""
    metadata = {FORMAT: "1", DIGEST: digest, **({NESTED: "1"} if nested else {})}
    described: dict[str, Any] = {"__metadata__": metadata}
    for entry in entries:
        described[entry.name] = {
            "dtype": entry.code,
            "shape": list(entry.shape),
            "data_offsets": [entry.start, entry.stop],
        }
    made = dump(described, "the list of arrays")
    made += b" " * (-(LENGTH + len(made)) % ALIGNMENT)
    return len(made).to_bytes(LENGTH, "little") + made


def without_digest(given: bytearray, digest: str) -> bytearray:
    """The header as it was when the file's digest was made: zeros in its place."""
    field = f'"{DIGEST}":"{{}}"'
    made = None
    if len(digest) == len(NO_DIGEST) and not set(digest) - set("0123456789abcdef"):
        before, found, after = given.partition(field.format(digest).encode())
        made = before + field.format(NO_DIGEST).encode() + after if found else None
    if made is None:
        raise CheckpointError(f"{DIGEST} is no SHA-256")
    return made


def header_length(first: bytearray, file_size: int) -> int:
    """How long the header is, from the first 8 bytes of a file."""
    if len(first) != LENGTH:
        raise CheckpointError(f"the file has {file_size} bytes, too few for a container of arrays")
    length = int.from_bytes(first, "little")
    if length > file_size - LENGTH:
        raise CheckpointError(f"the header claims {length} bytes, the file has {file_size - LENGTH} more")
    if length > MOST_HEADER:
        raise CheckpointError(f"the header claims {length} bytes, at most {MOST_HEADER}")
    return length


def parse_header(given: bytearray, data_size: int) -> tuple[list[Entry], dict[str, str]]:
    """The arrays and the metadata; raises unless the arrays cover exactly the `data_size` bytes that follow."""
    described = parse(given)
    if not isinstance(described, dict) or not given.startswith(b"{"):
        raise CheckpointError("the header is no JSON object")
    metadata = described.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("__metadata__ holds something else than texts")
    entries = [_entry(name, value) for name, value in described.items()]
    reached = 0
    for entry in by_place(entries):
        if entry.start != reached:
            raise CheckpointError(f"the bytes of {entry.name!r} begin at {entry.start}, expected {reached}")
        reached = entry.stop
    if reached != data_size:
        raise CheckpointError(f"the arrays claim {reached} bytes, the file has {data_size}")
    if DIGEST in metadata or FORMAT in metadata:
        if metadata.get(FORMAT) != "1":
            raise CheckpointError(f"{FORMAT} is {metadata.get(FORMAT)!r}; this version of brazen reads '1'")
        if DIGEST not in metadata:
            raise CheckpointError(f"{DIGEST} is missing")
    return entries, metadata


def _is_extent(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{name!r} needs dtype, shape and data_offsets, and nothing else")
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(code, str) or code not in NAMES:
        raise CheckpointError(f"{name!r} has dtype {str(code)[:40]!r}; expected one of {', '.join(NAMES)}")
    if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(_is_extent, shape)):
        raise CheckpointError(f"{name!r} has no valid shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_extent, offsets)):
        raise CheckpointError(f"{name!r} has no valid data_offsets")
    if math.prod(filter(None, shape)) * ITEMSIZE[code] >= 2**63:
        raise CheckpointError(f"{name!r} has a shape beyond 2**63 bytes")
    size, (start, stop) = math.prod(shape) * ITEMSIZE[code], offsets
    if stop - start != size:
        raise CheckpointError(
            f"{name!r} of shape {tuple(shape)[:8]} needs {size} bytes, its data_offsets give {stop - start}"
        )
    return Entry(name, code, tuple(shape), start, stop)
