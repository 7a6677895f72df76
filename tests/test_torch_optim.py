# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers under PyTorch's contract: every rule of the registry, groups, schedulers, closures, state, GradScaler.

It catches a step count or state that does not survive a state_dict, a learning rate that a scheduler changed in vain, a
parameter without a gradient that moves, and an update that PyTorch's autograd does not notice.
"""

import copy

import brazen as bz
import numpy as np
import optim_cases
import pytest
from tolerance import tolerance

RULES = [bz.optim.get(name).__name__ for name in bz.optim.names()]
SHAPES = [(5, 3), (7,), (2, 3, 4)]


@pytest.fixture
def bt(torch):
    import brazen.torch

    return brazen.torch


def _params(torch, dtype="float64"):
    return [
        torch.nn.Parameter(torch.from_numpy(p).to(getattr(torch, dtype))) for p in optim_cases.arrays(SHAPES, "float64")
    ]


def _run(torch, optimizer, params, first, count):
    for step in range(first, first + count):
        for p, g in zip(params, optim_cases.gradients(step, SHAPES, "float64")):
            p.grad = torch.from_numpy(g).to(p.dtype)
        optimizer.step()


def _equal(torch, ones, others):
    return all(torch.equal(a, b) for a, b in zip(ones, others))


def test_every_rule_is_there(torch, bt):
    found = [n for n in bt.__all__ if isinstance(getattr(bt, n), type) and issubclass(getattr(bt, n), bt.Optimizer)]
    assert sorted(found) == sorted(["Optimizer", *RULES])


@pytest.mark.parametrize("name", RULES)
def test_steps_are_those_on_arrays(name, torch, bt):
    """And a state_dict, a deep copy or a pickle goes on with the same bits."""
    params = _params(torch)
    arrays = [p.detach().numpy().copy() for p in params]
    ours, other = getattr(bt, name)(params), getattr(bz.optim, name)(arrays)
    _run(torch, ours, params, 0, 3)
    for step in range(3):
        other.step(optim_cases.gradients(step, SHAPES, "float64"))
    assert all((p.detach().numpy() == a).all() for p, a in zip(params, arrays))
    assert all(kept["step"] == 3 for kept in ours.state.values())

    twins = copy.deepcopy((params, ours))
    loaded = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = getattr(bt, name)(loaded)
    again.load_state_dict(ours.state_dict())
    _run(torch, ours, params, 3, 3)
    _run(torch, again, loaded, 3, 3)
    _run(torch, twins[1], twins[0], 3, 3)
    assert _equal(torch, params, loaded) and _equal(torch, params, twins[0])


@pytest.mark.parametrize("name", RULES)
def test_state_is_pytorch_s(name, torch, bt):
    """Each takes over from the other in the middle and arrives where PyTorch alone does."""
    if not hasattr(torch.optim, name):
        pytest.skip(f"PyTorch has no {name}")
    given = {"lr": 1e-3, "momentum": 0.9} if name == "SGD" else {}
    kinds = [getattr(torch.optim, name), getattr(bt, name)]
    ends = {}
    for first in kinds:
        for second in kinds:
            params = _params(torch)
            begun = first(params, **given)
            _run(torch, begun, params, 0, 3)
            ended = second(params, **given)
            ended.load_state_dict(copy.deepcopy(begun.state_dict()))
            _run(torch, ended, params, 3, 3)
            ends[first, second] = [p.detach().numpy() for p in params]
    truth = ends[kinds[0], kinds[0]]
    compute = "float32" if name in ("NAdam", "ASGD") else "float64"  # PyTorch keeps two of their rates in float32
    for pair, end in ends.items():
        assert not optim_cases.too_far(end, truth, 6, compute, 4e4 if compute == "float64" else 4.0), pair


def test_groups_and_schedulers(torch, bt):
    ends = []
    for module in (bt, torch.optim):
        params = _params(torch)
        optimizer = module.AdamW(
            [{"params": params[:1], "lr": 0.1, "weight_decay": 0.0}, {"params": params[1:]}], lr=0.01
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.1, 0.05], total_steps=12)
        for step in range(8):
            _run(torch, optimizer, params, step, 1)
            scheduler.step()
        ends.append([p.detach().numpy() for p in params])
    assert not optim_cases.too_far(*ends, 8, "float64", 4e4)
    optimizer = bt.SGD(_params(torch), lr=torch.tensor(0.5))
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2))], "momentum": 0.9})
    assert [group["momentum"] for group in optimizer.param_groups] == [0.0, 0.9]


# Each of PyTorch's schedules that needs the optimizer alone.
SCHEDULES = {
    "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [1, 4]}, "ConstantLR": {}, "LinearLR": {"total_iters": 4},
    "ExponentialLR": {"gamma": 0.8}, "PolynomialLR": {}, "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 3}, "LambdaLR": {"lr_lambda": lambda step: 1 / (1 + step)},
    "MultiplicativeLR": {"lr_lambda": lambda step: 0.9}, "ReduceLROnPlateau": {"patience": 1},
    "CyclicLR": {"base_lr": 1e-3, "max_lr": 1e-2, "step_size_up": 2, "cycle_momentum": False},
    "OneCycleLR": {"max_lr": 1e-2, "total_steps": 8, "cycle_momentum": False},
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_schedules_of_pytorch(name, torch, bt):
    """With every rule: the rates are those that PyTorch's SGD gets, and steps take them."""
    rate = {} if name == "Adadelta" else {"lr": 0.01}
    for schedule, given in SCHEDULES.items():
        params = _params(torch)
        optimizer = getattr(bt, name)(params, **rate)
        other = torch.optim.SGD(_params(torch), lr=optimizer.param_groups[0]["lr"])
        kind = getattr(torch.optim.lr_scheduler, schedule)
        ours, theirs = kind(optimizer, **given), kind(other, **given)
        # Rprop's first step sizes are the rate of its first step.
        arrays = [p.detach().numpy().copy() for p in params]
        twin = getattr(bz.optim, name)(arrays, lr=optimizer.param_groups[0]["lr"])
        for step in range(5):
            other.step()
            twin.lr = optimizer.param_groups[0]["lr"]
            _run(torch, optimizer, params, step, 1)
            twin.step(optim_cases.gradients(step, SHAPES, "float64"))
            for each in (ours, theirs):
                each.step(*([1.0] if schedule == "ReduceLROnPlateau" else []))
        assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"], schedule
        assert all((p.detach().numpy() == a).all() for p, a in zip(params, arrays)), schedule


def test_parameters_without_gradients_stand_still(torch, bt):
    """And count no steps: Adam's corrections then begin when the gradients do."""
    ends = []
    for module in (bt, torch.optim):
        params = _params(torch)
        optimizer = module.Adam(params)
        for step in range(6):
            for place, (p, g) in enumerate(zip(params, optim_cases.gradients(step, SHAPES, "float64"))):
                p.grad = torch.from_numpy(g) if place != 1 or step in (2, 3, 5) else None
            before = params[1].detach().clone()
            optimizer.step()
            assert torch.equal(before, params[1]) == (params[1].grad is None)
        assert [int(optimizer.state[p]["step"]) for p in params] == [6, 3, 6]
        ends.append([p.detach().numpy() for p in params])
    assert not optim_cases.too_far(*ends, 6, "float64", 4e4)
    empty = bt.Adam(_params(torch))
    assert empty.step() is None and not empty.state


def test_closure_hooks_and_zero_grad(torch, bt):
    p, seen = torch.nn.Parameter(torch.ones(3)), []
    optimizer = bt.SGD([p], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3 and seen == [1]
    assert torch.allclose(p.detach(), torch.full((3,), 0.8))
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("name", RULES)
def test_grad_scaler_with_every_rule(name, torch, bt):
    """A scaled loss gives the steps of the unscaled one; a step with an infinite gradient changes nothing at all."""
    ends = []
    for scaled in (False, True):
        params = _params(torch, "float32")
        optimizer, scaler = getattr(bt, name)(params), torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for step in range(3):
            grads = [torch.from_numpy(g).float() for g in optim_cases.gradients(step, SHAPES, "float64")]

            def backward(grads=grads):
                optimizer.zero_grad()  # noqa: B023, called at once
                scaler.scale(sum((p * g).sum() for p, g in zip(params, grads))).backward()  # noqa: B023

            backward()
            if scaled and step == 1:
                before = copy.deepcopy((optimizer.state_dict()["state"], params))
                params[0].grad[0, 0] = float("inf")
                scaler.step(optimizer)
                scaler.update()
                assert _equal(torch, params, before[1]) and scaler.get_scale() == 512.0
                assert all(int(kept["step"]) == 1 for kept in optimizer.state.values())
                backward()
            scaler.step(optimizer)
            scaler.update()
        ends.append(params)
    assert _equal(torch, *ends)


def test_grad_scaler(torch, bt):
    p = torch.nn.Parameter(torch.ones(3))
    optimizer, scaler = bt.SGD([p], lr=0.5), torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1)
    scaler.scale(p.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(p.detach(), torch.full((3,), 0.5)) and scaler.get_scale() == 8
    p.grad = torch.full((3,), float("inf"))
    scaler.scale(torch.ones(()))
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(p.detach(), torch.full((3,), 0.5)) and scaler.get_scale() == 4


def test_half_parameters_keep_their_float32_state(torch, bt):
    params = _params(torch, "bfloat16")
    optimizer = bt.AdamW(params)
    _run(torch, optimizer, params, 0, 2)
    assert optimizer.state[params[0]]["exp_avg"].dtype is torch.float32
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    again = bt.AdamW(twins)
    again.load_state_dict(optimizer.state_dict())
    _run(torch, optimizer, params, 2, 2)
    _run(torch, again, twins, 2, 2)
    assert _equal(torch, params, twins)


def test_memory_orders(torch, bt):
    """channels_last weights are updated as they lie; their state has their shape."""
    weight, grad = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    ends = []
    for order in (torch.contiguous_format, torch.channels_last):
        p = torch.nn.Parameter(weight.clone(memory_format=order))
        optimizer = bt.AdamW([p], lr=0.1)
        for _ in range(2):
            p.grad = grad.clone()
            optimizer.step()
        assert optimizer.state[p]["exp_avg"].shape == p.shape and p.is_contiguous(memory_format=order)
        twin = torch.optim.AdamW([p], lr=0.1)
        twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        p.grad = grad.clone()
        twin.step()
        ends.append(p.detach().contiguous())
    assert (ends[0] - ends[1]).abs().max() <= 8 * tolerance("float32").unit
    gaps = torch.nn.Parameter(torch.zeros(4, 4)[:, ::2])
    gaps.grad = torch.ones_like(gaps)
    with pytest.raises(ValueError, match=r"gaps or overlaps in memory.*p\.data\.contiguous"):
        bt.SGD([gaps]).step()


def test_moved_parameters_are_found(torch, bt):
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = bt.SGD([p], lr=0.25, momentum=0.5)
    for data in (None, torch.full((3,), 2.0)):
        if data is not None:
            p.data = data
        p.grad = torch.ones(3)
        optimizer.step()
    assert torch.equal(p.detach(), torch.full((3,), 2 - 0.25 * 1.5))


def test_autograd_notices_the_update(torch, bt):
    p = torch.nn.Parameter(torch.ones(3))
    loss = (p**2).sum()
    p.grad = torch.ones(3)
    bt.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_options_of_the_same_pass(torch, bt):
    params = _params(torch)
    optimizer = bt.AdamW(params, clip_norm=0.5, ema=0.9, report_norms=True)
    arrays = [p.detach().numpy().copy() for p in params]
    other = bz.optim.AdamW(arrays, clip_norm=0.5, ema=0.9)
    for step in range(3):
        _run(torch, optimizer, params, step, 1)
        report = other.step(optim_cases.gradients(step, SHAPES, "float64"))
    assert optimizer.report.grad_norm == report.grad_norm > 0.5
    for p, a, average in zip(params, arrays, other.averages):
        assert (p.detach().numpy() == a).all() and (optimizer.averages[p].numpy() == average).all()
    kept = [p.detach().clone() for p in params]
    with optimizer.averaged():
        assert torch.equal(params[0].detach(), optimizer.averages[params[0]])
    assert _equal(torch, params, kept)
    named = bt.AdamW([("a.bias", torch.nn.Parameter(torch.ones(2)))], lr=0.1, exclude=["*bias"], weight_decay=0.5)
    (bias,) = named.param_groups[0]["params"]
    bias.grad = torch.zeros(2)
    named.step()
    assert torch.equal(bias.detach(), torch.ones(2))


@pytest.mark.parametrize("name", RULES)
def test_words_of_pytorch_s_optimizers_are_taken(name, torch, bt):
    """Another import is the one line that changes: `fused=True` may stay, and makes no difference."""
    ends = []
    for given in ({}, {"foreach": True}, {"fused": True, "capturable": True, "differentiable": False}):
        params = _params(torch)
        _run(torch, getattr(bt, name)(params, **given), params, 0, 2)
        ends.append(params)
    assert _equal(torch, ends[0], ends[1]) and _equal(torch, ends[0], ends[2])
    with pytest.raises(ValueError, match="differentiable is True; a step here is outside the graph"):
        getattr(bt, name)(_params(torch), differentiable=True)


def test_errors(torch, bt):
    p = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(TypeError, match="AdamW knows no weight_decoy"):
        bt.AdamW([p], weight_decoy=1)
    with pytest.raises(ValueError, match="lr is -1"):
        bt.AdamW([p], lr=-1)
    q = torch.nn.Parameter(torch.ones(3))
    optimizer = bt.SGD([{"params": [p], "maximize": True}, {"params": [q]}], lr=0.1)
    p.grad = q.grad = torch.ones(3)
    with pytest.raises(ValueError, match="maximize differs"):
        optimizer.step()


def test_rules_on_bare_tensors(torch):
    """brazen.optim itself, in place; a tensor of the graph is answered with what to write."""
    tensors = [torch.ones(3, dtype=torch.float64)]
    arrays = [np.ones(3)]
    for params, grads in ((tensors, [torch.full((3,), 0.5, dtype=torch.float64)]), (arrays, [np.full(3, 0.5)])):
        bz.optim.Adam(params, lr=0.1).step(grads)
    assert (tensors[0].numpy() == arrays[0]).all()
    with pytest.raises((TypeError, ValueError), match=r"detach\(\), or call its counterpart in brazen\.torch"):
        bz.optim.Adam([torch.nn.Parameter(torch.ones(3))])
