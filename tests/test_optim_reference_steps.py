# SPDX-License-Identifier: BSD-3-Clause
"""What a reference step does around its rule, in which order, and the rules PyTorch lacks against their papers' boxes.

H and K number the claims about clipping and regularisation.
"""

import math

import ml_dtypes
import numpy as np
import pytest
from brazen.reference import optim
from steps import STEPS, close
from tolerance import tolerance

_RNG = np.random.default_rng(11)
GRADIENTS = _RNG.normal(size=(STEPS, 3, 4))
START = _RNG.normal(size=(3, 4))


def stepped(name, **arguments):
    """The path of one matrix under GRADIENTS."""
    rule, weights, path = optim.get(name)(**arguments), [START.copy()], []
    for gradient in GRADIENTS:
        rule.step(weights, [gradient])
        path.append(weights[0].copy())
    return np.array(path)


def sign(x):
    return int(x > 0) - int(x < 0)


# The boxes, for one number: state and time in, step out. Letters and betas are the paper's.
def lion(s, g, w, t, eta=0.1, b1=0.9, b2=0.99, wd=0.1):
    c = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["m"] = b2 * s.get("m", 0.0) + (1 - b2) * g
    return w - eta * (sign(c) + wd * w)


def adabelief(s, g, w, t, a=0.1, b1=0.9, b2=0.999, eps=1e-8):
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["s"] = b2 * s.get("s", 0.0) + (1 - b2) * (g - s["m"]) ** 2 + eps
    return w - a * (s["m"] / (1 - b1**t)) / (math.sqrt(s["s"] / (1 - b2**t)) + eps)


def yogi(s, g, w, t, eta=0.1, b1=0.9, b2=0.999, eps=1e-3):
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    v = s.get("v", 1e-6)
    s["v"] = v - (1 - b2) * sign(v - g**2) * g**2
    return w - eta * s["m"] / (math.sqrt(s["v"]) + eps)


def adan(s, g, w, t, eta=0.1, b1=0.02, b2=0.08, b3=0.01, eps=1e-8, decay=0.1):
    before = s.get("g", g)
    s["m"] = (1 - b1) * s.get("m", 0.0) + b1 * g
    s["v"] = (1 - b2) * s.get("v", 0.0) + b2 * (g - before)
    s["n"] = (1 - b3) * s.get("n", 0.0) + b3 * (g + (1 - b2) * (g - before)) ** 2
    s["g"] = g
    return (w - eta / (math.sqrt(s["n"]) + eps) * (s["m"] + (1 - b2) * s["v"])) / (1 + decay * eta)


def ademamix(s, g, w, t, eta=0.1, b1=0.9, b2=0.999, b3=0.9999, alpha=5.0, eps=1e-8, decay=0.1, warmup=40):
    a_t = min(t * alpha / warmup, alpha)
    between = math.log(b1) * math.log(b3) / ((1 - t / warmup) * math.log(b3) + t / warmup * math.log(b1))
    b3_t = min(math.exp(between), b3) if t < warmup else b3
    s["m1"] = b1 * s.get("m1", 0.0) + (1 - b1) * g
    s["m2"] = b3_t * s.get("m2", 0.0) + (1 - b3_t) * g
    s["nu"] = b2 * s.get("nu", 0.0) + (1 - b2) * g**2
    step = (s["m1"] / (1 - b1**t) + a_t * s["m2"]) / (math.sqrt(s["nu"] / (1 - b2**t)) + eps)
    return w - eta * (step + decay * w)


def amsgrad(s, g, w, t, a=0.1, b1=0.9, b2=0.999, eps=1e-8):
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g**2
    s["max"] = max(s.get("max", 0.0), s["v"])
    return w - a * s["m"] / (math.sqrt(s["max"]) + eps)


# The boxes that need a whole parameter's norm.
def lars(s, g, w, t, gamma=0.1, m=0.9, beta=0.1, eta=1e-3):
    local = eta * np.linalg.norm(w) / (np.linalg.norm(g) + beta * np.linalg.norm(w))
    s["v"] = m * s.get("v", 0.0) + gamma * local * (g + beta * w)
    return w - s["v"]


def lamb(s, g, w, t, eta=0.1, b1=0.9, b2=0.999, eps=1e-6, decay=0.1):
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g**2
    r = (s["m"] / (1 - b1**t)) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)
    return w - eta * np.linalg.norm(w) / np.linalg.norm(r + decay * w) * (r + decay * w)


def novograd(s, g, w, t, eta=0.1, b1=0.95, b2=0.98, eps=1e-8, d=0.1):
    squared = np.linalg.norm(g) ** 2
    s["v"] = squared if t == 1 else b2 * s["v"] + (1 - b2) * squared
    s["m"] = b1 * s.get("m", 0.0) + (g / (math.sqrt(s["v"]) + eps) + d * w)
    return w - eta * s["m"]


def sm3(s, g, w, t, eta=0.1):
    """SM3-II with the cover by rows and columns, element by element."""
    rows, columns = s.setdefault("rows", [0.0] * 3), s.setdefault("columns", [0.0] * 4)
    v = [[min(rows[i], columns[j]) + g[i, j] ** 2 for j in range(4)] for i in range(3)]
    s["rows"] = [max(row) for row in v]
    s["columns"] = [max(column) for column in zip(*v)]
    return w - eta * g / np.sqrt(v)


PAPERS = {
    "lion": (lion, {"weight_decay": 0.1}),
    "adabelief": (adabelief, {"eps": 1e-8}),
    "yogi": (yogi, {"bias_correction": False}),
    "adan": (adan, {"bias_correction": False, "weight_decay": 0.1}),
    "ademamix": (ademamix, {"weight_decay": 0.1, "alpha_warmup": 40, "beta3_warmup": 40}),
    "amsgrad": (amsgrad, {"bias_correction": False}),
    "lars": (lars, {"weight_decay": 0.1}),
    "lamb": (lamb, {"weight_decay": 0.1}),
    "novograd": (novograd, {"weight_decay": 0.1}),
    "sm3": (sm3, {}),
}


@pytest.mark.parametrize("name", PAPERS)
def test_the_paper_s_box(name):
    box, arguments = PAPERS[name]
    path = stepped(name, lr=0.1, **arguments)
    if name in ("lars", "lamb", "novograd", "sm3"):
        w, state = START, {}
        for t, g in enumerate(GRADIENTS, 1):
            w = box(state, g, w, t)
            assert close(path[t - 1], w, 10), t
        return
    for at in np.ndindex(START.shape):
        w, state = START[at], {}
        for t, g in enumerate(GRADIENTS, 1):
            w = box(state, g[at], w, t)
            assert close(path[t - 1][at], w, 10), t


def test_every_rule_is_checked_against_something():
    from test_optim_reference_torch import FLAGS

    assert set(FLAGS) | set(PAPERS) == set(optim.names())


def test_the_usual_bias_corrections():
    """On a constant gradient a corrected average is the gradient itself."""
    one = [np.ones(1)]
    for name, arguments, expected in [
        ("yogi", {"initial_accumulator_value": 0.0, "eps": 0.0}, 1.0),
        ("adan", {"eps": 0.0}, 1.0),
        ("lamb", {"eps": 0.0}, 0.0),  # of a weight of 0 the ratio is 1: see below
    ]:
        rule, weights = optim.get(name)(lr=0.5, **arguments), [np.zeros(1)]
        rule.step(weights, one)
        assert close(weights[0], -0.5 * (expected or 1.0)), name


@pytest.mark.parametrize("name, arguments", [("lars", {}), ("lars", {"form": "torch"}), ("lamb", {})])
def test_a_trust_ratio_of_nothing_is_1(name, arguments):
    weights = [np.zeros(2), np.ones(2)]
    optim.get(name)(lr=0.5, **arguments).step(weights, [np.array([3.0, -3.0]), np.zeros(2)])
    assert weights[0][0] == -weights[0][1] < 0 and (weights[1] == 1).all()


def test_lars_forms_and_nesterov():
    classic, late = (stepped("lars", lr=0.1, form=form) for form in ("classic", "torch"))
    assert close(classic, late, 10)
    plain = stepped("lars", lr=0.1, momentum=0.0)
    assert close(stepped("lars", lr=0.1, nesterov=True)[0], START + 1.9 * (plain[0] - START), 10)


def test_lamb_holds_the_norm_to_a_range():
    free, held = (stepped("lamb", lr=0.1, trust_clip=clip)[0] for clip in (None, (0.0, 0.5)))
    assert close(held - START, (free - START) * 0.5 / np.linalg.norm(START))


def test_adan_forms_differ_in_the_decay_alone():
    proximal, decoupled = (
        stepped("adan", lr=0.1, weight_decay=0.1, form=form)[0] for form in ("proximal", "decoupled")
    )
    step = stepped("adan", lr=0.1)[0] - START
    assert close(proximal, (START + step) / 1.01) and close(decoupled, START * 0.99 + step)


def test_sm3_covers_every_axis():
    g = np.arange(1.0, 25.0).reshape(2, 3, 4)
    rule, weights = optim.SM3(lr=1.0, momentum=0.5), [np.zeros((2, 3, 4))]
    rule.step(weights, [g])
    assert close(weights[0], -0.5) and [a.shape for a in rule.state["accumulators"][0]] == [
        (2, 1, 1),
        (1, 3, 1),
        (1, 1, 4),
    ]
    rule.step(weights, [g * 0])
    assert close(weights[0], -0.75)  # a zero gradient leaves the momentum alone


def test_h1_global_norm_clipping(torch):
    grads = [np.array([3.0, 0.0]), np.array([[0.0, 4.0]])]
    assert optim.global_norm(grads) == 5.0 == torch.nn.utils.get_total_norm([torch.tensor(g) for g in grads])
    kept = [g.copy() for g in grads]
    assert optim.clip_grad_norm(grads, 5.0) == 5.0 and all((a == b).all() for a, b in zip(grads, kept))
    assert optim.clip_grad_norm(grads, 1.0) == 5.0
    assert close(optim.global_norm(grads), 1.0) and close(grads[0][0] / grads[1][0, 1], 0.75)
    assert optim.clip_grad_norm([np.zeros(3)], 1.0) == 0.0 and optim.clip_grad_norm([], 1.0) == 0.0
    for bad, expected in [(np.nan, np.nan), (np.inf, 0.0)]:
        broken = [np.array([bad, 1.0])]
        with np.errstate(invalid="ignore"):
            optim.clip_grad_norm(broken, 1.0)
        assert np.isnan(broken[0][0]) and np.array_equal(broken[0][1], expected, equal_nan=True)


def test_norms_of_narrow_dtypes_do_not_overflow():
    for dtype in ("float16", "float32", ml_dtypes.bfloat16):
        x = np.full(4, 6e4 if dtype == "float16" else 1e30).astype(dtype)
        assert optim.global_norm([x]) == 2 * float(x[0])


def test_clip_value_and_check(torch):
    grads, theirs = [np.array([-3.0, 0.5, np.nan])], torch.zeros(3, requires_grad=True)
    theirs.grad = torch.tensor(grads[0], dtype=torch.float32)
    optim.clip_grad_value(grads, 1.0)
    torch.nn.utils.clip_grad_value_([theirs], 1.0)
    assert np.array_equal(grads[0], theirs.grad.numpy(), equal_nan=True)
    grads = [np.array([2.0, 4.0])]
    assert optim.scale_and_check(grads, 4.0) and (grads[0] == [0.5, 1.0]).all()
    assert not optim.scale_and_check([np.array([np.inf])], 4.0) and optim.all_finite([])


@pytest.mark.parametrize("unit_axis, axis", [(-1, 0), (0, 1)])
def test_agc_unit_by_unit(unit_axis, axis):
    w, g = np.random.default_rng(1).normal(size=(2, 5, 6))
    np.moveaxis(g, unit_axis, 0)[0] *= 0.1
    expected = np.minimum(
        1, 0.5 * np.linalg.norm(w, axis=axis, keepdims=True) / np.linalg.norm(g, axis=axis, keepdims=True)
    )
    clipped, bias = g.copy(), np.array([3.0, 4.0])
    optim.agc([w, np.zeros(2)], [clipped, bias], clipping=0.5, unit_axis=unit_axis)
    assert close(clipped, g * expected) and (expected < 1).any() and (expected == 1).any()
    assert close(np.linalg.norm(bias), 0.5 * 1e-3)
    assert np.array_equal(
        clipped.compress(expected.ravel() == 1, 1 - axis), g.compress(expected.ravel() == 1, 1 - axis)
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_k8_max_norm(dtype):
    rng = np.random.default_rng(2)
    w = rng.normal(size=(5, 6)).astype(dtype)
    w[:, 0] *= 0.01
    held, bias = w.copy(), np.full(3, 9.0)
    optim.max_norm([held, bias], 1.0)
    before, after = np.linalg.norm(w, axis=0), np.linalg.norm(held, axis=0)
    assert (after <= 1 + 8 * tolerance(dtype).unit).all() and (bias == 9).all()
    assert np.array_equal(held[:, before <= 1], w[:, before <= 1]) and (before <= 1).any()
    assert np.allclose(held / after, w / before, rtol=16 * tolerance(dtype).unit, atol=0)
    convolution = rng.normal(size=(2, 3, 3, 3)) * 9
    optim.max_norm([convolution], 2.0, unit_axis=0)
    assert close(np.sqrt((convolution**2).sum((1, 2, 3))), 2.0)


def one_step(w, g, name="sgd", **arguments):
    weights = [np.array([w])]
    optim.get(name)(**arguments).step(weights, [np.array([g])])
    return weights[0][0]


def test_k1_k2_l2():
    assert close(one_step(2.0, 3.0, lr=0.1, l2=0.01), (1 - 0.1 * 0.01) * 2 - 0.1 * 3)  # lambda / 2 sum w^2
    assert close(one_step(2.0, 3.0, lr=0.1, l2=2 * 0.01), 2 - 0.1 * (3 + 2 * 0.01 * 2))  # lambda sum w^2
    assert one_step(2.0, 3.0, lr=0.1, l2=0.01) == one_step(2.0, 3.0, lr=0.1, weight_decay=0.01)


def test_k5_the_three_factors():
    eta, strength = 0.1, 0.01
    for decay, factor in [(strength, 0.999), (2 * strength / eta, 0.98), (2 * strength, 0.998)]:
        assert close(one_step(1.0, 0.0, lr=eta, weight_decay=decay, decoupled_weight_decay=True), factor)


def test_k6_k7_l1_and_elastic_net():
    assert close(one_step(-2.0, 3.0, lr=0.1, l1=0.5), -2 - 0.1 * (3 - 0.5)) and one_step(0.0, 0.0, lr=0.1, l1=0.5) == 0
    assert close(one_step(2.0, 0.0, lr=0.1, l1=1.0, l2=2 * 0.3), 2 - 0.1 * (2 * 0.3 * 2 + 1))  # beta w^2 + |w|


def test_f30_coupled_decay_enters_the_statistics():
    coupled = one_step(1.0, 0.0, "adam", lr=0.1, weight_decay=0.5)
    decoupled = one_step(1.0, 0.0, "adam", lr=0.1, weight_decay=0.5, decoupled_weight_decay=True)
    assert close(coupled, 0.9, 1e6) and close(decoupled, 0.95)
    assert decoupled == one_step(1.0, 0.0, "adamw", lr=0.1, weight_decay=0.5)


def test_the_order_of_a_step():
    """One step with everything on is the single functions in their order."""
    options = {"clip_norm": 2.0, "clip_value": 0.5, "agc": 0.1, "l1": 0.01, "l2": 0.02, "max_norm": 1.2, "ema": 0.9}
    rule = optim.AdamW(lr=0.1, weight_decay=0.3, skip_nonfinite=True, report_norms=True, **options)
    weights, gradient = [START.copy()], GRADIENTS[0] * 8
    copies = [np.empty((3, 4), ml_dtypes.bfloat16)]
    report = rule.step(weights, [gradient], scale=4.0, copy_to=copies)

    g, w = [gradient / 4], START
    assert close(optim.clip_grad_norm(g, 2.0), report.grad_norm)
    optim.clip_grad_value(g, 0.5)
    optim.agc([w], g, 0.1)
    optim.add_l2([w], g, 0.02)
    optim.add_l1([w], g, 0.01)
    adam = [w.copy()]
    optim.Adam(lr=0.1).step(adam, g)
    expected = [adam[0] - 0.1 * 0.3 * w]
    optim.max_norm(expected, 1.2)
    assert close(weights[0], expected[0]) and close(rule.averages()[0], 0.9 * w + 0.1 * expected[0])
    assert np.array_equal(copies[0], weights[0].astype(ml_dtypes.bfloat16))
    assert close(report.weight_norm, np.linalg.norm(w)) and close(report.update_norm, np.linalg.norm(weights[0] - w))
    assert (gradient == GRADIENTS[0] * 8).all(), "the gradients are left as they are"
    rule.step(weights, [gradient], zero_grads=True)
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", optim.names())
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_skipped_step_changes_nothing(name, bad):
    rule = optim.get(name)(skip_nonfinite=True, ema=0.9)
    weights = [START.copy(), np.ones(2)]
    rule.step(weights, [GRADIENTS[0], np.ones(2)])
    kept, state = [w.copy() for w in weights], repr(rule.state)
    for scale in (1.0, 8.0):
        assert rule.step(weights, [GRADIENTS[1], np.array([1.0, bad])], scale=scale).skipped
    assert all(np.array_equal(a, b) for a, b in zip(weights, kept)) and repr(rule.state) == state
    assert not rule.step(weights, [GRADIENTS[1], np.ones(2)]).skipped and rule.state["step"] == 2


def test_ema_started_at_the_weights_or_corrected():
    for corrected, expected in [(False, 0.81 * 5 + 0.09 * 4 + 0.1 * 3), (True, (0.09 * 4 + 0.1 * 3) / 0.19)]:
        rule, weights = optim.SGD(lr=1.0, ema=0.9, ema_bias_correction=corrected), [np.array([5.0])]
        rule.step(weights, [np.ones(1)])
        rule.step(weights, [np.ones(1)])
        assert close(rule.averages()[0], expected)


@pytest.mark.parametrize("name", optim.names())
@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_dtypes(name, dtype):
    """Narrow parameters are stepped in float32 and rounded once; the state stays wide."""
    wide = np.float64 if dtype == "float64" else np.float32
    rule, other = optim.get(name)(), optim.get(name)()
    narrow = [START.astype(dtype), np.zeros((0, 3), dtype), np.zeros((), dtype)]
    exact = [w.astype(wide) for w in narrow]
    grads = [GRADIENTS[0].astype(dtype), np.zeros((0, 3), dtype), np.ones((), dtype)]
    rule.step(narrow, grads)
    other.step(exact, [g.astype(wide) for g in grads])
    for a, b in zip(narrow, exact):
        assert a.dtype == dtype and b.dtype == wide
        assert name == "adafactor" or np.array_equal(a, b.astype(dtype))
    for value in rule.state.values():
        arrays = (
            [x for item in value if item is not None for x in (item if isinstance(item, list) else [item])]
            if isinstance(value, list)
            else []
        )
        assert all(isinstance(x, np.ndarray) and x.dtype == wide for x in arrays)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="form is 'polyak'; expected one of 'classic', 'ema', 'torch'"):
        optim.SGD(form="polyak")
    with pytest.raises(ValueError, match="dampening is 0.5; form='ema' has none"):
        optim.SGD(momentum=0.9, dampening=0.5, form="ema")
    with pytest.raises(ValueError, match="nesterov needs a momentum and no dampening"):
        optim.SGD(nesterov=True)
    with pytest.raises(ValueError, match="grads: 1 arrays for 2 parameters"):
        optim.SGD().step([START, START], [START])
    with pytest.raises(ValueError, match="eps_mode is 'in'"):
        optim.Adam(eps_mode="in")
    with pytest.raises(ValueError, match="decoupled_weight_decay"):
        optim.LAMB(decoupled_weight_decay=False)
