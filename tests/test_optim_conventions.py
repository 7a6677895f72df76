# SPDX-License-Identifier: BSD-3-Clause
"""Update rules, the reference's and the library's, against the numbers that tell one published convention from the next.

F1 is the first of the claims about optimizers; a constant gradient's steps are given over lr.
"""

import brazen as bz
import numpy as np
import pytest
from brazen import reference
from steps import STEPS, close


class OnLibrary:
    """An optimizer of the library under the reference's calls, which bring the weights along to every step."""

    def __init__(self, rule, arguments):
        vars(self).update(optimizer=rule(**arguments), weights=[])

    def __getattr__(self, name):
        return self.optimizer.state if name == "state" else self.optimizer.defaults[name]

    def __setattr__(self, name, value):
        self.optimizer.set(**{name: value})

    def _take(self, weights):
        bound = bool(self.weights)
        self.weights[:] = weights
        if not bound:
            self.optimizer.bind(self.weights)

    def step(self, weights, grads):
        self._take(weights)
        self.optimizer.step(grads)

    def lookahead(self, weights):
        self._take(weights)
        with self.optimizer.look_ahead():
            return [w.copy() for w in weights]


class Library:
    """`brazen.optim` as `brazen.reference.optim` is called."""

    def get(self, name):
        rule = bz.optim.get(name)
        return lambda **arguments: OnLibrary(rule, arguments)

    def __getattr__(self, name):
        return self.get(getattr(bz.optim, name).name)


@pytest.fixture(params=[reference.optim, Library()], ids=["reference", "library"])
def optim(request):
    return request.param


# name, arguments, constant gradient, {step: that step over lr}
CONSTANT = {
    "F3 sgd": ("sgd", {}, -3.0, {1: -3.0, 100: -3.0}),
    "F12 adagrad inside": ("adagrad", {"eps": 1e-8, "eps_mode": "inside"}, 1e-4, {1: 0.70711}),
    "F12 adagrad inside, small": ("adagrad", {"eps": 1e-8, "eps_mode": "inside"}, 1e-7, {1: 0.00100}),
    "F13 adagrad none": ("adagrad", {"eps_mode": "none"}, -1e-9, {1: -1.0, 4: -0.5}),
    "F13 adagrad none at 0": ("adagrad", {"eps_mode": "none"}, 0.0, {1: 0.0}),
    "F14 adagrad outside 1e-7": ("adagrad", {"eps": 1e-7}, 1e-7, {1: 0.5}),
    "F15 adagrad torch": ("adagrad", {}, 1e-7, {1: 0.999}),
    "F15 lr_decay": ("adagrad", {"lr_decay": 0.5}, 1.0, {1: 1.0, 4: 0.5 / 2.5}),
    "F16 adagrad": ("adagrad", {}, 2.0, {1: 1.0, 4: 0.5, 100: 0.1}),
    "F17 rmsprop inside": ("rmsprop", {"alpha": 0.9, "eps_mode": "inside"}, 1.0, {1: 3.1623}),
    "F18 rmsprop from g": ("rmsprop", {"alpha": 0.9, "eps_mode": "none", "initial": "gradient"}, -3.0, {1: -1.0, 50: -1.0}),
    "F19 rmsprop outside": ("rmsprop", {"alpha": 0.9, "eps": 1e-6}, 1e-6, {1: 1 / (1 + 0.1**0.5)}),
    "F17 at that gradient": ("rmsprop", {"alpha": 0.9, "eps": 1e-6, "eps_mode": "inside"}, 1e-6, {1: 1e-3}),
    "F19 at 1": ("rmsprop", {"alpha": 0.9, "eps": 1e-6}, 1.0, {1: 3.1623}),
    "F20 rmsprop torch": ("rmsprop", {}, 1.0, {1: 10.0}),
    "F24 adam": ("adam", {}, 1.0, {1: 1.0, 10: 1.0, 1000: 1.0}),
    "F24 adam, small": ("adam", {}, 1e-8, {1: 0.5}),
    "F25 adam": ("adam", {"bias_correction": False, "eps_mode": "inside"}, 1.0, {1: 3.162, 10: 6.528, 1000: 1.258}),
    "F25 adam, small": (
        "adam",
        {"bias_correction": False, "eps_mode": "inside"},
        1e-4,
        {1: 0.09995, 10: 0.6481, 1000: 0.7827},
    ),
    "F26 adam, small": ("adam", {"form": "efficient"}, 1e-8, {1: 0.001**0.5 / (0.001**0.5 + 1)}),
    "F29 adam 1e-7": ("adam", {"eps": 1e-7}, 1e-7, {1: 0.5}),
    "F29 adam 1e-8": ("adam", {"eps": 1e-8}, 1e-7, {1: 1 / 1.1}),
    "adam none": ("adam", {"eps_mode": "none"}, 1e-30, {1: 1.0, 10: 1.0}),
    "adam none at 0": ("adam", {"eps_mode": "none"}, 0.0, {1: 0.0, 2: 0.0}),
    "adam inside, corrected": ("adam", {"eps_mode": "inside"}, 1e-4, {1: 0.70711, 10: 0.70711}),
    "adamax torch": ("adamax", {}, 1e-8, {1: 0.5}),
    "adamax outside": ("adamax", {"eps_mode": "outside"}, 1e-8, {1: 0.5}),
    "adamax torch, later": ("adamax", {"betas": (0.0, 0.999)}, 1e-8, {2: 0.5}),
    "adamax none": ("adamax", {"eps_mode": "none"}, -1e-30, {1: -1.0, 7: -1.0}),
    "radam": ("radam", {}, 1.0, {1: 1.0, 5: 1.0}),
    "yogi, uncorrected": ("yogi", {"bias_correction": False, "initial_accumulator_value": 0.0}, 1.0, {1: 0.1 / (0.001**0.5 + 1e-3)}),
    "lion": ("lion", {}, -1e-5, {1: -1.0, 9: -1.0}),
    "sm3": ("sm3", {}, 4.0, {1: 1.0, 4: 0.5}),
    "novograd": ("novograd", {"betas": (0.5, 0.98)}, 5.0, {1: 1.0, 2: 1.5, 3: 1.75}),
}  # fmt: skip
DIGITS = 4  # that the rows print


@pytest.mark.parametrize("row", CONSTANT)
def test_constant_gradient(optim, row):
    name, arguments, gradient, expected = CONSTANT[row]
    rule = optim.get(name)(lr=1.0, **arguments)
    for t in range(1, max(expected) + 1):
        weights = [np.zeros(1)]
        rule.step(weights, [np.array([gradient])])
        if t in expected:
            size = float(f"{expected[t]:.{DIGITS - 1}e}")
            assert float(f"{-weights[0][0]:.{DIGITS - 1}e}") == pytest.approx(size, rel=10.0 ** (1 - DIGITS) * 1.001), t


def run(optim, name, gradients, w=1.0, **arguments):
    """The weights after each gradient; a gradient may be a function of the weight."""
    rule, weights, path = optim.get(name)(**arguments), [np.array([w])], []
    for gradient in gradients:
        g = gradient(weights[0][0]) if callable(gradient) else gradient
        rule.step(weights, [np.array([g])])
        path.append(weights[0][0])
    return np.array(path)


NOISE = np.random.default_rng(5).normal(size=STEPS)


def test_f5_f6_classic_momentum(optim):
    path = run(optim, "sgd", [2.0, 3.0], w=0.0, lr=0.1, momentum=0.9, form="classic")
    assert close(path, [-0.2, -0.2 - 0.9 * 0.2 - 0.3])
    for form in ("classic", "ema", "torch"):
        assert (run(optim, "sgd", NOISE, lr=0.1, form=form) == run(optim, "sgd", NOISE, lr=0.1)).all()


def test_f7_the_ema_form_needs_a_tenfold_rate(optim):
    assert close(
        run(optim, "sgd", NOISE, lr=1.0, momentum=0.9, form="ema"),
        run(optim, "sgd", NOISE, lr=0.1, momentum=0.9, form="classic"),
    )


def test_f8_the_torch_form(optim):
    constant = [run(optim, "sgd", NOISE, lr=0.1, momentum=0.9, form=form) for form in ("classic", "torch")]
    assert close(*constant)
    ema = run(optim, "sgd", NOISE, lr=0.1, momentum=0.9, form="ema")
    assert close(run(optim, "sgd", NOISE, lr=0.1, momentum=0.9, dampening=0.9, initial="zero"), ema)
    # Started at the first gradient, undampened: the surplus 0.9 g decays, and is lr * 9 g * (1 - 0.9^T) in all.
    surplus = ema - run(optim, "sgd", NOISE, lr=0.1, momentum=0.9, dampening=0.9)
    assert close(surplus, 0.1 * 0.9 * NOISE[0] * (1 - 0.9 ** np.arange(1, STEPS + 1)) / 0.1)


def test_f8_the_forms_differ_under_a_schedule(optim):
    paths = []
    for form in ("classic", "torch"):
        rule, weights = optim.SGD(lr=0.1, momentum=0.9, form=form), [np.zeros(1)]
        for t in range(3):
            rule.lr = 0.1 * 0.5**t
            rule.step(weights, [np.ones(1)])
        paths.append(weights[0][0])
    classic, torch_form = paths
    assert close(classic, -(0.1 * (1 + 0.9 + 0.81) + 0.05 * 1.9 + 0.025))
    assert close(torch_form, -(0.1 + 0.05 * 1.9 + 0.025 * (1 + 0.9 + 0.81)))


def iterations(optim, momentum, kind, lr=0.01, most=5000):
    """Until |w| < 1e-6 on the quadratic of condition 100 from (10, 1); `most` where it never does."""
    curvature, weights = np.array([1.0, 100.0]), [np.array([10.0, 1.0])]
    rule = optim.SGD(lr=lr, momentum=momentum, nesterov=kind == "shifted", form="classic")
    for count in range(1, most):
        at = rule.lookahead(weights) if kind == "true" else weights
        rule.step(weights, [curvature * at[0]])
        place = weights[0] - momentum * rule.state["momentum_buffer"][0] if kind == "shifted" else weights[0]
        if np.linalg.norm(place) < 1e-6:
            return count
    return most


@pytest.mark.parametrize(
    "momentum, kind, count",
    [
        (0.5, "classic", 783), (0.9, "classic", 272), (0.99, "classic", 2556),
        (0.9, "true", 209), (0.9, "shifted", 209), (0.99, "true", 1178), (0.99, "shifted", 1178),
    ],
)  # fmt: skip
def test_f10_f11_iterations(optim, momentum, kind, count):
    assert iterations(optim, momentum, kind) == count


def test_f10_plain_and_the_limit_of_stability(optim):
    rule, weights, count = optim.SGD(lr=0.01), [np.array([10.0, 1.0])], 0
    while np.linalg.norm(weights[0]) >= 1e-6:
        rule.step(weights, [np.array([1.0, 100.0]) * weights[0]])
        count += 1
    assert count == 1604
    assert iterations(optim, 0.9, "classic", lr=0.015) == 264
    with np.errstate(over="ignore", invalid="ignore"):
        assert iterations(optim, 0.9, "true", lr=0.015) == 5000  # lr k = 1.5 is above (2 + 2 mu) / (1 + 2 mu) = 1.357


def test_f10_both_nesterov_forms_agree_in_the_shifted_variable(optim):
    curvature, true, shifted = np.array([1.0, 30.0]), [np.array([10.0, 1.0])], [np.array([10.0, 1.0])]
    a = optim.SGD(lr=0.01, momentum=0.9, form="classic")
    b = optim.SGD(lr=0.01, momentum=0.9, form="classic", nesterov=True)
    keras_or_torch = optim.SGD(lr=0.01, momentum=0.9, nesterov=True)
    third = [np.array([10.0, 1.0])]
    for _ in range(STEPS):
        a.step(true, [curvature * a.lookahead(true)[0]])
        b.step(shifted, [curvature * shifted[0]])
        keras_or_torch.step(third, [curvature * third[0]])
        assert close(a.lookahead(true)[0], shifted[0], 10) and close(shifted[0], third[0], 10)


def test_f13_is_the_rate_over_the_root_mean_square(optim):
    path, w = run(optim, "adagrad", NOISE, w=0.0, lr=0.1, eps_mode="none"), 0.0
    for t, g in enumerate(NOISE):
        w -= (0.1 / np.sqrt(t + 1)) / np.sqrt(np.mean(NOISE[: t + 1] ** 2)) * g
        assert close(path[t], w)


def test_f14_descends(optim):
    """A deck prints w + step: that would climb."""
    assert abs(run(optim, "adagrad", [lambda w: w] * STEPS, lr=0.1, eps=1e-7)[-1]) < 1e-1


def test_f16_the_rare_coordinate_keeps_the_larger_step(optim):
    rule, weights = optim.Adagrad(lr=0.1), [np.zeros(2)]
    for t in range(20):
        before = weights[0].copy()
        rule.step(weights, [np.array([1.0, float(t % 10 == 9)])])
    assert abs(weights[0] - before)[1] > 3 * abs(weights[0] - before)[0]


def test_f17_is_the_unrolled_sum(optim):
    rule = optim.RMSprop(alpha=0.9, eps_mode="inside")
    for t, g in enumerate(NOISE[:20]):
        rule.step([np.zeros(1)], [np.array([g])])
        expected = 0.1 * sum(0.9 ** (t - past) * NOISE[past] ** 2 for past in range(t + 1))
        assert close(rule.state["square_avg"][0], expected)


def test_f22_adadelta_is_zeiler_s(optim):
    path = run(optim, "adadelta", [lambda w: w] * 500, rho=0.95, eps=1e-6)
    assert f"{abs(path[-1]):.1e}" == "2.6e-08"
    scaled = run(optim, "adadelta", [lambda w: 10 * w] * 500, rho=0.95, eps=1e-6)
    assert np.abs(path - scaled).max() < 2e-2 and np.abs(path - run(optim, "sgd", [lambda w: w] * 500)).max() > 0.5
    doubled = run(optim, "adadelta", [lambda w: 10 * w] * 500, rho=0.95, eps=1e-12)
    assert np.abs(run(optim, "adadelta", [lambda w: w] * 500, rho=0.95, eps=1e-12) - doubled).max() < 1e-3
    with pytest.raises(ValueError, match="eps_mode is 'none'; expected one of 'inside', 'outside'"):
        optim.Adadelta(eps_mode="none")


def test_f23_lr_multiplies_and_eps_is_inside(optim):
    step = 1 - run(optim, "adadelta", [1e-3])[0]
    assert close(step, np.sqrt(1e-6) / np.sqrt(1e-7 + 1e-6) * 1e-3) and close(
        1 - run(optim, "adadelta", [1e-3], lr=0.5)[0], step / 2
    )
    outside = 1 - run(optim, "adadelta", [1e-3], eps_mode="outside")[0]
    assert close(outside, 1e-6 / (np.sqrt(1e-7) + 1e-6) * 1e-3)


def test_f26_equals_the_paper_with_a_shrinking_eps(optim):
    rules = optim.Adam(lr=0.1, form="efficient"), optim.Adam(lr=0.1)
    weights = [np.zeros(1)], [np.zeros(1)]
    for t, g in enumerate(NOISE * 1e-7, 1):
        rules[0].eps = rules[1].eps * np.sqrt(1 - 0.999**t)
        for rule, w in zip(rules, weights):
            rule.step(w, [np.array([g])])
        assert close(weights[0][0], weights[1][0])
    assert not close(run(optim, "adam", NOISE * 1e-7, form="efficient"), run(optim, "adam", NOISE * 1e-7))


def test_f27_corrected_descends_and_as_printed_it_would_not(optim):
    assert abs(run(optim, "adam", [lambda w: w] * 500, w=-1.0, lr=0.01, bias_correction=False, eps=1e-6)[-1]) < 0.1
    w, r, v, first = -1.0, 0.0, 0.0, None
    for t in range(1, 300):
        r, v = 0.999 * r + 0.001 * w * w, 0.9 * v + 0.1 * w
        w -= 0.01 * v / (1e-6 + np.sqrt(r)) * w
        if abs(w) > 1e3:
            first = t
            break
    assert first is not None


def test_f31_by_name(optim):
    assert all(module.get("adam") is module.Adam for module in (bz.optim, reference.optim))
    with pytest.raises(ValueError, match="name is 'adaam'; expected one of .*(sm3.*adamw|adamw.*sm3)"):
        optim.get("adaam")


@pytest.mark.parametrize("name", bz.optim.names())
def test_every_rule_descends(optim, name):
    """A sign the wrong way round, as one deck prints it, climbs."""
    own = {"adadelta": {"lr": 10.0}, "lars": {"lr": 1.0, "trust_coefficient": 0.01}, "lamb": {"lr": 0.01}}
    rule = optim.get(name)(**own.get(name, {"lr": 0.05}))
    curvature, weights = np.array([[1.0, 4.0], [0.5, 2.0]]), [np.array([[1.0, -2.0], [-1.5, 0.5]])]
    start = (curvature * weights[0] ** 2).sum()
    for _ in range(200):
        rule.step(weights, [2 * curvature * weights[0]])
    assert (curvature * weights[0] ** 2).sum() < 0.2 * start
