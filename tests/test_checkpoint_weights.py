# SPDX-License-Identifier: BSD-3-Clause
"""Weights alone in a file: any layout and dtype, nested or not, and to and from the safetensors package."""

import importlib.util
import json
import os

import brazen as bz
import numpy as np
import pytest
from brazen import checkpoint
from brazen.checkpoint import container

DTYPES = [name.removeprefix(".") for name in container.NAMES.values()]


def dtype_of(name):
    if name in ("bfloat16", *(name for name in DTYPES if name.startswith("float8"))):
        return np.dtype(getattr(pytest.importorskip("ml_dtypes", reason=f"{name} is ml_dtypes'"), name))
    return np.dtype(name)


def sample(name, shape):
    """Every byte there is, among them NaN of all kinds; truths are 0 or 1."""
    dtype = dtype_of(name)
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    made = np.random.default_rng(0).integers(0, 2 if name == "bool" else 256, size, "uint8")
    return made.view(dtype).reshape(shape)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.T,
    "every other": lambda x: x[::2],
    "backwards": lambda x: x[::-1, ::-1],
    "one column": lambda x: x[:, 3],
    "broadcast": lambda x: np.broadcast_to(x[0], (5, x.shape[1])),
    "no elements": lambda x: x[:0],
    "no axes": lambda x: x[0, 0, ...],
    "eight axes": lambda x: x.reshape(1, 2, 1, 3, 1, 1, 8, 1),
    "Fortran's": np.asfortranarray,
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), "uint8")[1:].view(x.dtype).reshape(x.shape),
    "read-only": lambda x: np.frombuffer(x.tobytes(), "uint8").view(x.dtype).reshape(x.shape),
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts(path, dtype):
    x = sample(dtype, (6, 8))
    weights = {name: layout(x) for name, layout in LAYOUTS.items()}
    bz.save(path, weights)
    loaded = bz.load(path)
    assert list(loaded) == list(weights)
    for name, array in weights.items():
        got = loaded[name]
        assert got.dtype == array.dtype and got.shape == array.shape and got.tobytes() == array.tobytes(), name
        assert got.flags.writeable and got.flags.c_contiguous and got.flags.aligned, name


def test_other_byte_order_is_put_right(path):
    x = np.arange(5, dtype=">f8")
    bz.save(path, {"x": x})
    assert (bz.load(path)["x"] == x).all() and bz.load(path)["x"].dtype.isnative


def test_many_dtypes_in_one_file_are_aligned(path):
    weights = {name: sample(name, (3,)) for name in DTYPES}
    bz.save(path, weights)
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    start = len(raw) - max(entry["data_offsets"][1] for name, entry in header.items() if name in weights)
    assert start % 64 == 0
    for name, array in weights.items():
        begin, end = header[name]["data_offsets"]
        assert begin % array.dtype.itemsize == 0 and raw[start + begin : start + end] == array.tobytes()


def test_nested_names(path):
    tree = {"encoder": {"0": {"w/x": np.ones(2), "~": np.zeros(1)}}, "a/b": np.arange(3), "": {"": np.array(1)}}
    bz.save(path, tree)
    loaded = bz.load(path)
    assert list(loaded) == ["encoder", "a/b", ""] and list(loaded["encoder"]["0"]) == ["w/x", "~"]
    assert (loaded["a/b"] == [0, 1, 2]).all() and loaded[""][""] == 1


def test_flat_names_are_the_names_in_the_file(path):
    names = ["dense.weight", "a/b", "~0", "", "ü", 'quote"\\', "brazen.sha256"]
    bz.save(path, {name: np.full(1, index) for index, name in enumerate(names)})
    assert list(bz.load(path)) == names


def test_nothing_at_all(path):
    bz.save(path, {})
    assert bz.load(path) == {}


def test_a_network_out_and_in(path):
    def made(seed):
        layers = [bz.nn.Dense(4), bz.nn.BatchNorm(), bz.nn.Activation("relu"), bz.nn.Dense(2)]
        return bz.nn.Sequential(layers).build(input_shape=(3,), seed=seed)

    one, other, x = made(0), made(1), np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    bz.save(path, one.state())
    other.load_state(bz.load(path))
    assert (other.predict(x) == one.predict(x)).all()


@pytest.mark.parametrize(
    "weights, error",
    [
        ([np.ones(1)], "weights is list; expected a dict of arrays"),
        ({"a": [1.0]}, "weights at a is list; expected an array"),
        ({"a": {"b": 1.0}}, "weights at a/b is float; expected an array"),
        ({"a": {}}, "weights at a is an empty dict"),
        ({1: np.ones(1)}, "weights has the key 1; expected a str"),
        ({"a": np.ones(1, "complex128")}, "a has dtype complex128; expected one of bool, uint8"),
        ({"a": np.array(["x"])}, "a has dtype <U1; expected one of"),
        ({"__metadata__": np.ones(1)}, "the name __metadata__ is the format's own"),
    ],
)
def test_what_cannot_be_saved(path, weights, error):
    with pytest.raises((TypeError, ValueError), match=error):
        bz.save(path, weights)
    assert not os.listdir(path.parent)


def test_a_failing_save_leaves_the_file_before(path, monkeypatch):
    bz.save(path, {"a": np.ones(1)})

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left on device: '.*weights"):
        patched.setattr(os, "fsync", full)
        bz.save(path, {"a": np.zeros(1)})
    assert os.listdir(path.parent) == [path.name] and bz.load(path)["a"] == 1
    (path.parent / f".{path.name}.new-0123abcd").write_bytes(b"of a process that was killed")
    bz.save(path, {"a": np.zeros(1)})
    assert os.listdir(path.parent) == [path.name] and bz.load(path)["a"] == 0


def test_where_there_is_nothing_to_load_or_to_save_in(path):
    with pytest.raises(FileNotFoundError):
        bz.load(path)
    with pytest.raises(FileNotFoundError):
        bz.save(path / "nowhere", {"a": np.ones(1)})
    path.write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(checkpoint.CheckpointError, match="weights.safetensors holds no intact arrays: "):
        bz.load(path)


def test_a_link_to_a_file_is_followed_by_whoever_named_it(path):
    """As the caches of model hubs have them; the file that is written is the one behind the link."""
    path.symlink_to(path.parent / "behind")
    bz.save(path, {"a": np.ones(1)})
    assert path.is_symlink() and bz.load(path)["a"] == 1


@pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed: pip install 'brazen[peers]'")  # fmt: skip
class TestSafetensorsPackage:
    # What its NumPy side can load: it writes bfloat16, but knows no name for it on the way back.
    DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32",
              "float64", "complex64")  # fmt: skip

    def test_opens_ours(self, path):
        from safetensors.numpy import load_file

        x = {name: sample(name, (6, 8)) for name in self.DTYPES}
        weights = {f"{name} {layout}": made(x[name]) for name in x for layout, made in LAYOUTS.items()}
        bz.save(path, weights)
        loaded = load_file(path)
        assert set(loaded) == set(weights)
        for name, array in weights.items():
            assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
            assert loaded[name].tobytes() == array.tobytes()

    def test_ours_opens_theirs(self, path):
        from safetensors.numpy import save_file

        weights = {name: sample(name, (6, 8)) for name in self.DTYPES}
        if importlib.util.find_spec("ml_dtypes"):
            weights["bfloat16"] = sample("bfloat16", (6, 8))
        save_file(weights, path, metadata={"format": "np", "note": '{"sha256": "not ours"}'})
        loaded = bz.load(path)
        assert set(loaded) == set(weights)
        for name, array in weights.items():
            assert loaded[name].dtype == array.dtype and loaded[name].tobytes() == array.tobytes()

    def test_metadata_are_theirs_too(self, path):
        from safetensors import safe_open

        bz.save(path, {"a": {"b": np.ones(1)}})
        with safe_open(path, "numpy") as opened:
            assert set(opened.metadata()) == {"brazen.format", "brazen.sha256", "brazen.nested"}

    def test_sixteen_bits_in_pytorch(self, path, torch):
        from safetensors.torch import load_file, save_file

        x = sample("bfloat16", (6, 8))
        bz.save(path, {"x": x, "y": sample("float8_e4m3fn", (6, 8))})
        loaded = load_file(path)
        assert loaded["x"].dtype == torch.bfloat16 and loaded["y"].dtype == torch.float8_e4m3fn
        assert loaded["x"].view(torch.uint8).numpy().tobytes() == x.tobytes()
        save_file(loaded, path)
        assert bz.load(path)["x"].tobytes() == x.tobytes()


class TestCupy:
    @pytest.fixture
    def cupy(self, monkeypatch):
        """CuPy, or its stand-in where there is no device."""
        import sys

        if importlib.util.find_spec("cupy"):
            import cupy

            if cupy.is_available():
                return cupy
        monkeypatch.syspath_prepend(os.path.join(os.path.dirname(__file__), "standin"))
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
            monkeypatch.delitem(sys.modules, name)
        import cupy

        yield cupy
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
            del sys.modules[name]

    def test_arrays_of_a_device(self, path, cupy):
        host = np.arange(48, dtype="float32").reshape(6, 8)
        device = cupy.asarray(host)
        bz.save(path, {"a": device, "t": device.transpose(1, 0), "c": device[:, 3], "0": device[:0]})
        loaded = bz.load(path)
        assert all(type(array) is np.ndarray for array in loaded.values())
        assert (loaded["a"] == host).all() and (loaded["t"] == host.T).all() and (loaded["c"] == host[:, 3]).all()
        back = bz.load(path, xp=cupy)
        assert all(isinstance(array, cupy.ndarray) for array in back.values()) and (back["t"].get() == host.T).all()

    def test_checkpoints_of_a_device(self, tmp_path, cupy):
        host = np.arange(48, dtype="float64").reshape(6, 8)
        device = cupy.asarray(host)
        with checkpoint.Writer(tmp_path) as writer:
            writer.write(1, {"weights": [device, device.transpose(1, 0)]})
            device[...] = 0
        first, second = checkpoint.read(writer.path)["weights"]
        assert (first == host).all() and (second == host.T).all()
