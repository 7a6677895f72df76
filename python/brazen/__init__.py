# SPDX-License-Identifier: BSD-3-Clause
"""Fused training kernels for NumPy and CuPy arrays: one formula, every machine, the same bits."""

from ._doctor import __version__, info
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .threads import num_threads, set_num_threads

__all__ = ["__version__", "info", "num_threads", "set_num_threads", *_operations]


# Parts that `import brazen` would be slower for: loaded when they are asked for.
_LAZY = {
    "checkpoint",
    "checks",
    "init",
    "nn",
    "optim",
    "random",
    "reference",
    "schedules",
}
_LAZY_FUNCTIONS = {"load": "checkpoint", "save": "checkpoint"}


def __getattr__(name):
    """Loads what is lazy."""
    if name in _LAZY:
        import importlib

        return importlib.import_module(f"brazen.{name}")
    if name in _LAZY_FUNCTIONS:
        import importlib

        return getattr(importlib.import_module(f"brazen.{_LAZY_FUNCTIONS[name]}"), name)
    import sys

    # With name and obj Python adds the nearest name: "Did you mean: 'gelu'?"
    raise AttributeError(f"module 'brazen' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
