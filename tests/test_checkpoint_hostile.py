# SPDX-License-Identifier: BSD-3-Clause
"""Altered and hostile checkpoints: refused, all of them, at once, in bounded memory, with nothing run and nothing else opened."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import brazen as bz
import hostile
import numpy as np
import pytest
from brazen import checkpoint

# Of refusing one file: as many lists as JSON may hold, parsed and taken over; beside a few copies of the text.
MOST_MEMORY = 40 << 20
MOST_SECONDS = 1.0

WATCH = """
import json, os, sys, time, tracemalloc, warnings
import ml_dtypes
import brazen as bz
from brazen import checkpoint

events, watching = [], False

def hook(event, arguments):
    if watching and not event.startswith(("object.", "code.", "sys._", "os.listdir")):
        if event == "open" and type(arguments[0]) is str:
            event = f"open {os.path.basename(arguments[0])}"
        events.append(event)

def attempt(load, path):
    global watching
    watching = True
    try:
        return load(path)
    except (checkpoint.CheckpointError, MemoryError) as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        watching = False

sys.addaudithook(hook)
for kind, path in json.load(sys.stdin):
    load = {"file": bz.load, "directory": checkpoint.read, "newest": checkpoint.newest}[kind]
    warnings.simplefilter("ignore")
    events.clear()
    start = time.perf_counter()
    outcome = attempt(load, path)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    attempt(load, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(json.dumps([outcome if outcome is None or type(outcome) is str else "loaded", seconds, peak, sorted(set(events))]))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """What loading did with each of the corpus, in a process whose every event of the interpreter is recorded."""
    pytest.importorskip("ml_dtypes", reason="its import on first use would be among the events")
    place = tmp_path_factory.mktemp("hostile")
    cases = []
    for number, (name, data) in enumerate(hostile.FILES.items()):
        (place / f"file-{number}").write_bytes(data)
        cases.append((f"file: {name}", "file", place / f"file-{number}", len(data)))
    for number, (name, made) in enumerate(hostile.MANIFESTS.items()):
        path = hostile.checkpoint(place / f"directory-{number}", made)
        cases.append((f"directory: {name}", "directory", path, sum(map(len, made))))
    for make in hostile.PLACES:
        (place / make.__name__).mkdir()
        path = place / make.__name__ / "step-00000001"
        make(path)
        cases += [
            (f"place: {make.__name__}", "directory", path, 0),
            (f"newest: {make.__name__}", "newest", path.parent, 0),
        ]
    given = json.dumps([(kind, str(path)) for _, kind, path, _ in cases])
    done = subprocess.run([sys.executable, "-c", WATCH], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place)
    results = map(json.loads, done.stdout.splitlines())
    return {name: (*result, size) for (name, _, _, size), result in zip(cases, results, strict=True)}


NAMES = [
    *(f"file: {name}" for name in hostile.FILES),
    *(f"directory: {name}" for name in hostile.MANIFESTS),
    *(f"{kind}: {make.__name__}" for make in hostile.PLACES for kind in ("place", "newest")),
]
ALLOWED = {"open manifest.jsonl", "open arrays.safetensors", "open step-00000001"}


def test_the_corpus_is_large():
    assert len(hostile.FILES) >= 40 and len(hostile.MANIFESTS) >= 40


@pytest.mark.parametrize("name", NAMES)
def test_refused(refusals, name):
    outcome, seconds, peak, events, size = refusals[name]
    assert outcome is None if name.startswith("newest") else outcome.startswith("CheckpointError")
    assert seconds < MOST_SECONDS
    assert peak <= 4 * size + MOST_MEMORY
    kind, _, _ = name.partition(":")
    opened = {event for event in events if event.startswith("open file-" if kind == "file" else "open directory-")}
    assert set(events) - opened <= ALLOWED and len(opened) <= 1, "anything else ran or was opened"


def test_the_makers_of_the_corpus_can_make_a_good_one(tmp_path):
    """Otherwise everything would be refused for a fault in the maker."""
    path = hostile.checkpoint(tmp_path / "step-00000001", hostile.manifest())
    assert checkpoint.newest(tmp_path) == str(path) and checkpoint.read(path)["a"].shape == (2, 2)
    (tmp_path / "file").write_bytes(hostile.container(hostile.GOOD))
    assert bz.load(tmp_path / "file")["a"].shape == (2, 2)
    (tmp_path / "file").write_bytes(hostile.sealed(hostile.GOOD))
    assert bz.load(tmp_path / "file")["a"].shape == (2, 2)


@pytest.fixture
def in_memory():
    """A directory in memory where there is one: thousands of files are written."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as made:
        yield pathlib.Path(made)


SMALL = {
    "model": {"weight": np.arange(100, dtype="float32").reshape(10, 10).T, "bias": np.zeros(10, "float16")},
    "optimizer": {"step": 120, "m": np.full(60, 0.5), "lr": 1e-3, "best": float("inf")},
    "history": {"loss": [2.3, 1.9, 1.2], "lr": [0.001] * 3},
}


def every_change(files, load, values):
    """How many changed bytes of these files go unnoticed by `load`, of how many."""
    missed = tried = 0
    for path in files:
        original = path.read_bytes()
        with open(path, "r+b", buffering=0) as file:
            for place, byte in enumerate(original):
                for value in values(byte):
                    file.seek(place)
                    file.write(bytes([value]))
                    try:
                        load()
                        missed += 1
                    except checkpoint.CheckpointError:
                        pass
                    tried += 1
                file.seek(place)
                file.write(bytes([byte]))
    load()
    return missed, tried


def one_bit(byte):
    return [byte ^ 1 << bit for bit in range(8)]


def other_values(byte):
    return [value for value in range(256) if value != byte]


@pytest.mark.parametrize("values", [one_bit, pytest.param(other_values, marks=pytest.mark.release)])
def test_every_changed_byte_of_a_checkpoint_is_refused(in_memory, values):
    path = checkpoint.write(in_memory, 120, SMALL)
    files = sorted((in_memory / "step-00000120").iterdir())
    assert 1500 < sum(file.stat().st_size for file in files) < 3000
    missed, tried = every_change(files, lambda: checkpoint.read(path), values)
    assert not missed and tried > 10_000


@pytest.mark.parametrize("values", [one_bit, pytest.param(other_values, marks=pytest.mark.release)])
def test_every_changed_byte_of_a_file_of_weights_is_refused(in_memory, values):
    path = in_memory / "weights.safetensors"
    bz.save(path, SMALL["model"])
    missed, tried = every_change([path], lambda: bz.load(path), values)
    assert not missed and tried > 5_000


def test_newest_refuses_what_read_refuses(tmp_path):
    checkpoint.write(tmp_path, 120, SMALL)
    files = sorted((tmp_path / "step-00000120").iterdir())

    def load():
        with pytest.warns(RuntimeWarning) if changed else pytest.MonkeyPatch.context():
            if checkpoint.newest(tmp_path) is None:
                raise checkpoint.CheckpointError

    changed = True
    for file in files:
        original = file.read_bytes()
        for place in range(0, len(original), 7):
            file.write_bytes(original[:place] + bytes([original[place] ^ 4]) + original[place + 1 :])
            with pytest.raises(checkpoint.CheckpointError):
                load()
        file.write_bytes(original)
    changed = False
    load()


def test_every_truncation_and_extension_is_refused(tmp_path):
    path = checkpoint.write(tmp_path, 120, SMALL)
    for file in (tmp_path / "step-00000120").iterdir():
        original = file.read_bytes()
        for end in (len(original) + 1, *reversed(range(len(original)))):
            os.truncate(file, end)
            try:
                checkpoint.read(path)
            except checkpoint.CheckpointError as error:
                assert "is no intact checkpoint: " in str(error)
            else:
                pytest.fail(f"{file.name} of {end} instead of {len(original)} bytes was read")
        file.write_bytes(original)
    checkpoint.read(path)


PIECES = [b"0", b"-1", b"1e999", b"9" * 30, b"null", b"true", b"[]", b"{}", b'"', b"\\", b"\\ud800", b"\xff", b"$array", b"$floats", b",",
          b":", b"[[", b"NaN", b"F64", b"BF16", b"shape", b"a", b"\0", b" ", b'{"$float":"nan"}', b"18446744073709551616"]  # fmt: skip


def altered(text, chance):
    """The text with some bytes changed, left out, doubled, or replaced by something a parser may trip over."""
    made = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(made))
        stop = min(len(made), start + chance.choice((0, 1, 1, 2, 8)))
        made[start:stop] = chance.choice((bytes([chance.randrange(256)]), chance.choice(PIECES), made[start:stop] * 2))
    return bytes(made)


@pytest.mark.parametrize("count", [3_000, pytest.param(100_000, marks=pytest.mark.release)])
def test_random_alterations_with_their_digests_put_right(in_memory, count):
    """Whatever stands there: a state, or CheckpointError, and no other exception."""
    tmp_path = in_memory
    chance, outcomes = random.Random(count), {"read": 0, "refused": 0}
    state = {"a": np.ones((2, 3)), "b": {"$c": [1.5, None, True, 2**70], "d": [0.5] * 64, "e": float("inf")}}
    path = tmp_path / "step-00000001"
    checkpoint.write(tmp_path, 1, state)
    first = (path / "manifest.jsonl").read_bytes().splitlines(keepends=True)[0]
    data = (path / "arrays.safetensors").read_bytes()
    stated = data[data.find(b'sha256":"') + 9 :][:64]
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length].replace(stated, hostile.ZEROS.encode()), data[8 + length :]
    for number in range(count):
        made, line = header, first
        if number % 2:
            made = altered(header.rstrip(), chance)
        else:
            line = altered(first[:-1], chance).replace(b"\n", b"") + b"\n"
        blank = len(made).to_bytes(8, "little") + made + rest
        digest = hostile.digest_of(blank).encode()
        (path / "arrays.safetensors").write_bytes(blank.replace(hostile.ZEROS.encode(), digest, 1))
        (path / "manifest.jsonl").write_bytes(hostile.signed(line.replace(stated, digest)))
        for load in (lambda: checkpoint.read(path), lambda: bz.load(path / "arrays.safetensors")):
            try:
                load()
                outcomes["read"] += 1
            except checkpoint.CheckpointError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > count // 100, "either only nonsense was made, or nothing was changed"
