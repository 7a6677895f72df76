# SPDX-License-Identifier: BSD-3-Clause
"""Layers against PyTorch: outputs, gradients of input and weights, running statistics; no further from float64 than it."""

import numpy as np
import pytest
from brazen import nn
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import tolerance

RNG = np.random.default_rng(0)


def transposed(name, array, layout):
    """A weight in PyTorch's layout."""
    if array.ndim == 2 and name.startswith("dense"):
        return array.T
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 and layout == "NHWC" else array


def compare(torch, net, modules, x, layout="NCHW", integers=False):
    """Runs both in float64, forward and backward; `modules` are in the order of the layers with weights."""
    model = torch.nn.Sequential(*modules).double().train()
    theirs = [parameter for module in modules for parameter in module.parameters(recurse=True)]
    assert len(theirs) == len(net.params)
    model.zero_grad()
    with torch.no_grad():
        for parameter, (name, array) in zip(theirs, net.params.items()):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(transposed(name, array, layout))))

    def first(array):
        return np.ascontiguousarray(np.moveaxis(array, -1, 1)) if layout == "NHWC" else array

    given = torch.from_numpy(first(x))
    if not integers:
        given.requires_grad_()
    expected = model(given)
    y, back = net(x, training=True)
    dy = RNG.normal(size=y.shape)
    expected.backward(torch.from_numpy(first(dy)))
    near = 256 * tolerance("float64").unit

    def close(a, b):
        b = b.detach().numpy()
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= near * max(1, np.abs(b).max(initial=0)) * max(1, y.size) ** 0.5

    close(first(y), expected)
    dx = back(dy)
    if not integers:
        close(first(dx), given.grad)
    for parameter, (name, gradient) in zip(theirs, net.grads.items()):
        close(transposed(name, gradient, layout), parameter.grad)
    return model


def build(layers, shape):
    return nn.Sequential(layers).build(shape, seed=1, dtype="float64")


def test_dense(torch):
    net = build([nn.Dense(7), nn.Activation("gelu"), nn.Dense(3)], 5)
    modules = [torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3)]
    compare(torch, net, modules, RNG.normal(size=(6, 5)))


@pytest.mark.parametrize("shape", [(5,), (5, 3, 2)])
def test_batch_norm_with_running_statistics(torch, shape):
    net = build([nn.BatchNorm()], shape)
    module = (torch.nn.BatchNorm1d if len(shape) == 1 else torch.nn.BatchNorm2d)(5)
    for number in range(10):
        x = RNG.normal(number, 1 + number, size=(6, *shape))
        compare(torch, net, [module], x)
    for name, own in {
        "batch_norm.running_mean": module.running_mean,
        "batch_norm.running_var": module.running_var,
    }.items():
        assert np.allclose(net.state()[name], own.numpy(), rtol=1e-12)
    module.eval()
    assert np.allclose(net.predict(x), module(torch.from_numpy(x)).detach().numpy(), rtol=1e-10, atol=1e-12)


def test_norms_of_samples(torch):
    cases = [
        (nn.LayerNorm(axis=1), torch.nn.LayerNorm((3, 4)), (3, 4)),
        (nn.LayerNorm(eps=1e-3, shift=False), torch.nn.LayerNorm(4, eps=1e-3, bias=False), (3, 4)),
        (nn.RMSNorm(eps=1e-6), torch.nn.RMSNorm(4, eps=1e-6), (3, 4)),
        (nn.GroupNorm(2), torch.nn.GroupNorm(2, 6), (6, 3, 2)),
        (nn.GroupNorm(None), torch.nn.InstanceNorm2d(6, affine=True), (6, 3, 2)),
    ]
    for layer, module, shape in cases:
        compare(torch, build([layer], shape), [module], RNG.normal(size=(5, *shape)))


def test_embedding(torch):
    net = build([nn.Embedding(11, 4)], (5,))
    x = RNG.integers(0, 11, (6, 5))
    x[0] = 3  # a row that is used more than once
    compare(torch, net, [torch.nn.Embedding(11, 4)], x, integers=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_convolution_with_all_options(data):
    torch = pytest.importorskip("torch")

    def two(least, most):
        return data.draw(st.tuples(st.integers(least, most), st.integers(least, most)))

    kernel, stride, padding, dilation = two(1, 3), two(1, 3), two(0, 2), two(1, 2)
    groups, own, filters = (
        data.draw(st.sampled_from([1, 2, 3])),
        data.draw(st.integers(1, 3)),
        data.draw(st.integers(1, 3)),
    )
    batch, bias, layout = (
        data.draw(st.integers(1, 5)),
        data.draw(st.booleans()),
        data.draw(st.sampled_from(["NCHW", "NHWC"])),
    )
    extents = [d * (k - 1) + 1 + data.draw(st.integers(0, 4)) for k, d in zip(kernel, dilation)]
    channels = groups * own
    shape = (*extents, channels) if layout == "NHWC" else (channels, *extents)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
    net = build([nn.Conv2D(groups * filters, kernel, layout=layout, **options)], shape)
    compare(
        torch,
        net,
        [torch.nn.Conv2d(channels, groups * filters, kernel, **options)],
        RNG.normal(size=(batch, *shape)),
        layout,
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pools_with_all_options(data):
    torch = pytest.importorskip("torch")

    def two(least, most):
        return data.draw(st.tuples(st.integers(least, most), st.integers(least, most)))

    kernel, stride, layout = two(1, 3), two(1, 3), data.draw(st.sampled_from(["NCHW", "NHWC"]))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    largest = data.draw(st.booleans())
    dilation = two(1, 2) if largest else (1, 1)
    padding = tuple(min(p, (d * (k - 1) + 1) // 2) for p, k, d in zip(padding, kernel, dilation))
    extents = [d * (k - 1) + 1 + data.draw(st.integers(0, 4)) for k, d in zip(kernel, dilation)]
    channels = data.draw(st.sampled_from([1, 3, 65]))
    shape = (*extents, channels) if layout == "NHWC" else (channels, *extents)
    if largest:
        net = build([nn.MaxPool2D(kernel, stride, padding, dilation, layout=layout)], shape)
        module = torch.nn.MaxPool2d(kernel, stride, padding, dilation)
    else:
        count = data.draw(st.booleans())
        net = build([nn.AveragePool2D(kernel, stride, padding, count, layout=layout)], shape)
        module = torch.nn.AvgPool2d(kernel, stride, padding, count_include_pad=count)
    compare(torch, net, [module], RNG.normal(size=(2, *shape)), layout)


def test_equal_pixels_and_nan(torch):
    """The first of equal ones gets the gradient; a NaN is the largest."""
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 3, 3] = np.nan
    net = build([nn.MaxPool2D(2)], (1, 4, 4))
    y, back = net(x, training=True)
    given = torch.from_numpy(x).requires_grad_()
    expected = torch.nn.functional.max_pool2d(given, 2)
    expected.backward(torch.ones_like(expected))
    assert np.array_equal(y, expected.detach().numpy(), equal_nan=True)
    assert np.array_equal(back(np.ones_like(y)), given.grad.numpy())
