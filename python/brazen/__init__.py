# SPDX-License-Identifier: BSD-3-Clause
"""Fused training kernels for NumPy and CuPy arrays: one formula, every machine, the same bits."""

from ._doctor import __version__, info
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .threads import num_threads, set_num_threads

__all__ = ["__version__", "info", "num_threads", "set_num_threads", *_operations]


# Parts that `import brazen` would be slower for: loaded when they are asked for.
_LAZY = {
    "callbacks",
    "checkpoint",
    "checks",
    "data",
    "init",
    "metrics",
    "nn",
    "optim",
    "plots",
    "random",
    "reference",
    "schedules",
    "train",
}
# Names that such a part lends to the package.
_LENT = {
    "ClassifierTrainer": "train",
    "Trainer": "train",
    "elastic_net": "train",
    "l1": "train",
    "l2": "train",
    "load": "checkpoint",
    "save": "checkpoint",
}


def __getattr__(name):
    """Loads what is lazy."""
    import importlib

    if name in _LAZY:
        return importlib.import_module(f"brazen.{name}")
    if name in _LENT:
        return getattr(importlib.import_module(f"brazen.{_LENT[name]}"), name)
    import sys

    # With name and obj Python adds the nearest name: "Did you mean: 'gelu'?"
    raise AttributeError(f"module 'brazen' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
