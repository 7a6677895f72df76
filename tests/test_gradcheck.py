# SPDX-License-Identifier: BSD-3-Clause
"""`bz.checks.gradcheck`: it passes what is right, finds what is wrong and where, and refuses what has no derivative.

E11: a numerical derivative for every operation and loss. J15: stochastic operations are held by their seed.
"""

from typing import Any, NamedTuple

import brazen as bz
import numpy as np
import pytest
from brazen import reference
from brazen.checks import GradientMismatch, gradcheck
from tolerance import DTYPES, tolerance

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(6, 8)), RNG.normal(size=8)
LABELS = RNG.integers(0, 8, 6)
RELATIVE = tolerance("float64").central_difference


@pytest.mark.parametrize("name", bz.activations())
def test_every_activation(name):
    """Points off the multiples of 1/8, where the kinks are."""
    x = np.floor(X * 8) / 8 + RNG.uniform(0.02, 0.105, X.shape)
    arguments = {"prelu": (W,), "threshold": (0.5, -1.25)}.get(name, ())
    report = gradcheck(getattr(bz, name), x, *arguments)
    assert report.checked == {"x": 48, **({"alpha": 8} if name == "prelu" else {})}
    assert report and report.relative_error < RELATIVE


LOSSES = {
    "softmax_cross_entropy": (LABELS,),
    "naive_softmax_cross_entropy": (LABELS,),
    "multiclass_hinge": (LABELS,),
    "kl_divergence": (reference.softmax(X),),
}


@pytest.mark.parametrize("name", reference.losses())
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_loss(name, reduction):
    other = LOSSES.get(name, (reference.sigmoid(X[::-1]),))
    report = gradcheck(getattr(reference, name), X, *other, reduction=reduction)
    assert len(report.checked) == 1, "the first input alone"
    with pytest.raises(GradientMismatch):
        gradcheck(getattr(reference, name), X, *other, reduction=reduction, grad_scale=1.001)


@pytest.mark.parametrize(
    "operation, arguments, options, names",
    [
        (reference.softmax, (), {"axis": 0}, "x"),
        (reference.dropout, (0.3,), {"seed": 1, "step": 2}, "x"),
        (reference.gaussian_dropout, (0.3,), {"seed": 1}, "x"),
        (reference.batch_norm, (W, W), {"add": X[::-1], "activation": "gelu", "dropout": 0.3, "seed": 3}, "x scale shift add"),
        (reference.layer_norm, (W,), {"add": X[::-1]}, "x scale add"),
        (reference.group_norm, (2, W, W), {}, "x scale shift"),
        (reference.fused, (), {"bias": W, "scale": W, "add": X, "add_after": X, "activation": "mish"}, "x bias scale add add_after"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_every_form_of_backward(operation, arguments, options, names):
    report = gradcheck(operation, X, *arguments, **options)
    assert set(report.checked) == set(names.split())


class Gradients(NamedTuple):
    w: Any
    x: Any


def test_forms_of_gradients():
    def layer(x, w):
        return np.tanh(x * w), lambda dy: Gradients(
            x=dy * w / np.cosh(x * w) ** 2, w=(dy * x / np.cosh(x * w) ** 2).sum(0)
        )

    assert gradcheck(layer, X, W).checked == {"x": 48, "w": 8}
    product = lambda x, w: x * w  # noqa: E731
    both = gradcheck(product, X, W, backward=lambda dy, x, w: (dy * w, (dy * x).sum(0)))
    second = gradcheck(product, X, W, backward=lambda dy, x, w: (None, (dy * x).sum(0)))
    named = gradcheck(product, X, W, backward=lambda dy, x, w: {"w": (dy * x).sum(0)})
    assert (both.checked, second.checked, named.checked) == ({"x": 48, "w": 8}, {"w": 8}, {"w": 8})
    assert gradcheck(np.multiply, X, X[::-1], backward=lambda dy, a, b: (dy * b, dy * a))


@pytest.mark.parametrize("index", [(0, 0), (3, 5), (5, 7)])
@pytest.mark.parametrize("error", [1.00001, 0.0, -1.0, np.nan, np.inf])
def test_one_wrong_element_is_found(index, error):
    def backward(dy, x):
        gradient = bz.silu.backward(dy, x)
        gradient[index] *= error
        return gradient

    report = gradcheck(bz.silu, X, backward=backward, raise_exception=False)
    assert not report and report.wrong == {"x": 1} and report.worst["x"].index == index
    with pytest.raises(
        GradientMismatch, match=rf"x: 1 of 48 elements wrong; worst x\[{index[0]}, {index[1]}\] = "
    ) as raised:
        gradcheck(bz.silu, X, backward=backward)
    assert raised.value.report.wrong == {"x": 1}


def test_gradient_of_another_formula():
    for ours, theirs in (("gelu", "gelu_tanh"), ("sigmoid", "hard_sigmoid"), ("elu", "selu")):
        with pytest.raises(GradientMismatch, match="relative error"):
            gradcheck(getattr(bz, ours), X, backward=getattr(bz, theirs).backward)
    with pytest.raises(GradientMismatch, match="scale"):
        gradcheck(lambda x, scale: x * scale, X, W, backward=lambda dy, x, scale: (dy * scale, (dy * x).mean(0)))


def test_a_kink_is_named():
    with pytest.raises(GradientMismatch, match=r"worst x\[1\] = 0: .*left and right differ: a kink"):
        gradcheck(bz.relu, np.array([1.0, 0.0, -1.0]))
    assert "kink" not in str(gradcheck(bz.relu, np.array([1.0, 0.1, -1.0])))


def test_j15_an_unseeded_operation_is_refused():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match="different results for the same input.*hold its randomness"):
        gradcheck(lambda x: x * (generator.random(x.shape) < 0.5), X, backward=lambda dy, x: dy)
    with pytest.raises(TypeError, match="seed is missing"):
        gradcheck(reference.dropout, X, 0.5)
    assert gradcheck(reference.dropout, X, 0.5, training=False)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_other_dtypes_are_checked_in_float64(dtype):
    assert gradcheck(bz.gelu, X.astype(DTYPES[dtype])).relative_error < RELATIVE
    with pytest.raises(TypeError, match=f"f gives {dtype} for float64 inputs"):
        gradcheck(lambda x: bz.gelu(x.astype(DTYPES[dtype])), X, backward=bz.gelu.backward)


def test_size():
    assert gradcheck(bz.gelu, RNG.normal(size=5000)).checked == {"x": 256}
    assert gradcheck(bz.gelu, RNG.normal(size=5000), elements=7).checked == {"x": 7}
    assert gradcheck(bz.gelu, np.array(0.3)).checked == {"x": 1} and gradcheck(bz.gelu, X[:0]).checked == {"x": 0}
    for scale in (1e-8, 1e8):
        assert gradcheck(
            lambda x, scale=scale: x * x * scale, X / scale, backward=lambda dy, x, s=scale: 2 * s * dy * x
        )


def test_inputs_are_left_alone():
    """Also where f works in place, and where it moves running statistics."""
    x, mean, variance = X.copy(), np.zeros(8), np.ones(8)
    gradcheck(lambda x: bz.silu(x, out=x), x, backward=bz.silu.backward)
    gradcheck(reference.batch_norm, x, W, W, mean, variance)
    assert np.array_equal(x, X) and not mean.any() and (variance == 1).all()


def test_errors():
    with pytest.raises(TypeError, match="f gives one array and has no backward; give backward="):
        gradcheck(np.sin, X)
    with pytest.raises(TypeError, match="no float array is given"):
        gradcheck(bz.gelu, LABELS)
    with pytest.raises(TypeError, match="f gives 3 values; expected"):
        gradcheck(lambda x: (x, x, x), X)
    with pytest.raises(ValueError, match=r"the gradient of x has shape \(8,\); expected \(6, 8\)"):
        gradcheck(np.sin, X, backward=lambda dy, x: dy[0])
    with pytest.raises(TypeError, match="no gradient of a float array came back"):
        gradcheck(np.sin, X, backward=lambda dy, x: None)
    with pytest.raises(TypeError, match="f gives dtype int64; expected a float"):
        gradcheck(lambda x: x.astype(int), X, backward=lambda dy, x: dy)
