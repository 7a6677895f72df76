# SPDX-License-Identifier: BSD-3-Clause
"""What others have for an operation: PyTorch's functions, the reference Python on CuPy arrays, Triton kernels, CUB."""

import ctypes
import subprocess
from pathlib import Path


def torch_peers(torch):
    """PyTorch's own functions where it has one: (forward(x), backward(dy, x, y)), by operation."""
    functional, aten = torch.nn.functional, torch.ops.aten
    return {
        "relu": (functional.relu, lambda dy, x, y: aten.threshold_backward(dy, y, 0)),
        "relu6": (functional.relu6, lambda dy, x, y: aten.hardtanh_backward(dy, x, 0, 6)),
        "leaky_relu": (
            lambda x: functional.leaky_relu(x, 0.01),
            lambda dy, x, y: aten.leaky_relu_backward(dy, x, 0.01, False),
        ),
        "elu": (functional.elu, lambda dy, x, y: aten.elu_backward(dy, 1.0, 1, 1, False, x)),
        "celu": (functional.celu, lambda dy, x, y: aten.elu_backward(dy, 1.0, 1, 1, False, x)),
        "selu": (functional.selu, None),
        "gelu": (functional.gelu, lambda dy, x, y: aten.gelu_backward(dy, x)),
        "gelu_tanh": (
            lambda x: functional.gelu(x, approximate="tanh"),
            lambda dy, x, y: aten.gelu_backward(dy, x, approximate="tanh"),
        ),
        "silu": (functional.silu, lambda dy, x, y: aten.silu_backward(dy, x)),
        "mish": (functional.mish, lambda dy, x, y: aten.mish_backward(dy, x)),
        "sigmoid": (torch.sigmoid, lambda dy, x, y: aten.sigmoid_backward(dy, y)),
        "log_sigmoid": (functional.logsigmoid, None),
        "tanh": (torch.tanh, lambda dy, x, y: aten.tanh_backward(dy, y)),
        "softplus": (functional.softplus, lambda dy, x, y: aten.softplus_backward(dy, x, 1, 20)),
        "softsign": (functional.softsign, None),
        "exponential": (torch.exp, None),
        "hard_sigmoid": (functional.hardsigmoid, lambda dy, x, y: aten.hardsigmoid_backward(dy, x)),
        "hard_tanh": (functional.hardtanh, lambda dy, x, y: aten.hardtanh_backward(dy, x, -1, 1)),
        "hard_silu": (functional.hardswish, lambda dy, x, y: aten.hardswish_backward(dy, x)),
        "hard_shrink": (functional.hardshrink, lambda dy, x, y: aten.hardshrink_backward(dy, x, 0.5)),
        "soft_shrink": (functional.softshrink, lambda dy, x, y: aten.softshrink_backward(dy, x, 0.5)),
        "tanh_shrink": (functional.tanhshrink, None),
        "glu": (functional.glu, lambda dy, x, y: aten.glu_backward(dy, x, -1)),
    }


def cupy_peers(case, cupy, arrays):
    """brazen.reference on CuPy arrays, plain, and under cupy.fuse where it is one expression; a reason where it is not."""
    from brazen import reference

    found = reference.find(case.name)
    call = found if case.direction == "forward" else found.backward
    peers = {"cupy": lambda: call(*arrays)}
    if case.family == "activation" and case.name not in ("gelu",):
        part = found.value if case.direction == "forward" else found.derivative
        defaults = tuple(found.parameters.values())
        if case.direction == "forward":
            fused = cupy.fuse()(lambda x: part(cupy, x, *defaults))
            peers["fuse"] = lambda: fused(arrays[0])
        else:
            fused = cupy.fuse()(lambda dy, x: dy * part(cupy, x, *defaults))
            peers["fuse"] = lambda: fused(*arrays)
    return peers


def cub_library(scratch, capability):
    """CUB's transform behind a C function, built for this GPU; a call (name, x, y, stream)."""
    made = scratch / "libcub_peer.so"
    if not made.exists():
        source = Path(__file__).with_name("cub_peer.cu")
        arch = capability.replace(".", "")
        command = [
            "nvcc",
            "-O3",
            "-std=c++20",
            "--extended-lambda",
            f"-arch=sm_{arch}",
            "-shared",
            "-Xcompiler",
            "-fPIC",
        ]
        subprocess.run([*command, str(source), "-o", str(made)], check=True, capture_output=True, text=True)
    library = ctypes.CDLL(str(made))
    library.cub_transform.argtypes = [ctypes.c_int] + 2 * [ctypes.c_void_p] + [ctypes.c_longlong, ctypes.c_void_p]

    def call(name, x, y, stream):
        code = library.cub_transform(CUB.index(name), x.data_ptr(), y.data_ptr(), x.numel(), stream)
        if code:
            raise RuntimeError(f"CUB's transform gave CUDA error {code}")

    return call


# In the order of cub_peer.cu.
CUB = ("relu", "silu", "gelu_tanh")
