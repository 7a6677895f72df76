# SPDX-License-Identifier: BSD-3-Clause
"""Initialisers: moments and bounds of each, the random contract, names of PyTorch and Keras, every error.

D numbers the claims about initial weights; what they make of deep networks is tested beside this file.
"""

import copy
import inspect
import json
import math
import pickle

import brazen as bz
import ml_dtypes
import numpy as np
import pytest
from brazen import init, reference
from brazen._noise import INITIALISATION
from brazen.init.draw import quantile
from tolerance import tolerance

# Every initialiser with a seed: its example, and of a (300, 500) matrix the standard deviation and the largest value.
IN, OUT = 300, 500
BOTH = IN + OUT
NORMAL, CUT = None, 0.8796256610342398
DRAWN = {
    "uniform": (init.uniform(-0.1, 0.1), 0.1 / math.sqrt(3), 0.1),  # D3
    "normal": (init.normal(std=0.01), 0.01, NORMAL),  # D4, D7
    "truncated_normal": (init.truncated_normal(std=0.5), 0.5 * CUT, 1.0),
    "xavier_uniform": (init.xavier_uniform(2.0), 2 * math.sqrt(2 / BOTH), 2 * math.sqrt(6 / BOTH)),  # D15
    "xavier_normal": (init.xavier_normal(2.0), 2 * math.sqrt(2 / BOTH), NORMAL),
    "xavier_fan_in": (init.xavier_fan_in(), IN**-0.5, NORMAL),  # D11
    "xavier_avg": (init.xavier_avg(3.0), math.sqrt(3 / BOTH), NORMAL),  # D12
    "lecun_normal": (init.lecun_normal(), IN**-0.5, NORMAL),
    "lecun_uniform": (init.lecun_uniform(), IN**-0.5, math.sqrt(3 / IN)),
    "kaiming_normal": (init.kaiming_normal(), math.sqrt(2 / IN), NORMAL),  # D13, D16
    "kaiming_uniform": (init.kaiming_uniform(0.5, "fan_out"), math.sqrt(1.6 / OUT), math.sqrt(4.8 / OUT)),
    "variance_scaling": (init.variance_scaling(2.0, "fan_avg"), math.sqrt(4 / BOTH), 2 * math.sqrt(4 / BOTH) / CUT),
    "random_normal": (init.random_normal(), 0.05, NORMAL),
    "random_uniform": (init.random_uniform(), 0.05 / math.sqrt(3), 0.05),
    "orthogonal": (init.orthogonal(2.0), 2 / math.sqrt(OUT), NORMAL),
}
FIXED = {
    "zeros": init.zeros(),
    "ones": init.ones(),
    "constant": init.constant(0.3),
    "identity": init.identity(2.0),
    "dirac": init.dirac(),
}
EXAMPLES = {**{name: made for name, (made, *_) in DRAWN.items()}, **FIXED}
SHAPE = {"dirac": (3, 3, 5)}


GOLDEN = [
    ["-0x1.5052801086aa2p+0", "-0x1.b5ad531e8d297p-1"],
    ["0x1.2bcce1b69e2b8p-2", "0x1.2f019b8bcfe14p-1"],
    ["-0x1.0941443910f0fp-1", "0x1.c58b6453780e7p-3"],
]


def test_every_initialiser_has_an_example():
    assert set(EXAMPLES) == set(init.names()) <= set(init.__all__)
    assert bz.init is init and all(hasattr(init, name) for name in init.__all__)


@pytest.mark.parametrize("name", DRAWN)
def test_moments_and_bounds(name):
    made, std, largest = DRAWN[name]
    w = made((IN, OUT), seed=3, dtype="float64")
    assert abs(w.mean()) < 4 * std / math.sqrt(w.size)
    # Of n draws of a kurtosis of at most 3 the standard deviation strays by std / sqrt(2 n).
    assert abs(w.std() - std) < 4 * std / math.sqrt(2 * w.size)
    if largest is not None:
        assert 0.99 * largest < np.abs(w).max() <= largest * (1 + 4 * tolerance("float64").unit)


@pytest.mark.parametrize("name", init.names())
def test_config_copies_and_pickles(name):
    made = EXAMPLES[name]
    others = [
        init.from_config(json.loads(json.dumps(made.config()))),
        copy.deepcopy(made),
        pickle.loads(pickle.dumps(made)),  # noqa: S301
    ]
    shape = SHAPE.get(name, (4, 3))
    for other in others:
        assert other == made and np.array_equal(other(shape, seed=1), made(shape, seed=1))
    assert repr(made).startswith(f"{name}(") and inspect.signature(type(made)) and ">>> " in made.__doc__
    assert made != init.constant(0.77) and init.get(name) is type(made) and init.get(made) is made


@pytest.mark.parametrize("name", init.names())
@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_dtypes_and_out(name, dtype):
    made, shape = EXAMPLES[name], SHAPE.get(name, (4, 3))
    w = made(shape, seed=1, site=2, dtype=dtype)
    assert type(w) is np.ndarray and w.shape == shape and w.dtype == dtype and np.isfinite(w.astype(float)).all()
    out = np.empty(shape[::-1], dtype).T
    assert made(seed=1, site=2, out=out) is out and np.array_equal(out, w)
    assert made(tuple(np.int64(n) for n in shape), seed=1, site=2, dtype=dtype).tolist() == w.tolist()


@pytest.mark.parametrize("name", set(DRAWN) - {"orthogonal"})
def test_the_random_contract(name):
    """Seed, site and index decide; not the instruction set, the threads or the layout."""
    made = EXAMPLES[name]
    w = made((64, 48), seed=5, site=7)
    assert not np.array_equal(w, made((64, 48), seed=6, site=7)) and not np.array_equal(
        w, made((64, 48), seed=5, site=8)
    )
    for isa in bz._core.isas():
        bz._core.set_isa(isa)
        for threads in (1, 2):
            bz.set_num_threads(threads)
            assert np.array_equal(made((64, 48), seed=5, site=7), w)
    with pytest.raises(TypeError, match=f"init.{name}: seed is missing"):
        made((3, 3))


def test_the_domain_is_its_own():
    """No mask and no draw of the caller's shares the numbers of an initialiser of the same seed and site."""
    assert not np.array_equal(init.normal(std=1.0)((8,), seed=0), bz.random.normal((8,), seed=0))


def test_draws_are_the_generator_s():
    """The initialisation domain of the seed, the site and step 0, as the reference of the generator has it."""
    draws = reference.random.standard_normal(np, (3, 5), np.dtype("float64"), 2024, 0, 1, 0, INITIALISATION)
    made = init.normal(std=0.5, mean=1.0)((3, 5), seed=2024, site=1, dtype="float64")
    assert (np.abs(made - (1 + 0.5 * draws)) <= 16 * tolerance("float64").unit).all()


def test_golden_values():
    """The bits of every machine; the truncated ones also depend on the inverse of the distribution."""
    made = [init.normal(std=1.0), init.uniform(0.0, 1.0), init.truncated_normal(std=1.0)]
    found = [[value.hex() for value in one((2,), seed=2024, site=1, dtype="float64").tolist()] for one in made]
    assert found == GOLDEN


def test_d7_the_width_is_named():
    assert init.normal(std=0.1)((9, 9), seed=0).tolist() == init.normal(variance=0.1**2)((9, 9), seed=0).tolist()
    for bad in (lambda: init.normal(), lambda: init.normal(std=0.1, variance=0.01)):
        with pytest.raises(ValueError, match=r"std, variance is .*; expected one of the two"):
            bad()
    with pytest.raises(TypeError, match="normal: too many positional arguments"):
        init.normal(0.01)


def test_d12_both_xaviers():
    assert np.array_equal(init.xavier_avg(2.0)((50, 50), seed=0), init.xavier_normal()((50, 50), seed=0))
    assert np.array_equal(init.xavier_fan_in()((50, 50), seed=0), init.xavier_normal()((50, 50), seed=0))
    assert not np.array_equal(init.xavier_fan_in()((50, 60), seed=0), init.xavier_normal()((50, 60), seed=0))


def test_fans_are_torch_s(torch):
    for shape in [(5, 7), (6, 4, 3), (8, 2, 3, 5), (8, 2, 3, 5, 2)]:
        theirs = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert init.fans(shape, in_axis=1, out_axis=0) == theirs
    assert init.fans((3, 5, 2, 8)) == (30, 120)


@pytest.mark.parametrize("nonlinearity, param", [
    ("linear", None), ("conv2d", None), ("conv_transpose3d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
    ("leaky_relu", None), ("leaky_relu", 0.3), ("selu", None),
])  # fmt: skip
def test_gains_are_torch_s(torch, nonlinearity, param):
    ours, theirs = init.calculate_gain(nonlinearity, param), torch.nn.init.calculate_gain(nonlinearity, param)
    assert abs(ours - theirs) <= 4 * tolerance("float64").unit


IN_PLACE = [name for name in init.__all__ if name.endswith("_")]


@pytest.mark.parametrize("name", IN_PLACE)
def test_torch_s_functions(torch, name):
    """D14-D16: the names, arguments and defaults; fixed values exactly, drawn ones in width."""
    theirs = getattr(torch.nn.init, name)
    expected = {
        key: p.default for key, p in list(inspect.signature(theirs).parameters.items())[1:] if key != "generator"
    }
    ours = {key: p.default for key, p in list(inspect.signature(getattr(init, name)).parameters.items())[1:]}
    seeded = {key: ours.pop(key) for key in ("seed", "site") if key in ours}
    assert ours == expected and list(ours) == list(expected)
    shape = (40, 30, 5) if name == "dirac_" else (400, 300)
    required = {"val": 0.7} if "val" in expected else {}
    array = np.empty(shape)
    assert getattr(init, name)(array, **required, **({"seed": 0} if seeded else {})) is array
    tensor = theirs(torch.empty(shape, dtype=torch.float64), **required).numpy()
    if not seeded:
        assert np.array_equal(array, tensor)
        return
    assert abs(array.std() / tensor.std() - 1) < 5 / math.sqrt(array.size)
    assert abs(array.mean() - tensor.mean()) < 6 * tensor.std() / math.sqrt(array.size)
    if "uniform" in name or "trunc" in name:
        assert abs(np.abs(array).max() / np.abs(tensor).max() - 1) < 1e-2


def test_every_initialiser_of_torch_is_here(torch):
    theirs = {name for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")}
    assert theirs - set(IN_PLACE) == {"sparse_"}


def test_the_names_of_keras():
    for keras, ours in [
        ("GlorotUniform", "xavier_uniform"), ("glorot_normal", "xavier_normal"), ("HeNormal", "kaiming_normal"),
        ("he_uniform", "kaiming_uniform"), ("LecunNormal", "lecun_normal"), ("RandomNormal", "random_normal"),
        ("random_uniform", "random_uniform"), ("TruncatedNormal", "truncated_normal"), ("Zeros", "zeros"), ("ones", "ones"),
        ("Constant", "constant"), ("Orthogonal", "orthogonal"), ("Identity", "identity"),
        ("VarianceScaling", "variance_scaling"), ("kaiming_normal_", "kaiming_normal"),
    ]:  # fmt: skip
        assert init.get(keras) is getattr(init, ours)
    assert init.he_normal is init.kaiming_normal and init.truncated_normal(stddev=0.1) == init.truncated_normal(std=0.1)


def test_variance_scaling_has_keras_s_variances():
    for mode, fan in [("fan_in", IN), ("fan_out", OUT), ("fan_avg", BOTH / 2)]:
        for kind in ("truncated_normal", "untruncated_normal", "uniform"):
            w = init.variance_scaling(2.0, mode, kind)((IN, OUT), seed=1)
            assert abs(w.std() / math.sqrt(2 / fan) - 1) < 5 / math.sqrt(w.size)


def test_truncation_is_that_of_the_distribution():
    from scipy import stats

    for low, high in [(-2.0, 2.0), (-0.5, 3.0), (1.0, 1.5), (-9.0, 9.0)]:
        w = init.truncated_normal(std=2.0, mean=1.0, low=low, high=high)((20_000,), seed=4, dtype="float64")
        assert (w >= 1 + 2 * low).all() and (w <= 1 + 2 * high).all()
        assert stats.kstest((w - 1) / 2, stats.truncnorm(low, high).cdf).pvalue > 1e-3
    with pytest.raises(ValueError, match=r"low, high is \(6.0, 9.0\); expected an interval that holds a thousandth"):
        init.truncated_normal(std=1.0, low=6.0, high=9.0)


def test_the_quantile_against_scipy():
    from scipy.special import ndtri

    share = np.concatenate([np.random.default_rng(0).random(100_000), 10.0 ** -np.arange(1, 300)])
    assert (
        np.abs(quantile(np, share) - ndtri(share)) <= 32 * tolerance("float64").unit * np.abs(ndtri(share)) + 1e-16
    ).all()


@pytest.mark.parametrize("shape, layout", [
    ((8, 8), {}), ((12, 5), {}), ((5, 12), {}), ((3, 3, 4, 6), {}), ((6, 4, 3, 3), {"in_axis": 1, "out_axis": 0}), ((40, 2, 3), {}),
])  # fmt: skip
def test_orthogonal(shape, layout):
    w = init.orthogonal(3.0)(shape, seed=1, dtype="float64", **layout) / 3
    matrix = np.moveaxis(w, layout.get("out_axis", -1), -1).reshape(-1, shape[layout.get("out_axis", -1)])
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    assert np.abs(matrix.T @ matrix - np.eye(matrix.shape[1])).max() <= 64 * tolerance("float64").unit
    assert np.array_equal(init.orthogonal()((0, 4), seed=1), np.zeros((0, 4)))


def test_orthogonal_matrices_are_evenly_drawn():
    """Without the signs of R the diagonal would lean to one side."""
    corner = [init.orthogonal()((3, 3), seed=s, dtype="float64")[0, 0] for s in range(400)]
    assert abs(np.mean(corner)) < 4 * math.sqrt(1 / 3 / 400)


def test_dirac_passes_its_input_on(torch):
    for shape, groups in [((4, 4, 3), 1), ((6, 2, 3, 5), 3), ((3, 5, 2, 2, 2), 1)]:
        ours = init.dirac(groups)(shape, in_axis=1, out_axis=0)
        assert np.array_equal(ours, torch.nn.init.dirac_(torch.empty(shape), groups).numpy())
    assert np.array_equal(
        init.dirac()((3, 5, 2, 4)), np.moveaxis(init.dirac()((4, 2, 3, 5), in_axis=1, out_axis=0), (0, 1), (3, 2))
    )


@pytest.mark.parametrize("make, message", [
    (lambda: init.get("he"), "name is 'he'; expected one of zeros, .*dirac"),
    (lambda: init.xavier_normal()((3,), seed=0), r"shape is \(3,\); expected two axes or more"),
    (lambda: init.orthogonal()(3, seed=0), r"shape is \(3,\); expected two axes or more, for an orthogonal"),
    (lambda: init.identity()((3, 3, 3)), r"shape is \(3, 3, 3\); expected two axes, for an identity"),
    (lambda: init.dirac()((3, 3)), "expected three axes or more, for a convolution"),
    (lambda: init.dirac(2)((3, 3, 3), in_axis=1, out_axis=0), "groups is 2; expected a divisor of the 3 units"),
    (lambda: init.kaiming_normal(mode="in"), "mode is 'in'; expected 'fan_in', 'fan_out' or 'fan_avg'"),
    (lambda: init.kaiming_normal(nonlinearity="gelu"), "nonlinearity is 'gelu'; expected one of tanh, relu"),
    (lambda: init.variance_scaling(distribution="normal"), "distribution is 'normal'; expected one of 'truncated_normal'"),
    (lambda: init.variance_scaling(0.0), "scale is 0.0; expected a positive number"),
    (lambda: init.zeros()(), "init.zeros: expected a shape or out=, one of the two"),
    (lambda: init.zeros()((3,), out=np.ones(3)), "one of the two"),
    (lambda: init.uniform(0.1), "uniform: missing a required argument: 'high'"),
    (lambda: init.normal(std=1.0)((3,), seed=-1), "seed is -1"),
    (lambda: init.normal(std=1.0)((3,), seed=0, site=2**24), "site is 16777216"),
    (lambda: init.normal(std=1.0)((3,), seed=0, dtype="int32"), "int32"),
])  # fmt: skip
def test_errors_name_the_argument(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_loaded_only_when_asked_for(run_python):
    assert run_python("import brazen, sys; print('brazen.init' in sys.modules)") == "False"
