# SPDX-License-Identifier: BSD-3-Clause
"""Norms, clipping, regularisers and averages over lists of arrays in plain array code; no update rule.

Lists are changed in place. A norm is summed in float64 (or wider) whatever the arrays hold, and stays on their device.
"""

from __future__ import annotations

from .._kinds import array_namespace, compute


def _squared(x):
    """The sum of squares, in float64 or wider."""
    wide = x if x.dtype.itemsize >= 8 else x.astype("float64")
    return (wide * wide).sum()


def norm(x):
    """The Euclidean norm of one array, as a scalar of float64 or wider."""
    return array_namespace(x).sqrt(_squared(x))


def global_norm(arrays):
    """The Euclidean norm of all arrays as if they were one; 0.0 of an empty list.

    >>> import numpy as np
    >>> float(global_norm([np.array([3.0]), np.array([[4.0]])]))
    5.0
    """
    arrays = list(arrays)
    if not arrays:
        return 0.0
    return array_namespace(arrays[0]).sqrt(sum(_squared(x) for x in arrays))


def all_finite(arrays) -> bool:
    """Whether no array holds an infinity or a NaN."""
    return all(bool(array_namespace(x).isfinite(compute(x)).all()) for x in arrays)


def _scaled(x, factor):
    """factor * x in x's compute type; factor may be a float64 scalar on the device."""
    wide = compute(x)
    return wide * factor.astype(wide.dtype) if hasattr(factor, "astype") else wide * factor


def clip_factor(norm, max_norm):
    """min(1, max_norm / norm), NaN where the norm is; 1 for a norm of 0.

    PyTorch divides by norm + 1e-6 instead, so its clipped norm stays a little below max_norm.
    """
    xp = array_namespace(norm)
    norm = xp.asarray(norm)
    return xp.minimum(1.0, max_norm / xp.where(norm == 0, max_norm, norm))


def clip_grad_norm(grads, max_norm):
    """Scales all gradients by min(1, max_norm / global norm); returns the norm before."""
    grads = list(grads)
    before = global_norm(grads)
    factor = clip_factor(before, max_norm)
    for grad in grads:
        grad[...] = _scaled(grad, factor)
    return before


def clip_grad_value(grads, clip_value):
    """Clips every element to [-clip_value, clip_value]; a NaN stays one."""
    for grad in grads:
        grad[...] = array_namespace(grad).clip(compute(grad), -clip_value, clip_value)


def scale_and_check(grads, scale):
    """Multiplies all gradients by 1 / scale; returns whether all are finite afterwards."""
    grads = list(grads)
    for grad in grads:
        grad[...] = _scaled(grad, 1.0 / scale)
    return all_finite(grads)


def unit_norms(x, unit_axis=-1):
    """The norm of each unit's incoming weights, broadcastable against x: all axes but `unit_axis` are reduced.

    `unit_axis` is -1 for weights (inputs, units) and 0 for PyTorch's (units, inputs, ...). Fewer than two axes are one unit.
    """
    xp = array_namespace(x)
    wide = x if x.dtype.itemsize >= 8 else x.astype("float64")
    axes = None if x.ndim < 2 else tuple(axis for axis in range(x.ndim) if axis != unit_axis % x.ndim)
    return xp.sqrt((wide * wide).sum(axis=axes, keepdims=True))


def agc(params, grads, clipping=0.01, eps=1e-3, unit_axis=-1):
    """Adaptive clipping unit by unit (Brock 2021): a unit's gradient norm is held to clipping * max(|w|, eps)."""
    for param, grad in zip(params, grads, strict=True):
        xp = array_namespace(param)
        largest = clipping * xp.maximum(unit_norms(param, unit_axis), eps)
        size = unit_norms(grad, unit_axis)
        factor = xp.where(size > largest, largest / xp.where(size == 0, 1, size), xp.where(size == size, 1, size))
        grad[...] = _scaled(grad, factor)


def max_norm(params, limit, unit_axis=-1):
    """Shrinks each unit's incoming weights to a norm of at most `limit`; arrays of fewer than two axes have no units."""
    for param in params:
        if param.ndim < 2:
            continue
        xp = array_namespace(param)
        size = unit_norms(param, unit_axis)
        param[...] = _scaled(param, xp.where(size > limit, limit / xp.where(size == 0, 1, size), 1.0))


def add_l2(params, grads, l2):
    """grad += l2 * param: the gradient of l2 / 2 * sum w^2. For l2 * sum w^2 without the half give twice the value."""
    for param, grad in zip(params, grads, strict=True):
        grad[...] = compute(grad) + l2 * compute(param)


def add_l1(params, grads, l1):
    """grad += l1 * sign(param), where sign(0) is 0: a subgradient of l1 * sum |w|."""
    for param, grad in zip(params, grads, strict=True):
        grad[...] = compute(grad) + l1 * array_namespace(param).sign(compute(param))


def ema_update(averages, params, decay=0.995):
    """average = decay * average + (1 - decay) * param."""
    for average, param in zip(averages, params, strict=True):
        average[...] = decay * compute(average) + (1 - decay) * compute(param)
