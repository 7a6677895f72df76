# SPDX-License-Identifier: BSD-3-Clause
"""Every optimizer's rule against its specification in float64, and the numbers that tell the formulas' conventions apart."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from brazen import _core, reference
from tolerance import tolerance

STEPS = 100
SHAPES = [(7,), (5, 13), (1,), (), (0,), (3, 0), (1031,), (3, 4, 5), (1100, 3), (3, 70)]


def test_the_lists_are_one():
    assert set(bz.optim.names()) <= set(reference.optim.names())
    assert not optim_cases.UNLISTED
    kernels = {rule["name"] for rule in _core.updates()}
    used = {bz.optim.get(name)([np.zeros(1)], **settings)._kernel for name, settings in optim_cases.CASES}
    assert used == kernels, "a registered rule that no class uses, or no case reaches"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", optim_cases.CASES, ids=optim_cases.ids)
def test_hundred_steps_follow_the_reference(case, dtype):
    name, settings = case
    for common in ({}, {"weight_decay": 0.05}, {"weight_decay": 0.05, "decoupled_weight_decay": True}):
        if name in ("asgd", "lars", "lamb", "novograd") and len(common) > 1:
            continue  # the formula has a decay of its own
        params = optim_cases.arrays(SHAPES, dtype)
        truth = [p.astype("float64") for p in params]
        optim_cases.run(name, settings, params, STEPS, **common)
        rule = reference.optim.get(name)(**settings, **common)
        for step in range(STEPS):
            grads = optim_cases.gradients(step, SHAPES, dtype)
            rule.step(truth, [g.astype("float64") for g in grads])
        wrong = optim_cases.too_far(params, truth, STEPS, dtype)
        assert not wrong, f"{common}: {wrong}"


@pytest.mark.parametrize("name", bz.optim.names())
def test_defaults_are_the_reference_s(name):
    import inspect

    specified = inspect.signature(reference.optim.get(name).__init__).parameters
    own = bz.optim.get(name).hyper
    for key, value in own.items():
        if key in specified and specified[key].default is not inspect.Parameter.empty:
            assert value == specified[key].default, key


def steps_of(name, gradient, at, **settings):
    """-(change of w) / lr at the steps `at` of a constant gradient, in float64."""
    weight = np.zeros(1)
    opt = bz.optim.get(name)([weight], **settings)
    made = {}
    for step in range(1, max(at) + 1):
        before = weight.copy()
        opt.step([np.array([float(gradient)])])
        made[step] = (before - weight).item() / opt.lr
    return [made[step] for step in at]


# The rows F5 to F29 of the technique list: a step over lr on a constant gradient.
CONVENTIONS = [
    ("adagrad", 1e-4, {"eps": 1e-8, "eps_mode": "inside"}, {1: 0.70711}),
    ("adagrad", 1e-7, {"eps": 1e-8, "eps_mode": "inside"}, {1: 0.00100}),
    ("adagrad", 3.0, {"eps_mode": "none"}, {1: 1, 4: 0.5, 9: 1 / 3}),
    ("adagrad", 1e-7, {"eps": 1e-7}, {1: 0.5}),
    ("adagrad", 1e-7, {}, {1: 0.999}),
    ("rmsprop", 1.0, {"alpha": 0.9, "eps_mode": "inside"}, {1: 3.1623}),
    ("rmsprop", -0.3, {"alpha": 0.9, "eps_mode": "none", "initial": "gradient"}, {1: -1, 2: -1}),
    ("rmsprop", 1.0, {}, {1: 10.0}),
    ("adam", 1.0, {}, {1: 1, 10: 1, 1000: 1}),
    ("adam", 1e-8, {}, {1: 0.5}),
    ("adam", 1.0, {"bias_correction": False, "eps_mode": "inside"}, {1: 3.162, 10: 6.528, 1000: 1.258}),
    ("adam", 1e-4, {"bias_correction": False, "eps_mode": "inside"}, {1: 0.09995, 10: 0.6481, 1000: 0.7827}),
    ("sgd", 1.0, {"momentum": 0.9, "form": "classic"}, {1: 1, 2: 1.9, 3: 2.71}),
    ("sgd", 1.0, {"momentum": 0.9, "form": "ema"}, {1: 0.1, 2: 0.19}),
    ("sgd", 1.0, {"momentum": 0.9, "dampening": 0.9}, {1: 1, 2: 1}),
    ("sgd", 1.0, {"momentum": 0.9, "dampening": 0.9, "initial": "zero"}, {1: 0.1, 2: 0.19}),
    ("lion", -3.0, {}, {1: -1, 10: -1}),
]


@pytest.mark.parametrize("name, gradient, settings, expected", CONVENTIONS)
def test_convention(name, gradient, settings, expected):
    made = steps_of(name, gradient, list(expected), lr=1e-3, **settings)
    # The table is printed with four digits at most.
    assert made == pytest.approx(list(expected.values()), rel=5e-4)


def test_first_gradient_of_zero_is_no_nan():
    for name, settings in optim_cases.CASES:
        weight = np.ones(3, "float32")
        bz.optim.get(name)([weight], **settings).step([np.zeros(3, "float32")])
        assert np.isfinite(weight).all(), (name, settings)


def test_momentum_of_zero_is_plain_descent_to_the_bit():
    plain, classic = optim_cases.arrays([(1000,)]), optim_cases.arrays([(1000,)])
    optim_cases.run("sgd", {"lr": 0.3}, plain, 20)
    opt = bz.optim.SGD(classic, lr=0.3, momentum=lambda step: 0.0, form="classic")
    for step in range(20):
        opt.step(optim_cases.gradients(step, [(1000,)]))
    assert opt._kernel == "momentum" and (plain[0] == classic[0]).all()
    expected = optim_cases.arrays([(1000,)])[0]
    for step in range(20):
        expected -= np.float32(0.3) * optim_cases.gradients(step, [(1000,)])[0]
    assert (plain[0] == expected).all()


def test_forms_of_momentum_agree_at_a_constant_rate_and_not_under_a_schedule():
    def end(lr, **settings):
        weight = np.array([5.0])
        opt = bz.optim.SGD([weight], lr=lr, momentum=0.9, **settings)
        for _ in range(50):
            opt.step([weight.copy()])
        return weight.item()

    unit = tolerance("float64").unit
    classic = end(0.1, form="classic")
    assert end(0.1, form="torch") == pytest.approx(classic, abs=200 * unit)
    assert end(1.0, form="ema") == pytest.approx(classic, abs=200 * unit)
    decaying = lambda step: 0.1 * 0.97**step  # noqa: E731
    assert abs(end(decaying, form="torch") - end(decaying, form="classic")) > 1e-3


def iterations(**settings):
    """Steps until |w| < 1e-6 on the bowl of curvatures 1 and 100, from (10, 1); None where it never gets there."""
    weight = np.array([10.0, 1.0])
    opt = bz.optim.SGD([weight], form="classic", **settings)
    look = settings.pop("look", False)
    for count in range(1, 5000):
        with opt.look_ahead() if look else _nothing():
            grad = weight * np.array([1.0, 100.0])
        opt.step([grad])
        size = np.linalg.norm(weight)
        if not size < 1e6:
            return None
        if size < 1e-6:
            return count
    return None


def _nothing():
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize("momentum, classic", [(0.0, 1604), (0.5, 783), (0.9, 272), (0.99, 2556)])
def test_iterations_of_classic_momentum(momentum, classic):
    assert iterations(lr=0.01, momentum=momentum) == classic


def test_nesterov_in_both_forms():
    """The true form looks ahead; the re-parametrised one is it in the shifted variable w + momentum v."""
    true, shifted, curvature = np.array([10.0, 1.0]), np.array([10.0, 1.0]), np.array([1.0, 100.0])
    opt = bz.optim.SGD([true], lr=0.01, momentum=0.9, form="classic")
    other = bz.optim.SGD([shifted], lr=0.01, momentum=0.9, form="classic", nesterov=True)
    found = None
    for count in range(1, 400):
        with opt.look_ahead():
            grad = true * curvature
        opt.step([grad])
        other.step([shifted * curvature])
        ahead = true + 0.9 * opt.state["momentum_buffer"][0]
        assert np.allclose(ahead, shifted, rtol=0, atol=1e-12)
        if found is None and np.linalg.norm(true) < 1e-6:
            found = count
    assert found == 209
    weight = np.array([10.0, 1.0])
    opt = bz.optim.SGD([weight], lr=0.015, momentum=0.9, form="classic")
    for _ in range(200):
        with opt.look_ahead():
            grad = weight * curvature
        opt.step([grad])
    assert np.abs(weight).max() > 1e3, "above the stability limit of Nesterov's form, below that of the classic one"
    assert iterations(lr=0.015, momentum=0.9) == 264


def test_adadelta_converges_and_does_not_see_the_loss_s_scale():
    ends = []
    for scale in (1.0, 10.0):
        weight = np.array([1.0])
        opt = bz.optim.Adadelta([weight], rho=0.95, eps=1e-6)
        for _ in range(500):
            opt.step([scale * weight])
        ends.append(weight.item())
    assert abs(ends[0]) == pytest.approx(2.6e-8, rel=0.05) or abs(ends[0]) < 1e-6
    assert abs(ends[1]) < 1e-3


def test_get_names_what_there_is():
    assert bz.optim.get("rmsprop") is bz.optim.RMSprop
    with pytest.raises(ValueError, match=r"name is 'adamx'; expected one of sgd, adagrad, .*adamw"):
        bz.optim.get("adamx")
