# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints of a state in a directory: what is written is read again, the newest is found, the oldest go."""

import errno
import math
import os
import pathlib
import warnings

import numpy as np
import pytest
from brazen import checkpoint

VALUES = {
    "integers": [0, -1, 2**63, 10**999],
    "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf],
    "texts": ["", 'ü\ud800\0"\\', "$array"],
    "others": [True, False, None, [], {}, (), [[]]],
    "$array": "no reference",
    "$$": {"$float": 1},
    "a/b~c": {"": {"": 1}},
}


@pytest.mark.parametrize("place", VALUES)
def test_plain_values_come_back(tmp_path, place):
    read = checkpoint.read(checkpoint.write(tmp_path, 1, {place: VALUES[place]}))
    assert repr(read) == repr({place: VALUES[place]}).replace("()", "[]")


def test_nan_and_long_lists_come_back(tmp_path):
    state = {
        "nan": [math.nan],
        "floats": [math.nan, -0.0, math.inf, *(index / 7 for index in range(1000))],
        "integers": list(range(-500, 500)),
        "large": [2**64] * 100,
        "mixed": [1, 1.0] * 100,
        "truths": [True] * 100,
    }
    read = checkpoint.read(checkpoint.write(tmp_path, 1, state))
    assert repr(read) == repr(state)


def test_numbers_of_numpy_become_pythons(tmp_path):
    state = {"half": np.float16(0.1), "single": np.float32(0.1), "long": np.int64(-3), "truth": np.bool_(True)}
    read = checkpoint.read(checkpoint.write(tmp_path, 0, state))
    assert read == {"half": float(np.float16(0.1)), "single": float(np.float32(0.1)), "long": -3, "truth": True}
    assert [type(value) for value in read.values()] == [float, float, int, bool]


def test_arrays_come_back_in_their_place(tmp_path):
    generator = np.random.default_rng(0)
    state = {
        "model": {"dense/1.weight": generator.normal(size=(4, 3)).T[:, ::-2], "bias": np.zeros((0, 3), "float16")},
        "optimizer": [{"m": np.array(2.5)}, generator.integers(0, 2, 7).astype(bool)],
    }
    read = checkpoint.read(checkpoint.write(tmp_path, 1, state))
    assert list(read) == ["model", "optimizer"] and list(read["model"]) == ["dense/1.weight", "bias"]
    for given, got in [
        *((state["model"][key], read["model"][key]) for key in read["model"]),
        (state["optimizer"][0]["m"], read["optimizer"][0]["m"]),
        (state["optimizer"][1], read["optimizer"][1]),
    ]:
        assert got.dtype == given.dtype and got.shape == given.shape and np.array_equal(given, got)
        assert got.flags.writeable and got.flags.c_contiguous


@pytest.mark.parametrize(
    "state, error",
    [
        ([1], "state is list; expected a dict"),
        ({"a": {1: 2}}, "state at a has the key 1; expected a str"),
        ({"a": [object()]}, "state at a/0 is object; expected an array"),
        ({"a": {1, 2}}, "state at a is set; expected"),
        ({"a": b"x"}, "state at a is bytes; expected"),
        ({"a": 1 + 2j}, "state at a is complex; expected"),
        ({"a": 10**1000}, "state at a has more than 1000 digits"),
        ({"a": np.zeros(2, complex)}, "a has dtype complex128; expected one of"),
        ({"a": np.array([None])}, "a has dtype object; expected one of"),
        ({"a": np.zeros(2, "i4,f4")}, "a has dtype .*; expected one of"),
        ({"__metadata__": np.zeros(2)}, "the name __metadata__ is the format's own"),
        ({"a": "x" * (9 << 20)}, "state is too large to be written: .* bytes of JSON, at most"),
        ({"a": [[]] * 300_000}, "state is too large to be written: JSON has more than"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path, state, error):
    with pytest.raises((TypeError, ValueError), match=error):
        checkpoint.write(tmp_path / "runs", 1, state)
    assert not (tmp_path / "runs").exists()


def test_a_state_inside_itself_is_refused(tmp_path):
    state = {}
    state["again"] = state
    with pytest.raises(ValueError, match="nested more than 64 deep at again/again"):
        checkpoint.write(tmp_path, 1, state)


def test_the_last_are_kept(tmp_path):
    for step in range(10):
        path = checkpoint.write(tmp_path / "deep" / "runs", step, {"step": step}, keep=2)
        assert path == str(tmp_path / "deep" / "runs" / f"step-{step:08d}")
    assert sorted(os.listdir(tmp_path / "deep" / "runs")) == ["step-00000008", "step-00000009"]
    checkpoint.write(tmp_path / "deep" / "runs", 10, {}, keep=None)
    assert len(os.listdir(tmp_path / "deep" / "runs")) == 3


def test_an_earlier_step_removes_no_later_one(tmp_path):
    for step in (10, 20, 30, 5):
        checkpoint.write(tmp_path, step, {"step": step}, keep=1 if step == 5 else None)
    assert sorted(os.listdir(tmp_path)) == ["step-00000005", "step-00000010", "step-00000020", "step-00000030"]
    checkpoint.write(tmp_path, 15, {}, keep=1)
    assert sorted(os.listdir(tmp_path)) == ["step-00000015", "step-00000020", "step-00000030"]


def test_a_step_written_again_replaces_the_first(tmp_path):
    for value in (1, 2):
        path = checkpoint.write(tmp_path, 7, {"value": value})
    assert checkpoint.read(path) == {"value": 2} and os.listdir(tmp_path) == ["step-00000007"]


def test_steps_beyond_eight_digits_are_in_order(tmp_path):
    for step in (123_456_789, 99_999_999):
        checkpoint.write(tmp_path, step, {"step": step})
    assert checkpoint.read(checkpoint.newest(tmp_path)) == {"step": 123_456_789}


@pytest.mark.parametrize("arguments, error", [({"keep": 0}, "keep is 0"), ({"step": -1}, "step is -1")])
def test_wrong_arguments(tmp_path, arguments, error):
    with pytest.raises(ValueError, match=error):
        checkpoint.write(tmp_path, **{"step": 1, "state": {}, **arguments})
    with pytest.raises(TypeError):
        checkpoint.write(tmp_path, 1.5, {})


def test_newest_passes_over_what_is_broken_and_says_so(tmp_path):
    assert checkpoint.newest(tmp_path / "nowhere") is None and checkpoint.newest(tmp_path) is None
    paths = [pathlib.Path(checkpoint.write(tmp_path, step, {"a": np.arange(9)})) for step in (1, 2, 3, 4)]
    (tmp_path / "step-00000009").symlink_to(paths[0])
    (paths[3] / "manifest.jsonl").unlink()
    data = bytearray((paths[2] / "arrays.safetensors").read_bytes())
    data[-1] ^= 1
    (paths[2] / "arrays.safetensors").write_bytes(data)
    with pytest.warns(RuntimeWarning) as caught:
        assert checkpoint.newest(tmp_path) == str(paths[1])
    said = [str(warning.message) for warning in caught]
    assert [name in text for name, text in zip(("00009", "00004", "00003"), said)] == [True] * 3 and len(said) == 3
    assert "symbolic link" in said[0] and "manifest.jsonl" in said[1] and "SHA-256 differs" in said[2]


def test_a_renamed_checkpoint_is_readable_but_not_newest(tmp_path):
    """A directory's name is no part of what it holds; a name that contradicts it is."""
    path = pathlib.Path(checkpoint.write(tmp_path, 1, {"a": 1}))
    path.rename(tmp_path / "best")
    assert checkpoint.read(tmp_path / "best") == {"a": 1} and checkpoint.newest(tmp_path) is None
    (tmp_path / "best").rename(tmp_path / "step-00000002")
    with pytest.warns(RuntimeWarning, match="written as another step"):
        assert checkpoint.newest(tmp_path) is None


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        checkpoint.read(tmp_path / "nowhere")
    with pytest.raises(checkpoint.CheckpointError, match="manifest.jsonl cannot be read"):
        checkpoint.read(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(checkpoint.CheckpointError, match="no directory"):
        checkpoint.read(tmp_path / "file")


def test_litter_of_an_interrupted_writer_goes_with_the_next_write(tmp_path):
    (tmp_path / ".step-00000003.new-0123abcd").mkdir()
    (tmp_path / ".step-00000003.new-0123abcd" / "arrays.safetensors").write_bytes(b"half")
    (tmp_path / ".step-00000001.old-0123abcd").mkdir()
    (tmp_path / "notes.txt").write_text("the user's own")
    checkpoint.write(tmp_path, 2, {"value": 1})
    (tmp_path / "step-00000002").rename(tmp_path / "step-00000002.again")
    checkpoint.write(tmp_path, 2, {"value": 0})
    (tmp_path / "step-00000002").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / "step-00000002.again")
    assert checkpoint.read(checkpoint.newest(tmp_path)) == {"value": 0}
    checkpoint.write(tmp_path, 3, {})
    assert sorted(os.listdir(tmp_path)) == ["notes.txt", "step-00000002", "step-00000003"]


@pytest.mark.parametrize("background", [True, False])
def test_writer(tmp_path, background):
    weights = np.zeros(100_000)
    history = []
    with checkpoint.Writer(tmp_path, keep=2, background=background) as writer:
        assert writer.wait() is None
        for step in range(5):
            weights[...] = step
            history.append(step)
            writer.write(step, {"weights": weights, "history": history})
            weights[...] = -1  # the writer has its own copy
            history[-1] = step * step
        assert writer.wait() == str(tmp_path / "step-00000004")
    assert sorted(os.listdir(tmp_path)) == ["step-00000003", "step-00000004"]
    read = checkpoint.read(checkpoint.newest(tmp_path))
    assert (read["weights"] == 4).all() and read["history"] == [0, 1, 4, 9, 4]
    with pytest.raises(RuntimeError, match="closed"):
        writer.write(9, {})


def test_arrays_of_another_size_and_layout_in_the_same_buffer(tmp_path):
    with checkpoint.Writer(tmp_path) as writer:
        for step, size in enumerate((10, 1000, 3)):
            state = {
                "a": np.arange(size * 3.0).reshape(3, size).T,
                "b": np.arange(size, dtype="int8"),
                "c": np.float32(1),
            }
            writer.write(step, state)
            writer.wait()
            read = checkpoint.read(writer.path)
            assert (read["a"] == state["a"]).all() and (read["b"] == state["b"]).all()


def test_what_goes_wrong_in_the_thread_comes_with_the_next_call(tmp_path):
    writer = checkpoint.Writer(tmp_path / "runs" / "first")
    writer.hold()
    (tmp_path / "runs" / "first").rmdir()
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("in the way")
    writer.write(1, {})
    with pytest.raises(NotADirectoryError):
        writer.write(2, {})
    writer.write(3, {})
    with pytest.raises(NotADirectoryError):
        writer.wait()
    writer.write(4, {})
    with pytest.raises(NotADirectoryError):
        writer.close()
    writer.close()


def test_one_writer_at_a_time(tmp_path, run_python):
    """Until it is closed, or its process ends, however it does; and it leaves no file."""
    with checkpoint.Writer(tmp_path) as writer:
        writer.write(1, {})
        for second in (checkpoint.Writer(tmp_path).hold, lambda: checkpoint.write(tmp_path, 2, {})):
            with pytest.raises(
                checkpoint.DirectoryInUse, match="another writer holds this directory.*" + tmp_path.name
            ):
                second()
        said = run_python(f"""
from brazen import checkpoint
try:
    checkpoint.write({str(tmp_path)!r}, 2, {{}})
except checkpoint.DirectoryInUse as error:
    print(error.filename)
""")
        assert said == str(tmp_path)
        assert checkpoint.read(checkpoint.newest(tmp_path)) == {}, "reading needs nobody's leave"
    assert os.listdir(tmp_path) == ["step-00000001"]
    run_python(
        f"""
import os, signal
from brazen import checkpoint
checkpoint.Writer({str(tmp_path)!r}).hold()
os.kill(os.getpid(), signal.SIGKILL)
""",
        check=False,
    )
    checkpoint.write(tmp_path, 2, {})


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """NFS has none for directories: the writer works without."""

    def refuse(*_):
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)
    with checkpoint.Writer(tmp_path) as writer:
        writer.write(1, {})
    assert os.listdir(tmp_path) == ["step-00000001"]
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.write(tmp_path, 2, {})


def test_an_interpreter_that_ends_waits_for_the_checkpoint(tmp_path, run_python):
    run_python(f"""
import numpy as np
from brazen import checkpoint
checkpoint.Writer({str(tmp_path)!r}).write(1, {{"a": np.zeros(3_000_000)}})
""")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.newest(tmp_path)
