# SPDX-License-Identifier: BSD-3-Clause
"""The specification itself: dtypes and parameters as brazen's, mathematics by mpmath where a slip would go unseen.

A wrong reference would make a wrong kernel look right, so values are also computed from textbook formulas to 50 digits.
"""

import inspect

import brazen as bz
import mpmath as mp
import numpy as np
import op_table
import pytest
import samples
from brazen import reference
from tolerance import tolerance

POINTS = [
    -700.5,
    -88.25,
    -20.125,
    -6.7,
    -3.25,
    -2.0625,
    -1.1,
    -0.75,
    -0.3,
    -1e-3,
    -1e-9,
    1e-9,
    1e-3,
    0.3,
    0.9,
    1.7,
    2.9,
    3.1,
    5.9,
    6.1,
    20.5,
    88.25,
]

mp.mp.dps = 60
_SELU_ALPHA, _SELU_SCALE = mp.mpf("1.67326324235437728481704291671"), mp.mpf("1.05070098735548049341933498529")
TEXTBOOK = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": lambda x: x if x > 0 else mp.mpf(0.01) * x,
    "elu": lambda x: x if x > 0 else mp.exp(x) - 1,
    "celu": lambda x: max(x, 0) + min(0, mp.exp(x) - 1),
    "selu": lambda x: _SELU_SCALE * (x if x > 0 else _SELU_ALPHA * (mp.exp(x) - 1)),
    "gelu": lambda x: x * mp.ncdf(x),
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "mish": lambda x: x * mp.tanh(mp.log(1 + mp.exp(x))),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "log_sigmoid": lambda x: -mp.log(1 + mp.exp(-x)),
    "tanh": mp.tanh,
    "softplus": lambda x: mp.log(1 + mp.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "squareplus": lambda x: (x + mp.sqrt(x * x + 4)) / 2,
    "exponential": mp.exp,
    "hard_sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hard_tanh": lambda x: min(max(x, -1), 1),
    "hard_silu": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hard_shrink": lambda x: x if abs(x) > 0.5 else 0,
    "soft_shrink": lambda x: mp.sign(x) * max(abs(x) - 0.5, 0),
    "tanh_shrink": lambda x: x - mp.tanh(x),
    "threshold": lambda x: x if x > 0.5 else -1.25,
    "sparse_plus": lambda x: x if x >= 1 else (0 if x <= -1 else (x + 1) ** 2 / 4),
    "sparse_sigmoid": lambda x: 1 if x >= 1 else (0 if x <= -1 else (x + 1) / 2),
    "math.exp": mp.exp, "math.expm1": mp.expm1, "math.log": mp.log, "math.log1p": mp.log1p,
    "math.tanh": mp.tanh, "math.erf": mp.erf, "math.sin": mp.sin, "math.cos": mp.cos,
}  # fmt: skip
ULPS = 8  # what plain array code loses to a handful of roundings


@pytest.mark.parametrize("name", TEXTBOOK)
def test_values_are_the_textbook_s(name):
    case = next(c for c in op_table.CASES if c.name == name)
    points = [p for p in POINTS if not (name == "math.log" and p <= 0) and not (name == "math.log1p" and p <= -1)]
    x = np.array(points)
    y = reference.find(name)(x, **case.parameter_sets[0])
    for point, value in zip(points, y):
        with mp.workdps(60 + (700 if name in ("mish", "gelu_tanh", "log_sigmoid", "softplus", "gelu") else 0)):
            exact = mp.mpf(TEXTBOOK[name](mp.mpf(point)))
        allowed = ULPS * tolerance("float64").ulp(np.array(float(exact)))[()] + 4 * tolerance("float64").unit * min(
            1, abs(point)
        )
        if case.tail and point < 0:
            allowed = ULPS * tolerance("float64").ulp(np.array(float(exact)))[()]
        assert abs(mp.mpf(float(value)) - exact) <= allowed, (point, float(value), mp.nstr(exact, 17))


@pytest.mark.parametrize("name", [n for n in TEXTBOOK if "." not in n])
def test_slopes_are_the_textbook_s(name):
    """Numerical derivatives in 60 digits, so that nothing but the formula can be wrong."""
    case = next(c for c in op_table.CASES if c.name == name)
    x = np.array(POINTS[3:])
    slopes = reference.find(name).backward(np.ones_like(x), x, **case.parameter_sets[0])
    for point, slope in zip(x, slopes):
        with mp.workdps(80):
            exact = mp.diff(TEXTBOOK[name], mp.mpf(float(point)), h=mp.mpf(10) ** -25)
        assert abs(mp.mpf(float(slope)) - exact) <= ULPS * tolerance("float64").ulp(np.array(float(exact)))[
            ()
        ] + 8 * tolerance("float64").unit * min(1, abs(point))


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_dtype_shape_and_out(case, dtype):
    arrays = [samples.ordinary(s, dtype, k) for k, s in enumerate(case.shapes((5, 6)))]
    function = reference.find(case.name)
    function = function if case.direction == "forward" else function.backward
    made = function(*arrays, **case.parameters)
    for result, shape in zip(
        made if isinstance(made, tuple) else (made,), case.result_shapes([a.shape for a in arrays])
    ):
        assert type(result) is np.ndarray and result.dtype == arrays[0].dtype and result.shape == tuple(shape)
    first = made[0] if isinstance(made, tuple) else made
    out = np.empty_like(first)
    given = function(*arrays, **case.parameters, out=out)
    assert (given[0] if isinstance(given, tuple) else given) is out and np.array_equal(out, first, equal_nan=True)


def test_the_fallback_without_scipy(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "scipy.special", None)
    x = np.linspace(-6, 6, 50)
    expected = np.array([mp.erf(mp.mpf(v)) for v in x], float)
    assert np.abs(reference.math.erf(x) - expected).max() <= 4 * tolerance("float64").unit
    assert reference.gelu(x.astype("float32")).dtype == np.float32


def test_repr_and_listing():
    assert repr(reference.gelu) == "brazen.reference.gelu" and repr(reference.prelu) == "brazen.reference.prelu"
    assert "math.exp" in reference.operations() and "math.exp" not in reference.activations()
    with pytest.raises(TypeError, match="exp has no backward"):
        reference.math.exp.backward(np.ones(1), np.ones(1))


def _signature(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize(
    "name",
    [*reference.losses(), *reference.norms(), *reference.dropouts(), "fused", "log_softmax", "softmax", "sparsemax"],
)
def test_signatures_are_brazen_s(name):
    """What is called the same takes the same arguments, every step of it."""
    if name == "naive_softmax_cross_entropy":
        assert not hasattr(bz, name), "the naive form is a reference only"
        return
    ours, theirs = getattr(bz, name), getattr(reference, name)
    assert _signature(ours) == _signature(theirs)
    steps = {step for step in (*dir(ours), *dir(theirs)) if not step.startswith("_") and not inspect.isfunction(ours)}
    for step in steps - {"centred"}:
        assert _signature(getattr(ours, step)) == _signature(getattr(theirs, step)), step
