# SPDX-License-Identifier: BSD-3-Clause
"""The chain, brazen's and the reference's: equal to its stages one by one, and its gradients to their differences."""

import itertools

import brazen as bz
import numpy as np
import pytest
import samples
from brazen import reference
from tolerance import DTYPES, same_bits, tolerance

RNG = np.random.default_rng(0)
X, DY, ADD, AFTER = (RNG.normal(size=(4, 3, 5)) for _ in range(4))
PLACE = {"seed": 4, "step": 2, "site": 1, "offset": 7}


@pytest.fixture(params=[bz, reference], ids=["brazen", "reference"])
def ops(request):
    """What holds the operations."""
    return request.param


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


def affine(x, given):
    shape = [-1 if d == given["axis"] % 3 else 1 for d in range(3)]
    y = x * given["scale"].reshape(shape) if "scale" in given else x
    return y + given["bias"].reshape(shape) if "bias" in given else y


def apart(ops, x, given):
    """The stages one by one, by other operations."""
    y = ops.fused(x, **{name: given[name] for name in ("scale", "bias", "axis") if name in given})
    y = y + given.get("add", 0)
    y = ops.gelu(y) if "activation" in given else y
    y = ops.dropout(y, given["dropout"], **PLACE) if "dropout" in given else y
    return y + given.get("add_after", 0)


@pytest.mark.parametrize("given", list(subsets()), ids=named)
def test_fused_equals_unfused(given, ops):
    assert np.array_equal(ops.fused(X, **given), apart(ops, X, given))
    linear = {name: given[name] for name in ("scale", "bias", "axis") if name in given}
    rounding = 4 * tolerance("float64").unit * (1 + np.abs(affine(X, given)))
    assert (np.abs(ops.fused(X, **linear) - affine(X, given)) <= rounding).all()


@pytest.mark.parametrize("given", list(subsets()), ids=named)
def test_gradients(given, ops):
    grads = ops.fused.backward(DY, X, **given)
    arrays = {"x": X, **{name: given[name] for name in ("bias", "scale", "add", "add_after") if name in given}}
    assert {name for name, value in grads._asdict().items() if value is not None} == set(arrays)
    step = 2.0**-18
    for name, array in arrays.items():
        for index in list(np.ndindex(array.shape))[:: max(1, array.size // 6)]:
            ends = []
            for sign in (1, -1):
                moved = {**arrays, name: array.copy()}
                moved[name][index] += sign * step
                ends.append((DY * ops.fused(**{**given, **moved})).sum())
            wanted = (ends[0] - ends[1]) / (2 * step)
            error = abs(getattr(grads, name)[index] - wanted)
            assert error <= tolerance("float64").central_difference * max(1, abs(wanted)), (name, index)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, ops):
    """In 16 bits the float32 chain, rounded once; vectors in float32; a gradient in its parameter's dtype."""
    narrow = DTYPES[dtype]
    wide = np.dtype("float64" if dtype == "float64" else "float32")
    bias, scale = (v.astype(wide) for v in vectors(-1))
    given = {"bias": bias, "scale": scale, "activation": "silu", "dropout": 0.25, **PLACE}
    x, dy, add, after = (a.astype(narrow) for a in (X, DY, ADD, AFTER))
    y = ops.fused(x, **given, add=add, add_after=after)
    out = np.empty_like(x)
    assert ops.fused(x, **given, add=add, add_after=after, out=out) is out and np.array_equal(out, y)
    grads = ops.fused.backward(dy, x, **given, add=add, add_after=after)
    assert y.dtype == grads.x.dtype == grads.add.dtype == grads.add_after.dtype == narrow
    assert grads.bias.dtype == grads.scale.dtype == wide
    single = ops.fused(x.astype(wide), **given, add=add.astype(wide), add_after=after.astype(wide))
    assert np.array_equal(y, single.astype(narrow))
    backward = ops.fused.backward(dy.astype(wide), x.astype(wide), **given, add=add.astype(wide))
    assert np.array_equal(grads.x, backward.x.astype(narrow)) and np.array_equal(grads.add, backward.add.astype(narrow))
    # The sums take the float32 terms, not the rounded ones that x and add get.
    for ours, theirs in ((grads.bias, backward.bias), (grads.scale, backward.scale)):
        assert not same_bits(ours, theirs)
    alone = ops.fused.backward(dy, x, bias=bias, activation="silu", dropout=0.25, **PLACE).bias
    wider = ops.fused.backward(dy.astype(wide), x.astype(wide), bias=bias, activation="silu", dropout=0.25, **PLACE)
    assert not same_bits(alone, wider.bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", list(subsets())[::5], ids=named)
def test_gradients_into_arrays_of_the_caller(given, dtype):
    """Each slot alone and all at once, over x and over dy too: the bits of new arrays."""
    narrow, wide = DTYPES[dtype], DTYPES["float64" if dtype == "float64" else "float32"]
    kinds = {"bias": wide, "scale": wide, "add": narrow, "add_after": narrow}
    given = {k: v.astype(kinds[k]) if k in kinds else v for k, v in given.items()}
    x, dy = X.astype(narrow), DY.astype(narrow)
    expected = bz.fused.backward(dy, x, **given)
    slots = {"dx": np.empty_like(x)}
    slots |= {f"d{k}": np.empty_like(given[k]) for k in ("bias", "scale") if k in given}
    if "add" in given and "scale" in given:
        slots["dadd"] = np.empty_like(x)
    for chosen in [*({name: slots[name]} for name in slots), slots]:
        gradients = bz.fused.backward(dy, x, **given, **chosen)
        for name, slot in chosen.items():
            assert getattr(gradients, name[1:]) is slot
        for one, other in zip(gradients, expected):
            assert (one is None) == (other is None) and (one is None or not same_bits(one, other))
    for over in ("x", "dy")[: 1 if "add_after" in given else 2]:
        for slot in slots.keys() - {"dbias", "dscale"}:
            arrays = {"x": x.copy(), "dy": dy.copy()}
            gradients = bz.fused.backward(**arrays, **given, **{slot: arrays[over]})
            for one, other in zip(gradients[:4], expected[:4]):
                assert one is None or not same_bits(one, other), f"{slot} over {over}"


def test_gradient_slots_that_cannot_be():
    ones, x = np.ones(5), X.copy()
    for match, given in [
        ("dbias is given, but bias is not", {"dbias": ones}),
        ("dadd is given, but add is not", {"dadd": x, "scale": ones}),
        ("dadd is given without scale, where the gradient of add is that of x; pass dx alone", {"dadd": x, "add": ADD}),
        ("dx overlaps dy in memory", {"dx": DY, "add_after": AFTER}),
        ("dx overlaps add in memory", {"dx": ADD[:, ::-1], "add": ADD, "activation": "relu"}),
        ("dbias overlaps bias in memory", {"bias": ones, "dbias": ones}),
        ("dscale overlaps x in memory", {"scale": ones, "dscale": X[0, 0]}),
        ("dscale overlaps dbias in memory", {"scale": ones, "bias": ones * 2, "dscale": x[0, 0], "dbias": x[0, 0]}),
        (r"dbias has shape \(3,\)", {"bias": ones, "dbias": np.ones(3)}),
        ("dscale has dtype float32", {"scale": ones, "dscale": np.ones(5, "f4")}),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"fused: {match}"):
            bz.fused.backward(DY, X, **given)


def test_gradients_name_what_is_wrong():
    ones = np.ones(5)
    for activation in (None, "relu"):  # x is checked also where nothing depends on it
        with pytest.raises(ValueError, match=r"fused: dy has shape \(3, 3, 5\); expected \(4, 3, 5\), the shape of x"):
            bz.fused.backward(DY[:3], X, bias=ones, activation=activation)
        with pytest.raises(TypeError, match=r"fused: dy has dtype float32; expected float64, the dtype of x"):
            bz.fused.backward(DY.astype("float32"), X, activation=activation)
    with pytest.raises(TypeError, match=r"fused: x has dtype int64"):
        bz.fused.backward(DY, X.astype("int64"))
    for given in ({"activation": "relu"}, {"scale": ones}):
        with pytest.raises(TypeError, match="fused: x is None; the gradient of activation or scale depends on it"):
            bz.fused.backward(DY, None, **given)


ELEMENTWISE = [
    entry["name"] for entry in bz._core.operations() if entry["family"] == "activation" and entry["name"] != "threshold"
]


def test_activations_with_parameters(ops):
    for activation in (bz.leaky_relu.with_(alpha=0.2), bz.leaky_relu.with_(negative_slope=0.2)):
        assert np.array_equal(ops.fused(X, activation=activation), ops.leaky_relu(X, alpha=0.2))
        assert np.array_equal(
            ops.fused.backward(DY, X, activation=activation).x, ops.leaky_relu.backward(DY, X, alpha=0.2)
        )
    for activation in ("leaky_relu", ops.leaky_relu):
        assert np.array_equal(ops.fused(X, activation=activation), ops.leaky_relu(X))
    threshold = bz.threshold.with_(threshold=0.5, value=-1)
    assert np.array_equal(ops.fused(X, activation=threshold), ops.threshold(X, 0.5, -1))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_activation_is_the_same_in_a_chain(name, dtype, ops):
    """In 16 bits the float32 activation, rounded once."""
    arrays = [samples.ordinary((33, 70), dtype, k) for k in range(3)]
    x, dy, add = arrays
    wide_x, wide_dy, wide_add = (a.astype("float32") if a.dtype.itemsize == 2 else a for a in arrays)
    activation = getattr(ops, name)
    assert not same_bits(ops.fused(x, activation=name), activation(wide_x).astype(x.dtype))
    assert not same_bits(
        ops.fused.backward(dy, x, activation=name).x, activation.backward(wide_dy, wide_x).astype(x.dtype)
    )
    total = wide_x + wide_add
    assert not same_bits(ops.fused(x, add=add, activation=name), activation(total).astype(x.dtype))
    grads = ops.fused.backward(dy, x, add=add, activation=name)
    assert not same_bits(grads.add, activation.backward(wide_dy, total).astype(x.dtype))


def test_errors(ops):
    for name in ("prelu", "swiglu", "maxout"):
        for activation in (name, getattr(ops, name)):
            with pytest.raises(TypeError, match=f"fused: {name} takes more than one array; it cannot stand in a chain"):
                ops.fused(X, activation=activation)
    for wrong in ("grelu", "math.exp"):
        with pytest.raises(ValueError, match=f"fused: activation is '{wrong}'; .*lists the names"):
            ops.fused(X, activation=wrong)
    if ops is bz:
        for wrong, near in (("reul", "relu"), ("gelu_tahn", "gelu_tanh"), ("sigmiod", "sigmoid")):
            with pytest.raises(ValueError, match=f"activation is '{wrong}'; did you mean '{near}'"):
                ops.fused(X, activation=wrong)
    with pytest.raises(TypeError, match="fused: activation is int; expected a name, or an activation"):
        ops.fused(X, activation=3)
    with pytest.raises(TypeError, match=r"fused: seed is missing; call fused\(.*seed=0, step=step\)"):
        ops.fused(X, dropout=0.1)
    with pytest.raises(ValueError, match="rate is 1.5"):
        ops.fused(X, dropout=1.5, seed=0)
    for name in ("bias", "scale"):
        with pytest.raises(ValueError, match=rf"{name} has shape \(4,\); expected \(5,\), one value for each index"):
            ops.fused(X, **{name: np.ones(4)})
    for name in ("add", "add_after"):
        with pytest.raises(ValueError, match=rf"{name} has shape \(1, 3, 5\); expected .*\(4, 3, 5\)"):
            ops.fused(X, **{name: X[:1]})
    with pytest.raises(ValueError, match="axis is 3[,;] x has 3"):
        ops.fused(X, bias=np.ones(5), axis=3)


def test_no_axes_and_no_elements(ops):
    x = np.array(0.7)
    y = ops.fused(x, add=x, activation="tanh", dropout=0.5, seed=3, add_after=x)
    assert y.shape == () and y == ops.dropout(ops.tanh(np.array(x + x)), 0.5, seed=3) + x
    assert ops.fused(X[:0], bias=vectors(-1)[0], activation="relu").shape == (0, 3, 5)
    grads = ops.fused.backward(X[:0], X[:0], bias=vectors(-1)[0], activation="relu")
    assert grads.x.shape == (0, 3, 5) and not grads.bias.any()
