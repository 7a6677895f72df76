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
from .batch_norm import *  # noqa: F403
from .batch_norm import __all__ as _batch_norm
from .chain import *  # noqa: F403
from .chain import __all__ as _chain
from .dropout import *  # noqa: F403
from .dropout import __all__ as _dropouts
from .losses import *  # noqa: F403
from .losses import __all__ as _losses
from .norms import *  # noqa: F403
from .norms import __all__ as _norms
from .softmax import *  # noqa: F403
from .softmax import __all__ as _softmaxes

__all__ = ["activations", "dropouts", "find", "losses", "math", "norms", "operations", "optim", "random"]
__all__ += [*_activations, *_batch_norm, *_chain, *_dropouts, *_losses, *_norms, *_softmaxes]


def activations() -> tuple[str, ...]:
    """The names of the activations that have a reference.

    >>> "swiglu" in activations()
    True
    """
    return tuple(name for name in operations() if "." not in name)


def dropouts() -> tuple[str, ...]:
    """The names of dropout and its relatives."""
    return tuple(_dropouts)


def norms() -> tuple[str, ...]:
    """The names of batch norm, the row norms and the norm of rows."""
    return (*_batch_norm, *_norms)


def losses() -> tuple[str, ...]:
    """The names of the losses, the naive form that only the reference has among them."""
    return tuple(_losses)
