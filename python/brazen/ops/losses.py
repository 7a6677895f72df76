# SPDX-License-Identifier: BSD-3-Clause
"""Names, defaults and documentation of the losses. No formula here: those are compiled.

Every loss returns the pair (loss, gradient) of one pass. The loss is a 0-d array (`reduction` "mean" or "sum") or one
number an item ("none"), float32 where the arrays are 16 bits wide. The gradient is that of the loss as reduced, times
`grad_scale`: 16-bit gradients underflow without one. `out=` receives it, and may be the input itself.
"""

from __future__ import annotations

from typing import Any

from .. import _core

__all__ = ["softmax_cross_entropy"]


def softmax_cross_entropy(
    logits,
    labels,
    *,
    axis: int = -1,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    weight=None,
    reduction: str = "mean",
    grad_scale: float = 1.0,
    out=None,
) -> tuple[Any, Any]:
    """-log softmax(logits)[label] along `axis`, and its gradient: (loss, dlogits).

    `labels` are classes (int32, int64, uint8; the shape of logits without `axis`) or probabilities (the shape and dtype
    of logits). Items labelled `ignore_index` count for nothing. `weight` holds one number a class; the mean divides by
    the sum of the labels' weights, for probabilities by the number of items. `label_smoothing` mixes the targets with
    the uniform distribution. Nothing counted: 0.

    >>> import numpy as np
    >>> loss, dlogits = softmax_cross_entropy(np.zeros((2, 4), "float32"), np.array([0, 3]))
    >>> float(loss), dlogits[0]
    (1.3862943649291992, array([-0.375,  0.125,  0.125,  0.125], dtype=float32))
    """
    return _core.softmax_cross_entropy(
        logits, labels, axis, ignore_index, label_smoothing, weight, reduction, grad_scale, out
    )
