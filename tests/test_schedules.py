# SPDX-License-Identifier: BSD-3-Clause
"""Schedules: the printed values, PyTorch's values, configs, every error; G and M number the claims about them and callbacks."""

import copy
import inspect
import json
import math
import pickle
import warnings

import brazen as bz
import numpy as np
import pytest
from brazen import schedules
from tolerance import tolerance

COUNT = 120
UNIT = tolerance("float64").unit


def halve_and_wait(epoch, lr):
    return lr * 0.5 if epoch % 10 == 9 else lr


def deck_lambda(epoch):
    return 0.1 * 0.65 ** (epoch // 10)


INNER = schedules.cosine(0.1, T_max=50)
EXAMPLES = {
    "constant": schedules.constant(0.1),
    "step": schedules.step(0.1, step_size=30, gamma=0.3),
    "multi_step": schedules.multi_step(0.1, milestones=(30, 80)),
    "exponential": schedules.exponential(0.1, rate=0.1, unit="epoch"),
    "inverse_time": schedules.inverse_time(0.1, decay_rate=0.5),
    "inverse_sqrt": schedules.inverse_sqrt(0.1),
    "polynomial": schedules.polynomial(0.1, total_iters=90, power=2.5, end_learning_rate=0.01),
    "linear": schedules.linear(0.1, end_lr=0.001, total_iters=np.int64(70)),
    "cosine": INNER,
    "cosine_restarts": schedules.cosine_restarts(0.1, T_0=10, T_mult=2, eta_min=0.001),
    "cyclic": schedules.cyclic(0.01, 0.1, step_size_up=20, step_size_down=10, mode="cosine"),
    "one_cycle": schedules.one_cycle(0.1, total_steps=100),
    "piecewise": schedules.piecewise(boundaries=np.array([10, 60]), values=[0.1, 0.05, 0.01]),
    "per_epoch": schedules.per_epoch(0.1, 0.97),
    "warmup": INNER.with_warmup(10),
    "chain": schedules.chain([schedules.constant(0.1), INNER], milestones=[20]),
    "lambda_lr": schedules.lambda_lr(halve_and_wait, lr=0.1),
    "reduce_on_plateau": schedules.reduce_on_plateau(0.1),
}
PURE = sorted(set(EXAMPLES) - {"reduce_on_plateau"})
FUNCTIONS = {f"{f.__module__}.{f.__qualname__}": f for f in (halve_and_wait, deck_lambda)}


def test_every_schedule_has_an_example():
    assert set(EXAMPLES) == set(schedules.names()) <= set(schedules.__all__)
    assert bz.schedules is schedules


@pytest.mark.parametrize("name", schedules.names())
def test_documented_and_signed(name):
    made = schedules.get(name)
    assert made is getattr(schedules, name) and made.__name__ == name and ">>> " in made.__doc__
    parameters = inspect.signature(made).parameters
    assert "unit" in parameters and not {"t", "values_", "named"} & set(parameters)
    assert repr(EXAMPLES[name]).startswith(f"{name}(") and "unit=" in repr(EXAMPLES[name])


@pytest.mark.parametrize("name", PURE)
def test_config_copies_and_pickles(name):
    schedule, written = EXAMPLES[name], json.loads(json.dumps(EXAMPLES[name].config()))
    assert written["name"] == name and written["unit"] in ("step", "epoch")
    for other in (
        schedules.from_config(written, FUNCTIONS),
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),  # noqa: S301
    ):
        assert other == schedule and other.unit == schedule.unit
        assert np.array_equal(other.values(COUNT), schedule.values(COUNT))
    assert schedule != schedules.constant(0.123) and schedule != 0.1


@pytest.mark.parametrize("name", PURE)
def test_pure_plottable_and_of_float64(name):
    schedule = EXAMPLES[name]
    values = schedule.values(COUNT)
    assert values.shape == (COUNT,) and values.dtype == np.float64 and np.isfinite(values).all()
    assert [schedule(t) for t in reversed(range(COUNT))] == values[::-1].tolist(), "depends on what was asked before"
    assert np.array_equal(schedule.values(COUNT - 50, start=50), values[50:]) and type(schedule(np.int64(3))) is float
    assert schedule(7.0) == values[7]


def test_values_the_rows_print():
    g1 = schedules.exponential(0.1, rate=0.1, unit="epoch")
    assert [f"{g1(t):.6g}" for t in (0, 1, 10, 50)] == ["0.1", "0.0904837", "0.0367879", "0.000673795"]
    assert schedules.inverse_time(0.3, decay_rate=2.0)(4) == 0.3 / 9  # G2
    assert [schedules.inverse_sqrt(1.0)(t) for t in (0, 3, 99)] == [1, 0.5, 0.1]  # G3
    g4 = schedules.step(0.3, step_size=7, gamma=0.5)
    assert g4.values(40).tolist() == [0.3 * 0.5 ** (k // 7) for k in range(40)]
    assert f"{schedules.per_epoch(1.0, 0.97)(50):.5f}" == "0.21807"  # G5
    assert f"{schedules.per_epoch(1.0, 0.9)(5):.5f}" == "0.59049" and schedules.per_epoch(0.3, 1.0)(9) == 0.3  # G6
    g7 = schedules.lambda_lr(deck_lambda, unit="epoch")
    assert [f"{g7(t):.6g}" for t in (0, 9, 10, 50, 99)] == ["0.1", "0.1", "0.065", "0.0116029", "0.00207119"]
    g8 = schedules.linear(0.5, end_lr=0.1, total_iters=4)
    assert np.abs(g8.values(7) - [0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1]).max() <= 4 * UNIT and g8(4) == g8(1000) == 0.1
    g12 = schedules.cosine_restarts(0.1, T_0=20, eta_min=0.01)
    assert (
        {g12(t) for t in (0, 20, 40, 400)} == {0.1}
        and g12.values(20).argmin() == 19
        and (np.diff(g12.values(20)) < 0).all()
    )
    assert set(schedules.constant(0.1).values(9)) == {0.1}  # G16


def test_g10_m7_a_function_of_one_or_two_arguments():
    twice = schedules.lambda_lr(halve_and_wait, lr=0.8)
    assert [twice(t) for t in (0, 8, 9, 18, 19, 29)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]
    assert schedules.lambda_lr(lambda epoch, k=0.5: k**epoch, lr=3.0)(2) == 0.75  # an argument with a default is none
    assert schedules.lambda_lr(math.sqrt)(4) == 2.0
    with pytest.raises(ValueError, match="t is 0.5; expected a whole number"):
        twice(0.5)


def test_whole_exponents_are_exact_and_others_close():
    assert schedules.step(1.0, 1, gamma=0.5)(30) == 2.0**-30 and schedules.exponential(1.0, gamma=0.1)(1) == 0.1
    smooth = schedules.exponential(1.0, gamma=0.97, decay_steps=7)
    for t in (1, 5, 100, 1000):
        assert abs(smooth(t) / 0.97 ** (t / 7) - 1) <= 64 * UNIT
    assert schedules.exponential(1.0, gamma=0.5, decay_steps=10, staircase=True)(29) == 0.25
    assert schedules.polynomial(1.0, 10, power=0.5)(10) == 0.0


def torch_values(torch, make, n=COUNT, lr=0.1):
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter], lr=lr, momentum=0.9)
    parameter.grad = torch.zeros(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way they call deprecated
        scheduler, found = make(torch.optim.lr_scheduler, optimizer), []
        for _ in range(n):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return np.array(found, dtype=float)


SAME = {
    "step": (schedules.step(0.1, 30, 0.3), lambda s, o: s.StepLR(o, 30, 0.3)),
    "multi_step": (schedules.multi_step(0.1, [30, 80, 80], 0.3), lambda s, o: s.MultiStepLR(o, [30, 80, 80], 0.3)),
    "constant, then": (schedules.multi_step(0.1 / 3, [5], 3.0), lambda s, o: s.ConstantLR(o)),
    "exponential": (schedules.exponential(0.1, 0.97), lambda s, o: s.ExponentialLR(o, 0.97)),
    "per_epoch": (schedules.per_epoch(0.1, 0.97), lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.97)),
    "linear": (schedules.linear(0.1 / 3, 0.1, 5), lambda s, o: s.LinearLR(o)),
    "linear down": (schedules.linear(0.1, 0.001, 70), lambda s, o: s.LinearLR(o, 1.0, 0.01, 70)),
    "polynomial": (schedules.polynomial(0.1, 90, 2.5), lambda s, o: s.PolynomialLR(o, 90, 2.5)),
    "cosine": (schedules.cosine(0.1, 119, 0.01), lambda s, o: s.CosineAnnealingLR(o, 119, 0.01)),
    "restarts": (schedules.cosine_restarts(0.1, 20), lambda s, o: s.CosineAnnealingWarmRestarts(o, 20)),
    "longer restarts": (
        schedules.cosine_restarts(0.1, 10, 2, 0.001),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 10, 2, 0.001),
    ),
    **{
        mode: (
            schedules.cyclic(0.01, 0.1, 20, 13, mode, gamma),
            lambda s, o, mode=mode, gamma=gamma: s.CyclicLR(o, 0.01, 0.1, 20, 13, mode, gamma),
        )
        for mode, gamma in [("triangular", 1.0), ("triangular2", 1.0), ("exp_range", 0.98)]
    },
    **{
        f"one_cycle {strategy} {three}": (
            schedules.one_cycle(0.1, COUNT, 0.25, strategy, 20.0, 1e3, three),
            lambda s, o, strategy=strategy, three=three: s.OneCycleLR(
                o,
                0.1,
                COUNT,
                pct_start=0.25,
                anneal_strategy=strategy,
                div_factor=20.0,
                final_div_factor=1e3,
                three_phase=three,
            ),
        )
        for strategy in ("cos", "linear")
        for three in (False, True)
    },
    "lambda": (schedules.lambda_lr(deck_lambda, 0.1), lambda s, o: s.LambdaLR(o, deck_lambda)),
    "chain": (
        schedules.chain([schedules.step(0.1, 7), schedules.cosine(0.1, 90)], [30]),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 7), s.CosineAnnealingLR(o, 90)], [30]),
    ),
    "warm-up": (
        schedules.cosine(0.1, 110).with_warmup(10, start_factor=0.25),
        lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.25, 1.0, 10), s.CosineAnnealingLR(o, 110)], [10]),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_values_are_torch_s(name, torch):
    """PyTorch multiplies its way from value to value, so that its rounding grows with t."""
    ours, make = SAME[name]
    # OneCycleLR refuses a step beyond the last.
    n = COUNT - 1 if name.startswith("one_cycle") else COUNT
    assert np.abs(ours.values(n) - torch_values(torch, make, n)).max() <= 16 * COUNT * UNIT * 0.1


def test_values_are_keras_s():
    """The formulas of Keras' schedules, under Keras' names."""
    t = np.arange(COUNT)
    ours = schedules.exponential(initial_learning_rate=0.1, decay_rate=0.96, decay_steps=10, staircase=True)
    assert np.allclose(ours.values(COUNT), 0.1 * 0.96 ** (t // 10), rtol=64 * UNIT, atol=0)
    ours = schedules.inverse_time(initial_learning_rate=0.1, decay_rate=0.5, decay_steps=10)
    assert np.allclose(ours.values(COUNT), 0.1 / (1 + 0.5 * t / 10), rtol=8 * UNIT, atol=0)
    ours = schedules.polynomial(initial_learning_rate=0.1, decay_steps=50, end_learning_rate=0.01, power=2.0)
    assert np.allclose(ours.values(COUNT), 0.09 * (1 - np.minimum(t, 50) / 50) ** 2 + 0.01, rtol=8 * UNIT, atol=0)
    ours = schedules.cosine_restarts(initial_learning_rate=0.1, first_decay_steps=10, t_mul=2.0, m_mul=0.5)
    assert [ours(s) for s in (0, 10, 30, 70)] == [0.1, 0.05, 0.025, 0.0125]
    ours = schedules.piecewise(boundaries=[10, 20], values=[3, 2, 1])
    assert [ours(s) for s in (0, 10, 11, 20, 21)] == [3, 3, 2, 2, 1]


def test_ends_are_met_exactly():
    cosine = schedules.cosine(0.3, 7, 0.1)
    assert cosine(0) == 0.3 and cosine(7) == cosine(8) == 0.1 and cosine(3.5) == pytest.approx(0.2, rel=8 * UNIT)
    cycle = schedules.cyclic(0.1, 0.3, 3, 5, "cosine")
    assert [cycle(t) for t in (0, 3, 8, 11)] == pytest.approx([0.1, 0.3, 0.1, 0.3], rel=4 * UNIT)
    once = schedules.one_cycle(0.3, 10, pct_start=0.0)
    assert once(0) == pytest.approx(0.3, rel=0.1) and once(9) == once(1000) == 0.3 / 25 / 1e4
    assert schedules.one_cycle(1.0, 1)(0) == 1 / 25 / 1e4


def test_warmup_shifted_or_not():
    inner = schedules.inverse_sqrt(1.0)
    assert schedules.warmup(inner, 4).values(6).tolist() == [0, 0.25, 0.5, 0.75, 1, inner(1)]
    going = schedules.warmup(inner, 3, shift=False)
    assert [going(t) for t in (0, 3, 8)] == [0, 0.5, 1 / 3] and schedules.warmup(inner, 0)(0) == 1
    assert schedules.cosine(1.0, 9, unit="epoch").with_warmup(3).unit == "epoch"


def test_same_bits_whatever_the_instruction_set(run_python):
    """The cosine is brazen's, so no C library decides a bit."""
    script = """
import brazen as bz, hashlib
parts = [bz.schedules.cosine(0.1, 1000), bz.schedules.exponential(0.1, rate=1e-3), bz.schedules.polynomial(0.1, 1000, 1.7)]
print(hashlib.sha256(b"".join(part.values(1000).tobytes() for part in parts)).hexdigest()[:16])
"""
    found = {run_python(script, env={"BRAZEN_ISA": isa}) for isa in bz._core.isas()}
    assert found == {"e3d8f385acfb7df5"}


def plateau_values(plateau, losses):
    return [plateau.step(loss) for loss in losses]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_is_torch_s(torch, seed, mode, threshold_mode):
    rng = np.random.default_rng(seed)
    losses = np.where(rng.random(80) < 0.05, np.nan, np.abs(rng.normal(size=80)) + 3 / np.arange(1, 81))
    arguments = {"mode": mode, "factor": 0.3, "patience": int(rng.integers(0, 5)), "cooldown": int(rng.integers(0, 4))}
    arguments |= {"threshold": 0.01, "threshold_mode": threshold_mode, "min_lr": 1e-4}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs, expected = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments), []
    for loss in losses:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    assert plateau_values(schedules.reduce_on_plateau(0.1, **arguments), losses) == expected and len(set(expected)) > 2


def test_plateau_of_a_negative_metric():
    """PyTorch's best (1 - threshold) is then above best, and a constant metric improves for ever."""
    for sign, mode in [(-1.0, "min"), (1.0, "max"), (-1.0, "max"), (1.0, "min")]:
        plateau = schedules.reduce_on_plateau(0.1, mode=mode, patience=1, threshold=0.1)
        assert plateau_values(plateau, [sign] * 3)[-1] == pytest.approx(0.01)
    plateau = schedules.reduce_on_plateau(0.1, patience=0, threshold=0.1)
    assert plateau_values(plateau, [-1.0, -1.11]) == [0.1, 0.1] and plateau.step(-1.2) == pytest.approx(0.01)


def test_m6_plateau_of_keras():
    plateau = schedules.reduce_on_plateau(0.1, factor=0.2, patience=5, min_lr=0.001, form="keras", min_delta=1e-4)
    found = plateau_values(plateau, [1.0] * 30)
    assert found[:5] == [0.1] * 5 and found[5] == pytest.approx(0.02) and found[10] == pytest.approx(0.004)
    assert found[15:] == [0.001] * 15 and plateau() == plateau(99) == 0.001
    better_by_too_little = schedules.reduce_on_plateau(0.1, patience=2, min_delta=0.5, form="keras")
    assert plateau_values(better_by_too_little, [1.0, 0.9, 0.8]) == [0.1, 0.1, pytest.approx(0.01)]
    cooling = schedules.reduce_on_plateau(1.0, factor=0.5, patience=1, cooldown=2, form="keras")
    # Reduced at the second; then Keras counts the cooldown down before it looks.
    assert plateau_values(cooling, [1.0] * 6) == [1.0, 0.5, 0.5, 0.25, 0.25, 0.125]
    with pytest.warns(UserWarning, match="0.001 is not above min_lr 0.001: it will never change"):
        trap = schedules.reduce_on_plateau(0.001, factor=0.2, patience=5, min_lr=0.001)
    assert set(plateau_values(trap, [1.0] * 30)) == {0.001}


def test_plateau_continues_from_its_state():
    losses = [1.0, 0.5, 0.6, 0.7, 0.8, 0.4, 0.5, 0.6, 0.7, 0.9, 0.9]
    make = lambda: schedules.reduce_on_plateau(0.1, patience=1, cooldown=1)  # noqa: E731
    whole = make()
    expected = plateau_values(whole, losses)
    for cut in range(len(losses)):
        first, second = make(), schedules.from_config(make().config())
        before = plateau_values(first, losses[:cut])
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert before + plateau_values(second, losses[cut:]) == expected
    with pytest.raises(ValueError, match="state is .*; expected the names"):
        whole.load_state_dict({"lr": 0.1})


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: schedules.get("cos"), "name is 'cos'; expected one of constant, .*warmup"),
        (lambda: schedules.cosine(0.1), "cosine: missing a required argument: 'T_max'"),
        (lambda: schedules.cosine(0.1, 5, unit="batch"), "unit is 'batch'; expected 'step' or 'epoch'"),
        (lambda: schedules.cosine(0.1, 0), "T_max is 0; expected a positive number"),
        (lambda: schedules.cosine(0.1, 5, T_max=3), "multiple values for argument 'T_max'"),
        (lambda: schedules.step(lr=0.1, learning_rate=0.1, step_size=3), "an argument is given under two names"),
        (lambda: schedules.step(0.1, 3)(-1), "t is -1; expected a step or epoch counted from 0"),
        (lambda: schedules.exponential(0.1), r"gamma, rate is \(None, None\); expected one of the two"),
        (lambda: schedules.exponential(0.1, 0.9, rate=0.1), "expected one of the two"),
        (lambda: schedules.multi_step(0.1, [5, 3]), r"milestones is \[5, 3\]; expected steps in ascending order"),
        (lambda: schedules.cyclic(0.1, 1.0, mode="square"), "mode is 'square'; expected one of 'triangular'"),
        (lambda: schedules.one_cycle(1.0, 10, anneal_strategy="sin"), "anneal_strategy is 'sin'"),
        (lambda: schedules.piecewise([1, 2], [1.0]), "values is .*; expected 3 numbers"),
        (lambda: schedules.chain([INNER], [3]), "schedules is .*; expected 2, one more than milestones"),
        (lambda: schedules.warmup(0.1, 3), "schedule is 0.1; expected a schedule"),
        (lambda: schedules.lambda_lr(3), "lr_lambda is 3; expected a function"),
        (
            lambda: schedules.chain([INNER, schedules.constant(0.1, unit="epoch")], [3]),
            "chain: schedules of different units: epoch, step",
        ),
        (lambda: schedules.warmup(INNER, 3, unit="epoch"), "unit is 'epoch'; the schedules inside count steps"),
        (
            lambda: schedules.from_config(EXAMPLES["lambda_lr"].config()),
            "functions is .*; expected one for '.*halve_and_wait'",
        ),
        (lambda: schedules.reduce_on_plateau(0.1, mode="auto"), "mode is 'auto'; expected 'min' or 'max'"),
        (lambda: schedules.reduce_on_plateau(0.1, factor=1.0), "factor is 1.0"),
    ],
)
def test_errors_name_the_argument(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_loaded_only_when_asked_for(run_python):
    assert run_python("import brazen, sys; print('brazen.schedules' in sys.modules)") == "False"
    assert run_python("import brazen as bz; print(bz.schedules.constant(0.5)(3))") == "0.5"
