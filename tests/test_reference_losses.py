# SPDX-License-Identifier: BSD-3-Clause
"""The losses and the softmax family of the reference: against PyTorch in float64, their own differences, and the claims
E1 to E13 about formulas (tests/test_techniques.py says what a claim is)."""

import inspect

import numpy as np
import pytest
from brazen import reference
from tolerance import DTYPES, tolerance

RELATIVE = tolerance("float64").central_difference
UNITS = 64 * tolerance("float64").unit  # what two orders of the same sums may differ by, against values around 1
RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(0, 3, (12, 7)), RNG.integers(0, 7, 12)
SOFT = RNG.dirichlet(np.ones(7), 12)
WEIGHT = RNG.uniform(0.2, 2, 7)
TARGET = RNG.normal(0, 3, (12, 7))


def close(ours, theirs):
    return np.abs(np.asarray(ours) - np.asarray(theirs)).max() <= UNITS * max(1, np.abs(np.asarray(theirs)).max())


def of_torch(torch, function, x, reduction):
    """(loss, gradient of its sum) of function(tensor)."""
    tensor = torch.tensor(x, requires_grad=True)
    loss = function(tensor)
    loss.sum().backward()
    return loss.detach().numpy(), tensor.grad.numpy()


REDUCTIONS = ("mean", "sum", "none")


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "ignored", "soft"])
def test_softmax_cross_entropy_is_pytorch_s(torch, reduction, smoothing, weighted, kind):
    labels = {"labels": LABELS, "ignored": np.where(np.arange(12) % 3 == 1, -100, LABELS), "soft": SOFT}[kind]
    options = {"label_smoothing": smoothing, "reduction": reduction}
    theirs = of_torch(
        torch,
        lambda x: torch.nn.functional.cross_entropy(
            x, torch.tensor(labels), weight=torch.tensor(WEIGHT) if weighted else None, **options
        ),
        LOGITS,
        reduction,
    )
    ours = reference.softmax_cross_entropy(LOGITS, labels, weight=WEIGHT if weighted else None, **options)
    assert all(close(a, b) and np.shape(a) == np.shape(b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("pos_weight", [None, 2.5, WEIGHT])
def test_sigmoid_cross_entropy_is_pytorch_s(torch, reduction, pos_weight):
    theirs = of_torch(
        torch,
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(
            x,
            torch.tensor(SOFT),
            pos_weight=None if pos_weight is None else torch.tensor(pos_weight),
            reduction=reduction,
        ),
        LOGITS,
        reduction,
    )
    ours = reference.sigmoid_cross_entropy(LOGITS, SOFT, pos_weight=pos_weight, reduction=reduction)
    assert all(close(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    "name, theirs, options", [("mse", "mse_loss", {}), ("mae", "l1_loss", {}), ("huber", "huber_loss", {"delta": 1.7})]
)
def test_elementwise_losses_are_pytorch_s(torch, reduction, name, theirs, options):
    wanted = of_torch(
        torch,
        lambda x: getattr(torch.nn.functional, theirs)(x, torch.tensor(TARGET), reduction=reduction, **options),
        LOGITS,
        reduction,
    )
    ours = getattr(reference, name)(LOGITS, TARGET, reduction=reduction, **options)
    assert all(close(a, b) for a, b in zip(ours, wanted))


@pytest.mark.parametrize("reduction, theirs", [("mean", "batchmean"), ("sum", "sum")])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_divergence_is_pytorch_s(torch, reduction, theirs, log_target):
    target = np.log(SOFT) if log_target else np.where(SOFT < 0.05, 0, SOFT)
    logs = reference.log_softmax(LOGITS)
    wanted = of_torch(
        torch,
        lambda x: torch.nn.functional.kl_div(x, torch.tensor(target), reduction=theirs, log_target=log_target),
        logs,
        reduction,
    )
    ours = reference.kl_divergence(logs, target, log_target=log_target, reduction=reduction)
    assert all(close(a, b) for a, b in zip(ours, wanted))


def test_multiclass_hinge_is_pytorch_s(torch):
    """Theirs divides by the number of classes."""
    wanted = of_torch(
        torch,
        lambda x: torch.nn.functional.multi_margin_loss(x, torch.tensor(LABELS), margin=1.3) * 7,
        LOGITS,
        "mean",
    )
    assert all(close(a, b) for a, b in zip(reference.multiclass_hinge(LOGITS, LABELS, margin=1.3), wanted))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_is_pytorch_s(torch, name, axis):
    tensor = torch.tensor(LOGITS, requires_grad=True)
    wanted = getattr(torch, name)(tensor, axis)
    wanted.backward(torch.tensor(TARGET))
    y = getattr(reference, name)(LOGITS, axis=axis)
    assert close(y, wanted.detach()) and close(getattr(reference, name).backward(TARGET, y, axis=axis), tensor.grad)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    y = reference.sparsemax(LOGITS)
    assert (y >= 0).all() and close(y.sum(-1), np.ones(12)) and (y == 0).any() and (y > 0).sum() > 12
    for other in (SOFT, np.eye(7)[LABELS], reference.softmax(LOGITS)):
        # <x - y, z - y> <= 0 for every z of a convex set says that y is the projection of x.
        assert (((LOGITS - y) * (other - y)).sum(-1) <= UNITS * np.abs(LOGITS).max()).all()
    assert close(reference.sparsemax(np.array([[0.3, 0.2, 0.5]])), [[0.3, 0.2, 0.5]]), (
        "inside the simplex: the identity"
    )
    assert reference.sparsemax(np.array([[1e300, 0, -np.inf]])).tolist() == [[1, 0, 0]]


def differences(function, x, step=2.0**-18):
    """d sum(function) / dx by central differences."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            ends.append(np.sum(function(moved)))
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def rough(ours, numeric):
    return (np.abs(ours - numeric) <= RELATIVE * np.maximum(1, np.abs(numeric))).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "sparsemax"])
def test_differences_of_softmax(name):
    operation = getattr(reference, name)
    numeric = differences(lambda x: TARGET * operation(x), LOGITS)
    assert rough(operation.backward(TARGET, operation(LOGITS)), numeric)


ARGUMENTS = {
    **dict.fromkeys(("softmax_cross_entropy", "naive_softmax_cross_entropy", "multiclass_hinge"), (LOGITS, LABELS)),
    "sigmoid_cross_entropy": (LOGITS, SOFT),
    "kl_divergence": (reference.log_softmax(LOGITS), SOFT),
    **dict.fromkeys(("mse", "mae", "huber", "half_squared", "sum_of_squares"), (LOGITS, TARGET)),
}


def test_the_list_of_losses():
    assert set(reference.losses()) == set(ARGUMENTS)
    assert all(callable(getattr(reference, name)) for name in reference.losses())


@pytest.mark.parametrize("name", reference.losses())
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_differences_of_losses(name, reduction):
    loss, (x, other) = getattr(reference, name), ARGUMENTS[name]
    numeric = differences(lambda x: loss(x, other, reduction=reduction)[0], x)
    assert rough(loss(x, other, reduction=reduction)[1], numeric)


@pytest.mark.parametrize("name", reference.losses())
def test_scale_out_and_defaults(name):
    loss, (x, other) = getattr(reference, name), ARGUMENTS[name]
    value, gradient = loss(x, other)
    usual = "sum" if name in ("half_squared", "sum_of_squares") else "mean"
    assert inspect.signature(loss).parameters["reduction"].default == usual
    out = np.empty_like(x)
    scaled = loss(x, other, grad_scale=1024.0, out=out)
    assert scaled[1] is out and scaled[0] == value and close(out, gradient * 1024)
    assert value.shape == () and loss(x, other, reduction="none")[0].ndim
    with pytest.raises(ValueError, match="reduction is 'median'; expected"):
        loss(x, other, reduction="median")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", reference.losses())
def test_dtypes(name, dtype):
    x, other = ARGUMENTS[name]
    x = x.astype(DTYPES[dtype])
    other = other if other.dtype.kind == "i" else other.astype(x.dtype)
    value, gradient = getattr(reference, name)(x, other)
    assert gradient.dtype == x.dtype and gradient.shape == x.shape
    assert value.dtype == ("float64" if dtype == "float64" else "float32")
    wide = x.astype("float64"), other if other.dtype.kind == "i" else other.astype("float64")
    rounding = 64 * tolerance(dtype).unit
    assert np.abs(gradient.astype("float64") - getattr(reference, name)(*wide)[1]).max() <= rounding


@pytest.mark.parametrize("name", reference.losses())
def test_no_rows(name):
    """A mean over nothing is 0, not NaN."""
    x, other = ARGUMENTS[name]
    for reduction in REDUCTIONS:
        value, gradient = getattr(reference, name)(x[:0], other[:0], reduction=reduction)
        assert gradient.shape == x[:0].shape and not value.any()


def test_ignored_rows_have_no_gradient_whatever_they_hold():
    labels = np.array([3, -100, 5])
    logits = np.stack([LOGITS[0], np.full(7, np.nan), LOGITS[2]])
    value, gradient = reference.softmax_cross_entropy(logits, labels)
    kept = reference.softmax_cross_entropy(LOGITS[[0, 2]], labels[[0, 2]])
    assert value == kept[0] and (gradient[[0, 2]] == kept[1]).all() and not gradient[1].any()
    value, gradient = reference.softmax_cross_entropy(logits, np.full(3, -100))
    assert value == 0 and not gradient.any()


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "naive_softmax_cross_entropy"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rows_along_another_axis(name, reduction):
    loss, x = getattr(reference, name), reference.log_softmax(RNG.normal(size=(2, 3, 7)))
    other = RNG.integers(0, 7, (2, 3)) if reduction == "sum" else reference.softmax(RNG.normal(size=(2, 3, 7)))
    value, gradient = loss(x, other, reduction=reduction)
    for axis in (0, 1, -2):
        moved = np.moveaxis(other, -1, axis) if other.ndim == 3 else other
        out = np.empty_like(np.moveaxis(x, -1, axis))
        again = loss(np.moveaxis(x, -1, axis), moved, axis=axis, reduction=reduction, out=out)
        assert again[1] is out and close(np.moveaxis(out, axis, -1), gradient) and close(again[0], value)
    with pytest.raises(ValueError, match="axis is 3; expected one of the 3 axes"):
        loss(x, other, axis=3)


def test_errors():
    with pytest.raises(ValueError, match=r"labels\[2\] is 7; expected 0 to 6, or ignore_index, -100"):
        reference.softmax_cross_entropy(LOGITS[:3], np.array([1, 2, 7]))
    with pytest.raises(ValueError, match=r"labels\[1, 0\] is -1; expected 0 to 6$"):
        reference.softmax_cross_entropy(
            LOGITS.reshape(3, 4, 7), np.array([[0] * 4, [-1] * 4, [0] * 4]), ignore_index=None
        )
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); expected \(12,\), or \(12, 7\) for probabilities"):
        reference.softmax_cross_entropy(LOGITS, LABELS[:3])
    with pytest.raises(TypeError, match="labels have dtype bool"):
        reference.softmax_cross_entropy(LOGITS, LABELS > 3)
    with pytest.raises(ValueError, match=r"labels have shape \(3, 7\); probabilities have that of the logits"):
        reference.softmax_cross_entropy(LOGITS, SOFT[:3])
    with pytest.raises(ValueError, match="label_smoothing is 1.5; expected 0 to 1"):
        reference.softmax_cross_entropy(LOGITS, LABELS, label_smoothing=1.5)
    with pytest.raises(ValueError, match=r"weight has shape \(3,\); expected \(7,\)"):
        reference.softmax_cross_entropy(LOGITS, LABELS, weight=WEIGHT[:3])
    with pytest.raises(ValueError, match=r"target has shape \(3, 7\); expected \(12, 7\)"):
        reference.mse(LOGITS, TARGET[:3])
    with pytest.raises(ValueError, match="delta is 0"):
        reference.huber(LOGITS, TARGET, delta=0)


# Claims by number.


def test_e1_e2_reductions_of_the_risk():
    each = reference.mse(LOGITS, TARGET, reduction="none")[0]
    assert close(reference.mse(LOGITS, TARGET)[0], each.mean()), "E1: 1/n"
    assert close(reference.sum_of_squares(LOGITS, TARGET)[0], each.sum()), "E2: no 1/n and no 1/2"


def test_e3_e13_half_squared_error_is_the_delta_rule():
    """-dE/dw_ji = delta_pj i_pi, delta = t - o; a linear unit with this loss and plain descent is Adaline."""
    inputs, weights, teacher = RNG.normal(size=5), RNG.normal(size=(5, 3)), RNG.normal(size=3)
    outputs = inputs @ weights
    loss, gradient = reference.half_squared(outputs, teacher)
    delta = teacher - outputs
    assert np.abs(gradient + delta).max() <= 1e-12 and np.isclose(loss, 0.5 * (delta**2).sum(), rtol=1e-12, atol=0)
    assert np.abs(np.outer(inputs, gradient) + np.outer(inputs, delta)).max() <= 1e-12
    stepped = weights - 0.1 * np.outer(inputs, gradient)
    assert np.abs(stepped - (weights + 0.1 * np.outer(inputs, delta))).max() <= 1e-12


def test_e4_softmax_cross_entropy():
    value, gradient = reference.softmax_cross_entropy(np.zeros((5, 10)), np.arange(5))
    assert close(value, np.log(10)), "uniform scores"
    expected = (reference.softmax(LOGITS) - np.eye(7)[LABELS]) / 12
    assert close(reference.softmax_cross_entropy(LOGITS, LABELS)[1], expected)
    huge = np.array([[1e4, -1e4, 0], [3e38, 0, 0]], "float32")
    with np.errstate(all="raise"):
        value, gradient = reference.softmax_cross_entropy(huge, np.array([0, 0]))
    assert value == 0 and not gradient.any()


def test_e5_the_naive_form_is_infinite_where_a_probability_underflows():
    """Naive gives inf, the log-sum-exp form a finite loss between 1e28 and 1e245 for the same scores."""
    scores = np.array([[0.0, 1e30], [1e200, 0.0]])
    labels = np.array([0, 1])
    assert reference.naive_softmax_cross_entropy(scores, labels)[0] == np.inf
    assert 1e28 < reference.softmax_cross_entropy(scores[:1], labels[:1])[0] < 1e245
    assert np.isfinite(reference.softmax_cross_entropy(scores, labels)[0])
    assert close(
        reference.naive_softmax_cross_entropy(LOGITS, LABELS)[0], reference.softmax_cross_entropy(LOGITS, LABELS)[0]
    )


def test_e6_hinge_starts_at_classes_minus_one():
    assert reference.multiclass_hinge(np.zeros((20, 10)), RNG.integers(0, 10, 20))[0] == 9


def test_e7_cross_entropy_and_square_error_are_both_there():
    assert {"softmax_cross_entropy", "mse"} <= set(reference.losses())


def test_e9_e10_chain_rule_on_four_units():
    """dL/db1 = s'(z1) w2 s'(z2) w3 s'(z3) w4 s'(z4) dL/da4, and with s' <= 1/4 it vanishes."""
    weights, biases, x = RNG.normal(size=4), RNG.normal(size=4), 0.7
    inputs, product = [np.array([x])], 1.0
    sums = []
    for weight, bias in zip(weights, biases):
        sums.append(weight * inputs[-1] + bias)
        inputs.append(reference.sigmoid(sums[-1]))
    _, gradient = reference.half_squared(inputs[-1], np.array([0.2]))
    slopes = [reference.sigmoid.backward(np.ones(1), z)[0] for z in sums]
    product = slopes[0] * weights[1] * slopes[1] * weights[2] * slopes[2] * weights[3] * slopes[3] * gradient[0]
    for weight, z in zip(reversed(weights), reversed(sums)):
        gradient = reference.sigmoid.backward(gradient, z)
        at_bias, gradient = gradient, gradient * weight
    assert abs(at_bias[0] - product) <= 1e-12 * abs(product)
    assert np.prod(slopes) <= 0.25**4
