# SPDX-License-Identifier: BSD-3-Clause
"""What layers and networks refuse, and how they say it; where a first weight comes from."""

import brazen as bz
import numpy as np
import pytest
from brazen import nn
from nn_table import batch
from tolerance import same_bits


def build(*layers, shape=(8,), **options):
    return nn.Sequential(layers).build(input_shape=shape, seed=0, **options)


ERRORS = [
    (lambda: nn.Dense(0), ValueError, "units is 0; expected at least 1"),
    (lambda: nn.Dense(2.5), TypeError, "units is 2.5; expected a whole number"),
    (lambda: nn.Dense(3, "glu"), TypeError, "glu takes more than one array"),
    (lambda: nn.Activation("prelu"), TypeError, r"prelu is a layer of its own; write bz.nn.PReLU\(\)"),
    (lambda: nn.Activation("swiglu"), TypeError, "write bz.nn.GLU"),
    (lambda: nn.Activation("no"), ValueError, "activation is 'no'"),
    (lambda: nn.Activation(None), TypeError, "function is None"),
    (lambda: nn.GLU("relu"), ValueError, "kind is 'relu'"),
    (lambda: nn.Dropout(1.0), ValueError, "rate is 1.0"),
    (lambda: nn.Dropout(0.5, 0.5), TypeError, "rate and keep are given"),
    (lambda: nn.Dropout(0.5, mode="none"), ValueError, "mode is 'none'; expected 'inverted', 'vanilla' or 'weights'"),
    (lambda: build(nn.Dropout(0.5, mode="weights")), nn.ShapeError, "layer dropout: mode is 'weights', but no Dense"),
    (lambda: build(nn.Dropout(0.5, mode="weights"), nn.GLU()), nn.ShapeError, r"glu \(GLU\) follows a Dropout with mode"),
    (lambda: build(nn.Dropout(0.5, mode="weights"), nn.Maxout()), nn.ShapeError, r"maxout \(Maxout\) follows a Dropout"),
    (lambda: nn.GaussianDropout(1), ValueError, "rate is 1"),
    (lambda: nn.GaussianNoise(-1), ValueError, "std is -1"),
    (lambda: nn.BatchNorm(momentum=2), ValueError, "momentum is 2"),
    (lambda: nn.BatchNorm(running="mean"), ValueError, "running is 'mean'"),
    (lambda: nn.Reshape((-1, -1)), ValueError, "at most one of them -1"),
    (lambda: nn.Sequential([nn.Dense]), TypeError, r"layers\[0\] is .*Dense.*parentheses"),
    (lambda: nn.Sequential([3]), TypeError, r"layers\[0\] is 3; expected a layer"),
    (lambda: nn.Dense(3, name="a.b"), ValueError, "expected a text without dots"),
    (lambda: nn.Parallel([]), ValueError, "branches is"),
    (lambda: build(nn.Dense(3, name="a"), nn.Dense(3, name="a")), ValueError, "share the name a"),
    (lambda: build(nn.Dense(3), nn.Reshape((2, 2))), nn.ShapeError, r"layer reshape \(Reshape\) with input shape \(3,\): 3 "),
    (lambda: build(nn.Residual([nn.Dense(3)])), nn.ShapeError, r"layer residual .*the layers give \(3,\).*has \(8,\)"),
    (lambda: build(nn.Residual([nn.GLU(), nn.GLU(axis=2)])), nn.ShapeError, r"layer residual.glu_2 \(GLU\)"),
    (lambda: build(nn.Dense(3), nn.GLU()), nn.ShapeError, "axis -1 has no two halves"),
    (lambda: build(nn.BatchNorm(axis=3)), nn.ShapeError, "axis is 3"),
    (lambda: build(nn.Maxout(pieces=3)), nn.ShapeError, "groups of 3"),
    (lambda: build(nn.Concat([[], [nn.Reshape((2, 4))]])), nn.ShapeError, "the branches give"),
    (lambda: build(nn.Parallel([[], [nn.Dense(2)]])), nn.ShapeError, "the branches give"),
    (lambda: build(nn.GlobalAveragePool()), nn.ShapeError, "axis is 1"),
    (lambda: build(nn.Dropout(0.5, noise_shape=(1, 3))), nn.ShapeError, "noise_shape"),
    (lambda: build(nn.PReLU(axis=4)), nn.ShapeError, "axis is 4"),
    (lambda: build(nn.Dense(3), dtype="int32"), ValueError, "dtype is int32"),
    (lambda: build(nn.Dense(3, weight="no")), ValueError, "layer dense: weight begins with 'no'.*expected one of zeros"),
    (lambda: build(nn.Dense(3, weight=[1])), TypeError, r"layer dense: weight begins with \[1\]"),
    (lambda: build(nn.Dense(3, weight=lambda shape, **_: np.zeros(2))), ValueError, r"the initialiser of weight gave \(2,\)"),
    (lambda: nn.Sequential([nn.Dense(3)]).predict(batch()), RuntimeError, "no weights yet; call build"),
    (lambda: nn.Sequential([nn.Dense(3)])(batch()), RuntimeError, "no weights yet; call build"),
    (lambda: nn.Sequential([nn.Dense(3)]).state(), RuntimeError, "no weights yet; call build"),
    (lambda: build(nn.Dense(3)).predict(np.zeros((4, 7), "float32")), ValueError, r"x has shape \(4, 7\); expected a batch"),
    (lambda: build(nn.Dense(3)).predict([[0.0] * 8]), TypeError, "x is list; expected an array of numpy"),
    (lambda: build(nn.Dense(3)).predict(np.zeros((4, 8))), TypeError, r'x has dtype float64; .*x.astype\("float32"\)'),
    (lambda: build(nn.Dense(3))(batch(), training=True)[1](np.zeros((4, 3), "float32")), ValueError, "dy has shape"),
    (lambda: build(nn.Embedding(5, 2)).predict(np.full((2, 8), 5)), ValueError, r"x\[0, 0\] is 5; expected 0 to 4"),
    (lambda: build(nn.Embedding(5, 2)).predict(np.zeros((2, 8))), TypeError, "expected indices"),
    (lambda: build(nn.Layer()).predict(batch()), NotImplementedError, "defines no forward"),
    (lambda: nn.Dense(3, weight=lambda shape, **_: np.zeros(shape)).config(), TypeError, "which is no plain data"),
    (lambda: nn.from_config({"layer": "No"}), ValueError, "names the layer 'No'"),
    (lambda: nn.from_config({"layer": "Activation", "function": {"activation": "no", "parameters": []}}), ValueError, "no"),
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[2])
def test_errors(case):
    make, kind, text = case
    with pytest.raises(kind, match=text):
        make()


def test_a_layer_stands_in_one_place():
    layer = nn.Dense(8)
    with pytest.raises(ValueError, match="twice"):
        build(layer, layer)
    layer = nn.Dense(3)
    build(layer)
    with pytest.raises(ValueError, match="another network"):
        build(layer)


def test_one_row_has_no_variance():
    with pytest.raises(ValueError, match="batch_norm"):
        build(nn.BatchNorm())(batch(1), training=True)
    assert build(nn.BatchNorm()).predict(batch(1)).shape == (1, 8)


def test_initialisers_by_name_object_and_function():
    std = {name: build(nn.Dense(64, weight=init), shape=(256,)).weights["dense.weight"].std() for name, init in {
        "name": "kaiming_normal", "object": bz.init.xavier_fan_in(), "number": 0.5,
        "function": lambda shape, seed, site: np.full(shape, seed + 1.0),
    }.items()}  # fmt: skip
    assert abs(std["name"] - (2 / 256) ** 0.5) < 2e-3 and abs(std["object"] - (1 / 256) ** 0.5) < 2e-3
    assert std["number"] == std["function"] == 0
    same = bz.init.kaiming_normal()((256, 64), seed=0, site=16)
    assert not same_bits(same, build(nn.Dense(64), shape=(256,)).weights["dense.weight"])
