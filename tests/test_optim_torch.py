# SPDX-License-Identifier: BSD-3-Clause
"""Every optimizer that PyTorch has too, with all its flags, against PyTorch's own in float64."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerance import tolerance

SHAPES = [(7,), (5, 13), (1,), (3, 4, 5)]
STEPS = 100
_BETA, _FLAG = st.floats(0.5, 0.999), st.booleans()
_RATE, _DECAY, _EPS = st.floats(1e-4, 0.1), st.sampled_from([0.0, 0.01, 0.1]), st.sampled_from([1e-8, 1e-4])
_ADAM = {"lr": _RATE, "betas": st.tuples(_BETA, _BETA), "eps": _EPS, "weight_decay": _DECAY}
FLAGS = {
    "SGD": {"lr": _RATE, "momentum": st.sampled_from([0.0, 0.5, 0.9]), "dampening": st.sampled_from([0.0, 0.5]), "weight_decay": _DECAY, "nesterov": _FLAG, "maximize": _FLAG},
    "Adagrad": {"lr": _RATE, "lr_decay": _DECAY, "weight_decay": _DECAY, "initial_accumulator_value": _DECAY, "eps": _EPS, "maximize": _FLAG},
    "RMSprop": {"lr": _RATE, "alpha": _BETA, "eps": st.sampled_from([1e-6, 1e-3]), "weight_decay": _DECAY, "momentum": st.sampled_from([0.0, 0.5]), "centered": _FLAG, "maximize": _FLAG},
    "Adadelta": {"lr": st.floats(0.1, 1), "rho": _BETA, "eps": st.sampled_from([1e-6, 1e-4]), "weight_decay": _DECAY, "maximize": _FLAG},
    "Adam": {**_ADAM, "amsgrad": _FLAG, "maximize": _FLAG, "decoupled_weight_decay": _FLAG},
    "AdamW": {**_ADAM, "amsgrad": _FLAG, "maximize": _FLAG},
    "Adamax": {**_ADAM, "maximize": _FLAG},
    "NAdam": {**_ADAM, "momentum_decay": st.sampled_from([4e-3, 0.1]), "decoupled_weight_decay": _FLAG, "maximize": _FLAG},
    "RAdam": {**_ADAM, "decoupled_weight_decay": _FLAG, "maximize": _FLAG},
    "Rprop": {"lr": _RATE, "etas": st.sampled_from([(0.5, 1.2), (0.3, 1.5)]), "step_sizes": st.sampled_from([(1e-6, 50), (1e-3, 0.05)]), "maximize": _FLAG},
    "ASGD": {"lr": _RATE, "lambd": _DECAY, "alpha": st.floats(0.5, 1), "t0": st.sampled_from([1e6, 5.0]), "weight_decay": _DECAY, "maximize": _FLAG},
    "Adafactor": {"lr": _RATE, "beta2_decay": st.sampled_from([-0.8, -0.5]), "eps": st.sampled_from([(None, 1e-3), (1e-3, 1e-2)]), "d": st.sampled_from([1.0, 1.5]), "weight_decay": _DECAY, "maximize": _FLAG},
}  # fmt: skip


@pytest.mark.parametrize("name", FLAGS)
def test_flags(torch, name):
    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.fixed_dictionaries(FLAGS[name]))
    def compare(flags):
        if flags.get("nesterov") and (not flags["momentum"] or flags["dampening"]):
            return
        params = optim_cases.arrays(SHAPES, "float64")
        theirs = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params]
        opt, other = getattr(bz.optim, name)(params, **flags), getattr(torch.optim, name)(theirs, **flags)
        for step in range(STEPS):
            grads = optim_cases.gradients(step, SHAPES, "float64")
            opt.step(grads)
            for p, g in zip(theirs, grads):
                p.grad = torch.from_numpy(g.copy())
            other.step()
        # Their sums are ordered otherwise; near a root of little, a rounding grows by 1 / eps. The rates of two rules are
        # float32 tensors there.
        compute, factor = ("float32", 4.0) if name in ("NAdam", "ASGD") else ("float64", 4e4)
        wrong = optim_cases.too_far(params, [p.detach().numpy() for p in theirs], STEPS, compute, factor)
        assert not wrong, f"{flags}: {wrong}"

    compare()


@pytest.mark.parametrize("name", FLAGS)
def test_defaults_are_pytorch_s(torch, name):
    """F9, F15, F20, F23, F28 and those of the rules that no row names."""
    import inspect

    ours = getattr(bz.optim, name).hyper
    for key, parameter in inspect.signature(getattr(torch.optim, name)).parameters.items():
        if key in ours:
            assert parameter.default == ours[key], key


def test_tensors_are_taken(torch):
    weights = [torch.ones(3), torch.ones(2, 2, dtype=torch.bfloat16)]
    opt = bz.optim.AdamW(weights, lr=0.1, weight_decay=0.0, ema=0.5)
    opt.step([torch.ones(3), torch.ones(2, 2, dtype=torch.bfloat16)])
    assert weights[0].tolist() == pytest.approx([0.9] * 3) and weights[1].float().flatten().tolist() == pytest.approx(
        [0.9] * 4, rel=1e-2
    )
    assert isinstance(opt.averages[0], torch.Tensor) and opt.state["exp_avg"][1].dtype is torch.float32
    saved = {
        key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in opt.state_dict().items()
    }
    opt.step([torch.ones(3), torch.ones(2, 2, dtype=torch.bfloat16)])
    opt.load_state_dict(saved)
    assert opt.steps == 1


def test_clip_grad_norm(torch):
    grads = optim_cases.arrays(SHAPES)
    theirs = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    for p, g in zip(theirs, grads):
        p.grad = torch.from_numpy(g.copy())
    wanted = torch.nn.utils.clip_grad_norm_(theirs, 1.0).item()
    assert bz.optim.clip_grad_norm(grads, 1.0) == pytest.approx(wanted, rel=100 * tolerance("float32").unit)
    for p, g in zip(theirs, grads):
        assert g == pytest.approx(p.grad.numpy(), rel=1e-5)
    assert np.isfinite(bz.optim.global_norm(grads))
