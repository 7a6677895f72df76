# SPDX-License-Identifier: BSD-3-Clause
"""NaN, infinities, zeros, subnormals and huge numbers, in every position of a vector, on every instruction set."""

import numpy as np
import op_table
import pytest
import samples
from tolerance import bound, compute_type, far_off, same_bits, tolerance


@pytest.mark.parametrize("case, dtype", op_table.each(families=op_table.UNARY))
def test_special_values(case, dtype, isa):
    special = samples.special_values(dtype)
    filled = [np.resize(special, 67), *(np.concatenate([np.ones(k, special.dtype), special]) for k in (1, 7, 15))]
    for x in filled:
        arrays = (x,) if case.direction == "forward" else (np.ones_like(x), x)
        y, truth = case.call(*arrays), case.truth(*arrays)
        with np.errstate(invalid="ignore"):
            wrong = far_off(dtype, y, truth, bound(dtype, truth, x.astype(truth.dtype), case.ulps, case.c))
        assert not wrong, f"{wrong}; x = {x[int(wrong.split('first at ')[1].split(':')[0])]!r}"


@pytest.mark.parametrize("case, dtype", op_table.each(families=("activation",)))
def test_nan_in_nan_out(case, dtype, isa):
    """Independent of the reference: each NaN pattern comes out as NaN, and its neighbours do not."""
    special = samples.special_values(dtype)
    nan = special[np.isnan(special)]
    assert nan.size >= 4
    x = np.ones(16 * nan.size, special.dtype)
    x[::16] = nan
    y = case.call(*(x,) if case.direction == "forward" else (np.ones_like(x), x))
    if case.id == "linear.backward":
        assert (y == 1).all(), "the gradient of linear is dy, whatever x is"
    else:
        assert (np.isnan(y) == np.isnan(x)).all()
    if case.direction == "backward":
        assert np.isnan(case.call(x, np.ones_like(x))).sum() == nan.size, "a NaN in dy must come out"


# The limits at minus and plus infinity, and the value at 0, of what a formula would make of inf * 0.
LIMITS = {
    "gelu": (0, np.inf), "gelu_tanh": (0, np.inf), "silu": (0, np.inf), "mish": (0, np.inf), "hard_silu": (0, np.inf),
    "sigmoid": (0, 1), "tanh": (-1, 1), "softsign": (-1, 1), "softplus": (0, np.inf), "log_sigmoid": (-np.inf, 0),
    "squareplus": (0, np.inf), "elu": (-1, np.inf), "celu": (-1, np.inf), "relu": (0, np.inf), "relu6": (0, 6),
    "exponential": (0, np.inf), "hard_sigmoid": (0, 1), "hard_tanh": (-1, 1), "sparse_plus": (0, np.inf),
    "sparse_sigmoid": (0, 1), "tanh_shrink": (-np.inf, np.inf), "linear": (-np.inf, np.inf), "leaky_relu": (-np.inf, np.inf),
    "hard_shrink": (-np.inf, np.inf), "soft_shrink": (-np.inf, np.inf),
}  # fmt: skip
SLOPES_NOT_0_1 = {
    "sigmoid": (0, 0), "tanh": (0, 0), "softsign": (0, 0), "log_sigmoid": (1, 0), "relu6": (0, 0), "hard_sigmoid": (0, 0),
    "exponential": (0, np.inf), "hard_tanh": (0, 0), "sparse_sigmoid": (0, 0), "tanh_shrink": (1, 1), "linear": (1, 1),
    "hard_shrink": (1, 1), "soft_shrink": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize(
    "case, dtype",
    [
        p
        for p in op_table.each(families=("activation",))
        if p.values[0].name in LIMITS and p.values[0].name != "leaky_relu"
    ],
)
def test_limits_at_infinity(case, dtype, isa):
    x = np.array([-np.inf, np.inf] * 9).astype(samples.DTYPES[dtype])
    if case.direction == "forward":
        y, limits = case.call(x, parameters=case.parameter_sets[0]), LIMITS[case.name]
    else:
        y, limits = (
            case.call(np.ones_like(x), x, parameters=case.parameter_sets[0]),
            SLOPES_NOT_0_1.get(case.name, (0, 1)),
        )
    nothing = tolerance(compute_type(dtype)).unit ** 2  # a clamped argument may leave a limit of 0 this far away
    wanted = np.resize(limits, y.shape)
    assert ((y == wanted) | (np.abs(y.astype(float)) * (wanted == 0) < nothing) & (wanted == 0)).all(), y[:2]


@pytest.mark.parametrize("case, dtype", op_table.each(families=("gate", "maxout", "prelu")))
def test_special_values_of_gates(case, dtype, isa):
    """All pairs of special values: the bits of one element at a time, and NaN where the reference has it."""
    special = samples.special_values(dtype)
    a, b = (part.ravel() for part in np.meshgrid(special, special))
    if case.family == "prelu":
        arrays = [a, b] if case.direction == "forward" else [np.ones_like(a), a, b]
        parameters = {}
    else:
        parameters = {"axis": 1} if case.family == "gate" else {"axis": 1, "pieces": 2}
        arrays = [np.stack([a, b], 1)]
        if case.direction == "backward":
            arrays.insert(0, np.ones((a.size, 1), a.dtype))
    result = case.results(*arrays, parameters=parameters)[0]
    truth = case.truth(*arrays, parameters=parameters)
    truth = truth[0] if isinstance(truth, tuple) else truth
    nan = np.isnan(truth)
    with np.errstate(over="ignore", invalid="ignore"):
        overflow = ~np.isfinite(truth.astype(result.dtype))
    # inf * 0 is NaN and inf * 1e-40 is not: with infinite arguments only brazen's own consistency is asked for.
    asked = (nan | ~overflow) & (
        ~np.isinf(a) & ~np.isinf(b) if case.family == "prelu" else ~np.isinf(arrays[-1]).any(1, keepdims=True)
    )
    assert asked.any() and (np.isnan(result) == nan)[np.broadcast_to(asked, nan.shape)].all()
    for i in range(0, a.size, 97):
        one = [array[i : i + 1] for array in arrays]
        wrong = same_bits(case.results(*one, parameters=parameters)[0], result[i : i + 1])
        assert not wrong, f"{[o.tolist() for o in one]}: {wrong}"


@pytest.mark.parametrize("dtype", list(samples.DTYPES))
def test_negative_zero(dtype):
    """Odd operations keep the sign of zero; the others give some zero."""
    import brazen as bz

    zero = np.array([0.0, -0.0] * 10).astype(samples.DTYPES[dtype])
    for name in (
        "linear",
        "tanh",
        "leaky_relu",
        "elu",
        "selu",
        "silu",
        "gelu",
        "mish",
        "softsign",
        "hard_tanh",
        "tanh_shrink",
    ):
        y = getattr(bz, name)(zero)
        assert (y == 0).all()
        if name != "tanh_shrink":
            assert (np.signbit(y.astype(float)) == np.signbit(zero.astype(float))).all(), name
    for name in ("relu", "relu6", "hard_silu", "hard_shrink", "soft_shrink"):
        assert (getattr(bz, name)(zero) == 0).all()
