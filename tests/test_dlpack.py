# SPDX-License-Identifier: BSD-3-Clause
"""DLPack producers: PyTorch tensors, JAX arrays, and one made by hand: same storage in, the producer's kind out.

It catches lost strides or offsets, a hidden copy, a leaked or twice freed capsule, a write to a read-only or immutable
array, and bfloat16 mistaken for something else.
"""

import ctypes
import gc
import importlib.util

import brazen as bz
import numpy as np
import op_table
import pytest
import samples
from tolerance import same_bits

TORCH_DTYPES = ("float16", "bfloat16", "float32", "float64")


def _tensor(torch, array):
    """A tensor with the array's bits; PyTorch reads no bfloat16 from NumPy."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.ascontiguousarray(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.ascontiguousarray(array))


def _array(torch, tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(samples.DTYPES["bfloat16"])
    return tensor.numpy()


@pytest.mark.parametrize("case, dtype", op_table.each(dtypes=TORCH_DTYPES))
def test_torch(case, dtype, torch):
    arrays = [samples.ordinary(s, dtype, k) for k, s in enumerate(case.shapes((5, 6, 4)))]
    tensors = [_tensor(torch, a) for a in arrays]
    expected = case.results(*arrays)
    for change in (
        lambda t: t,
        lambda t: t.repeat_interleave(2, 0)[::2],
        lambda t: t.movedim(-1, 0).contiguous().movedim(0, -1),
    ):
        for result, wanted in zip(case.results(*map(change, tensors)), expected):
            assert isinstance(result, torch.Tensor) and result.dtype == tensors[0].dtype and result.device.type == "cpu"
            wrong = same_bits(_array(torch, result), wanted)
            assert not wrong, wrong
    out = torch.empty_like(_tensor(torch, expected[0]))
    assert case.results(*tensors, out=out)[0] is out
    wrong = same_bits(_array(torch, out), expected[0])
    assert not wrong, wrong


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_torch_shares_storage_and_keeps_strides(dtype, torch):
    base = torch.arange(-60, 60).reshape(4, 5, 6).to(getattr(torch, dtype))
    for view in (base, base.permute(2, 0, 1), base[:, 1:4, ::2], base[1:], base.flip(0)):
        y = bz.relu(view)
        assert torch.equal(y, torch.relu(view)) and (y.stride() == view.stride() or not view.is_contiguous())
    permuted = base.permute(2, 0, 1)
    assert bz.relu(permuted).stride() == permuted.stride()
    twin, view = base.clone(), base[:, 1:4, ::2]
    assert bz.relu(view, out=view) is view  # in place, into the same storage
    twin[:, 1:4, ::2] = torch.relu(twin[:, 1:4, ::2])
    assert torch.equal(base, twin)


def test_torch_tensors_that_require_grad(torch):
    x = torch.ones(3, requires_grad=True)
    with pytest.raises((TypeError, ValueError), match=r"relu: x .*detach\(\)"):
        bz.relu(x)
    with pytest.raises((TypeError, ValueError), match=r"relu: dy .*detach\(\)"):
        bz.relu.backward(x, torch.ones(3))
    assert torch.equal(bz.relu(x.detach()), torch.ones(3))


def test_torch_dtypes_devices_and_kinds(torch):
    fix = r"expected one of float16, .*: x\.to\(dtype=torch\.float32\) converts"
    for dtype in ("int32", "bool", "complex64", "int8", "float8_e4m3fn", "float8_e5m2"):
        if hasattr(torch, dtype):
            with pytest.raises(TypeError, match=rf"relu: x has dtype (torch\.)?{dtype}; {fix}"):
                bz.relu(torch.zeros(3).to(getattr(torch, dtype)))
    with pytest.raises(TypeError, match="relu: x cannot be exported .* the device meta"):
        bz.relu(torch.zeros(3, device="meta"))
    with pytest.raises(TypeError, match=r"relu: x cannot be exported .*; pass x\.to_dense\(\)"):
        bz.relu(torch.zeros(3).to_sparse())
    with pytest.raises(TypeError, match=r"relu: x cannot be exported .* dense tensor of real numbers"):
        bz.relu(torch.zeros(3, dtype=torch.complex64).conj())


def test_mixed_libraries(torch):
    x, t = np.ones(3, "float32"), torch.ones(3)
    for call in (
        lambda: bz.relu.backward(t, x),
        lambda: bz.relu.backward(x, t),
        lambda: bz.relu(x, out=t),
        lambda: bz.relu(t, out=x),
        lambda: bz.prelu(t, x),
    ):
        with pytest.raises(TypeError, match="pass arrays of one library"):
            call()


def test_torch_broadcast_and_empty(torch):
    assert torch.equal(bz.relu(torch.ones(1).expand(4, 5)), torch.ones(4, 5))
    with pytest.raises(ValueError, match="share memory"):
        bz.relu(torch.ones(4, 5), out=torch.ones(1).expand(4, 5))
    assert bz.relu(torch.ones(0, 3)).shape == (0, 3) and bz.relu(torch.tensor(-1.0)) == 0


@pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed: pip install 'brazen[jax]' brings it"
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_jax(dtype):
    import jax.numpy as jnp

    x = samples.ordinary((4, 6), dtype)
    given = jnp.asarray(x)
    y = bz.gelu(given)
    assert type(y) is type(given)
    assert not same_bits(np.asarray(y), bz.gelu(x))
    with pytest.raises(TypeError, match="immutable"):
        bz.gelu(given, out=given)


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER)]


class _Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Producer:
    """A DLPack producer as small as the specification allows, backed by a NumPy array; its library is this module."""

    exported = 0

    def __init__(self, array, *, version=None, flags=0, no_strides=False, offset=0, **fields):
        self.array, self.version, self.flags = array, version, flags
        item = array.dtype.itemsize
        shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
        strides = (ctypes.c_int64 * max(1, array.ndim))(*(s // item for s in array.strides))
        code = {"f": 2, "i": 0, "u": 1, "c": 5, "V": 4, "b": 6}[array.dtype.kind]
        tensor = _Tensor(
            array.ctypes.data - offset,
            1,
            0,
            array.ndim,
            code,
            item * 8,
            1,
            shape,
            None if no_strides else strides,
            offset,
        )
        for name, value in fields.items():
            setattr(tensor, name, value)
        self.managed = (
            _Managed(tensor, None, _DELETER())
            if version is None
            else _Versioned(*version, None, _DELETER(), flags, tensor)
        )

    def __dlpack__(self, **keywords):
        if self.version is None and keywords:
            raise TypeError("an old producer knows no max_version")
        Producer.exported += 1
        name = b"dltensor" if self.version is None else b"dltensor_versioned"
        return _new_capsule(ctypes.addressof(self.managed), name, None)

    def __dlpack_device__(self):
        return (1, 0)

    @staticmethod
    def __array_namespace__():
        return _Namespace


class _Namespace:
    @staticmethod
    def from_dlpack(carrier):
        """Consumes the capsule as a library does, by way of NumPy (which cannot carry bfloat16)."""
        return Taken(np.from_dlpack(carrier))


class Taken:
    def __init__(self, array):
        self.array = array


FORMS = [{}, {"version": (1, 0)}, {"version": (1, 1), "flags": 1}, {"offset": 64}, {"version": (1, 0), "offset": 128}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_hand_made_producers(form, dtype):
    x = samples.ordinary((3, 5, 4), dtype)
    for array in (x, x.transpose(2, 0, 1), x[:, ::2], x[::-1], x[:0], x[0, 0, 0:1].reshape(())):
        for function in (bz.gelu, bz.linear, lambda a: bz.leaky_relu(a, 0.5)):
            y = function(Producer(array, **form))
            assert type(y) is Taken
            assert not same_bits(y.array, function(array))
    assert not same_bits(bz.gelu(Producer(np.ascontiguousarray(x), no_strides=True, **form)).array, bz.gelu(x))
    assert not same_bits(bz.swiglu(Producer(x, **form)).array, bz.swiglu(x))
    assert not same_bits(
        bz.gelu.backward(Producer(x, **form), Producer(x[::-1], **form)).array, bz.gelu.backward(x, x[::-1])
    )


def test_results_handed_over_live_and_die_alone():
    """brazen's own memory: alive while the result is, returned afterwards, whether or not anybody took it over."""
    import psutil

    x = Producer(np.ones(1 << 20, "float32"))
    y = bz.relu(x)
    address = y.array.ctypes.data
    assert address % 64 == 0
    kept = y.array[5:]
    del y
    gc.collect()
    assert (kept == 1).all()

    class Careless(Producer):
        @staticmethod
        def __array_namespace__():
            class Space:
                from_dlpack = staticmethod(lambda carrier: None)  # never consumes the capsule

            return Space

    process, repeats = psutil.Process(), 60
    for producer in (x, Careless(x.array)):
        for _ in range(10):
            bz.relu(producer)
        before = process.memory_info().rss
        for _ in range(repeats):
            bz.relu(producer)
        gc.collect()
        assert process.memory_info().rss - before < repeats * x.array.nbytes / 2, "the results' memory was not returned"


def test_read_only_and_foreign_outputs():
    x = np.ones(4, "float32")
    for out in (Producer(x.copy()), Producer(x.copy(), version=(1, 0), flags=1)):
        with pytest.raises(
            TypeError,
            match="relu: out is .*Producer, whose arrays are immutable or of unknown mutability; leave out away",
        ):
            bz.relu(Producer(x), out=out)


def test_mixed_devices():
    """The device is read from the capsule; nothing touches the memory before the check."""
    x = np.ones(4, "float32")
    host, device, other = Producer(x), Producer(x, device_type=2), Producer(x, device_type=2, device_id=3)
    for dy, given, words in (
        (host, device, "dy is on the CPU, x on CUDA device 0; move one of them"),
        (device, host, "dy is on CUDA device 0, x on the CPU; move one of them"),
        (other, device, "dy is on CUDA device 3, x on CUDA device 0; move one of them"),
    ):
        with pytest.raises(ValueError, match=f"relu: {words}"):
            bz.relu.backward(dy, given)
    with pytest.raises(ValueError, match="prelu: alpha is on CUDA device 0, x on the CPU"):
        bz.prelu(host, device)


def test_malformed_producers():
    x = np.ones(4, "float32")
    wrong = [
        (Producer(x, version=(2, 0)), "speaks DLPack 2; expected 1"),
        (Producer(x, device_type=7), "DLPack device type 7; expected the CPU or a CUDA device"),
        (Producer(x, lanes=4), "dtype float32"),
        (Producer(x, bits=8), "dtype float8"),
        (Producer(x.astype("complex64")), "dtype complex64"),
        (Producer(x, ndim=65), "65 dimensions"),
        (Producer(x, ndim=-1), "-1 dimensions"),
        (Producer(x, shape=(ctypes.c_int64 * 1)(-4)), "-4 entries along axis 0"),
        (Producer(x.astype("int32")), "dtype int32"),
    ]
    for producer, words in wrong:
        with pytest.raises((TypeError, ValueError), match=f"relu: x .*{words}"):
            bz.relu(producer)

    class NoCapsule:
        def __dlpack__(self, **_):
            return 7

    class Raises:
        def __dlpack__(self, **_):
            raise RuntimeError("the producer's own words")

    with pytest.raises(TypeError, match="relu: x returned something that is not a DLPack capsule"):
        bz.relu(NoCapsule())
    with pytest.raises(RuntimeError, match="the producer's own words"):
        bz.relu(Raises())

    class Homeless(Producer):
        __array_namespace__ = None

    with pytest.raises(TypeError):
        bz.relu(Homeless(x))
