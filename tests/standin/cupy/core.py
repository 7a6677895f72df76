# SPDX-License-Identifier: BSD-3-Clause
"""The stand-in's array: NumPy's memory behind CuPy's attributes and methods, and a count of what waits for the device."""

import numpy as _np

from . import cuda

# One element, so that who imports it sees it change: how often the host waited for the device.
waits = cuda.waits


class _Pointer:
    """CuPy's MemoryPointer: an address, and what keeps it alive."""

    def __init__(self, ptr, owner):
        self.ptr = ptr
        self.owner = owner

    def __add__(self, offset):
        return _Pointer(self.ptr + offset, self.owner)


def _host_of(value):
    """What NumPy computes with; as in CuPy an array of the host is no operand."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, _np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(_host_of(item) for item in value)
    return value


def function(of_numpy):
    """One of NumPy's functions for arrays of this device."""

    def call(*arguments, out=None, **named):
        named = {key: _host_of(value) for key, value in named.items()}
        if out is not None:
            named["out"] = out._host
        made = of_numpy(*map(_host_of, arguments), **named)
        if out is not None:
            return out
        return tuple(map(_made, made)) if isinstance(made, tuple) else _made(made)

    return call


class _Flags:
    def __init__(self, host):
        self.c_contiguous, self.f_contiguous = host.flags.c_contiguous, host.flags.f_contiguous


class ndarray:
    """An array on the current device, made as CuPy makes it: (shape, dtype, memptr, strides)."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = _np.dtype(dtype)
        if memptr is None:
            host = _np.empty(shape, dtype, order)
            if cuda.captured is not None:
                cuda.captured.append(host)
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

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    @property
    def flags(self):
        return _Flags(self._host)

    @property
    def T(self):
        return self.transpose()

    def __len__(self):
        return self.shape[0]

    def _view(self, host):
        made = ndarray(host.shape, self.dtype, _Pointer(host.__array_interface__["data"][0], host), host.strides)
        made.device = self.device
        return made

    def __getitem__(self, key):
        parts = tuple(_host_of(part) for part in (key if isinstance(key, tuple) else (key,)))
        if any(isinstance(part, _np.ndarray) and part.dtype == bool for part in parts):
            waits[0] += 1  # how many are chosen is the shape
        return self._view(self._host[parts][...])

    def __setitem__(self, key, value):
        self._host[_host_of(key)] = _host_of(value)

    def transpose(self, *axes):
        return self._view(self._host.transpose(*axes))

    def reshape(self, *shape):
        return self._view(self._host.reshape(*shape))

    def view(self, dtype):
        host = self._host.view(dtype)
        made = self._view(host)
        made.dtype, made.strides = _np.dtype(dtype), host.strides
        return made

    def astype(self, dtype, copy=True):
        if not copy and self.dtype == _np.dtype(dtype):
            return self
        return on_device(self._host.astype(dtype))

    # What the host waits for.

    def get(self):
        waits[0] += 1
        return self._host.copy()

    def item(self):
        return self.get().item()

    def __float__(self):
        return float(self.get())

    def __int__(self):
        return int(self.get())

    def __index__(self):
        return int(self.get())

    def __bool__(self):
        return bool(self.get())

    # In place.

    def _in_place(name):
        def apply(self, other):
            getattr(self._host, name)(_host_of(other))
            return self

        return apply

    for _name in ("add", "sub", "mul", "truediv"):
        locals()[f"__i{_name}__"] = _in_place(f"__i{_name}__")
    del _in_place, _name


# Of NumPy's methods those that CuPy has as well; results are on this device, a single number as an array without axes.
for _name in ("all", "any", "argmax", "argmin", "argsort", "clip", "copy", "max", "mean", "min", "std", "sum"):
    setattr(ndarray, _name, function(getattr(_np.ndarray, _name)))
for _name in ("abs", "invert", "neg"):
    setattr(ndarray, f"__{_name}__", function(getattr(_np.ndarray, f"__{_name}__")))


def _operator(name):
    def apply(self, other):
        return _made(getattr(self._host, name)(_host_of(other)))

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "and", "or"):
    for _form in (f"__{_name}__", f"__r{_name}__"):
        setattr(ndarray, _form, _operator(_form))
for _name in ("matmul", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def _made(host):
    return on_device(_np.asarray(host))


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def on_device(host):
    """The stand-in's own: NumPy's memory itself, strides, sharing and all, as if it lay on the current device."""
    return ndarray(host.shape, host.dtype, _Pointer(host.__array_interface__["data"][0], host), host.strides)


def asarray(array, dtype=None):
    if isinstance(array, ndarray):
        return array if dtype is None else array.astype(dtype, copy=False)
    return on_device(_np.array(array, dtype, copy=True))
