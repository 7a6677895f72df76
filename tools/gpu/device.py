# SPDX-License-Identifier: BSD-3-Clause
"""The GPU and its array libraries: what they are, NumPy arrays to and from them in any memory layout, time on the device."""

import importlib
import platform
import subprocess
from pathlib import Path

import numpy as np
from stages import Skip

ROOT = Path(__file__).resolve().parents[2]


def smi(field):
    asked = subprocess.run(
        ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"], capture_output=True, text=True
    )
    return asked.stdout.split("\n")[0].strip()


def library(name):
    """cupy or torch, able to use a GPU, or Skip with the reason."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise Skip(f"{name} is not installed ({error})") from None
    usable = module.cuda.is_available() if hasattr(module.cuda, "is_available") else True
    if not usable:
        raise Skip(f"{name} {module.__version__} sees no GPU")
    return module


def machine():
    torch = library("torch")
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "driver": smi("driver_version"),
        "processor_cores": len(__import__("os").sched_getaffinity(0)),
    }


def versions():
    import brazen

    found = {"python": platform.python_version(), "brazen": brazen.__version__, "numpy": np.__version__}
    found["cuda library"] = brazen.info()["cuda"]["archs"] or brazen.info()["why_not"]
    for name in ("torch", "cupy", "triton", "jax"):
        try:
            found[name] = importlib.import_module(name).__version__
        except Exception:
            continue
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if commit.returncode == 0:
        found["commit"] = commit.stdout.strip()
    return found


def _memory(array):
    """The bytes an array lies in, from its lowest to its highest address, and where its first element is in them."""
    low = high = 0
    for extent, stride in zip(array.shape, array.strides):
        if extent == 0:
            return np.zeros(0, np.uint8), 0
        low += min(0, (extent - 1) * stride)
        high += max(0, (extent - 1) * stride)
    address = array.__array_interface__["data"][0] + low
    interface = {"version": 3, "shape": (high - low + array.itemsize,), "data": (address, False), "typestr": "|u1"}
    holder = type("Holder", (), {"__array_interface__": interface})()
    return np.asarray(holder), -low


def on_cupy(cupy, array):
    """The array on the device in the same layout, as far from a 256-byte boundary as it is on the host."""
    memory, first = _memory(array)
    shift = (array.__array_interface__["data"][0] - first) % 256
    store = cupy.empty(memory.size + shift + 256, np.uint8)
    store[:] = cupy.asarray(np.zeros(store.shape, np.uint8))
    store[shift : shift + memory.size] = cupy.asarray(memory)
    return cupy.ndarray(array.shape, array.dtype, store.data + shift + first, array.strides)


def from_cupy(array):
    """CuPy's own way to the host, past its dtypes: bfloat16 travels as its bits."""
    return array.view(np.dtype(f"u{array.dtype.itemsize}")).get().view(array.dtype)


def on_torch(torch, array):
    """The same for PyTorch, which has no negative strides: None."""
    if any(stride < 0 for stride in array.strides) or any(stride % array.itemsize for stride in array.strides):
        return None
    memory, first = _memory(array)
    shift = (array.__array_interface__["data"][0] - first) % 256
    if shift % array.itemsize:
        return None
    size = -(-(memory.size + shift) // array.itemsize) * array.itemsize
    host = np.zeros(size, np.uint8)
    host[shift : shift + memory.size] = memory
    store = torch.from_numpy(host).cuda().view(getattr(torch, array.dtype.name))
    return store.as_strided(
        array.shape, [s // array.itemsize for s in array.strides], (shift + first) // array.itemsize
    )


def from_torch(tensor, dtype):
    import torch

    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[np.dtype(dtype).itemsize]
    return tensor.detach().contiguous().view(bits).cpu().numpy().view(dtype)


def seconds(torch, function, repeats=21):
    """The median time of `function` on the current stream."""
    for _ in range(4):
        function()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        function()
        mark.record()
    torch.cuda.synchronize()
    return float(np.median([a.elapsed_time(b) for a, b in zip(marks, marks[1:])])) / 1e3
