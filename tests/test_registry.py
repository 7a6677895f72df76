# SPDX-License-Identifier: BSD-3-Clause
"""The registry, the Python names, the references, the op table and the stub hold the same operations and parameters."""

import copy
import inspect
import pickle

import brazen as bz
import numpy as np
import op_table
import pytest
from brazen import _core, reference

REGISTERED = {entry["name"]: entry for entry in _core.operations()}
PUBLIC = {name for name, entry in REGISTERED.items() if entry["family"] != "function"}
UNARY = sorted(name for name, entry in REGISTERED.items() if entry["family"] == "activation")

# Written down once more, so that a name lost from the registry is missed.
LISTED = """linear relu relu6 leaky_relu prelu elu celu selu gelu gelu_tanh silu mish sigmoid log_sigmoid tanh softplus
softsign squareplus exponential hard_sigmoid hard_tanh hard_silu hard_shrink soft_shrink tanh_shrink threshold sparse_plus
sparse_sigmoid glu reglu geglu swiglu maxout""".split()


def test_the_sets_are_equal():
    assert set(bz.activations()) == PUBLIC == set(reference.activations()) == set(LISTED)
    assert set(reference.operations()) == set(REGISTERED)
    assert not op_table.UNLISTED, f"rows of tests/op_table.py and registry differ: {op_table.UNLISTED}"
    assert {case.name for case in op_table.CASES} == set(REGISTERED)
    assert PUBLIC <= set(bz.__all__) and all(hasattr(bz, name) for name in bz.__all__)


def test_names_are_unique():
    names = [entry["name"] for entry in _core.operations()]
    assert len(names) == len(set(names)) and len(bz.__all__) == len(set(bz.__all__))


@pytest.mark.parametrize("name", UNARY)
def test_parameters_and_defaults_agree(name):
    ours, theirs = REGISTERED[name]["parameters"], reference.find(name).parameters
    assert list(ours) == list(theirs)
    for parameter, default in ours.items():
        assert default == (None if theirs[parameter] is inspect.Parameter.empty else theirs[parameter])
    assert getattr(bz, name).aliases == reference.find(name).aliases


def test_defaults():
    x = np.array([-2.0, 3.0])
    assert (bz.leaky_relu(x) == [-0.02, 3]).all()
    assert (bz.elu(x) == bz.elu(x, alpha=1)).all() and (bz.celu(x) == bz.celu(x, alpha=1)).all()
    assert (bz.squareplus(x) == bz.squareplus(x, b=4)).all()
    assert (bz.maxout(x) == bz.maxout(x, pieces=2, axis=-1)).all()
    assert (bz.glu(x) == bz.glu(x, axis=-1)).all()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_documented(name):
    operation = getattr(bz, name)
    assert operation.__doc__ and len(operation.__doc__) > 1 and operation.__name__ == name
    assert repr(operation).startswith(f"brazen.{name}")


def test_public_functions_are_documented():
    for name in ("info", "num_threads", "set_num_threads", "activations"):
        assert getattr(bz, name).__doc__
    assert bz.__doc__ and reference.__doc__


def test_second_names_are_the_same_objects():
    assert bz.swish is bz.silu and bz.hard_swish is bz.hard_silu
    assert not {"swish", "hard_swish"} & set(bz.activations()) and {"swish", "hard_swish"} <= set(bz.__all__)


def test_aliases():
    x = np.array([-2.0, 3.0])
    assert (bz.leaky_relu(x, negative_slope=0.25) == [-0.5, 3]).all()
    assert (bz.leaky_relu.backward(np.ones(2), x, negative_slope=0.25) == [0.25, 1]).all()
    assert (bz.threshold(x, threshold=0.0, default_value=7.0) == [7, 3]).all()
    with pytest.raises(TypeError, match="alpha is given twice"):
        bz.leaky_relu(x, alpha=0.1, negative_slope=0.2)


def test_positional_and_named_arguments_are_the_same():
    x, dy, out = np.array([-2.0, 3.0]), np.array([5.0, 7.0]), np.empty(2)
    assert bz.elu(x, 0.5, out) is out and (out == bz.elu(x=x, alpha=0.5)).all()
    assert bz.elu.backward(dy, x, 0.5, out) is out and (out == bz.elu.backward(x=x, dy=dy, alpha=0.5)).all()
    assert bz.elu(x, out=None).shape == (2,)
    assert bz.elu(x, np.float32(0.5))[0] == bz.elu(x, 0.5)[0] and bz.elu(x, 1)[0] == bz.elu(x)[0]


@pytest.mark.parametrize("name", UNARY)
def test_with_(name):
    x, dy = np.linspace(-4, 4, 50), np.linspace(1, 2, 50)
    given = {parameter: 0.25 + i for i, parameter in enumerate(REGISTERED[name]["parameters"])}
    changed = getattr(bz, name).with_(**given)
    assert (changed(x) == getattr(bz, name)(x, **given)).all()
    assert (changed.backward(dy, x) == getattr(bz, name).backward(dy, x, **given)).all()
    assert changed.__name__ == name and changed.__doc__ == getattr(bz, name).__doc__
    assert all(f"{parameter}={value:g}" in repr(changed) for parameter, value in given.items())
    for twin in (pickle.loads(pickle.dumps(changed)), copy.copy(changed), copy.deepcopy(changed)):  # noqa: S301
        assert (twin(x) == changed(x)).all() and (twin.backward(dy, x) == changed.backward(dy, x)).all()
    with pytest.raises(TypeError, match=f"{name}: unknown parameter nonsense; it has"):
        changed.with_(nonsense=1)


def test_with_takes_aliases_and_leaves_the_original():
    assert bz.leaky_relu.with_(negative_slope=0.5)(np.array([-2.0])) == -1
    assert bz.leaky_relu(np.array([-2.0])) == -0.02
    with pytest.raises(TypeError, match="alpha is str; expected a real number"):
        bz.leaky_relu.with_(alpha="steep")


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_pickles(name):
    twin = pickle.loads(pickle.dumps(getattr(bz, name)))  # noqa: S301
    assert repr(twin) == repr(getattr(bz, name))


def test_required_parameters():
    for call in (bz.threshold, lambda x: bz.threshold.backward(x, x), lambda x: bz.threshold(x, 0.5)):
        with pytest.raises(
            TypeError,
            match=r"threshold: (threshold|value) is missing; call threshold(\.backward\(dy, |\()x, threshold, value, out\)",
        ):
            call(np.ones(2))


def test_unknown_arguments_and_counts():
    x = np.ones(2)
    with pytest.raises(TypeError, match=r"gelu: unknown argument alpha; call gelu\(x, out\)"):
        bz.gelu(x, alpha=1)
    with pytest.raises(TypeError, match=r"gelu: 3 arguments given; call gelu\(x, out\)"):
        bz.gelu(x, None, None)
    with pytest.raises(TypeError, match=r"gelu: x is missing; call gelu\(x, out\)"):
        bz.gelu()
    with pytest.raises(TypeError, match=r"gelu: x is missing; call gelu\.backward\(dy, x, out\)"):
        bz.gelu.backward(x)
    with pytest.raises(TypeError, match="elu: alpha is str; expected a real number"):
        bz.elu(x, alpha="a")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = bz.nonsense


def test_a_mistyped_name_is_answered_with_the_nearest(run_python):
    done = run_python("import brazen; brazen.geluu", check=False)
    assert "module 'brazen' has no attribute 'geluu'. Did you mean: 'gelu'?" in done.stderr


def test_raw_kernels_check_their_names():
    for name, message in {
        "nonsense": "unknown operation 'nonsense'; registered are",
        "glu": "takes more than one array",
        "prelu": "takes more than one array",
    }.items():
        with pytest.raises(ValueError, match=message):
            _core.Kernel(name)
    with pytest.raises(ValueError, match="has no backward"):
        _core.Kernel("math.exp", "backward")
    with pytest.raises(ValueError, match="sideways"):
        _core.Kernel("gelu", "sideways")
    with pytest.raises(ValueError, match="1 parameters given"):
        _core.Kernel("gelu", "forward", (1.0,))
    with pytest.raises(TypeError, match="aliases must be a dict"):
        _core.Kernel("gelu", "forward", (), 7)
    with pytest.raises(TypeError, match="__init__ was not called"):
        _core.Kernel.__new__(_core.Kernel)(np.ones(1))
    for name in ("glu", "nonsense"):
        with pytest.raises(ValueError, match="unknown operation|is no gate"):
            _core.gate_forward("gelu" if name == "glu" else name, np.ones(2), -1, None)


def test_every_registered_function_is_callable_or_private():
    """No registered name may reach a loop that reads more arrays than it was given."""
    x = np.ones(5, "float32")
    for name, entry in REGISTERED.items():
        if entry["family"] in ("function", "activation"):
            parameters = [0.5] * len(entry["parameters"])
            assert _core.Kernel(name)(x, *parameters).shape == (5,)


def test_instruction_sets():
    assert _core.isa() == _core.isas()[0] and bz.info()["isa"] in bz.info()["isas"]
    with pytest.raises(
        ValueError, match="instruction set 'z80' is not one this build and machine can run: .*baseline|neon"
    ):
        _core.set_isa("z80")


def test_no_module_hides_an_operation():
    """A submodule becomes an attribute of the package once it is imported, over the operation of that name."""
    import pkgutil

    modules = {module.name for module in pkgutil.iter_modules(bz.__path__)}
    assert not modules & set(bz.__all__)
