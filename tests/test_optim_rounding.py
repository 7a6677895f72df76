# SPDX-License-Identifier: BSD-3-Clause
"""Stochastic rounding of what an optimizer keeps in 16 bits: known bits, unbiased, lost updates that are not lost."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from brazen import reference
from tolerance import DTYPES, same_bits

HALVES = ["float16", "bfloat16"]


@pytest.mark.parametrize("dtype", HALVES)
def test_steps_follow_the_reference_to_the_bit(dtype):
    """Nothing but the rounding: sgd in float32, rounded by the specification's draws."""
    shapes, seed = [(1031,), (5, 13), (3,)], 2**40 + 7
    params = optim_cases.arrays(shapes, DTYPES[dtype])
    expected = [p.copy() for p in params]
    opt = bz.optim.SGD(params, lr=0.25, stochastic_rounding=seed)
    for step in range(1, 4):
        grads = optim_cases.gradients(step, shapes, DTYPES[dtype])
        opt.step(grads)
        for number, (weight, grad) in enumerate(zip(expected, grads)):
            exact = weight.astype("float32") - np.float32(0.25) * grad.astype("float32")
            weight[...] = reference.optim.rounded_randomly(exact, dtype, seed=seed, step=step, tensor=number, role=0)
    assert not [wrong for made, wanted in zip(params, expected) if (wrong := same_bits(made, wanted))]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_value_goes_to_one_of_its_neighbours_and_on_average_nowhere(dtype):
    half = DTYPES[dtype]
    samples = 1 << 16
    # Normal and subnormal, both signs; exact ones stay.
    for value in (1.0, 1.0003, -1.2345678, 3.1e-5, 1.0e-6, -2.0e-7, 60000.3):
        exact = np.full(samples, value, "float32")
        made = reference.optim.rounded_randomly(exact, dtype, seed=3, step=1, tensor=0, role=0)
        found = np.unique(made.astype("float64"))
        own = float(np.float32(value))
        below = [x for x in found if x <= own]
        assert len(found) <= 2 and (len(found) == 1 or len(below) == 1), value
        assert found.size == 2 or found[0] == own, "an exact value stays"
        gap = found[-1] - found[0]
        # The mean of so many coins: five standard deviations, at most half a gap each.
        assert abs(made.astype("float64").mean() - own) <= 5 * 0.5 * gap / np.sqrt(samples) + gap * 2.0**-16, value
        nearest = np.array([value], "float32").astype(half).astype("float64")[0]
        assert nearest in found or gap == 0


@pytest.mark.parametrize("dtype", HALVES)
def test_special_values_stay(dtype):
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.0], "float32")
    made = reference.optim.rounded_randomly(special, dtype, seed=1, step=1, tensor=0, role=0)
    assert not same_bits(made, special.astype(DTYPES[dtype]))
    weights = [special.astype(DTYPES[dtype])]
    bz.optim.SGD(weights, lr=1.0, stochastic_rounding=1).step([np.zeros(special.size, DTYPES[dtype])])
    assert not same_bits(weights[0], special.astype(DTYPES[dtype]))


def test_small_updates_are_not_lost():
    """Three hundred steps of a tenth of the spacing: nothing to nearest, thirty spacings on average at random."""
    ends = {}
    for seed in (None, 5):
        weights = [np.ones(4096, DTYPES["bfloat16"])]
        opt = bz.optim.SGD(weights, lr=2.0**-7 / 10, maximize=True, stochastic_rounding=seed)
        grad = [np.ones(4096, DTYPES["bfloat16"])]
        for _ in range(300):
            opt.step(grad)
        ends[seed] = weights[0].astype("float64").mean()
    assert ends[None] == 1.0 and ends[5] == pytest.approx(1 + 30 * 2.0**-7, rel=0.01)


def test_draws_do_not_depend_on_the_list_being_cut_and_differ_between_arrays_and_steps():
    def steps(shapes, seed, count=1, role="param"):
        params = [np.full(shape, 1.001, DTYPES["bfloat16"]) for shape in shapes]
        opt = bz.optim.Adam(params, lr=1e-3, state_dtype="bfloat16", stochastic_rounding=seed)
        for _ in range(count):
            opt.step([np.full(shape, 0.3, DTYPES["bfloat16"]) for shape in shapes])
        return params, opt.state

    (whole,), state = steps([(5000,)], 1)
    (matrix,), _ = steps([(50, 100)], 1)
    assert not same_bits(whole, matrix.reshape(-1))
    assert same_bits(whole, steps([(5000,)], 2)[0][0])
    first, second = steps([(5000,), (5000,)], 1)[0]
    assert not same_bits(first, whole) and same_bits(second, whole)
    assert len(np.unique(state["exp_avg"][0])) == 2, "states are rounded too"


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"stochastic_rounding is -1; expected 0 to 2\^64 - 1"):
        bz.optim.SGD([np.zeros(2)], stochastic_rounding=-1)
    with pytest.raises(TypeError, match="stochastic_rounding is 0.5; expected an integer"):
        bz.optim.SGD([np.zeros(2)], stochastic_rounding=0.5)
