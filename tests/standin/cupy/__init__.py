# SPDX-License-Identifier: BSD-3-Clause
"""Stands in for CuPy where there is no GPU: "device" memory is NumPy's, seen through CuPy's own attributes. Test-only.

It has what brazen and its tests use, and nothing that CuPy lacks: no `__dlpack__` to fall back on, no buffer protocol,
no NumPy functions. `device_count` says how many devices to pretend; memory of each is the same host memory.
"""

import numpy as _np

from . import cuda

__version__ = "standin"
__all__ = ["asarray", "asnumpy", "cuda", "empty", "float32", "hypot", "ndarray", "ones", "random", "zeros"]
float32 = _np.float32


class _Pointer:
    """CuPy's MemoryPointer: an address, and what keeps it alive."""

    def __init__(self, ptr, owner):
        self.ptr = ptr
        self.owner = owner

    def __add__(self, offset):
        return _Pointer(self.ptr + offset, self.owner)


class ndarray:
    """An array on the current device, made as CuPy makes it: (shape, dtype, memptr, strides)."""

    __array_ufunc__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = _np.dtype(dtype)
        if memptr is None:
            host = _np.empty(shape, dtype, order)
            memptr = _Pointer(host.ctypes.data, host)
            strides = host.strides
        self.data = memptr
        self.shape = shape
        self.dtype = dtype
        self.strides = tuple(strides) if strides is not None else _np.empty(shape, _np.uint8).strides
        if strides is None:
            self.strides = tuple(stride * dtype.itemsize for stride in self.strides)
        self.device = cuda.Device()

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    @property
    def _host(self):
        """The same memory as NumPy sees it."""
        interface = {
            "version": 3,
            "shape": self.shape,
            "strides": self.strides,
            "data": (self.data.ptr, False),
            "typestr": f"|V{self.dtype.itemsize}",
        }
        holder = type("Holder", (), {"__array_interface__": interface, "owner": self})()
        return (
            _np.asarray(holder).view(self.dtype)
            if self.shape
            else _np.asarray(holder).reshape(1).view(self.dtype).reshape(())
        )

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return int(_np.prod(self.shape, dtype=_np.int64))

    def __len__(self):
        return self.shape[0]

    def _view(self, host):
        made = ndarray(host.shape, self.dtype, _Pointer(host.__array_interface__["data"][0], self), host.strides)
        made.device = self.device
        return made

    def __getitem__(self, key):
        return self._view(self._host[key if isinstance(key, tuple) else (key,)][...])

    def __setitem__(self, key, value):
        self._host[key] = value.get() if isinstance(value, ndarray) else value

    def transpose(self, *axes):
        return self._view(self._host.transpose(*axes))

    def reshape(self, *shape):
        return self._view(self._host.reshape(*shape))

    def view(self, dtype):
        made = self._view(self._host)
        made.dtype = _np.dtype(dtype)
        return made

    def get(self):
        return self._host.copy()

    # Arithmetic of the user's own loop and of the self-test: NumPy's, results on this device again.

    def copy(self):
        return asarray(self._host)

    def argsort(self, kind=None):
        return asarray(self._host.argsort(kind=kind))

    def __abs__(self):
        return asarray(abs(self._host))

    @property
    def T(self):
        return self.transpose()

    def astype(self, dtype):
        return on_device(self._host.astype(dtype))

    def sum(self, axis=None):
        return _made(self._host.sum(axis=axis))

    def clip(self, low, high):
        return on_device(self._host.clip(low, high))

    def __float__(self):
        return float(self._host)

    def __bool__(self):
        return bool(self._host)

    def __matmul__(self, other):
        return _made(self._host @ other._host)

    def __iadd__(self, other):
        self._host[...] += other._host if isinstance(other, ndarray) else other
        return self


def _made(host):
    return on_device(_np.asarray(host))


def _operator(name):
    def apply(self, other):
        return _made(getattr(self._host, name)(other._host if isinstance(other, ndarray) else other))

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow", "mod"):
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(ndarray, _form, _operator(_form))


def ones(shape, dtype=float):
    return on_device(_np.ones(shape, dtype))


def zeros(shape, dtype=float):
    return on_device(_np.zeros(shape, dtype))


def hypot(a, b):
    return _made(_np.hypot(a._host, b._host))


class _Generator:
    """CuPy's numbers are others; those of NumPy serve here."""

    def __init__(self, seed):
        self._host = _np.random.default_rng(seed)

    def standard_normal(self, size, dtype=float):
        return on_device(self._host.standard_normal(size, dtype=dtype))


class random:
    default_rng = _Generator


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def on_device(host):
    """The stand-in's own: NumPy's memory itself, strides, sharing and all, as if it lay on the current device."""
    return ndarray(host.shape, host.dtype, _Pointer(host.__array_interface__["data"][0], host), host.strides)


def asarray(array, dtype=None):
    if isinstance(array, ndarray):
        return array
    return on_device(_np.array(array, dtype, copy=True))


def arange(stop):
    return asarray(_np.arange(stop))


def argsort(array, kind=None):
    return array.argsort(kind)


def asnumpy(array):
    return array.get() if isinstance(array, ndarray) else _np.asarray(array)
