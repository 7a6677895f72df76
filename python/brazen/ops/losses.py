# SPDX-License-Identifier: BSD-3-Clause
"""Names, defaults and documentation of the losses. No formula here: those are compiled.

Every loss returns the pair (loss, gradient) of one pass. The loss is a 0-d array (`reduction` "mean" or "sum") or one
number an item ("none"), float32 where the arrays are 16 bits wide. The gradient is that of the loss as reduced, times
`grad_scale`: 16-bit gradients underflow without one. `out=` receives it, and may be the input itself.
"""

from __future__ import annotations

from typing import Any

from .. import _core
from .._given import number, tells_names

__all__ = [
    "half_squared",
    "huber",
    "kl_divergence",
    "log_softmax",
    "losses",
    "mae",
    "mse",
    "multiclass_hinge",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_cross_entropy",
    "sparsemax",
    "sum_of_squares",
]


def losses() -> tuple[str, ...]:
    """The names of all losses, in the order of the registry.

    >>> "huber" in losses()
    True
    """
    return tuple(entry["name"] for entry in _core.row_operations() if entry["family"].endswith("loss"))


def _grad_scale(operation: str, reduction, grad_scale) -> float:
    if not isinstance(reduction, str):
        raise TypeError(f"{operation}: reduction is {reduction!r}; expected 'mean', 'sum' or 'none'")
    return number(operation, "grad_scale", grad_scale, "a finite number")


def _require_array_of_labels(operation: str, labels) -> None:
    if isinstance(labels, (list, tuple)):
        kind = type(labels).__name__
        raise TypeError(f"{operation}: labels is {kind}; expected an array of classes: np.asarray(labels) makes one")


def _element_loss(operation, prediction, target, weight, parameter, reduction, grad_scale, out):
    grad_scale = _grad_scale(operation, reduction, grad_scale)
    return _core.element_loss(operation, prediction, target, weight, parameter, reduction, grad_scale, out)


class RowMap:
    """y = f(x), row by row along `axis`: `f(x, axis=-1, out=None)`, `f.backward(dy, y, axis=-1, out=None)`.

    The backward pass takes the result y, not x. `out` may be an input.
    """

    def __init__(self, name: str, doc: str):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc

    @tells_names
    def __call__(self, x, axis: int = -1, out=None):
        return _core.row_map(self.__name__, x, None, axis, out)

    @tells_names
    def backward(self, dy, y, axis: int = -1, out=None):
        """dx, from the forward result y."""
        return _core.row_map(self.__name__, dy, y, axis, out)

    def __repr__(self) -> str:
        return f"brazen.{self.__name__}"


softmax = RowMap("softmax", "exp(x) / sum(exp(x)) along an axis, without overflow; below exp(-87) of the largest: 0.")
log_softmax = RowMap("log_softmax", "log(softmax(x)) along an axis, without underflow.")
sparsemax = RowMap("sparsemax", "The point of the simplex nearest to x: max(x - t, 0), t such that it sums to 1.")


@tells_names
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
    grad_scale = _grad_scale("softmax_cross_entropy", reduction, grad_scale)
    label_smoothing = number("softmax_cross_entropy", "label_smoothing", label_smoothing, "0 to 1")
    _require_array_of_labels("softmax_cross_entropy", labels)
    return _core.softmax_cross_entropy(
        logits, labels, axis, ignore_index, label_smoothing, weight, reduction, grad_scale, out
    )


@tells_names
def sigmoid_cross_entropy(
    logits, targets, *, pos_weight=None, reduction: str = "mean", grad_scale: float = 1.0, out=None
) -> tuple[Any, Any]:
    """-(w * t * log s + (1 - t) * log(1 - s)), s = sigmoid(logits), and its gradient: (loss, dlogits).

    `pos_weight`, w, is a number or an array that broadcasts against the logits. The mean is over elements.

    >>> import numpy as np
    >>> sigmoid_cross_entropy(np.zeros(2, "float32"), np.ones(2, "float32"))[1]
    array([-0.25, -0.25], dtype=float32)
    """
    return _element_loss("sigmoid_cross_entropy", logits, targets, pos_weight, 0.0, reduction, grad_scale, out)


@tells_names
def multiclass_hinge(
    scores, labels, *, margin: float = 1.0, reduction: str = "mean", grad_scale: float = 1.0, out=None
) -> tuple[Any, Any]:
    """The sum over the other classes of max(0, score - score of the label + margin), and its gradient.

    The support-vector loss of Weston and Watkins. The slope at the kink is 0. Labels as in `softmax_cross_entropy`.

    >>> import numpy as np
    >>> float(multiclass_hinge(np.zeros((5, 10), "float32"), np.arange(5))[0])
    9.0
    """
    grad_scale = _grad_scale("multiclass_hinge", reduction, grad_scale)
    margin = number("multiclass_hinge", "margin", margin, "a finite number")
    _require_array_of_labels("multiclass_hinge", labels)
    return _core.multiclass_hinge(scores, labels, margin, reduction, grad_scale, out)


@tells_names
def kl_divergence(
    log_probabilities, target, *, log_target: bool = False, reduction: str = "mean", grad_scale: float = 1.0, out=None
) -> tuple[Any, Any]:
    """sum(t * (log t - log_probabilities)) over the last axis, and its gradient; 0 where t is 0.

    t is the target, or its exponential with `log_target`. The mean is over rows.
    """
    grad_scale = _grad_scale("kl_divergence", reduction, grad_scale)
    return _core.kl_divergence(log_probabilities, target, log_target, reduction, grad_scale, out)


@tells_names
def mse(prediction, target, *, reduction: str = "mean", grad_scale: float = 1.0, out=None) -> tuple[Any, Any]:
    """(prediction - target)^2, and its gradient; the mean is over elements.

    >>> import numpy as np
    >>> loss, gradient = mse(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
    >>> float(loss), gradient
    (2.5, array([1., 2.]))
    """
    return _element_loss("mse", prediction, target, None, 0.0, reduction, grad_scale, out)


@tells_names
def sum_of_squares(prediction, target, *, reduction: str = "sum", grad_scale: float = 1.0, out=None) -> tuple[Any, Any]:
    """(prediction - target)^2, summed unless told otherwise: no 1/n and no 1/2."""
    return _element_loss("sum_of_squares", prediction, target, None, 0.0, reduction, grad_scale, out)


@tells_names
def half_squared(prediction, target, *, reduction: str = "sum", grad_scale: float = 1.0, out=None) -> tuple[Any, Any]:
    """(prediction - target)^2 / 2, summed unless told otherwise; the gradient of the sum is prediction - target."""
    return _element_loss("half_squared", prediction, target, None, 0.0, reduction, grad_scale, out)


@tells_names
def mae(prediction, target, *, reduction: str = "mean", grad_scale: float = 1.0, out=None) -> tuple[Any, Any]:
    """|prediction - target|, and its gradient: the slope at 0 is 0."""
    return _element_loss("mae", prediction, target, None, 0.0, reduction, grad_scale, out)


@tells_names
def huber(
    prediction, target, *, delta: float = 1.0, reduction: str = "mean", grad_scale: float = 1.0, out=None
) -> tuple[Any, Any]:
    """d^2 / 2 up to |d| = delta, then delta * (|d| - delta / 2), d = prediction - target; and its gradient."""
    delta = number("huber", "delta", delta, "a finite number above 0")
    if not 0 < delta < float("inf"):
        raise ValueError(f"huber: delta is {delta}; expected a finite number above 0")
    return _element_loss("huber", prediction, target, None, delta, reduction, grad_scale, out)
