# SPDX-License-Identifier: BSD-3-Clause
"""Values and derivatives against the reference in float64 (float64 results: in extended precision), by the contract of
tolerance.py. It catches a wrong coefficient, constant, branch or parameter, a lost tail and a NaN or limit gone wrong."""

import numpy as np
import op_table
import pytest
import samples
from tolerance import WIDE, bound, compute_type, far_off, tolerance


def _wide(array):
    return array.astype(WIDE if array.dtype == np.float64 else np.float64)


def _one(dtype, shape):
    return np.ones(shape, samples.DTYPES[dtype])


@pytest.mark.parametrize("case, dtype", op_table.each(families=op_table.UNARY))
def test_unary(case, dtype):
    for number, parameters in enumerate(case.parameter_sets):
        x = samples.unary_sample(dtype, "full" if number == 0 else "small")
        arrays = (x,) if case.direction == "forward" else (_one(dtype, x.shape), x)
        y = case.call(*arrays, parameters=parameters)
        truth = case.truth(*arrays, parameters=parameters)
        wrong = far_off(dtype, y, truth, bound(dtype, truth, _wide(x), case.ulps, case.c))
        assert not wrong, f"{parameters}: {wrong}; x = {x[int(wrong.split('first at ')[1].split(':')[0])]!r}"


@pytest.mark.parametrize(
    "case, dtype",
    [p for p in op_table.each(families=("activation",), dtypes=("float32", "float64")) if p.values[0].tail],
)
def test_tails(case, dtype):
    """The negative tail (the positive one of log_sigmoid) keeps four ulps of itself: no c hides a lost tail."""
    x = samples.unary_sample(dtype)
    x = x[x > 0] if case.name == "log_sigmoid" else x[x < 0]
    truth = case.truth(x)
    wrong = far_off(dtype, case.call(x), truth, 4 * tolerance(dtype).ulp(np.where(np.isfinite(truth), truth, 0)))
    assert not wrong, wrong


@pytest.mark.parametrize("case, dtype", op_table.each(families=("activation",), direction="backward"))
def test_gradient_is_dy_times_the_derivative(case, dtype):
    x, dy = samples.ordinary(4000, dtype, 1), samples.ordinary(4000, dtype, 2)
    truth = case.truth(dy, x)
    exact = tolerance(compute_type(dtype))
    slope = bound(dtype, case.truth(_one(dtype, x.shape), x), _wide(x), case.ulps, case.c)
    wrong = far_off(dtype, case.call(dy, x), truth, np.abs(_wide(dy)) * slope + exact.ulp(truth) / 2)
    assert not wrong, wrong


@pytest.mark.parametrize("case, dtype", op_table.each(families=("gate",)))
def test_gates(case, dtype):
    gate = samples.unary_sample(dtype, "small")
    value = samples.ordinary(gate.shape, dtype, 3)
    dy = samples.ordinary(gate.shape, dtype, 4)
    x = np.stack([value, gate])
    value, gate, dy_wide = _wide(value), _wide(gate), _wide(dy)
    exact = tolerance(compute_type(dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        if case.direction == "forward":
            truth = case.truth(x, parameters={"axis": 0})[0]
            error = bound(dtype, truth, gate, case.ulps, case.c * np.abs(value)) + np.abs(value) * exact.ulp(gate * 0)
            results = [case.call(x, parameters={"axis": 0})[0]]
            truths, errors = [truth], [error]
        else:
            results = case.call(dy[None], x, parameters={"axis": 0})
            truths = case.truth(dy[None], x, parameters={"axis": 0})
            factors = np.abs(dy_wide), np.abs(dy_wide * value)
            errors = [
                bound(dtype, t, gate, case.ulps, case.c * f) + f * exact.ulp(gate * 0) for t, f in zip(truths, factors)
            ]
    for y, truth, error in zip(results, truths, errors):
        wrong = far_off(dtype, y, truth, error)
        assert not wrong, wrong


@pytest.mark.parametrize("case, dtype", op_table.each(families=("prelu",)))
def test_prelu(case, dtype):
    x = samples.unary_sample(dtype, "small")
    for slope in (0.0, 0.25, 1.5, -0.5):
        alpha = np.full(1, slope, x.dtype)
        arrays = (x, alpha) if case.direction == "forward" else (_one(dtype, x.shape), x, alpha)
        truth = case.truth(*arrays)
        y, truth = (case.call(*arrays), truth) if case.direction == "forward" else (case.call(*arrays)[0], truth[0])
        wrong = far_off(dtype, y, truth, bound(dtype, truth, _wide(x), case.ulps, case.c))
        assert not wrong, f"alpha {slope}: {wrong}"


@pytest.mark.parametrize("case, dtype", op_table.each(families=("maxout",)))
def test_maxout_is_exact(case, dtype):
    pieces = case.parameters["pieces"]
    x = samples.ordinary((500, pieces), dtype, 5).ravel()
    x[:pieces] = 1, 1, 1  # ties: the first wins
    x[pieces : 2 * pieces] = 0, np.nan, 2
    arrays = (x,) if case.direction == "forward" else (samples.ordinary(500, dtype, 6), x)
    wrong = far_off(dtype, case.call(*arrays), case.truth(*arrays), 0)
    assert not wrong, wrong
