# SPDX-License-Identifier: BSD-3-Clause
"""Every operation in plain array code, for NumPy or CuPy arrays of any float dtype: the specification, computed in
float64 (or wider), and the baseline of every benchmark. Nothing compiled here belongs to brazen.

>>> import brazen.reference, numpy as np
>>> brazen.reference.relu(np.array([-1.0, 2.0]))
array([0., 2.])
>>> brazen.reference.gelu.backward(np.ones(1), np.zeros(1))
array([0.5])
"""

from . import math, optim, random
from ._kinds import find, operations
from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .chain import *  # noqa: F403
from .chain import __all__ as _chain
from .dropout import *  # noqa: F403
from .dropout import __all__ as _dropouts

__all__ = [
    "activations",
    "dropouts",
    "find",
    "math",
    "operations",
    "optim",
    "random",
    *_activations,
    *_chain,
    *_dropouts,
]


def activations() -> tuple[str, ...]:
    """The names of the activations that have a reference.

    >>> "swiglu" in activations()
    True
    """
    return tuple(name for name in operations() if "." not in name)


def dropouts() -> tuple[str, ...]:
    """The names of dropout and its relatives."""
    return tuple(_dropouts)
