# SPDX-License-Identifier: BSD-3-Clause
"""Fused training kernels for NumPy and CuPy arrays: one formula, every machine, the same bits."""

from ._doctor import __version__, info
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .threads import num_threads, set_num_threads

__all__ = ["__version__", "info", "num_threads", "set_num_threads", *_operations]


def __getattr__(name):
    """Loads the parts that `import brazen` would be slower for only when they are asked for."""
    if name in ("checks", "optim", "reference", "schedules"):
        import importlib

        return importlib.import_module(f"brazen.{name}")
    raise AttributeError(f"module 'brazen' has no attribute {name!r}")
