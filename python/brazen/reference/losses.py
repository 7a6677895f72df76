# SPDX-License-Identifier: BSD-3-Clause
"""The losses in plain array code: each returns (loss, gradient), the gradient of the first argument.

Rows are the last axis where no other is given. `reduction`: "sum"; "mean", over rows or, in the elementwise losses, over elements (0 where there
are none); "none", one loss for each, with the gradient of their sum. `grad_scale` multiplies the gradient alone. The loss
is in the compute type, float32 for 16-bit arrays; the gradient has the dtype of the first argument.
"""

from __future__ import annotations

import numpy

from ._kinds import _array, array_namespace, compute
from .softmax import log_softmax_rows

__all__ = [
    "half_squared",
    "huber",
    "kl_divergence",
    "mae",
    "mse",
    "multiclass_hinge",
    "naive_softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "sum_of_squares",
]


def _rows(xp, x, other, axis):
    """Both with `axis` last, if `other` has it."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis is {axis}; expected one of the {x.ndim} axes")
    return xp.moveaxis(x, axis, -1), xp.moveaxis(other, axis, -1) if other.ndim == x.ndim else other


def _finish(xp, like, losses, gradient, reduction, grad_scale, out, divisor=None, axis=-1):
    """(loss, gradient) of the losses of rows or elements; "mean" divides by `divisor`, else by their number."""
    divisor = losses.size if divisor is None else divisor
    if reduction == "mean":
        share = 1 / divisor if divisor else 0.0
        loss, factor = losses.sum() * share, grad_scale * share
    elif reduction == "sum":
        loss, factor = losses.sum(), grad_scale
    elif reduction == "none":
        loss, factor = losses, grad_scale
    else:
        raise ValueError(f'reduction is {reduction!r}; expected "mean", "sum" or "none"')
    gradient = gradient * losses.dtype.type(factor)
    gradient = gradient if axis == -1 else xp.moveaxis(gradient, -1, axis)
    return _array(xp, loss, losses.dtype, None), _array(xp, gradient, like.dtype, out)


def _pair(x, target, name):
    """(xp, x, target) in the compute type of x."""
    if target.shape != x.shape:
        raise ValueError(f"{name} has shape {target.shape}; expected {x.shape}")
    wide = compute(x)
    return array_namespace(x), wide, target.astype(wide.dtype)


def _labels(labels, shape, ignore_index):
    """(labels inside the classes, which rows count), or an error naming the first label out of range."""
    xp = array_namespace(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels have dtype {labels.dtype}; expected integers, or probabilities of shape {shape}")
    if labels.shape != shape[:-1]:
        raise ValueError(f"labels have shape {labels.shape}; expected {shape[:-1]}, or {shape} for probabilities")
    counted = xp.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    wrong = counted & ((labels < 0) | (labels >= shape[-1]))
    if wrong.any():
        at = tuple(int(i[0]) for i in xp.nonzero(wrong))
        place = ", ".join(map(str, at))
        ignored = "" if ignore_index is None else f", or ignore_index, {ignore_index}"
        raise ValueError(f"labels[{place}] is {int(labels[at])}; expected 0 to {shape[-1] - 1}{ignored}")
    return xp.where(counted, labels, 0), counted


def _one_hot(xp, labels, classes, dtype):
    return (labels[..., None] == xp.arange(classes)).astype(dtype)


def _cross_entropy(
    logits, labels, log_probabilities, axis, ignore_index, label_smoothing, weight, reduction, grad_scale, out
):
    xp = array_namespace(logits)
    logits, labels = _rows(xp, logits, labels, axis)
    wide = compute(logits)
    classes = logits.shape[-1]
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}; expected 0 to 1")
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"weight has shape {weight.shape}; expected ({classes},), one value a class")
    of_class = xp.ones(classes, wide.dtype) if weight is None else weight.astype(wide.dtype)
    with numpy.errstate(all="ignore"):
        if labels.dtype.kind == "f" or labels.dtype.name == "bfloat16":
            if labels.shape != logits.shape:
                raise ValueError(
                    f"labels have shape {labels.shape}; probabilities have that of the logits, {logits.shape}"
                )
            target, mass, divisor = labels.astype(wide.dtype), wide.dtype.type(1), None
        else:
            inside, counted = _labels(labels, logits.shape, ignore_index)
            mass = counted[..., None].astype(wide.dtype)
            target = _one_hot(xp, inside, classes, wide.dtype) * mass
            divisor = float(xp.where(counted, of_class[inside], 0).sum())
        target = (target * (1 - label_smoothing) + mass * (label_smoothing / classes)) * of_class
        logs = log_probabilities(xp, wide)
        losses = -xp.where(target == 0, 0, target * logs).sum(axis=-1)
        gradient = xp.exp(logs) * target.sum(axis=-1, keepdims=True) - target
        gradient = xp.where(mass == 0, 0, gradient)  # an ignored row, whatever its logits are
        return _finish(xp, logits, losses, gradient, reduction, grad_scale, out, divisor, axis)


def softmax_cross_entropy(logits, labels, *, axis=-1, ignore_index=-100, label_smoothing=0.0, weight=None,
                          reduction="mean", grad_scale=1.0, out=None):  # fmt: skip
    """-sum(target * log softmax(logits)); the labels are class numbers or probabilities of the logits' shape.

    `weight` has one value a class; "mean" then divides by the sum of the weights of the labels (of rows, for
    probabilities). Rows labelled `ignore_index` count for nothing and have no gradient.
    """
    return _cross_entropy(
        logits, labels, log_softmax_rows, axis, ignore_index, label_smoothing, weight, reduction, grad_scale, out
    )


def _log_of_softmax(xp, wide):
    powers = xp.exp(wide - wide.max(axis=-1, keepdims=True))
    return xp.log(powers / powers.sum(axis=-1, keepdims=True))


def naive_softmax_cross_entropy(logits, labels, *, axis=-1, reduction="mean", grad_scale=1.0, out=None):
    """The same loss as the logarithm of a probability, infinite where that underflows; here to show what goes wrong."""
    return _cross_entropy(logits, labels, _log_of_softmax, axis, None, 0.0, None, reduction, grad_scale, out)


def sigmoid_cross_entropy(logits, targets, *, pos_weight=None, reduction="mean", grad_scale=1.0, out=None):
    """-(pos_weight * t * log s + (1 - t) * log(1 - s)), s = sigmoid(logits); pos_weight broadcasts against the logits."""
    xp, x, target = _pair(logits, targets, "targets")
    with numpy.errstate(all="ignore"):
        tail = xp.exp(-abs(x))
        plus = xp.log1p(tail)
        probability = xp.where(x < 0, tail, 1) / (1 + tail)
        complement = xp.where(x < 0, 1, tail) / (1 + tail)
        positive = target if pos_weight is None else target * xp.asarray(pos_weight).astype(x.dtype)
        losses = positive * (plus + xp.maximum(-x, 0)) + (1 - target) * (plus + xp.maximum(x, 0))
        gradient = (1 - target) * probability - positive * complement
        return _finish(xp, logits, losses, gradient, reduction, grad_scale, out)


def multiclass_hinge(scores, labels, *, margin=1.0, reduction="mean", grad_scale=1.0, out=None):
    """The sum over the other classes of max(0, score - score of the label + margin); slope 0 at the kink."""
    xp, x = array_namespace(scores), compute(scores)
    inside, _ = _labels(labels, scores.shape, None)
    with numpy.errstate(all="ignore"):
        own = _one_hot(xp, inside, scores.shape[-1], x.dtype)
        excess = x - xp.where(own > 0, x, 0).sum(axis=-1, keepdims=True) + x.dtype.type(margin)
        excess = xp.where(own > 0, 0, excess)
        above = (excess > 0).astype(x.dtype)
        gradient = above - own * above.sum(axis=-1, keepdims=True)
        losses = xp.maximum(excess, 0).sum(axis=-1)
        return _finish(xp, scores, losses, gradient, reduction, grad_scale, out)


def _elementwise(losses_of, prediction, target, reduction, grad_scale, out):
    xp, x, target = _pair(prediction, target, "target")
    with numpy.errstate(all="ignore"):
        losses, gradient = losses_of(xp, x - target)
        return _finish(xp, prediction, losses, gradient, reduction, grad_scale, out)


def mse(prediction, target, *, reduction="mean", grad_scale=1.0, out=None):
    """(prediction - target)^2."""
    return _elementwise(lambda xp, d: (d * d, 2 * d), prediction, target, reduction, grad_scale, out)


def sum_of_squares(prediction, target, *, reduction="sum", grad_scale=1.0, out=None):
    """(prediction - target)^2, summed unless told otherwise: no 1/n and no 1/2."""
    return mse(prediction, target, reduction=reduction, grad_scale=grad_scale, out=out)


def half_squared(prediction, target, *, reduction="sum", grad_scale=1.0, out=None):
    """(prediction - target)^2 / 2, summed unless told otherwise; the gradient of the sum is prediction - target."""
    return _elementwise(lambda xp, d: (0.5 * d * d, d), prediction, target, reduction, grad_scale, out)


def mae(prediction, target, *, reduction="mean", grad_scale=1.0, out=None):
    """|prediction - target|, slope 0 at 0."""
    return _elementwise(lambda xp, d: (abs(d), xp.sign(d)), prediction, target, reduction, grad_scale, out)


def huber(prediction, target, *, delta=1.0, reduction="mean", grad_scale=1.0, out=None):
    """d^2 / 2 up to |d| = delta, then delta * (|d| - delta / 2)."""
    if not delta > 0:
        raise ValueError(f"delta is {delta}; expected a number above 0")

    def losses_of(xp, d):
        bound = d.dtype.type(delta)
        outer = bound * (abs(d) - bound / 2)
        return xp.where(abs(d) <= bound, 0.5 * d * d, outer), xp.clip(d, -bound, bound)

    return _elementwise(losses_of, prediction, target, reduction, grad_scale, out)


def kl_divergence(log_probabilities, target, *, log_target=False, reduction="mean", grad_scale=1.0, out=None):
    """sum(t * (log t - log_probabilities)) over the last axis, t the target or its exponential; 0 where t is 0."""
    xp, x, target = _pair(log_probabilities, target, "target")
    with numpy.errstate(all="ignore"):
        probability = xp.exp(target) if log_target else target
        logs = target if log_target else xp.log(target)
        losses = xp.where(probability == 0, 0, probability * (logs - x)).sum(axis=-1)
        return _finish(xp, log_probabilities, losses, -probability, reduction, grad_scale, out)
