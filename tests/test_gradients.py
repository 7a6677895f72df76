# SPDX-License-Identifier: BSD-3-Clause
"""Every backward against central differences of its own forward, in float64, away from kinks; and the chosen slope on them.

It catches a derivative that belongs to another formula, a forgotten parameter and a gradient sent to the wrong argument.
"""

import brazen as bz
import numpy as np
import op_table
import pytest
from tolerance import tolerance

RELATIVE = tolerance("float64").central_difference
STEP = 2.0**-18  # near the cube root of the precision, where both errors of a central difference are equally small


def _points(seed, shape):
    """Numbers off the multiples of 1/8, where the piecewise operations have their kinks (parameters are chosen to match)."""
    values = np.random.default_rng(seed).uniform(-6, 6, shape)
    return np.floor(values * 8) / 8 + np.random.default_rng(seed + 1).uniform(0.02, 0.105, shape)


def _close(a, b):
    return np.abs(a - b) <= RELATIVE * np.maximum(1, np.abs(b))


def _numeric(function, arrays, k, dy):
    """d sum(dy * f) / d arrays[k], element by element of a flat array, all at once where f is elementwise enough."""
    gradient = np.zeros_like(arrays[k])
    for index in np.ndindex(arrays[k].shape):
        moved = []
        for sign in (1, -1):
            changed = [a.copy() for a in arrays]
            changed[k][index] += sign * STEP
            moved.append((dy * function(*changed)).sum())
        gradient[index] = (moved[0] - moved[1]) / (2 * STEP)
    return gradient


ACTIVATIONS = [c for c in op_table.CASES if c.family == "activation" and c.direction == "backward"]
SLOPES = {"alpha": 0.375, "b": 2.5, "threshold": 0.625, "value": -0.7}


@pytest.mark.parametrize("case", ACTIVATIONS, ids=lambda case: case.id)
def test_activation(case):
    forward = getattr(bz, case.name)
    x, dy = _points(1, 2000), _points(2, 2000)
    for parameters in (
        case.parameter_sets[0],
        {name: SLOPES[name] for name in op_table.REGISTRY[case.name]["parameters"]},
    ):
        numeric = dy * (forward(x + STEP, **parameters) - forward(x - STEP, **parameters)) / ((x + STEP) - (x - STEP))
        wrong = ~_close(forward.backward(dy, x, **parameters), numeric)
        assert not wrong.any(), (
            f"{parameters}: x = {x[wrong][:3]}, {forward.backward(dy, x, **parameters)[wrong][:3]}, {numeric[wrong][:3]}"
        )


@pytest.mark.parametrize(
    "case",
    [c for c in op_table.CASES if c.family in ("gate", "maxout") and c.direction == "backward"],
    ids=lambda c: c.id,
)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gates(case, axis):
    forward = getattr(bz, case.name)
    x = _points(3, (6, 12, 6))
    parameters = {"axis": axis, **case.parameters}
    dy = _points(4, forward(x, **parameters).shape)
    numeric = _numeric(lambda v: forward(v, **parameters), [x], 0, dy)
    assert _close(forward.backward(dy, x, **parameters), numeric).all()


@pytest.mark.parametrize(
    "alpha_shape, axis", [((1,), None), ((), None), ((5,), None), ((5,), 1), ((3,), 0), ((4,), -1)]
)
def test_prelu(alpha_shape, axis):
    """dL/dalpha is the sum of x * g over x < 0."""
    x, dy = _points(5, (3, 5, 4)), _points(6, (3, 5, 4))
    alpha = np.random.default_rng(7).uniform(-0.5, 2, alpha_shape)
    dx, dalpha = bz.prelu.backward(dy, x, alpha, axis=axis)
    function = lambda x, alpha: bz.prelu(x, alpha, axis=axis)  # noqa: E731
    assert dx.shape == x.shape and dalpha.shape == alpha.shape
    assert _close(dx, _numeric(function, [x, alpha], 0, dy)).all()
    assert _close(dalpha, _numeric(function, [x, alpha], 1, dy)).all()


# The documented slope where there are two: that of the left side, and 0 on the closed band of the shrinks.
KINKS = {
    "relu": {0: 0},
    "relu6": {0: 0, 6: 0},
    "leaky_relu": {0: 0.01},
    "elu": {0: 1},
    "selu": {0: 1.7580993408473768},
    "hard_sigmoid": {-3: 0, 3: 0},
    "hard_tanh": {-1: 0, 1: 0},
    "hard_silu": {-3: 0, 3: 1},
    "hard_shrink": {-0.5: 0, 0.5: 0},
    "soft_shrink": {-0.5: 0, 0.5: 0},
    "sparse_plus": {-1: 0, 1: 1},
    "sparse_sigmoid": {-1: 0, 1: 0},
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slope_at_a_kink(name, dtype):
    x = np.array(list(KINKS[name]), dtype)
    wanted = np.array(list(KINKS[name].values()), dtype)
    assert (getattr(bz, name).backward(np.ones_like(x), x) == wanted).all()


def test_slope_at_a_kink_with_parameters():
    one, zero = np.ones(1), np.zeros(1)
    assert bz.elu.backward(one, zero, alpha=0.3) == 0.3
    assert bz.threshold.backward(one, np.full(1, 2.0), 2.0, 9.0) == 0
    dx, dalpha = bz.prelu.backward(one, zero, np.full(1, 0.3))
    assert dx == 0.3 and dalpha == 0
