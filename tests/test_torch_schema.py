# SPDX-License-Identifier: BSD-3-Clause
"""What torch.library.opcheck asks of an operation, asked of every function of brazen.torch, found by introspection.

It catches a function that changes or hands back what it was given, one whose result depends on whether a graph is recorded
or on how its input lies in memory, and a gradient of another shape, dtype or place than its tensor.
"""

import inspect

import brazen as bz
import numpy as np
import pytest

torch_missing = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'brazen[peers]' brings it")

import brazen.torch as bt  # noqa: E402
import torch  # noqa: E402

FUNCTIONS = sorted(n for n in bt.__all__ if inspect.isfunction(getattr(bt, n)))
NOISE = ("alpha_dropout", "drop_connect", "dropout", "gaussian_dropout", "gaussian_noise", "stochastic_depth")
DIFFERENCES = ("mse", "sum_of_squares", "half_squared", "mae", "huber")


def draw(shape, seed, dtype):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(getattr(torch, dtype))


def case(name, dtype):
    """(call of the tensors that may have gradients, those tensors)"""
    function, x = getattr(bt, name), draw((4, 6), 1, dtype)
    vectors = [draw(6, seed, dtype).abs() + 0.5 for seed in (2, 3)]
    if name in NOISE:
        return lambda x: function(x, 0.3, seed=5), [x]
    if name == "threshold":
        return lambda x: function(x, 0.25, -2.0), [x]
    if name == "prelu":
        return function, [x, vectors[0]]
    if name == "fused":
        more = {"activation": "gelu", "dropout": 0.3, "seed": 1}
        return lambda x, b, s, a, later: function(x, bias=b, scale=s, add=a, add_after=later, **more), [
            x, *vectors, draw((4, 6), 4, dtype), draw((4, 6), 5, dtype),
        ]  # fmt: skip
    if name == "batch_norm":
        return lambda x, w, b, a: function(x, w, b, add=a, activation="tanh", dropout=0.2, seed=1), [
            x, *vectors, draw((4, 6), 4, dtype),
        ]  # fmt: skip
    if name == "rms_norm":
        return lambda x, w, a: function(x, w, add=a), [x, vectors[0], draw((4, 6), 4, dtype)]
    if name == "layer_norm":
        return lambda x, w, b, a: function(x, w, b, add=a), [x, *vectors, draw((4, 6), 4, dtype)]
    if name == "group_norm":
        return lambda x, w, b: function(x, 2, w, b), [x, *vectors]
    if name == "instance_norm":
        return lambda x, w, b: function(x, w, b), [draw((4, 6, 5), 1, dtype), *vectors]
    if name in bz.losses():
        if name in DIFFERENCES:
            return function, [x, draw((4, 6), 6, dtype)]
        target = torch.tensor([1, 3, 0, 5]) if name in ("softmax_cross_entropy", "multiclass_hinge") else None
        soft = torch.softmax(draw((4, 6), 6, dtype), 1) if target is None else target
        return lambda x: function(x, soft), [x]
    return function, [x]


def results(call, tensors):
    made = call(*tensors)
    return made if isinstance(made, tuple) else (made,)


def test_every_function_is_met():
    assert {*bz.activations(), *bz.losses(), *NOISE, "fused", "batch_norm", "layer_norm", "softmax"} <= set(FUNCTIONS)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_schema(name, dtype):
    call, tensors = case(name, dtype)
    kept, versions = [t.clone() for t in tensors], [t._version for t in tensors]
    plain = results(call, tensors)
    leaves = [t.clone().requires_grad_() for t in tensors]
    recorded = results(call, leaves)
    storages = {t.untyped_storage().data_ptr() for t in (*tensors, *leaves)}
    for y, same in zip(plain, recorded, strict=True):
        assert torch.equal(y, same) and (y.dtype, y.shape, y.stride()) == (same.dtype, same.shape, same.stride())
        assert same.requires_grad and not y.requires_grad and same.is_leaf is False
        assert y.untyped_storage().data_ptr() not in storages and same.untyped_storage().data_ptr() not in storages
    assert all(torch.equal(a, b) and a._version == v for a, b, v in zip(tensors, kept, versions))
    with torch.no_grad():
        assert not any(y.requires_grad for y in results(call, leaves))
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(results(call, tensors), plain))
    gradients = torch.autograd.grad(sum(y.float().sum() for y in recorded), leaves)
    for leaf, gradient in zip(leaves, gradients):
        assert (gradient.shape, gradient.dtype, gradient.device) == (leaf.shape, leaf.dtype, leaf.device)
        assert gradient.isfinite().all()
    assert all(torch.equal(leaf, before) for leaf, before in zip(leaves, kept)), "backward changed an input"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts(name):
    """Transposed, strided, offset and expanded inputs: the results and gradients of contiguous ones."""
    call, tensors = case(name, "float64")

    def apart(t):
        store = torch.full((*t.shape[:-1], 2 * t.shape[-1] + 1), 7.0, dtype=t.dtype)
        store[..., 1::2] = t
        return store[..., 1::2]

    def run(given):
        leaves = [t.detach().requires_grad_() for t in given]
        made = results(call, leaves)
        return [*made, *torch.autograd.grad(sum((y * y).sum() for y in made), leaves)]

    wanted = run(tensors)
    orders = [lambda t: t.transpose(0, -1).contiguous().transpose(0, -1), apart]
    for order in orders:
        for one, other in zip(run([order(t) for t in tensors]), wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)
    row = tensors[0][:1]
    if name not in bz.losses():
        spread = call(row.expand_as(tensors[0]), *tensors[1:])
        for one, other in zip((spread,) if torch.is_tensor(spread) else spread,
                              results(call, [row.expand_as(tensors[0]).contiguous(), *tensors[1:]])):  # fmt: skip
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_that_are_expanded_or_absent(name):
    """`y.sum().backward()` hands an expanded dy on; some inputs may want none."""
    call, tensors = case(name, "float64")
    for wanted in range(len(tensors)):
        leaves = [t.clone().requires_grad_(number == wanted) for number, t in enumerate(tensors)]
        sum(y.sum() for y in results(call, leaves)).backward()
        full = [t.clone().requires_grad_() for t in tensors]
        made = results(call, full)
        expected = torch.autograd.grad(made, full, [torch.ones_like(y) for y in made])
        assert torch.allclose(leaves[wanted].grad, expected[wanted], rtol=1e-12, atol=1e-12)
        assert all(leaf.grad is None for number, leaf in enumerate(leaves) if number != wanted)
