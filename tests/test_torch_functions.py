# SPDX-License-Identifier: BSD-3-Clause
"""Functions of PyTorch's graph: the bits of NumPy, gradients that PyTorch's gradcheck accepts, no second order, no surprise.

It catches a gradient handed to the wrong input, a saved tensor that is not the one read, an operation that changes or
aliases what it was given, a result of another dtype or memory order, and a double backward that is silently zero.
"""

import brazen as bz
import numpy as np
import pytest

ARGUMENTS = {"threshold": (0.25, -2.0), "prelu": (np.linspace(0.1, 0.6, 6),)}
ROW_MAPS = ("softmax", "log_softmax", "sparsemax")
NAMES = [*bz.activations(), *ROW_MAPS]


@pytest.fixture
def bt(torch):
    import brazen.torch

    return brazen.torch


def _normal(shape, seed):
    """No number at a kink."""
    return np.random.default_rng(seed).standard_normal(shape)


def _case(torch, name, dtype="float64"):
    """The input, kinks avoided, and the other arguments as tensors."""
    x = torch.from_numpy(_normal((4, 6), 7)).to(getattr(torch, dtype))
    others = [torch.from_numpy(a).to(x.dtype) if isinstance(a, np.ndarray) else a for a in ARGUMENTS.get(name, ())]
    return x, others


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, torch, bt):
    x, others = _case(torch, name)
    inputs = [t.clone().requires_grad_() for t in (x, *others) if isinstance(t, torch.Tensor)]
    numbers = [n for n in others if not isinstance(n, torch.Tensor)]
    function = getattr(bt, name)
    assert torch.autograd.gradcheck(lambda *tensors: function(*tensors, *numbers), inputs)
    transposed = x.T.contiguous().T.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function(x, *others), [transposed])


@pytest.mark.parametrize("name", NAMES)
def test_bits_and_schema(name, torch, bt):
    """What torch.library.opcheck asks of a schema: inputs left as they are, fresh results, the same with and without grad."""
    for dtype in ("float32", "bfloat16"):
        x, others = _case(torch, name, dtype)
        kept, version = x.clone(), x._version
        wanted = getattr(bz, name)(x, *others)
        y = getattr(bt, name)(x, *others)
        recorded = getattr(bt, name)(x.clone().requires_grad_(), *others)
        assert torch.equal(y, wanted) and torch.equal(recorded, wanted)
        assert (y.dtype, y.shape, y.stride()) == (recorded.dtype, recorded.shape, recorded.stride())
        assert recorded.requires_grad and not y.requires_grad
        assert torch.equal(x, kept) and x._version == version and y.data_ptr() != x.data_ptr()
        with torch.no_grad():
            assert not getattr(bt, name)(x.clone().requires_grad_(), *others).requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_twice_is_refused(name, torch, bt):
    x, others = _case(torch, name)
    x.requires_grad_()
    (dx,) = torch.autograd.grad(getattr(bt, name)(x, *others).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=rf"brazen\.torch\.{name} is differentiated twice.*torch\.nn\.functional"):
        (dx**2).sum().backward()


@pytest.mark.parametrize(
    "options", [{}, {"activation": "gelu"}, {"dropout": 0.4, "seed": 3}, {"training": False}], ids=str
)
def test_batch_norm_gradients(options, torch, bt):
    def tensor(shape, number):
        return torch.from_numpy(_normal(shape, number))

    x, add = tensor((5, 4, 3), 1).requires_grad_(), tensor((5, 4, 3), 2).requires_grad_()
    scale, shift = tensor((4,), 3).requires_grad_(), tensor((4,), 4).requires_grad_()
    statistics = (tensor((4,), 5), tensor((4,), 6).abs() + 0.5)

    def function(x, scale, shift, add):
        return bt.batch_norm(x, scale, shift, *[s.clone() for s in statistics], add=add, **options)

    assert torch.autograd.gradcheck(function, (x, scale, shift, add))
    assert torch.autograd.gradcheck(lambda x: function(x, None, None, None), (x,))
    assert torch.autograd.gradcheck(lambda scale: function(x.detach(), scale, None, None), (scale,))
    (dx,) = torch.autograd.grad(function(x, scale, shift, add).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="batch_norm is differentiated twice"):
        dx.sum().backward()


def test_dropout_in_batch_norm_is_numpy_s(torch, bt):
    x = _normal((6, 4), 1).astype("float32")
    y = bt.batch_norm(torch.from_numpy(x), activation="relu", dropout=0.5, seed=7, step=2, site=1)
    assert (y.numpy() == bz.batch_norm(x, activation="relu", dropout=0.5, seed=7, step=2, site=1)[0]).all()
    torch.manual_seed(5)
    first = bt.batch_norm(torch.from_numpy(x), dropout=0.5)
    assert not torch.equal(first, bt.batch_norm(torch.from_numpy(x), dropout=0.5))
    torch.manual_seed(5)
    assert torch.equal(first, bt.batch_norm(torch.from_numpy(x), dropout=0.5))


NOISE = ["alpha_dropout", "drop_connect", "dropout", "gaussian_dropout", "gaussian_noise", "stochastic_depth"]


def test_every_family_is_there(torch, bt):
    families = [*bz.activations(), *bz.losses(), *ROW_MAPS, *NOISE, "batch_norm", "fused", "layer_norm", "rms_norm", "group_norm", "instance_norm"]  # fmt: skip
    assert [name for name in families if not hasattr(bt, name)] == []
    with_backward = {name for name in bz.__all__ if hasattr(getattr(bz, name), "backward")}
    aliases = {"swish", "hard_swish"}
    assert with_backward - aliases <= {*families}


@pytest.mark.parametrize("name", NOISE)
def test_noise(name, torch, bt):
    """NumPy's numbers for a seed, PyTorch's generator without one, the same numbers in both directions."""
    x, function = _normal((6, 4), 2), getattr(bt, name)
    tensor = torch.from_numpy(x)
    assert torch.autograd.gradcheck(
        lambda t: function(t, 0.3, seed=5, step=2, site=1), [tensor.clone().requires_grad_()]
    )
    y = function(tensor, 0.3, seed=5, step=2, site=1)
    assert (y.numpy() == getattr(bz, name)(x, 0.3, seed=5, step=2, site=1)).all()
    torch.manual_seed(3)
    first, second = function(tensor, 0.3), function(tensor, 0.3)
    torch.manual_seed(3)
    assert torch.equal(first, function(tensor, 0.3)) and not torch.equal(first, second)
    assert function(tensor, 0.3, training=False) is tensor
    with pytest.raises(TypeError, match="out is given"):
        function(tensor, 0.3, out=tensor)


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_differentiated_again(name, torch, bt):
    """A gradient penalty behind a dropout: its gradient is linear in dy, and its own transpose."""
    x, function = torch.from_numpy(_normal((6, 4), 2)).requires_grad_(), getattr(bt, name)
    assert torch.autograd.gradgradcheck(lambda t: function(t, 0.3, seed=5), [x])
    weight = torch.from_numpy(_normal((4, 4), 3)).requires_grad_()
    (dx,) = torch.autograd.grad(torch.sigmoid(function(x @ weight, 0.3, seed=5)).sum(), x, create_graph=True)
    dx.square().sum().backward()
    mask = function(torch.ones_like(x), 0.3, seed=5).detach() - function(torch.zeros_like(x), 0.3, seed=5)
    shift = function(torch.zeros_like(x), 0.3, seed=5)
    twin = weight.detach().clone().requires_grad_()
    (dx,) = torch.autograd.grad(torch.sigmoid((x @ twin) * mask + shift).sum(), x, create_graph=True)
    dx.square().sum().backward()
    assert torch.allclose(weight.grad, twin.grad)


@pytest.mark.parametrize("after", [False, True])
def test_fused_gradients(after, torch, bt):
    x, add, later = (torch.from_numpy(_normal((5, 4), k)).requires_grad_() for k in (1, 2, 3))
    scale, bias = (torch.from_numpy(_normal(4, k)).requires_grad_() for k in (4, 5))

    def function(x, scale, bias, add, later):
        return bt.fused(x, scale=scale, bias=bias, add=add, add_after=later if after else None, activation="gelu",
                        dropout=0.3, seed=2)  # fmt: skip

    inputs = (x, scale, bias, add, later) if after else (x, scale, bias, add, later.detach())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradcheck(lambda x, add: bt.fused(x, add=add), (x, add))
    (dx,) = torch.autograd.grad(function(*inputs).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="fused is differentiated twice"):
        dx.sum().backward()


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "group_norm", "instance_norm"])
def test_norm_gradients(name, torch, bt):
    x = torch.from_numpy(_normal((3, 4, 2 if name[0] in "gi" else 1), 1)).squeeze(-1).requires_grad_()
    given = (2,) if name == "group_norm" else ()
    scale, shift = (torch.from_numpy(_normal(4, k)).requires_grad_() for k in (2, 3))
    parameters = (scale,) if name == "rms_norm" else (scale, shift)
    function = getattr(bt, name)
    assert torch.autograd.gradcheck(lambda x, *p: function(x, *given, *p), (x, *parameters))
    assert torch.autograd.gradcheck(lambda x: function(x, *given), (x,))
    if name in ("layer_norm", "rms_norm"):
        add = torch.from_numpy(_normal((3, 4), 5)).requires_grad_()
        assert torch.autograd.gradcheck(lambda x, add, *p: function(x, *p, add=add), (x, add, *parameters))
        y, total = function(x, add=add)
        assert torch.equal(total, x + add) and torch.equal(y, function(x + add))
    (dx,) = torch.autograd.grad(function(x, *given).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{name} is differentiated twice"):
        dx.sum().backward()


def _target(torch, name):
    if name in ("softmax_cross_entropy", "multiclass_hinge"):
        return torch.tensor([1, 3, 0, 2, 2])
    draw = torch.from_numpy(_normal((5, 4), 9))
    return torch.softmax(draw, 1) if name == "kl_divergence" else torch.sigmoid(draw)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", bz.losses())
def test_losses(name, reduction, torch, bt):
    x, target, function = torch.from_numpy(_normal((5, 4), 1)).requires_grad_(), _target(torch, name), getattr(bt, name)
    assert torch.autograd.gradcheck(lambda x: function(x, target, reduction=reduction), (x,))
    loss, gradient = getattr(bz, name)(x.detach(), target, reduction=reduction)
    ours = function(x, target, reduction=reduction)
    assert torch.equal(ours, loss)
    ours.sum().backward()
    assert torch.equal(x.grad, gradient)
    if target.is_floating_point() and name in ("mse", "mae", "huber", "half_squared", "sum_of_squares"):
        both = (x, target.requires_grad_())
        assert torch.autograd.gradcheck(lambda x, t: function(x, t, reduction=reduction), both)
    elif target.is_floating_point():
        with pytest.raises(ValueError, match=r"requires grad, and has none here; pass targets?\.detach\(\)"):
            function(x, target.requires_grad_())
    (dx,) = torch.autograd.grad(function(x, target.detach()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{name} is differentiated twice"):
        dx.sum().backward()


def test_losses_of_float16_do_not_underflow(torch, bt):
    """The gradient of one of 2^20 elements is below float16's smallest number until a scaler's factor reaches it."""
    x = torch.full((1024, 1024), 0.5, dtype=torch.float16).requires_grad_()
    (bt.mse(x, torch.zeros_like(x)) * 2.0**16).backward()
    assert x.grad.dtype is torch.float16 and torch.equal(x.grad, torch.full_like(x, 2.0**-4))


def test_dtypes_meet(torch, bt):
    """A residual wider than x widens the sum; parameters and statistics of a 16-bit module have their own dtype back."""
    x = torch.randn(6, 4).bfloat16().requires_grad_()
    add = torch.randn(6, 4, requires_grad=True)
    y = bt.batch_norm(x, add=add)
    y.sum().backward()
    assert y.dtype is torch.float32 and x.grad.dtype is torch.bfloat16 and add.grad.dtype is torch.float32
    scale, mean, variance = torch.ones(4, requires_grad=True), torch.zeros(4), torch.ones(4)
    halves = [t.detach().bfloat16().requires_grad_(t.requires_grad) for t in (scale, mean, variance)]
    wide = bt.batch_norm(x, scale, None, mean, variance)
    narrow = bt.batch_norm(x, halves[0], None, halves[1], halves[2])
    assert torch.equal(wide, narrow) and torch.equal(halves[1], mean.bfloat16()) and halves[1].any()
    narrow.sum().backward()
    assert halves[0].grad.dtype is torch.bfloat16


def test_under_autocast(torch, bt):
    layer, x = torch.nn.Linear(8, 4), torch.randn(16, 8)
    scale = torch.ones(4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = layer(x)
        y = bt.gelu(bt.batch_norm(hidden, scale, activation="relu"))
        assert hidden.dtype is y.dtype is torch.bfloat16
        loss = layer.weight.new_tensor(1.0) * y.float().pow(2).mean()
    loss.backward()
    assert layer.weight.grad.dtype is scale.grad.dtype is torch.float32 and layer.weight.grad.abs().sum() > 0


def test_errors(torch, bt):
    with pytest.raises(TypeError, match=r"brazen\.torch\.relu: x is ndarray; expected a torch\.Tensor"):
        bt.relu(np.ones(3))
    with pytest.raises(
        TypeError, match=r"leaky_relu: .*unexpected keyword argument 'slope'.*call leaky_relu\(x, alpha=0\.01\)"
    ):
        bt.leaky_relu(torch.ones(3), slope=1)
    with pytest.raises(TypeError, match="threshold: missing a required argument"):
        bt.threshold(torch.ones(3))
    assert torch.equal(bt.leaky_relu(-torch.ones(1), negative_slope=0.5), torch.tensor([-0.5]))


def test_is_not_imported_by_brazen(run_python):
    assert run_python("import sys, brazen, brazen.nn, brazen.optim; print('torch' in sys.modules)") == "False"


def test_without_pytorch(run_python):
    script = """
import sys
sys.modules["torch"] = None
try:
    import brazen.torch
except ImportError as error:
    print(error)
"""
    assert run_python(script).endswith("pip install 'brazen[torch]' brings it")
