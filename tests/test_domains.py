# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of activations: where a value makes no function, a ValueError that says what does; at the edges, the formula.

It catches a division by zero, a root of a negative number, and a parameter that only its rounding to float32 spoils.
"""

import brazen as bz
import numpy as np
import op_table
import pytest
from brazen import _core
from tolerance import bound, far_off

INF, NAN = float("inf"), float("nan")
PARAMETERS = {
    (entry["name"], parameter): standard
    for entry in _core.operations()
    if entry["family"] == "activation"
    for parameter, standard in entry["parameters"].items()
}
# What a parameter may not be, beside NaN and the infinities, and where its range ends; threshold's value is only copied.
OPEN = {("threshold", "value")}
REFUSED = {
    ("celu", "alpha"): ("a finite number above 0", [0, -0.0, -1]),
    ("squareplus", "b"): (r"a finite number above 0 up to 1e\+10", [0, -1, 1.1e10]),
    ("hard_shrink", "threshold"): ("a finite number of at least 0", [-1e-30, -1]),
    ("soft_shrink", "threshold"): ("a finite number of at least 0", [-1e-30, -1]),
}
EDGES = {
    ("leaky_relu", "alpha"): [0, -3e38, 3e38],
    ("elu", "alpha"): [0, -1, 3e38],
    ("celu", "alpha"): [1e-30, 1e10],
    ("squareplus", "b"): [1e-40, 1e10],
    ("hard_shrink", "threshold"): [0, 3e38],
    ("soft_shrink", "threshold"): [0, 3e38],
    ("threshold", "threshold"): [-3e38, 3e38],
    ("threshold", "value"): [INF, -INF, NAN],
}
each_parameter = pytest.mark.parametrize("name, parameter", sorted(PARAMETERS), ids=str)


def given(name, parameter, value):
    others = {other: 0.5 for (owner, other), standard in PARAMETERS.items() if owner == name and standard is None}
    return {**others, parameter: value}


def refused(name, parameter, value, text, x):
    """The call, the gradient, and the making of an activation with that default."""
    operation, message = getattr(bz, name), f"{name}: {parameter} is .*; expected {text}"
    parameters = given(name, parameter, value)
    out = np.full_like(x, 7)
    with pytest.raises(ValueError, match=message):
        operation(x, **parameters, out=out)
    with pytest.raises(ValueError, match=message):
        operation.backward(x, x, **parameters, out=out)
    assert (out == 7).all(), "something was written"


@each_parameter
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_makes_no_function(name, parameter, dtype):
    text, values = REFUSED.get((name, parameter), ("a finite number", []))
    x = np.linspace(-2, 2, 9).astype(dtype)
    for value in [*values, *([] if (name, parameter) in OPEN else [INF, -INF, NAN])]:
        refused(name, parameter, value, text, x)
        if value == value or PARAMETERS[name, parameter] is not None:
            with pytest.raises(ValueError, match=f"{name}: {parameter} is"):
                getattr(bz, name).with_(**{parameter: value})


def test_what_float32_makes_of_it():
    x = np.linspace(-2, 2, 9)
    for name, parameter, value, rounded in [
        ("celu", "alpha", 1e-50, "0"),
        ("leaky_relu", "alpha", 1e39, "inf"),
        ("elu", "alpha", -1e39, "-inf"),
    ]:
        message = f"which is {rounded} in float32; expected a finite number"
        refused(name, parameter, value, "a finite number", x.astype("float32"))
        with pytest.raises(ValueError, match=message):
            getattr(bz, name).with_(**{parameter: value})(x.astype("float32"))
        assert np.isfinite(getattr(bz, name)(x, value)).all(), "float64 holds it"


@each_parameter
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges(name, parameter, dtype):
    """The reference's values, at the ends of what is accepted; every parameter names its ends here."""
    x = np.concatenate([np.linspace(-4, 4, 33), [1e-3, -1e-3, 1e9, -1e9]]).astype(dtype)
    for direction in ("forward", "backward"):
        case = next(c for c in op_table.CASES if c.name == name and c.direction == direction)
        arrays = [np.ones_like(x), x][direction == "forward" :]
        for value in EDGES[name, parameter]:
            parameters = given(name, parameter, value)
            y = case.call(*arrays, parameters=parameters)
            truth = case.truth(*arrays, parameters=parameters)
            wrong = far_off(dtype, y, truth, bound(dtype, truth, x.astype(truth.dtype), case.ulps, case.c))
            assert not wrong, f"{direction}, {parameter} = {value}: {wrong}"
