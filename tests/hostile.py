# SPDX-License-Identifier: BSD-3-Clause
"""Files and directories made to harm whoever loads them, each with every digest in order that its maker could put in order."""

import hashlib
import json
import os
import struct

ZEROS = "0" * 64
GOOD = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
BOMB = 1 << 40


def container(header, data=b"\1" * 16, length=None):
    """A file of arrays from a header (JSON value or bytes) and data."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def sealed(header, data=b"\1" * 16):
    """The same with brazen's own digest."""
    made = {"__metadata__": {"brazen.format": "1", "brazen.sha256": ZEROS}, **header}
    blank = container(made, data)
    return blank.replace(ZEROS.encode(), digest_of(blank).encode(), 1)


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def entry(**changes):
    return {"a": {**GOOD["a"], **changes}}


def two(first, second, dtype="U8", shape=(8,)):
    place = {"dtype": dtype, "shape": list(shape)}
    return {"a": {**place, "data_offsets": first}, "b": {**place, "data_offsets": second}}


def text(inner):
    return b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}' + inner + b"}"


FILES = {
    "empty": b"",
    "seven bytes": b"\0" * 7,
    "header longer than the file": container(GOOD, length=1000),
    "header of 2**63 bytes": container(GOOD, length=2**63),
    "header of 2**64 - 1 bytes": container(GOOD, length=2**64 - 1),
    "header of 100 MB": struct.pack("<Q", 100 << 20) + b"{" + b" " * (100 << 10),
    "empty header": container(b""),
    "header of spaces": container(b" " * 1000),
    "header of a list": container(b"[]"),
    "header of a number": container(b"1"),
    "header that does not begin at once": container(b' {"__metadata__":{}}', b""),
    "header with a tail": container(text(b"") + b"{}"),
    "header cut short": container(text(b"")[:-1]),
    "header in UTF-16": container(json.dumps(GOOD).encode("utf-16")),
    "header in no UTF-8": container(b'{"\xff":1}'),
    "pickle": b"\x80\x04cposix\nsystem\n(S'touch hit'\ntR." + b"\0" * 20,
    "zip": b"PK\x03\x04" + b"\0" * 60,
    "shape of 2**40 bytes": container(entry(dtype="U8", shape=[BOMB], data_offsets=[0, BOMB])),
    "shape of 2**40 bytes in 16": container(entry(shape=[BOMB])),
    "shape whose product is 0 after overflow": container(entry(shape=[2**32, 2**32], data_offsets=[0, 0]), b""),
    "shape whose product is 16 after overflow": container(entry(dtype="U8", shape=[2**62 + 4, 4])),
    "shape of nothing beyond all memory": container(entry(shape=[0, 2**62, 2**62], data_offsets=[0, 0]), b""),
    "negative shape": container(entry(shape=[-2, -2])),
    "fractional shape": container(entry(shape=[2.0, 2.0])),
    "boolean shape": container(entry(dtype="F64", shape=[True, 2])),
    "shape of text": container(entry(shape="22")),
    "shape of 65 axes": container(entry(shape=[1] * 63 + [2, 2])),
    "shape of a million axes": container(entry(shape=[1] * 1_000_000)),
    "negative offset": container(entry(data_offsets=[-16, 0])),
    "offsets backwards": container(entry(data_offsets=[16, 0])),
    "offsets past the end": container(entry(data_offsets=[16, 32])),
    "offsets into the header": container(entry(data_offsets=[-8, 8])),
    "three offsets": container(entry(data_offsets=[0, 8, 16])),
    "huge offsets": container(entry(data_offsets=[2**64, 2**64 + 16])),
    "overlapping arrays": container(two([0, 8], [4, 12])),
    "the same bytes twice": container(two([0, 8], [0, 8])),
    "a hole between arrays": container(two([0, 8], [12, 20]), b"\1" * 20),
    "bytes before the first": container(entry(data_offsets=[16, 32]), b"\1" * 32),
    "bytes after the last": container(GOOD, b"\1" * 17),
    "bytes missing": container(GOOD, b"\1" * 15),
    "unknown dtype": container(entry(dtype="O")),
    "dtype of Python": container(entry(dtype="|O8")),
    "dtype of no text": container(entry(dtype=["F32"])),
    "dtype as long as the file": container(entry(dtype="F" * 100_000)),
    "entry of no object": container({"a": [0, 16]}),
    "entry with a surplus key": container(entry(file="../../etc/passwd")),
    "entry without a dtype": container({"a": {"shape": [2, 2], "data_offsets": [0, 16]}}),
    "the same name twice": container(text(b',"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}')),
    "the same key twice": container(b'{"a":{"dtype":"F32","shape":[2,2],"shape":[4],"data_offsets":[0,16]}}'),
    "lists in lists": container(b"[" * 1_000_000),
    "objects in objects": container(b'{"a":' * 1_000_000),
    "closed lists in lists": container(text(b',"b":' + b"[" * 200_000 + b"]" * 200_000)),
    "a million empty lists": container(b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"),
    "as many empty lists as are parsed": container(b'{"a":[' + b"[]," * 260_000 + b"[]]}"),
    "a million commas": container(b'{"a":[' + b"1," * 2_000_000 + b"1]}"),
    "an integer of a million digits": container(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "not a number": container(text(b',"b":NaN')),
    "a number beyond float64": container(text(b',"b":1e999')),
    "metadata of numbers": container({"__metadata__": {"a": 1}, **GOOD}),
    "metadata of a list": container({"__metadata__": [], **GOOD}),
    "array called __metadata__": container({"__metadata__": GOOD["a"]}),
    "format of the future": container({"__metadata__": {"brazen.format": "2", "brazen.sha256": ZEROS}, **GOOD}),
    "digest missing": container({"__metadata__": {"brazen.format": "1"}, **GOOD}),
    "format missing": container({"__metadata__": {"brazen.sha256": ZEROS}, **GOOD}),
    "digest of zeros": container({"__metadata__": {"brazen.format": "1", "brazen.sha256": ZEROS}, **GOOD}),
    "digest of no digits": container({"__metadata__": {"brazen.format": "1", "brazen.sha256": "\ud800" * 64}, **GOOD}),
    "digest cut short": container({"__metadata__": {"brazen.format": "1", "brazen.sha256": "00"}, **GOOD}),
}


def manifest(state=None, data=None, **changes):
    """(manifest, arrays' file) of a checkpoint; `state` as JSON text or value."""
    data = sealed(GOOD) if data is None else data
    if state is None:
        state = {"a": {"$array": "a"}}
    digest = data[data.find(b"sha256") + 9 :][:64].decode("latin-1")
    head = {"format": "brazen.checkpoint", "version": 1, "step": 1, "files": {"arrays.safetensors": {"sha256": digest}}}
    first = json.dumps({**head, **changes})[:-1].encode() + b',"state":'
    first += (state if isinstance(state, bytes) else json.dumps(state).encode()) + b"}\n"
    return signed(first), data


def signed(first):
    return first + b'{"sha256":"%s"}\n' % digest_of(first).encode()


MANIFESTS = {
    "files elsewhere": manifest(files={"../../secret": {"sha256": ZEROS}}),
    "files at the root": manifest(files={"/etc/passwd": {"sha256": ZEROS}}),
    "one file more": manifest(files={"arrays.safetensors": {"sha256": ZEROS}, "/etc/passwd": {"sha256": ZEROS}}),
    "no files": manifest(files={}),
    "files of a list": manifest(files=[["arrays.safetensors", ZEROS]]),
    "digest of another file": manifest(files={"arrays.safetensors": {"sha256": ZEROS}}),
    "digest by another name": manifest(files={"arrays.safetensors": {"crc": ZEROS}}),
    "digest of nothing": manifest(files={"arrays.safetensors": {"sha256": None}}),
    "arrays of another writer": manifest(data=container(GOOD), files={"arrays.safetensors": {"sha256": None}}),
    "a class to import": manifest(**{"class": "os.system"}),
    "another format": manifest(format="keras"),
    "version of the future": manifest(version=2),
    "version of text": manifest(version="1"),
    "step of text": manifest(step="../../x"),
    "step below zero": manifest(step=-1),
    "step of a truth": manifest(step=True),
    "array that is not there": manifest({"a": {"$array": "b"}}),
    "array twice": manifest({"a": {"$array": "a"}, "b": {"$array": "a"}}),
    "array without a place": manifest({}),
    "array and more": manifest({"a": {"$array": "a", "b": 1}}),
    "array of no text": manifest({"a": {"$array": ["a"]}}),
    "unknown sign": manifest({"a": {"$array": "a"}, "b": {"$import": "os"}}),
    "float of code": manifest({"a": {"$array": "a"}, "b": {"$float": "__import__('os')"}}),
    "list of another dtype": manifest({"a": {"$floats": "a"}}),
    "state of a list": manifest([{"$array": "a"}]),
    "state 65 deep": manifest(b'{"a":{"$array":"a"},"b":' + b"[" * 65 + b"]" * 65 + b"}"),
    "state 100,000 deep": manifest(b"[" * 100_000 + b"]" * 100_000),
    "as many lists as are parsed": manifest(b"[" + b"[]," * 260_000 + b"[]]"),
    "a million lists": manifest(b"[" + b"[]," * 1_000_000 + b"[]]"),
    "the same key twice": manifest(b'{"a":{"$array":"a"},"a":1}'),
    "a digit for each byte": manifest(b'{"a":' + b"1" * 4_000_000 + b"}"),
    "manifest of 20 MB": (signed(b" " * (20 << 20) + b"\n"), b""),
    "manifest of one line": (b'{"sha256":"%s"}\n' % digest_of(b"").encode(), b""),
    "empty manifest": (b"", b""),
    "no last line": (manifest()[0].rpartition(b"\n{")[0] + b"\n", sealed(GOOD)),
    "digest in capitals": (manifest()[0][:-68] + manifest()[0][-68:].upper(), sealed(GOOD)),
    **{f"arrays: {name}": manifest(data=data) for name, data in FILES.items() if len(data) < 100_000},
}


def checkpoint(directory, made):
    """Puts a manifest and its arrays into a new directory."""
    directory.mkdir()
    (directory / "manifest.jsonl").write_bytes(made[0])
    (directory / "arrays.safetensors").write_bytes(made[1])
    return directory


def linked_arrays(directory):
    checkpoint(directory, manifest())
    (directory / "arrays.safetensors").rename(directory / "elsewhere")
    (directory / "arrays.safetensors").symlink_to(directory / "elsewhere")


def linked_manifest(directory):
    checkpoint(directory, manifest())
    (directory / "manifest.jsonl").rename(directory / "elsewhere")
    (directory / "manifest.jsonl").symlink_to("elsewhere")


def link_to_a_device(directory):
    checkpoint(directory, manifest())
    (directory / "arrays.safetensors").unlink()
    (directory / "arrays.safetensors").symlink_to("/dev/zero")


def pipe(directory):
    checkpoint(directory, manifest())
    (directory / "arrays.safetensors").unlink()
    os.mkfifo(directory / "arrays.safetensors")


def directory_for_a_file(directory):
    checkpoint(directory, manifest())
    (directory / "manifest.jsonl").unlink()
    (directory / "manifest.jsonl").mkdir()


def sparse(directory):
    checkpoint(directory, manifest())
    os.truncate(directory / "arrays.safetensors", BOMB)


def sparse_with_a_header(directory):
    """1 TiB that costs its maker nothing, and whose header claims all of it."""
    huge = {"a": {"dtype": "U8", "shape": [BOMB], "data_offsets": [0, BOMB]}}
    checkpoint(directory, manifest(data=container(huge, b"")))
    with open(directory / "arrays.safetensors", "r+b") as file:
        file.truncate(os.path.getsize(directory / "arrays.safetensors") + BOMB)


def missing_arrays(directory):
    checkpoint(directory, manifest())
    (directory / "arrays.safetensors").unlink()


PLACES = [linked_arrays, linked_manifest, link_to_a_device, pipe, directory_for_a_file, sparse, sparse_with_a_header,
          missing_arrays]  # fmt: skip
