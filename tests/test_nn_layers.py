# SPDX-License-Identifier: BSD-3-Clause
"""Every layer: gradients against differences, fused equal to unfused to the bit, parts of a batch equal to the whole."""

import ml_dtypes  # noqa: F401
import nn_table
import numpy as np
import pytest
from brazen import checks, nn
from nn_table import inner
from tolerance import DTYPES, same_bits, tolerance

EVERY = list(nn_table.EXAMPLES)


def test_no_layer_lacks_an_example():
    shown = {type(layer) for name in EVERY for layer in inner(nn_table.build(name))}
    assert set(nn.layer_types().values()) <= shown


def check_gradients(net, x, names=None):
    """Central differences of y in x and in the weights of these names (all), masks held."""
    names = list(net.params if names is None else names)
    kept = {name: net.params[name].copy() for name in names}

    def run(*arrays):
        given = dict(zip(names, arrays[len(arrays) - len(names) :]))

        def forward():
            for name, array in given.items():
                net.params[name][...] = array
            return net(x if net.integer_input else arrays[0], training=True, step=5)

        y = forward()[0]

        def backward(dy):
            dx = forward()[1](dy)  # other forward passes have been made since
            own = [net.grads[name].copy() for name in names]
            return tuple(own) if net.integer_input else (dx.copy(), *own)

        return y.copy(), backward

    inputs = [kept[name] for name in names]
    if not net.integer_input:
        inputs = [x, *inputs]
    checks.gradcheck(run, *inputs, tolerance=tolerance("float64").central_difference)


@pytest.mark.parametrize("name", EVERY)
def test_gradients(name):
    check_gradients(nn_table.build(name), nn_table.sample_input(name, np))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fused_is_unfused(name, training, dtype):
    x = nn_table.sample_input(name, np, dtype)
    results = []
    for fuse in (True, False):
        net = nn_table.build(name, dtype, fuse=fuse)
        y, back = net(x, training=training, step=2)
        dy = np.random.default_rng(1).normal(size=y.shape).astype(dtype)
        dx = back(dy)
        results.append((y, net.gradients, *net.state().values(), *([] if dx is None else [dx])))
    for fused, apart in zip(*results):
        assert not same_bits(fused, apart)


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("BatchNorm channels last",)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_near_float64(name, dtype):
    """Weights are float32; what passes is rounded a few times on the way."""
    wide, narrow = nn_table.build(name, "float64"), nn_table.build(name, dtype)
    for own, other in zip(wide.weights.values(), narrow.weights.values()):
        assert other.dtype == np.float32
        own[...] = other
    x = nn_table.sample_input(name, np)
    small = x if wide.integer_input else x.astype(DTYPES[dtype])
    training = not any(isinstance(layer, nn.GaussianNoise | nn.GaussianDropout) for layer in inner(wide))
    y, back = wide(small.astype(x.dtype), training=training, step=1)
    z, back_narrow = narrow(small, training=training, step=1)
    assert z.dtype == DTYPES[dtype]
    room = 256 * tolerance(dtype).unit
    assert np.abs(z.astype("float64") - y).max() <= room * max(1, np.abs(y).max())
    dy = np.random.default_rng(1).normal(size=y.shape).astype(DTYPES[dtype])
    dx, dz = back(dy.astype("float64")), back_narrow(dy)
    for key, gradient in wide.grads.items():
        assert np.abs(narrow.grads[key] - gradient).max() <= room * max(1, np.abs(gradient).max())
    if dx is not None:
        assert np.abs(dz.astype("float64") - dx).max() <= room * max(1, np.abs(dx).max())


def looks_at_the_whole_batch(name):
    return any(isinstance(layer, nn.BatchNorm) for layer in inner(nn_table.build(name)))


@pytest.mark.parametrize("name", [name for name in EVERY if not looks_at_the_whole_batch(name)])
@pytest.mark.parametrize("cut", [1, 3])
def test_parts_of_a_batch_draw_the_masks_of_the_whole(name, cut):
    x = nn_table.sample_input(name, np)
    net = nn_table.build(name)
    y, back = net(x, training=True, step=1)
    whole = y.copy()
    dy = np.random.default_rng(1).normal(size=y.shape)
    back(dy)
    gradients = net.gradients.copy()
    parts = []
    for number, part in enumerate((slice(0, cut), slice(cut, None))):
        y, back = net(x[part], training=True, step=1, offset=part.start)
        parts.append(y.copy())
        back(dy[part], accumulate=number > 0)
    near = 64 * tolerance("float64").unit
    assert np.abs(np.concatenate(parts) - whole).max() <= near * max(1, np.abs(whole).max())
    if net.params:
        assert np.abs(net.gradients - gradients).max() <= near * max(1, np.abs(gradients).max())


@pytest.mark.parametrize("name", EVERY)
def test_config_makes_an_equal_layer(name):
    net = nn_table.build(name)
    made = nn.from_config(net.config()).build(input_shape=net.input_shape, seed=3, dtype="float64")
    assert made.config() == net.config() and repr(made.plan()) == repr(net.plan())
    x = nn_table.sample_input(name, np)
    assert not same_bits(made.predict(x), net.predict(x))
    other = net.clone()
    assert not same_bits(other.predict(x), net.predict(x))


@pytest.mark.parametrize("name", EVERY)
def test_frozen_layers_stay(name):
    net = nn_table.build(name)
    net.trainable = False
    before = {key: array.copy() for key, array in net.state().items()}
    x = nn_table.sample_input(name, np)
    y, back = net(x, training=True)
    assert back(np.ones_like(y), dx=False) is None
    assert not net.params and not net.grads and not net.gradients.any()
    assert all(not same_bits(array, before[key]) for key, array in net.state().items())
    if not net.integer_input:
        assert back(np.ones_like(y)).shape == x.shape


@pytest.mark.parametrize("name", EVERY)
def test_prediction_is_silent(name):
    """Noise is off in prediction but for the factor of vanilla dropout, and the result is an array of its own."""
    net = nn_table.build(name)
    x = nn_table.sample_input(name, np)
    first, second = net.predict(x), net.predict(x)
    assert not np.shares_memory(first, second) and not np.shares_memory(first, x) or "Flatten" in name
    assert not same_bits(first, second)
    assert not same_bits(net.predict(x, batch_size=3), first) or any(layer.specs for layer in inner(net))
    assert not same_bits(net(x)[0], first)
