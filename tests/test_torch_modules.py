# SPDX-License-Identifier: BSD-3-Clause
"""Modules under PyTorch's names: its arguments, its state_dict, its results; and masks that a restart goes on with.

It catches an argument that means something else here, running statistics that drift from PyTorch's, a state_dict of other
keys, and a mask that differs from NumPy's or comes back after loading.
"""

import copy

import brazen as bz
import pytest
from tolerance import tolerance

GIVEN = {
    "Threshold": (0.25, -2.0),
    "Softmax": (1,),
    "LogSoftmax": (1,),
    "PReLU": (6,),
    "LeakyReLU": (0.3,),
    "GELU": ("tanh",),
}
BATCH_NORMS = {"BatchNorm1d": (8, 6), "BatchNorm2d": (4, 6, 3, 5), "BatchNorm3d": (2, 6, 3, 2, 4)}


@pytest.fixture
def bt(torch):
    import brazen.torch

    torch.manual_seed(11)
    return brazen.torch


def _peers(torch, bt, base):
    """The classes here that PyTorch has under the same name."""
    found = [n for n in bt.__all__ if isinstance(getattr(bt, n), type) and issubclass(getattr(bt, n), torch.nn.Module)]
    return [n for n in found if hasattr(torch.nn, n) and base(n)]


def _close(ours, theirs, factor=1.0):
    """Sums of some hundred terms of order 1, in two orders."""
    allowed = factor * 400 * tolerance("float32").unit
    assert (ours - theirs).abs().max() <= allowed * max(1.0, theirs.abs().max().item())


def test_activations_are_pytorch_s(torch, bt):
    names = _peers(torch, bt, lambda n: bt.__dict__[n].__module__.endswith("modules.activations"))
    assert len(names) >= 24
    x = torch.randn(4, 6, 4)
    for name in names:
        theirs, ours = (getattr(module, name)(*GIVEN.get(name, ())) for module in (torch.nn, bt))
        ours.load_state_dict(theirs.state_dict())
        assert isinstance(ours, type(theirs)) and repr(ours) == repr(theirs)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, wanted = ours(a), theirs(b)
        dy = torch.randn_like(y)
        y.backward(dy)
        wanted.backward(dy)
        _close(y.detach(), wanted.detach())
        _close(a.grad, b.grad)
        for p, q in zip(ours.parameters(), theirs.parameters()):
            _close(p.grad, q.grad)


def test_every_registered_activation_is_a_module(torch, bt):
    x = torch.randn(4, 6)
    for name in bz.activations():
        if name == "prelu":
            continue
        given = {"threshold": 0.5, "value": 1.0} if name == "threshold" else {}
        assert torch.equal(bt.Activation(name, **given)(x), getattr(bz, name)(x, **given))
    assert repr(bt.Activation("leaky_relu", alpha=0.5)) == "Activation('leaky_relu', alpha=0.5)"
    with pytest.raises(ValueError, match="name is 'nonsense'"):
        bt.Activation("nonsense")


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batch_norm_is_pytorch_s(name, momentum, torch, bt):
    shape = BATCH_NORMS[name]
    theirs = getattr(torch.nn, name)(6, momentum=momentum)
    torch.nn.init.uniform_(theirs.weight)
    ours = getattr(bt, name)(6, momentum=momentum, activation="relu")
    ours.load_state_dict(theirs.state_dict())
    for training in (True, True, False):
        x, residual = torch.randn(shape), torch.randn(shape)
        inputs = [[t.clone().requires_grad_() for t in (x, residual)] for _ in range(2)]
        y = ours.train(training)(inputs[0][0], add=inputs[0][1])
        wanted = torch.relu(theirs.train(training)(inputs[1][0]) + inputs[1][1])
        dy = torch.randn_like(y)
        y.backward(dy)
        wanted.backward(dy)
        _close(y.detach(), wanted.detach())
        for a, b in zip([*inputs[0], *ours.parameters()], [*inputs[1], *theirs.parameters()]):
            _close(a.grad, b.grad)
        ours.zero_grad()
        theirs.zero_grad()
    back = getattr(torch.nn, name)(6, momentum=momentum)
    back.load_state_dict(ours.state_dict())
    for key, value in theirs.state_dict().items():
        _close(ours.state_dict()[key].double(), value.double())


def test_batch_norm_without_parameters_or_statistics(torch, bt):
    x = torch.randn(8, 6)
    for options in ({"affine": False}, {"track_running_stats": False}):
        ours, theirs = (module.BatchNorm1d(6, **options) for module in (bt, torch.nn))
        for training in (True, False):
            _close(ours.train(training)(x).detach(), theirs.train(training)(x).detach())


def test_memory_order_is_kept(torch, bt):
    x = torch.randn(2, 6, 3, 5).to(memory_format=torch.channels_last).requires_grad_()
    y = bt.BatchNorm2d(6, activation="relu")(x)
    y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_masks_of_a_seed_are_numpy_s_and_go_on(torch, bt):
    x = torch.randn(8, 6)
    made = bt.BatchNorm1d(6, affine=False, dropout=0.5, seed=3, site=2)
    results = [made(x) for _ in range(3)]
    for step, y in enumerate(results):
        assert torch.equal(y, torch.from_numpy(bz.batch_norm(x.numpy(), dropout=0.5, seed=3, step=step, site=2)[0]))
    again = bt.BatchNorm1d(6, affine=False, dropout=0.5, seed=3, site=2)
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    assert torch.equal(again(x), made(x)) and made.step == again.step == 4
    assert torch.equal(made.eval()(x), made(x)) and made.step == 4


def test_activation_checkpointing(torch, bt):
    """The second forward pass of a checkpoint must draw the mask of the first."""
    from torch.utils.checkpoint import checkpoint

    x = torch.randn(8, 6, requires_grad=True)
    free = bt.BatchNorm1d(6, dropout=0.5)
    torch.manual_seed(1)
    checkpoint(free, x, use_reentrant=False).pow(2).sum().backward()
    kept, x.grad = x.grad, None
    torch.manual_seed(1)
    free(x).pow(2).sum().backward()
    assert torch.equal(x.grad, kept)
    seeded = bt.BatchNorm1d(6, dropout=0.5, seed=1)
    with pytest.raises(RuntimeError, match="BatchNorm1d: called again within a backward pass.*without seed="):
        checkpoint(seeded, x, use_reentrant=False).sum().backward()


def test_refusals(torch, bt):
    for call, message in {
        lambda: bt.ReLU(inplace=True): "ReLU: inplace is True; leave it away",
        lambda: bt.Softplus(beta=2): "Softplus: beta is 2; expected 1",
        lambda: bt.Hardtanh(-2, 2): "Hardtanh: min_val, max_val are -2, 2",
        lambda: bt.BatchNorm2d(4, activation="rleu"): "activation is 'rleu'",
        lambda: bt.BatchNorm2d(4, dropout=1.0): "dropout is 1.0",
        lambda: bt.BatchNorm2d(4)(torch.ones(2, 4)): "expected 4D input",
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
