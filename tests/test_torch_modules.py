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


NORMS = {
    "LayerNorm": ((6, 8),), "RMSNorm": (8,), "GroupNorm": (3, 6), "InstanceNorm1d": (6, 1e-5, 0.1, True),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_pytorch_s(name, torch, bt):
    theirs, ours = (getattr(module, name)(*NORMS[name]) for module in (torch.nn, bt))
    for p in theirs.parameters():
        torch.nn.init.uniform_(p)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 6, 8)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = ours(a), theirs(b)
    dy = torch.randn_like(y)
    y.backward(dy)
    wanted.backward(dy)
    _close(y.detach(), wanted.detach())
    for p, q in zip([a, *ours.parameters()], [b, *theirs.parameters()]):
        _close(p.grad, q.grad)
    if name in ("LayerNorm", "RMSNorm"):
        y, total = ours(x, add=x)
        assert torch.equal(total, x + x)
        with pytest.raises(ValueError, match="expected .* at its end"):
            ours(torch.ones(3, 3))


LOSSES = {
    "CrossEntropyLoss": {"label_smoothing": 0.1}, "BCEWithLogitsLoss": {}, "MSELoss": {}, "L1Loss": {}, "HuberLoss": {"delta": 0.3},
    "KLDivLoss": {"reduction": "batchmean"},
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_pytorch_s(name, torch, bt):
    theirs, ours = (getattr(module, name)(**LOSSES[name]) for module in (torch.nn, bt))
    x = torch.log_softmax(torch.randn(16, 6), 1)
    target = torch.randint(0, 6, (16,)) if name == "CrossEntropyLoss" else torch.rand(16, 6)
    if name == "CrossEntropyLoss":
        target[3] = -100
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    loss, wanted = ours(a, target), theirs(b, target)
    loss.backward()
    wanted.backward()
    _close(loss.detach(), wanted.detach())
    _close(a.grad, b.grad)
    assert repr(ours) == repr(theirs)


def test_cross_entropy_of_images_and_of_one_item(torch, bt):
    x, target = torch.randn(2, 6, 3, 4), torch.randint(0, 6, (2, 3, 4))
    for options in ({}, {"weight": torch.rand(6)}, {"reduction": "none"}):
        _close(bt.CrossEntropyLoss(**options)(x, target), torch.nn.CrossEntropyLoss(**options)(x, target))
    _close(
        bt.CrossEntropyLoss()(x[0, :, 0, 0], target[0, 0, 0]),
        torch.nn.CrossEntropyLoss()(x[0, :, 0, 0], target[0, 0, 0]),
    )


def test_dropout_modules(torch, bt):
    x = torch.ones(64, 8, 4)
    for name, function in {"Dropout": bz.dropout, "AlphaDropout": bz.alpha_dropout, "StochasticDepth": bz.stochastic_depth,
                           "GaussianDropout": bz.gaussian_dropout, "GaussianNoise": bz.gaussian_noise}.items():  # fmt: skip
        module = getattr(bt, name)(0.25, seed=4, site=1)
        assert torch.equal(module(x), torch.from_numpy(function(x.numpy(), 0.25, seed=4, site=1)))
        assert torch.equal(module(x), torch.from_numpy(function(x.numpy(), 0.25, seed=4, site=1, step=1)))
        assert module.eval()(x) is x
        getattr(bt, name)(0.25).load_state_dict({}, strict=True)
    spatial = bt.Dropout1d(0.5, seed=1)(x)
    assert torch.equal(spatial, spatial[:, :, :1].expand_as(spatial)) and 0 < (spatial == 0).float().mean() < 1
    with pytest.raises(ValueError, match="probability"):
        bt.Dropout(1.5)


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
