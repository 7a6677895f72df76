# SPDX-License-Identifier: BSD-3-Clause
"""Norms, clipping, unscaling and averages over lists of arrays, for loops of your own. In place; no optimizer.

A norm has the fixed order of every sum: chunks of 1,024 elements of each array, merged in a binary tree over the chunks of
all arrays, so that it has the same bits on every machine and however the arrays are spread. Of arrays on a GPU the results are
arrays of one element there, and nothing waits for them: `float(norm)` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import _core


def listed(name: str, arrays):
    """Refuses what a list over it would not give the arrays of."""
    if isinstance(arrays, Mapping):
        raise TypeError(f"{name} is {type(arrays).__name__}; expected a list of arrays, such as list({name}.values())")
    return arrays


def global_norm(grads) -> Any:
    """The Euclidean norm of all arrays as if they were one; 0.0 of an empty list.

    >>> import numpy as np
    >>> global_norm([np.array([3.0]), np.array([[4.0]])])
    5.0
    """
    return _core.tensor_norm(listed("grads", grads))


def clip_grad_norm(grads, max_norm: float) -> Any:
    """Scales all gradients by min(1, max_norm / global norm); returns the norm before.

    PyTorch divides by the norm plus 1e-6, so that its clipped norm stays a little below max_norm.

    >>> import numpy as np
    >>> grads = [np.array([3.0]), np.array([4.0])]
    >>> clip_grad_norm(grads, 1.0), grads[0].round(9).tolist()
    (5.0, [0.6])
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm!r}; expected a positive number")
    return _core.tensor_clip(listed("grads", grads), max_norm)


def clip_grad_value(grads, clip_value: float) -> None:
    """Holds every element to [-clip_value, clip_value]; a NaN stays one.

    >>> import numpy as np
    >>> grads = [np.array([3.0, -0.5])]
    >>> clip_grad_value(grads, 1.0); grads[0].tolist()
    [1.0, -0.5]
    """
    if not clip_value > 0:
        raise ValueError(f"clip_value is {clip_value!r}; expected a positive number")
    _core.tensor_scale(listed("grads", grads), 1.0, clip_value)


def scale_and_check(grads, scale: float) -> Any:
    """Multiplies all gradients by 1 / scale; returns whether all are finite afterwards.

    >>> import numpy as np
    >>> grads = [np.array([8.0, 2.0])]
    >>> scale_and_check(grads, 2.0), grads[0].tolist()
    (True, [4.0, 1.0])
    """
    return _core.tensor_scale(listed("grads", grads), 1.0 / float(scale), math.inf)


def ema_update(averages, params, decay: float = 0.995) -> None:
    """average = decay * average + (1 - decay) * param.

    >>> import numpy as np
    >>> averages = [np.array([1.0])]
    >>> ema_update(averages, [np.array([3.0])], 0.5); averages[0].tolist()
    [2.0]
    """
    _core.tensor_average(averages, params, decay)
