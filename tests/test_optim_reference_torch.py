# SPDX-License-Identifier: BSD-3-Clause
"""The reference update rules against PyTorch in float64: names, defaults, every flag, a learning rate that changes."""

import inspect

import numpy as np
import pytest
from brazen.reference import optim
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import STEPS, close

SHAPES = [(7,), (4, 5), (2, 3, 4), (), (1, 1)]


def rate(lowest, highest):
    return st.floats(lowest, highest)


DECAY, BETAS, EPS = rate(0, 0.5), st.tuples(rate(0, 0.99), rate(0.25, 0.9999)), rate(1e-9, 1e-2)
ADAM = {"betas": BETAS, "eps": EPS, "weight_decay": DECAY}
# What PyTorch's classes take, beside lr and maximize.
FLAGS = {
    "sgd": ("SGD", {"momentum": rate(0.125, 0.99), "dampening": rate(0, 0.99), "weight_decay": DECAY}),
    "adagrad": (
        "Adagrad",
        {"lr_decay": rate(0, 1), "initial_accumulator_value": rate(0, 1), "eps": EPS, "weight_decay": DECAY},
    ),
    "rmsprop": (
        "RMSprop",
        {"alpha": rate(0.5, 0.9999), "eps": EPS, "momentum": rate(0, 0.99), "weight_decay": DECAY},
    ),
    "adadelta": ("Adadelta", {"rho": rate(0.5, 0.9999), "eps": EPS, "weight_decay": DECAY}),
    "adam": ("Adam", {**ADAM, "amsgrad": st.booleans(), "decoupled_weight_decay": st.booleans()}),
    "adamw": ("AdamW", {**ADAM, "amsgrad": st.booleans()}),
    "adamax": ("Adamax", ADAM),
    "nadam": ("NAdam", {**ADAM, "momentum_decay": rate(0, 0.1), "decoupled_weight_decay": st.booleans()}),
    "radam": ("RAdam", {**ADAM, "decoupled_weight_decay": st.booleans()}),
    "rprop": ("Rprop", {"etas": st.tuples(rate(0.25, 0.75), rate(1.125, 2)), "step_sizes": st.just((1e-3, 2.0))}),
    "asgd": (
        "ASGD",
        {"lambd": rate(0, 0.1), "alpha": rate(0, 1), "t0": st.integers(0, 50), "weight_decay": DECAY},
    ),
    "adafactor": (
        "Adafactor",
        {
            "beta2_decay": rate(-1, -0.25),
            "eps": st.tuples(st.none() | EPS, rate(1e-4, 1e-1)),
            "d": rate(1, 4),
            "weight_decay": DECAY,
        },
    ),
}
ENGINE = {"params", "lr", "maximize", "foreach", "capturable", "differentiable", "fused"}
SWITCHES = {"sgd": {"nesterov"}, "rmsprop": {"centered"}}  # drawn with the others they exclude: tests of their own


@pytest.fixture
def torch64(torch):
    """PyTorch keeps some scalars of its state in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def against_torch(torch, name, arguments, seed=0, schedule=lambda step: 1.0):
    rng = np.random.default_rng(seed)
    ours = [rng.normal(size=shape) for shape in SHAPES]
    ours = [np.asarray(x) for x in ours]
    theirs = [torch.tensor(x.copy(), requires_grad=True) for x in ours]
    rule = optim.get(name)(**arguments)
    optimizer = getattr(torch.optim, FLAGS[name][0])(theirs, **arguments)
    lr = rule.lr
    largest = max(np.abs(x).max() for x in ours)
    for step in range(STEPS):
        grads = [np.asarray(rng.normal(size=shape) * 0.3 + 0.1) for shape in SHAPES]
        for tensor, grad in zip(theirs, grads):
            tensor.grad = torch.tensor(grad)
        rule.lr = optimizer.param_groups[0]["lr"] = lr * schedule(step)
        optimizer.step()
        rule.step(ours, grads)
        largest = max(largest, *(np.abs(x).max() for x in ours))
    assert largest < 1e6
    for mine, tensor in zip(ours, theirs):
        assert close(mine, tensor.detach().numpy(), largest), (name, arguments)


@pytest.mark.parametrize("name", FLAGS)
def test_names_and_defaults_are_torch_s(name, torch):
    signature = inspect.signature(getattr(torch.optim, FLAGS[name][0]))
    rule = optim.get(name)()
    theirs = {key: value.default for key, value in signature.parameters.items() if key not in ENGINE - {"lr"}}
    assert {key: getattr(rule, key) for key in theirs} == theirs
    assert set(theirs) - {"lr"} == set(FLAGS[name][1]) | SWITCHES.get(name, set()), "a flag is not tested"


@pytest.mark.parametrize("name", FLAGS)
def test_defaults_step_as_torch_s(name, torch64):
    against_torch(torch64, name, {})


@pytest.mark.parametrize("name", FLAGS)
def test_flags_step_as_torch_s(name, torch64):
    @settings(max_examples=12, deadline=None, database=None)
    @given(st.fixed_dictionaries(FLAGS[name][1]), rate(1e-4, 0.1), st.booleans(), st.integers(0, 99))
    def run(flags, lr, maximize, seed):
        against_torch(torch64, name, {**flags, "lr": lr, "maximize": maximize}, seed)

    run()


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        ("sgd", {"momentum": 0.0, "weight_decay": 0.1}),
        ("rmsprop", {"centered": True}),
        ("rmsprop", {"centered": True, "momentum": 0.9, "alpha": 0.9, "weight_decay": 0.1}),
    ],
)
def test_switches_step_as_torch_s(name, arguments, torch64):
    against_torch(torch64, name, {"lr": 0.01, **arguments})


@pytest.mark.parametrize("name", sorted(set(FLAGS) - {"asgd"}))  # whose lr arrives a step late in PyTorch
def test_a_learning_rate_that_changes_every_step(name, torch64):
    """F33."""
    against_torch(torch64, name, {"lr": 0.1}, schedule=lambda step: 0.97**step)


def test_amsgrad_is_adam_s_flag(torch64):
    FLAGS["amsgrad"] = ("Adam", {})
    try:
        against_torch(torch64, "amsgrad", {"lr": 0.01, "amsgrad": True})
    finally:
        del FLAGS["amsgrad"]
