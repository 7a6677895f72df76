# SPDX-License-Identifier: BSD-3-Clause
"""The chain of the reference: equal to its stages one by one, and its gradients to their differences."""

import itertools

import brazen as bz
import numpy as np
import pytest
from brazen import reference
from brazen.reference import fused
from tolerance import DTYPES, tolerance

RNG = np.random.default_rng(0)
X, DY, ADD, AFTER = (RNG.normal(size=(4, 3, 5)) for _ in range(4))
PLACE = {"seed": 4, "step": 2, "site": 1, "offset": 7}


def vectors(axis):
    generator = np.random.default_rng(axis % 3)
    return generator.normal(size=X.shape[axis]), generator.uniform(0.5, 2, X.shape[axis])


def subsets():
    """Every choice of stages; every axis with the vectors."""
    for bias, scale, add, activation, dropout, after in itertools.product([False, True], repeat=6):
        for axis in (0, 1, -1) if bias or scale else (-1,):
            given = {"axis": axis}
            values = vectors(axis)
            if bias:
                given["bias"] = values[0]
            if scale:
                given["scale"] = values[1]
            if add:
                given["add"] = ADD
            if activation:
                given["activation"] = "gelu"
            if dropout:
                given |= {"dropout": 0.3, **PLACE}
            if after:
                given["add_after"] = AFTER
            yield given


def named(given):
    return "-".join(sorted(set(given) - {"axis", *PLACE})) + f"@{given['axis']}" or "nothing"


def apart(x, given):
    """The stages one by one, by other operations."""
    shape = [-1 if d == given["axis"] % 3 else 1 for d in range(3)]
    y = x * given["scale"].reshape(shape) if "scale" in given else x
    y = y + given["bias"].reshape(shape) if "bias" in given else y
    y = y + given.get("add", 0)
    y = reference.gelu(y) if "activation" in given else y
    y = reference.dropout(y, given["dropout"], **PLACE) if "dropout" in given else y
    return y + given.get("add_after", 0)


@pytest.mark.parametrize("given", list(subsets()), ids=named)
def test_fused_equals_unfused(given):
    assert np.array_equal(fused(X, **given), apart(X, given))


@pytest.mark.parametrize("given", list(subsets()), ids=named)
def test_gradients(given):
    grads = fused.backward(DY, X, **given)
    arrays = {"x": X, **{name: given[name] for name in ("bias", "scale", "add", "add_after") if name in given}}
    assert {name for name, value in grads._asdict().items() if value is not None} == set(arrays)
    step = 2.0**-18
    for name, array in arrays.items():
        for index in list(np.ndindex(array.shape))[:: max(1, array.size // 6)]:
            ends = []
            for sign in (1, -1):
                moved = {**arrays, name: array.copy()}
                moved[name][index] += sign * step
                ends.append((DY * fused(**{**given, **moved})).sum())
            wanted = (ends[0] - ends[1]) / (2 * step)
            error = abs(getattr(grads, name)[index] - wanted)
            assert error <= tolerance("float64").central_difference * max(1, abs(wanted)), (name, index)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    """In 16 bits the float32 chain, rounded once; vectors in float32; a gradient in its parameter's dtype."""
    narrow = DTYPES[dtype]
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    bias, scale = (v.astype(wide) for v in vectors(-1))
    given = {"bias": bias, "scale": scale, "activation": "silu", "dropout": 0.25, **PLACE}
    x, dy, add, after = (a.astype(narrow) for a in (X, DY, ADD, AFTER))
    y = fused(x, **given, add=add, add_after=after)
    out = np.empty_like(x)
    assert fused(x, **given, add=add, add_after=after, out=out) is out and np.array_equal(out, y)
    grads = fused.backward(dy, x, **given, add=add, add_after=after)
    assert y.dtype == grads.x.dtype == grads.add.dtype == grads.add_after.dtype == narrow
    assert grads.bias.dtype == grads.scale.dtype == wide
    single = fused(x.astype(wide), **given, add=add.astype(wide), add_after=after.astype(wide))
    assert np.array_equal(y, single.astype(narrow))
    backward = fused.backward(dy.astype(wide), x.astype(wide), **given, add=add.astype(wide))
    assert np.array_equal(grads.x, backward.x.astype(narrow)) and np.array_equal(grads.bias, backward.bias)


def test_activations_with_parameters():
    wanted = reference.leaky_relu(X, alpha=0.2)
    for activation in (bz.leaky_relu.with_(alpha=0.2), bz.leaky_relu.with_(negative_slope=0.2)):
        assert np.array_equal(fused(X, activation=activation), wanted)
    for activation in ("leaky_relu", bz.leaky_relu, reference.leaky_relu):
        assert np.array_equal(fused(X, activation=activation), reference.leaky_relu(X))
    elementwise = [
        n for n in reference.activations() if n not in ("prelu", "maxout", "glu", "reglu", "geglu", "swiglu")
    ]
    for name in elementwise:
        if name != "threshold":
            assert np.array_equal(fused(X, activation=name), getattr(reference, name)(X))


def test_errors():
    for name in ("prelu", "swiglu", "maxout"):
        with pytest.raises(TypeError, match=f"fused: activation {name} is not elementwise in one array"):
            fused(X, activation=name)
    for wrong in ("grelu", 3, "math.nonsense"):
        with pytest.raises(ValueError, match="fused: activation is .*; expected the name of an activation"):
            fused(X, activation=wrong)
    with pytest.raises(TypeError, match="math.exp|exp"):
        fused(X, activation="math.exp")
    with pytest.raises(TypeError, match=r"fused: seed is missing; call fused\(x, …, dropout=0.1, seed=0, step=step\)"):
        fused(X, dropout=0.1)
    with pytest.raises(ValueError, match="rate is 1.5"):
        fused(X, dropout=1.5, seed=0)
    with pytest.raises(ValueError, match=r"bias has shape \(4,\); expected \(5,\), the extent of axis 2 of x"):
        fused(X, bias=np.ones(4))
    for name in ("add", "add_after"):
        with pytest.raises(ValueError, match=rf"{name} has shape \(1, 3, 5\); expected x's, \(4, 3, 5\)"):
            fused(X, **{name: X[:1]})
    with pytest.raises(ValueError, match="axis is 3, x has 3 axes"):
        fused(X, bias=np.ones(5), axis=3)


def test_no_axes_and_no_elements():
    x = np.array(0.7)
    y = fused(x, add=x, activation="tanh", dropout=0.5, seed=3, add_after=x)
    assert (
        y.shape == () and y == apart(x, {"axis": -1, "add": x}) * 0 + reference.dropout(np.tanh(x + x), 0.5, seed=3) + x
    )
    assert fused(X[:0], bias=vectors(-1)[0], activation="relu").shape == (0, 3, 5)
    assert not fused.backward(X[:0], X[:0], bias=vectors(-1)[0], activation="relu").bias.any()
