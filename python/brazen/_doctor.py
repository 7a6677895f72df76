# SPDX-License-Identifier: BSD-3-Clause
"""What this installation can do, and why not more: `brazen.info()`. It imports nothing that is not already imported."""

from __future__ import annotations

import importlib.util
import platform
import sys
from typing import Any

from . import _core

__version__ = "0.1.0"


def info() -> dict[str, Any]:
    """Version, instruction set, threads, CUDA library, architectures, driver and CuPy; `why_not` says what is missing.

    >>> info()["isa"] in info()["isas"]
    True
    """
    cuda = _core.cuda_info()
    cupy = sys.modules.get("cupy")
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "isa": _core.isa(),
        "isas": _core.isas(),
        "threads": _core.num_threads(),
        "cpus": _core.available_cpus(),
        "cuda": cuda,
        "cupy": getattr(cupy, "__version__", None) or ("installed" if importlib.util.find_spec("cupy") else None),
        "why_not": cuda["why_not"],
    }
