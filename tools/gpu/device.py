# SPDX-License-Identifier: BSD-3-Clause
"""The GPU and its array libraries: what they are, NumPy arrays to and from them in any memory layout, time on the device."""

import functools
import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from stages import Skip

ROOT = Path(__file__).resolve().parents[2]
# Where PyTorch's tensors go, and by how much whole workloads are cut: the tests of these tools run them small, on the CPU.
PLACE, SHRINK = "cuda", 1


def scaled(first, *rest):
    """A shape, its first extent cut by SHRINK."""
    return (max(first // SHRINK, 2), *rest)


def smi(field):
    """What nvidia-smi says of the first device; nothing without one."""
    return answer("nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits").split("\n")[0].strip()


def library(name):
    """cupy or torch, able to use a GPU, or Skip with the reason."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise Skip(f"{name} is not installed ({error})") from None
    if PLACE == "cuda" and not module.cuda.is_available():
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
        "processor_cores": len(os.sched_getaffinity(0)),
    }


def versions():
    import brazen

    found = {"python": platform.python_version(), "brazen": brazen.__version__, "numpy": np.__version__}
    found["cuda library"] = brazen.info()["cuda"]["archs"] or brazen.info()["why_not"]
    for name in ("torch", "cupy-cuda13x", "triton", "jax", "optax"):
        try:
            found[name.partition("-")[0]] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    release = re.search(r"V(\d[\d.]*)", answer("nvcc", "--version"))
    commit = answer("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD").strip()
    found |= {"nvcc": release[1]} if release else {}
    return found | ({"commit": commit} if commit else {})


def answer(*command):
    """What a program prints; nothing where it is absent or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def cupy_of_tests():
    """CuPy with what the tests of the emulated kernels ask of its stand-in."""
    cupy = library("cupy")
    kept = {name: getattr(cupy, name) for name in ("ndarray", "empty", "cuda")}
    return SimpleNamespace(on_device=functools.partial(on_cupy, cupy), **kept)


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
    size = max(-(-(memory.size + shift) // array.itemsize), 1) * array.itemsize
    host = np.zeros(size, np.uint8)
    host[shift : shift + memory.size] = memory
    store = torch.from_numpy(host).to(PLACE).view(getattr(torch, array.dtype.name))
    return store.as_strided(
        array.shape, [s // array.itemsize for s in array.strides], (shift + first) // array.itemsize
    )


def from_torch(tensor, dtype):
    import torch

    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[np.dtype(dtype).itemsize]
    return tensor.detach().contiguous().view(bits).cpu().numpy().view(dtype)


def synchronize(torch):
    if PLACE == "cuda":
        torch.cuda.synchronize()


def seconds(torch, function, repeats=21):
    """The median time of `function` on the current stream."""
    for _ in range(4):
        function()
    if PLACE == "cpu":
        return host_seconds(torch, function, 3, 1)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        function()
        mark.record()
    torch.cuda.synchronize()
    return float(np.median([a.elapsed_time(b) for a, b in zip(marks, marks[1:])])) / 1e3


def host_seconds(torch, function, rounds=30, calls=200):
    """The median time a call keeps the host, the device's queue emptied between the rounds."""
    samples = []
    for _ in range(rounds):
        synchronize(torch)
        start = time.perf_counter()
        for _ in range(calls):
            function()
        samples.append((time.perf_counter() - start) / calls)
    synchronize(torch)
    return float(np.median(samples))


def captured(torch, function):
    """A call that plays `function` from a CUDA graph; on the CPU, the function itself."""
    if PLACE == "cpu":
        return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
