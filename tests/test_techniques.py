# SPDX-License-Identifier: BSD-3-Clause
"""What courses and papers claim of the activations, one claim a test: A1 is the first of those about activations.

Claims of other families are numbered the same way in tests of their own; a claim about speed is an experiment in bench/.
"""

import sys

import brazen as bz
import numpy as np
import pytest
from tolerance import tolerance

NORMAL = np.random.default_rng(0).normal(size=1_000_000)
SAMPLING = 5 / np.sqrt(NORMAL.size)  # five standard errors of a mean of unit-variance samples


def _one(operation, x, *parameters):
    return float(operation(np.array([x]), *parameters)[0])


def _slope(operation, x, *parameters):
    return float(operation.backward(np.ones(1), np.array([x]), *parameters)[0])


def _printed(value, text):
    """True where `value`, rounded to as many digits, is the number as printed."""
    digits = len(text.split("e")[0].replace("-", "").replace(".", "")) - 1
    return f"{value:.{digits}e}" == f"{float(text):.{digits}e}"


def test_a1_sigmoid():
    assert _printed(_slope(bz.sigmoid, -10.0), "4.5396e-05") and _printed(_slope(bz.sigmoid, 10.0), "4.5396e-05")
    assert _slope(bz.sigmoid, 0.0) == 0.25 and _one(bz.sigmoid, 0.0) == 0.5
    for dtype in ("float16", "float32", "float64"):
        with np.errstate(all="raise"):
            assert bz.sigmoid(np.array([-1e4, 1e4], dtype)).tolist() == [0, 1]


def test_a3_all_positive_inputs_give_gradients_of_one_sign():
    x = np.abs(np.random.default_rng(1).normal(size=(1, 40)))
    for upstream in (-3.0, -0.1, 0.2, 5.0):
        z = x @ np.random.default_rng(2).normal(size=(40, 1))
        for activation in (bz.sigmoid, bz.tanh, bz.leaky_relu, bz.softplus):
            dw = x.T @ activation.backward(np.full_like(z, upstream), z)
            assert len(set(np.sign(dw.ravel()))) == 1


def test_a4_tanh():
    assert _printed(_slope(bz.tanh, 10.0), "8.245e-09") and _printed(_slope(bz.tanh, -10.0), "8.245e-09")
    assert _slope(bz.tanh, 0.0) == 1
    assert (bz.tanh(-NORMAL) == -bz.tanh(NORMAL)).all(), "odd"
    assert np.abs(bz.tanh(NORMAL * 100)).max() == 1


def test_a5_relu():
    assert (bz.relu(NORMAL) == np.maximum(NORMAL, 0)).all()
    slope = bz.relu.backward(np.ones_like(NORMAL), NORMAL)
    assert (slope[NORMAL < 0] == 0).all() and (slope[NORMAL > 0] == 1).all()
    assert _slope(bz.relu, 0.0) == 0, "the documented choice"
    assert "derivative 0 at 0" in sys.modules["brazen.ops.activations"].__doc__


def test_a6_a7_saturation_and_dead_units():
    """Of A7 what one operation shows: far left, relu passes no gradient and leaky relu does."""
    x = np.full(100, -1e3)
    assert not bz.relu(x).any() and not bz.relu.backward(np.ones(100), x).any()
    assert bz.leaky_relu(x).all() and bz.leaky_relu.backward(np.ones(100), x).all()


def test_a8_leaky_relu_with_a_slope_of_a_tenth():
    assert _one(bz.leaky_relu, -1.0, 0.1) == -0.1 and _slope(bz.leaky_relu, -1.0, 0.1) == 0.1


def test_a9_leaky_relu_with_a_slope_of_a_hundredth():
    assert _one(bz.leaky_relu, -1.0, 0.01) == -0.01
    assert _one(bz.leaky_relu, -1.0) == -0.01, "the documented default"
    assert "alpha = 0.01" in bz.leaky_relu.__doc__


def test_a10_prelu():
    x = NORMAL[:1000]
    for alpha in (0.0, 0.01, 0.1, 0.5, 1.0):
        assert (bz.prelu(x, np.array([alpha])) == np.maximum(alpha * x, x)).all()
    steep = bz.prelu(x, np.array([1.5]))
    assert (steep == np.where(x > 0, x, 1.5 * x)).all() and (steep != np.maximum(1.5 * x, x)).any(), (
        "the piecewise form"
    )
    assert "max(alpha * x, x) is the same only for alpha <= 1" in type(bz.prelu).__doc__
    assert (bz.prelu(x, np.zeros(1)) == bz.relu(x)).all() and (
        bz.prelu(x, np.array([0.1])) == bz.leaky_relu(x, 0.1)
    ).all()
    g = NORMAL[1000:2000]
    dalpha = bz.prelu.backward(g, x, np.array([1.5]))[1]
    assert np.isclose(dalpha[0], (x * g)[x < 0].sum(), rtol=tolerance("float64").central_difference, atol=0)


def test_a11_elu():
    unit = tolerance("float64").unit
    for near in (1e-9, 1e-15):
        assert abs(_one(bz.elu, near) - _one(bz.elu, -near)) <= 2 * near + unit, "continuous at 0"
    mean = bz.elu(NORMAL).mean()
    exact = np.exp(0.5) * 0.15865525393145707 - 0.5 + 0.3989422804014327  # E exp(z) [z < 0] - P(z < 0) + E z [z > 0]
    assert abs(mean - exact) < SAMPLING and abs(mean) < bz.relu(NORMAL).mean()
    assert _one(bz.elu, -1.0, 0.5) == 0.5 * np.expm1(-1.0)


def test_a12_maxout():
    rng = np.random.default_rng(3)
    x, w, b = rng.normal(size=(30, 8)), rng.normal(size=(8, 5)), rng.normal(size=5)

    def layer(w2, b2):
        """Two linear pieces for each of five units, interleaved; twice the parameters of a dense layer."""
        weights, biases = np.stack([w, w2], -1).reshape(8, 10), np.stack([b, b2], -1).reshape(10)
        assert weights.size + biases.size == 2 * (w.size + b.size)
        return x @ weights + biases

    z = x @ w + b
    close = {"rtol": tolerance("float64").central_difference, "atol": tolerance("float64").central_difference}
    assert np.allclose(bz.maxout(layer(np.zeros_like(w), np.zeros(5))), bz.relu(z), **close)
    assert np.allclose(bz.maxout(layer(0.01 * w, 0.01 * b)), bz.leaky_relu(z, 0.01), **close)
    pieces = layer(rng.normal(size=(8, 5)), b)
    dx = bz.maxout.backward(np.ones((30, 5)), pieces).reshape(30, 5, 2)
    winner = pieces.reshape(30, 5, 2).argmax(-1)[..., None]
    assert (np.take_along_axis(dx, winner, -1) == 1).all() and dx.sum() == 150, "only the winning piece"


def test_a16_activations_are_not_symmetric():
    assert abs((NORMAL**3).mean()) < SAMPLING * np.sqrt(15), "z is symmetric"
    a = bz.relu(NORMAL)
    assert abs(a.mean() - 0.3989) < SAMPLING and abs(a.std() - 0.5838) < SAMPLING


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a14_fused_with_a_linear_layer(dtype):
    """In place over the result of the linear layer, the same bits as apart."""
    rng = np.random.default_rng(4)
    z = (rng.normal(size=(20, 30)) @ rng.normal(size=(30, 10))).astype(dtype)
    apart = bz.gelu(z)
    assert bz.gelu(z, out=z) is z and (z == apart).all()
