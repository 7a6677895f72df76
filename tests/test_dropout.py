# SPDX-License-Identifier: BSD-3-Clause
"""The dropout family, brazen's and the reference's: the claims J1 to J15, J18 and J19 about formulas (tests/test_techniques.py says what
a claim is)."""

import inspect
import itertools
import math

import brazen as bz
import numpy as np
import pytest
from brazen import reference
from tolerance import DTYPES, tolerance

PLACE = {"seed": 7, "step": 3, "site": 1}
X = np.random.default_rng(0).normal(size=(64, 96))
UNIT = tolerance("float64").unit
DROPOUTS = [name for name in reference.dropouts() if name != "monte_carlo"]


@pytest.fixture(params=[bz, reference], ids=["brazen", "reference"])
def ops(request):
    """What holds the operations."""
    return request.param


def standard_errors(mask, keep):
    return abs(mask.mean() - keep) / math.sqrt(keep * (1 - keep) / mask.size)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
def test_j1_vanilla_dropout_in_training(keep, ops):
    y = ops.dropout(X, keep=keep, mode="vanilla", **PLACE)
    mask = ops.dropout.mask(X.shape, keep=keep, **PLACE)
    assert standard_errors(mask, keep) < 4
    assert (y[mask] == X[mask]).all() and not y[~mask].any(), "kept values are not scaled"
    assert not np.signbit(y[~mask]).any(), "+0"


@pytest.mark.parametrize("weights", [(0.3, -1.7), (2.0, 0.125)])
def test_j2_j11_expectation_over_masks_of_a_linear_neuron(weights, ops):
    """1/4 of the sum over the four masks = 1/2 (w0 x + w1 y): exactly what prediction computes."""
    inputs = np.array([1.3, -0.6])
    average = sum(np.dot(weights, inputs * mask) for mask in itertools.product((0, 1), repeat=2)) / 4
    predicted = np.dot(weights, ops.dropout(inputs, keep=0.5, mode="vanilla", training=False))
    assert abs(predicted - average) <= 1e-15 and abs(average - (weights[0] * 1.3 - weights[1] * 0.6) / 2) <= 1e-15
    for keep in (0.25, 0.75):
        kept = ops.dropout(inputs, keep=keep, mode="vanilla", training=False)
        assert np.abs(kept - (keep * inputs + (1 - keep) * 0)).max() <= 1e-15


@pytest.mark.parametrize("rate", [0.1, 0.5, 2 / 3])
def test_j3_inverted_dropout(rate, ops):
    factors = ops.dropout(np.ones((512, 512)), rate, **PLACE)
    keep = round((1 - rate) * 65536) / 65536
    assert abs(factors.mean() - 1) < 4 * math.sqrt((1 - keep) / keep / factors.size), "E[U] = 1"
    assert set(np.unique(factors)) == {0.0, 65536 / round((1 - rate) * 65536)}
    assert np.array_equal(ops.dropout(X, rate, training=False), X), "prediction is the identity, without a seed"
    dy = np.random.default_rng(1).normal(size=X.shape)
    y, dx = ops.dropout(X, rate, **PLACE), ops.dropout.backward(dy, rate, **PLACE)
    assert ((y == 0) == (dx == 0)).all() and np.abs(dx * X - dy * y).max() <= 8 * UNIT * np.abs(dx * X).max()


def test_j3_a_dropped_element_is_zero_whatever_it_was(ops):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, -5.0] * 20, "float32")
    mask = ops.dropout.mask(x.shape, 0.5, **PLACE)
    with np.errstate(all="raise"):
        y = ops.dropout(x, 0.5, **PLACE)
    assert (
        not y[~mask].any() and not np.signbit(y[~mask]).any() and np.array_equal(y[mask], 2 * x[mask], equal_nan=True)
    )


def test_j4_j7_scope_of_the_mask(ops):
    """One mask for a mini-batch (one draw a unit), one for each element, one for whole channels."""
    per_unit = ops.dropout(X, 0.5, noise_shape=(1, None), **PLACE) != 0
    assert (per_unit == per_unit[0]).all() and 0 < per_unit[0].sum() < 96
    assert (per_unit[0] == ops.dropout.mask((1, 96), 0.5, **PLACE)).all()
    per_element = ops.dropout(X, 0.5, **PLACE) != 0
    assert (per_element[0] != per_element[1]).any()
    images = X.reshape(4, 16, 12, 8)
    spatial = ops.dropout(images, 0.5, noise_shape=(None, None, 1, 1), **PLACE) != 0
    assert (spatial == spatial[:, :, :1, :1]).all()
    whole = ops.dropout.mask((4, 16, 1, 1), 0.5, **PLACE)
    later = ops.dropout(images[1:], 0.5, noise_shape=(3, 16, 1, 1), offset=16, **PLACE) != 0
    assert (spatial[:, :, :1, :1] == whole).all() and (later == spatial[1:]).all(), (
        "offset counts elements of the noise"
    )


@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_j5_j6_weights_scaled_at_test(rate, ops):
    """w = 1 at rate 1/2 becomes 0.5; for linear consumers the same as scaled activations, biases untouched."""
    assert ops.dropout.scale_weights(np.ones(1), 0.5) == 0.5
    weights, bias = np.random.default_rng(2).normal(size=(96, 10)), np.ones(10)
    by_weights = ops.dropout(X, rate, mode="weights", training=False) @ ops.dropout.scale_weights(weights, rate) + bias
    by_activations = ops.dropout(X, rate, mode="vanilla", training=False) @ weights + bias
    assert np.abs(by_weights - by_activations).max() <= 96 * UNIT * np.abs(by_activations).max()
    trained = [ops.dropout(X, rate, mode=mode, **PLACE) for mode in ("vanilla", "weights")]
    assert np.array_equal(*trained)
    assert np.array_equal(ops.dropout(X, **PLACE), ops.dropout(X, 0.5, **PLACE)), "J6: 0.5 is the default"
    x = X.copy()
    assert ops.dropout(x, 0.5, **PLACE, out=x) is x and np.array_equal(x, ops.dropout(X, 0.5, **PLACE)), "J6: in place"


def test_j8_j12_keep_and_rate(ops):
    for a, b in (({"rate": 0.2}, {"keep": 0.8}), ({"keep": 0.35}, {"keep_prob": 0.35}), ({}, {"rate": 0.5})):
        assert np.array_equal(ops.dropout(X, **a, **PLACE), ops.dropout(X, **b, **PLACE))
    assert "p" not in inspect.signature(ops.dropout.__call__).parameters
    assert np.array_equal(ops.dropout(X, 0.0, **PLACE), X) and np.array_equal(ops.dropout(X, keep=1.0, **PLACE), X)


def network(ops, step, x, layers):
    """Two hidden layers of relu with dropout behind each, on rows that differ in their masks alone."""
    for site, weights in enumerate(layers[:-1]):
        x = ops.dropout(np.maximum(x @ weights, 0), 0.5, seed=1, step=step, site=site)
    return x @ layers[-1]


def test_j9_j10_j14_monte_carlo_error_falls_as_one_over_the_root(ops):
    rng = np.random.default_rng(3)
    layers = [rng.normal(size=(20, 40)) / 4, rng.normal(size=(40, 40)) / 5, rng.normal(size=(40, 1)) / 5]
    x = np.repeat(rng.normal(size=(1, 20)), 100, axis=0)  # a row is a repeat
    counts = [10, 100, 1000]
    starts = np.cumsum([0, *counts])
    means = [
        ops.monte_carlo(lambda step: network(ops, step, x, layers), count, first=first)
        for count, first in zip(counts, starts)
    ]
    truth = means[-1].mean()
    errors = [np.sqrt(((mean - truth) ** 2).mean()) for mean in means]
    slope = np.polyfit(np.log10(counts), np.log10(errors), 1)[0]
    assert abs(slope + 0.5) < 0.1
    assert means[0].shape == (100, 1)
    one = ops.monte_carlo(lambda step: np.full(3, step, "float32"), 4, first=2)
    assert one.dtype == np.float32 and (one == 3.5).all()
    pytest.importorskip("ml_dtypes")
    narrow = ops.monte_carlo(lambda step: np.full(3, step, DTYPES["bfloat16"]), 4, first=2)
    assert narrow.dtype == DTYPES["bfloat16"] and (narrow == 3.5).all()
    with pytest.raises(ValueError, match="samples is 0"):
        ops.monte_carlo(lambda step: x, 0)


def test_j10_monte_carlo_is_the_scaled_pass_for_a_linear_net(ops):
    weights, x = np.random.default_rng(4).normal(size=(96, 1)), X[:1]
    average = ops.monte_carlo(lambda step: ops.dropout(np.repeat(x, 500, 0), 0.5, seed=2, step=step) @ weights, 40)
    spread = np.sqrt(((x.T * weights) ** 2).sum() / (500 * 40))
    assert abs(average.mean() - (x @ weights)[0, 0]) < 5 * spread


def test_j13_number_of_sub_networks():
    assert round(4096 * math.log10(2), 2) == 1233.02


@pytest.mark.parametrize("operation", ["dropout", "drop_connect", "alpha_dropout", "stochastic_depth"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5])
def test_j15_with_its_seed_held_a_stochastic_operation_has_a_derivative(operation, rate, ops):
    operation = getattr(ops, operation)
    x, dy, step = X[:6, :8], X[6:12, :8], 2.0**-18
    difference = (operation(x + step, rate, **PLACE) - operation(x - step, rate, **PLACE)) / (2 * step)
    backward = operation.backward(dy, rate, **PLACE)
    assert np.abs(backward - dy * difference).max() <= tolerance("float64").central_difference


@pytest.mark.parametrize("operation, amount", [("gaussian_dropout", 0.2), ("gaussian_noise", 0.3)])
def test_j15_gaussian_noise_has_a_derivative_with_its_seed_held(operation, amount, ops):
    operation = getattr(ops, operation)
    x, dy, step = X[:6, :8], X[6:12, :8], 2.0**-18
    difference = (operation(x + step, amount, **PLACE) - operation(x - step, amount, **PLACE)) / (2 * step)
    backward = operation.backward(dy, amount, **PLACE)
    error = np.abs(backward - dy * difference) / np.maximum(1, np.abs(backward))
    assert error.max() <= tolerance("float64").central_difference


def test_gaussian_dropout_by_the_probability_to_keep(ops):
    for given in ({"keep": 0.75}, {"keep_prob": 0.75}):
        for call in (ops.gaussian_dropout, ops.gaussian_dropout.backward):
            assert np.array_equal(call(X, **given, **PLACE), call(X, 0.25, **PLACE))
    assert np.array_equal(ops.gaussian_dropout(X, keep=1.0, **PLACE), X)
    with pytest.raises(TypeError, match="gaussian_dropout: rate and keep are given; expected one"):
        ops.gaussian_dropout(X, 0.5, keep=0.5, seed=0)


def test_j18_drop_connect_zeroes_weights(ops):
    """Mean field: the average over masks is the full matrix."""
    weights, count = X[:16, :16], 400
    average = sum(ops.drop_connect(weights, 0.25, seed=5, step=s) for s in range(count)) / count
    assert (np.abs(average - weights) < 6 * np.abs(weights) * math.sqrt(1 / 3 / count)).all()


def test_j19_stochastic_depth_drops_whole_samples(ops):
    branch = X.reshape(64, 8, 12)
    y = ops.stochastic_depth(branch, 0.25, **PLACE)
    alive = y.any(axis=(1, 2))
    assert (alive == ops.dropout.mask((64,), 0.25, **PLACE)).all() and 0 < alive.sum() < 64
    assert np.array_equal(y[alive], branch[alive] * (65536 / 49152))
    assert np.array_equal(ops.stochastic_depth(branch[10:], 0.25, **PLACE, offset=10), y[10:]), "offset counts samples"
    vanilla = ops.stochastic_depth(branch, 0.25, mode="vanilla", **PLACE)
    assert np.array_equal(vanilla[alive], branch[alive]) and not vanilla[~alive].any()
    predicted = ops.stochastic_depth(branch, 0.25, mode="vanilla", training=False)
    assert np.array_equal(predicted, branch * 0.75), "scaled by the survival probability"
    with pytest.raises(TypeError, match="stochastic_depth: noise_shape is given"):
        ops.stochastic_depth(branch, noise_shape=(64, 1, 1), **PLACE)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(rate, ops):
    x = np.random.default_rng(6).normal(size=1_000_000)
    y = ops.alpha_dropout(x, rate, **PLACE)
    assert abs(y.mean()) < 5e-3 and abs(y.std() - 1) < 5e-3
    kept = round((1 - rate) * 65536) / 65536
    limit = -1.7580993408473766
    slope = (kept * (1 + (1 - kept) * limit**2)) ** -0.5
    mask = ops.dropout.mask(x.shape, rate, **PLACE)
    assert np.abs(y - (np.where(mask, x, limit) * slope - slope * limit * (1 - kept))).max() <= 32 * UNIT


def test_gaussian_dropout_and_noise(ops):
    ones = np.ones(400_000)
    factors = ops.gaussian_dropout(ones, 0.2, **PLACE)
    assert abs(factors.mean() - 1) < 5 * 0.5 / math.sqrt(ones.size) and abs(factors.std() - 0.5) < 5e-3
    assert np.array_equal(ops.gaussian_dropout(X, 0.2, **PLACE), X * factors[: X.size].reshape(X.shape))
    assert np.array_equal(ops.gaussian_dropout.backward(X, 0.2, **PLACE), X * factors[: X.size].reshape(X.shape))
    noise = ops.gaussian_noise(np.zeros_like(X), 0.3, **PLACE)
    noisy = ops.gaussian_noise(X, 0.3, **PLACE)
    assert np.abs(noisy - (X + noise)).max() <= 16 * UNIT and abs(noise.std() - 0.3) < 0.02
    assert np.array_equal(ops.gaussian_noise.backward(X, 0.3), X)
    later = ops.gaussian_noise(X[3:], 0.3, offset=3 * 96, **PLACE)
    assert np.array_equal(later, noisy[3:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DROPOUTS)
def test_dtypes_and_out(name, dtype, ops):
    x, operation = X.astype(DTYPES[dtype]), getattr(ops, name)
    for function in (operation, operation.backward):
        y, out = function(x, 0.5, **PLACE), np.empty_like(x)
        assert y.dtype == x.dtype and y.shape == x.shape and repr(operation) == f"{ops.__name__}.{name}"
        assert function(x, 0.5, **PLACE, out=out) is out and np.array_equal(out, y)
        if x.dtype.itemsize == 2:
            assert np.array_equal(y, function(x.astype("float32"), 0.5, **PLACE).astype(x.dtype)), "rounded once"
    assert operation(x[:0], 0.5, **PLACE).shape == (0, 96)


def test_masks_as_bits(ops):
    for shape in ((64,), (3, 5), (0,), (), (7, 1, 11)):
        mask, bits = (ops.dropout.mask(shape, 0.4, bits=b, offset=9, **PLACE) for b in (False, True))
        assert mask.dtype == bool and mask.shape == shape
        assert np.array_equal(bits, np.packbits(mask, bitorder="little")) and bits.dtype == np.uint8


def test_errors(ops):
    with pytest.raises(TypeError, match=r"dropout: seed is missing; call dropout\(x, 0.25, seed=0, step=step\)"):
        ops.dropout(X, 0.25)
    with pytest.raises(TypeError, match="dropout: rate and keep are given; expected one"):
        ops.dropout(X, 0.5, keep=0.5, seed=0)
    for rate in (1.0, -0.1, math.nan):
        with pytest.raises(
            ValueError, match="dropout: rate is .*; expected the probability to drop, at least 0 and below 1"
        ):
            ops.dropout(X, rate, seed=0)
    for keep in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="dropout: keep_prob is .*; expected the probability to keep, above 0"):
            ops.dropout(X, keep_prob=keep, seed=0)
    with pytest.raises(ValueError, match="nothing would be left"):
        ops.dropout(X, keep=1e-6, seed=0)
    with pytest.raises(ValueError, match=r"noise_shape \(64,\) has 1 axes, x has 2"):
        ops.dropout(X, noise_shape=(64,), seed=0)
    with pytest.raises(ValueError, match=r"noise_shape \(64, 3\); expected 1, None or the extent of x"):
        ops.dropout(X, noise_shape=(64, 3), seed=0)
    with pytest.raises(ValueError, match="mode is 'inverse'; expected one of inverted, vanilla, weights"):
        ops.dropout(X, mode="inverse", seed=0)
    with pytest.raises(TypeError, match="dropout: rate is '0.5'; expected the probability to drop"):
        ops.dropout(X, "0.5", seed=0)
    for wrong in (4, (64, 0.5)):
        with pytest.raises(
            TypeError, match=r"dropout: noise_shape is .*; expected 1, None or the extent for each axis"
        ):
            ops.dropout(X, noise_shape=wrong, seed=0)
    with pytest.raises(ValueError, match="gaussian_noise: std is -1"):
        ops.gaussian_noise(X, -1, seed=0)
    with pytest.raises(ValueError, match="gaussian_dropout: rate is 1"):
        ops.gaussian_dropout(X, 1, seed=0)


def test_stochastic_depth_shows_the_mask_it_draws(ops):
    branch = np.ones((64, 5, 3), "float32")
    mask = ops.stochastic_depth.mask(branch.shape, 0.25, **PLACE)
    assert mask.shape == (64, 1, 1)
    assert np.array_equal(ops.stochastic_depth(branch, 0.25, **PLACE) != 0, np.broadcast_to(mask, branch.shape))
    assert ops.stochastic_depth.mask(branch.shape, 0.25, bits=True, **PLACE).size == 8


def test_none_is_no_rate_of_a_chain(ops):
    for call in (ops.fused, ops.batch_norm):
        with pytest.raises(TypeError, match=f"{call.__name__}: dropout is None; expected the probability to drop"):
            call(X, dropout=None, seed=1)


def test_messages_name_the_operation_called():
    import brazen

    for call, text in [
        (lambda: brazen.dropout([1.0, 2.0], seed=1), "dropout: x is list"),
        (lambda: brazen.dropout(X, seed=1, out=X[:1].copy()), "dropout: out has shape"),
        (lambda: brazen.gaussian_noise([1.0], seed=1), "gaussian_noise: x is list"),
        (lambda: brazen.alpha_dropout.backward([1.0], seed=1), "alpha_dropout: dy is list"),
        (
            lambda: brazen.dropout(X, p=0.5, seed=1),
            r"dropout: there is no argument p \(here it is rate\); it takes x, rate",
        ),
        (lambda: brazen.drop_connect.backward(X, p=0.5, seed=1), "drop_connect: there is no argument p"),
        (lambda: brazen.alpha_dropout(X, p=0.5, seed=1), "alpha_dropout: there is no argument p"),
        (lambda: brazen.gaussian_dropout(X, p=0.5, seed=1), "gaussian_dropout: there is no argument p"),
        (lambda: brazen.gaussian_noise(X, "1", seed=1), "gaussian_noise: std is '1'; expected a finite number"),
    ]:
        with pytest.raises((TypeError, ValueError), match=text):
            call()
