# SPDX-License-Identifier: BSD-3-Clause
"""What this installation can do, and why not more: `brazen.info()`. It imports nothing that is not already imported."""

from __future__ import annotations

import sys
from typing import Any

from . import _core

__version__ = "0.1.0"


def _version(package: str, *distributions: str) -> str | None:
    """The version of a package, without importing it; None where it is not installed."""
    if module := sys.modules.get(package):
        return getattr(module, "__version__", "unknown")
    from importlib import metadata
    from importlib.util import find_spec

    if not find_spec(package):
        return None
    for distribution in (*distributions, package):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def info() -> dict[str, Any]:
    """Version, instruction set, threads, CUDA library, architectures, driver and CuPy; `why_not` says what is missing.

    >>> info()["isa"] in info()["isas"]
    True
    """
    import platform

    cuda = _core.cuda_info()
    cupy = _version("cupy", "cupy-cuda13x")
    why_not = cuda["why_not"]
    if not why_not and not cupy:
        why_not = "CuPy is not installed: pip install 'brazen[cuda13]', or pass PyTorch's CUDA tensors"
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "numpy": _version("numpy"),
        "ml_dtypes": _version("ml_dtypes"),
        "isa": _core.isa(),
        "isas": _core.isas(),
        "threads": _core.num_threads(),
        "cpus": _core.available_cpus(),
        "cuda": cuda,
        "cupy": cupy,
        "why_not": why_not,
    }


def _cuda_version(number: int | None) -> str:
    """13000 is 13.0."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else "none"


def describe(facts: dict[str, Any]) -> str:
    """info() as a person reads it."""
    cuda = facts["cuda"]
    isas = ", ".join(facts["isas"])
    lines = [
        ("Python", f"{facts['python']}, {facts['machine']}, {facts['libc']}"),
        ("NumPy", facts["numpy"]),
        ("bfloat16", f"ml_dtypes {facts['ml_dtypes']}" if facts["ml_dtypes"] else "no: pip install 'brazen[bf16]'"),
        ("instruction set", f"{facts['isa']} (this machine runs {isas})"),
        ("threads", f"{facts['threads']} on {facts['cpus']} CPUs"),
        ("CUDA library", cuda["library"] or "none"),
    ]
    if cuda["library"]:
        lines += [
            ("architectures", cuda["archs"] or "unknown"),
            ("CUDA runtime", _cuda_version(cuda["runtime"])),
            ("driver", f"for CUDA {_cuda_version(cuda['driver'])}" if cuda["driver"] else "none"),
            ("devices", cuda["devices"]),
        ]
    lines.append(("CuPy", facts["cupy"] or "not installed"))
    if facts["why_not"]:
        lines.append(("no GPU because", facts["why_not"]))
    return "\n".join([f"brazen {facts['version']}", *(f"  {name:<16} {value}" for name, value in lines)])
