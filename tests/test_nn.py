# SPDX-License-Identifier: BSD-3-Clause
"""Networks: what is fused and how many passes that takes, workspaces, arenas, observers, freezing, errors."""

import brazen as bz
import numpy as np
import pytest
from brazen import _core, nn
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_table import batch, inner, mlp
from test_nn_layers import check_gradients
from tolerance import same_bits


@pytest.fixture
def passes(monkeypatch):
    """Counts calls into the compiled operations, by name."""
    counted: dict[str, int] = {}

    def counting(name, operation):
        def call(*arguments):
            counted[name] = counted.get(name, 0) + 1
            return operation(*arguments)

        return call

    for name in ("fused_forward", "fused_backward", "batch_norm_forward", "batch_norm_backward"):
        monkeypatch.setattr(_core, name, counting(name, getattr(_core, name)))
    return counted


def test_passes_of_the_fused_network(passes):
    net = mlp()
    y, back = net(batch(), training=True)
    # A bias before a norm, and the last; norm → relu → dropout; norm → add → relu → dropout.
    assert passes == {"fused_forward": 2, "batch_norm_forward": 2}
    passes.clear()
    back(np.ones_like(y), dx=False)
    # The gradients of a sum without activation are dy itself: one addition where the residual's input split.
    assert passes == {"batch_norm_backward": 2, "fused_forward": 1}


def test_passes_of_the_unfused_network(passes):
    net = mlp(fuse=False)
    net(batch(), training=True)
    assert passes == {"fused_forward": 2 + 2 + 2 + 1, "batch_norm_forward": 2}


def test_a_chain_of_everything_is_one_pass(passes):
    net = nn.Sequential([nn.Residual([nn.Dense(8), nn.Activation("gelu"), nn.Dropout(0.5)])]).build(8, seed=0)
    y, back = net(batch(), training=True)
    assert passes == {"fused_forward": 1}
    assert repr(net.plan()).splitlines()[-1].split("  ")[-1] == (
        "residual.dense.bias → gelu → residual.dropout → residual.add"
    )
    passes.clear()
    back(np.ones_like(y), dx=False)
    assert passes == {"fused_backward": 1}


def test_prediction_draws_nothing(passes):
    net = nn.Sequential([nn.Dropout(0.5), nn.GaussianNoise(1.0)]).build(8, seed=0)
    x = batch()
    assert not same_bits(net.predict(x), x) and net.predict(x) is not x
    assert not passes


SHAPED = st.sampled_from(["dense", "plain", "norm", "activation", "dropout", "noise", "residual", "concat", "split"])


@st.composite
def networks(draw, depth=2):
    """Layers for samples of 6 numbers, as a function that makes them anew."""
    makers = []
    for kind in draw(st.lists(SHAPED, min_size=1, max_size=5)):
        activation = draw(st.sampled_from(["tanh", "gelu", "sigmoid", "softplus", "linear"]))
        rate = draw(st.sampled_from([0.0, 0.25, 0.5]))
        inside = draw(networks(depth - 1)) if depth and kind in ("residual", "concat", "split") else list
        makers.append(
            {
                "dense": lambda a=activation: nn.Dense(6, a),
                "plain": lambda: nn.Dense(6),
                "norm": lambda: nn.BatchNorm(),
                "activation": lambda a=activation: nn.Activation(a),
                "dropout": lambda r=rate: nn.Dropout(r),
                "noise": lambda r=rate: nn.GaussianNoise(r),
                "residual": lambda i=inside: nn.Residual(i()),
                "concat": lambda i=inside: nn.Sequential([nn.Concat([i(), []]), nn.Dense(6)]),
                "split": lambda i=inside: nn.Parallel([i(), [nn.Dense(6, "tanh")]]),
            }[kind]
        )
    return lambda: [make() for make in makers]


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from(["float32", "float64"]), st.booleans())
def test_random_networks_fused_and_unfused(layers, dtype, training):
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(dtype)
    results = []
    for fuse in (True, False):
        net = nn.Sequential(layers()).build(6, seed=1, dtype=dtype, fuse=fuse)
        y, back = net(x, training=training, step=3)
        dx = back(np.cos(np.arange(y.size, dtype=dtype)).reshape(y.shape))
        results.append((y, dx, net.gradients, *net.state().values()))
    for fused, apart in zip(*results):
        assert not same_bits(fused, apart)


@settings(max_examples=15, deadline=None)
@given(networks())
def test_random_networks_have_the_gradients_of_differences(layers):
    net = nn.Sequential(layers()).build(6, seed=1, dtype="float64")
    for layer in inner(net):
        if isinstance(layer, nn.BatchNorm):
            layer.eps = 0.5
    x = np.random.default_rng(0).normal(size=(5, 6))
    # What is added before a norm has gradient zero up to rounding, which no difference shows.
    names = [name for name in net.params if not name.endswith(("bias", "shift"))]
    check_gradients(net, x, names)


def test_an_optimizer_descends():
    net, x = mlp(), batch(64)
    labels = (x[:, 0] > 0).astype("int64")
    optimizer = bz.optim.Adam(net.params, lr=0.01)
    losses = []
    for number in range(60):
        y, back = net(x, training=True, step=number)
        loss, dy = bz.softmax_cross_entropy(y, labels)
        back(dy, dx=False)
        optimizer.step(net.grads)
        losses.append(float(loss))
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_observers_see_everything_and_change_nothing():
    x = batch()
    plain = mlp()
    y, back = plain(x, training=True, step=4)
    dx = back(np.ones_like(y))
    for path in [layer.path for layer in inner(plain) if layer is not plain]:
        net, seen = mlp(), []
        end = net.observe(path, lambda layer, kind, array, seen=seen: seen.append((layer.path, kind, array.copy())))
        z, back = net(x, training=True, step=4)
        dz = back(np.ones_like(z))
        assert not same_bits(z, y) and not same_bits(dz, dx) and not same_bits(net.gradients, plain.gradients), path
        assert [(name, kind) for name, kind, _ in seen] == [(path, "output"), (path, "gradient")]
        assert seen[0][2].shape == seen[1][2].shape == (len(x), *net.layer(path).output_shape)
        end()
        net.predict(x)
        assert len(seen) == 2 and repr(net.plan()) == repr(plain.plan())


def test_an_observed_boundary_splits_the_chain():
    net = nn.Sequential([nn.Dense(4), nn.Activation("relu"), nn.Dropout(0.5)]).build(8, seed=0)
    shown = {}
    net.observe("activation", lambda layer, kind, array: shown.update({kind: array.copy()}))
    assert len(net.plan().groups) == 3
    y, back = net(batch(), training=True)
    assert (shown["output"] >= 0).all() and same_bits(shown["output"], y)
    with pytest.raises(ValueError, match="inside this network"):
        net.observe(nn.Dense(3), print)
    with pytest.raises(KeyError, match="no layer 'dense_9'; this network has dense, activation, dropout"):
        net.observe("dense_9", print)


def test_freezing():
    net, x = mlp(), batch()
    net.layer("dense").trainable = False
    net.layer("residual").trainable = False
    assert list(net.params) == list(net.grads) == [
        "batch_norm.scale", "batch_norm.shift", "dense_2.weight", "dense_2.bias"
    ]  # fmt: skip
    before = {name: array.copy() for name, array in net.state().items()}
    optimizer = bz.optim.AdamW(net.params, lr=0.1, weight_decay=0.1)
    for number in range(3):
        y, back = net(x, training=True, step=number)
        back(np.ones_like(y), dx=False)
        optimizer.step(net.grads)
    moved = {name for name, array in net.state().items() if same_bits(array, before[name])}
    assert moved == {*net.params, "batch_norm.running_mean", "batch_norm.running_var"}
    net.layer("residual").trainable = True
    assert "residual.dense.weight" in net.params
    with pytest.raises(ValueError, match="do not fit the parameters"):
        optimizer.step(net.grads)


def test_frozen_beginnings_cost_no_backward(passes):
    net, x = mlp(), batch()
    for path in ("dense", "batch_norm", "residual"):
        net.layer(path).trainable = False
    y, back = net(x, training=True)
    passes.clear()
    back(np.ones_like(y), dx=False)
    assert not passes


def test_every_layer_has_a_place_of_its_own():
    net = mlp()
    sites = [layer.site for layer in inner(net)]
    assert sites == list(range(len(sites)))
    masks = nn.Sequential([nn.Dropout(0.5), nn.Flatten(), nn.Dropout(0.5)]).build(64, seed=0)
    seen = []
    for path in ("dropout", "dropout_2"):
        masks.observe(path, lambda layer, kind, array: seen.append(array != 0))
    masks(np.ones((4, 64), "float32"), training=True)
    assert (seen[0] & ~seen[1]).any() and not (seen[1] & ~seen[0]).any()
    one, two = (nn.Sequential([nn.Dense(4), nn.Dense(4)]).build(4, seed=s).weights for s in (0, 0))
    assert not same_bits(one["dense.weight"], two["dense.weight"])
    assert same_bits(one["dense.weight"], one["dense_2.weight"])
    assert same_bits(one["dense.weight"], nn.Sequential([nn.Dense(4)]).build(4, seed=1).weights["dense.weight"])


def test_masks_depend_on_the_step():
    net = nn.Sequential([nn.Dropout(0.5)]).build(64, seed=0)
    x = np.ones((4, 64), "float32")
    first = net(x, training=True, step=0)[0].copy()
    assert not same_bits(net(x, training=True, step=0)[0], first)
    assert same_bits(net(x, training=True, step=1)[0], first)
    assert same_bits(net(x, training=True, step=0, seed=1)[0], first)
    assert not same_bits(first, bz.dropout(x, 0.5, seed=0, step=0, site=1))


def test_state_round_trip_and_partial_loading():
    net, x = mlp(), batch()
    net(x, training=True)
    saved = {name: array.copy() for name, array in net.state().items()}
    other = nn.from_config(net.config()).build(8, seed=5)
    assert same_bits(other.predict(x), net.predict(x))
    done = other.load_state(saved)
    assert not same_bits(other.predict(x), net.predict(x)) and len(done.loaded) == len(saved)

    head = {name: array for name, array in saved.items() if not name.startswith("dense_2")}
    with pytest.raises(ValueError, match="dense_2.weight is missing; dense_2.bias is missing"):
        other.load_state(head)
    assert other.load_state(head, strict=False).missing == ["dense_2.weight", "dense_2.bias"]
    with pytest.raises(ValueError, match="more is not known"):
        other.load_state({**saved, "more": x})
    assert other.load_state({**saved, "more": x}, strict=False).unknown == ["more"]

    wide = nn.Sequential([nn.Dense(16), nn.Dense(5)]).build(8, seed=0)
    with pytest.raises(ValueError, match=r"dense_2.weight has shape \(16, 3\), expected \(16, 5\)"):
        wide.load_state(saved, strict=False)
    before = wide.weights["dense_2.weight"].copy()
    done = wide.load_state(saved, strict=False, skip_mismatch=True)
    assert done.mismatched == ["dense_2.weight", "dense_2.bias"] and done.loaded == ["dense.weight", "dense.bias"]
    assert not same_bits(wide.weights["dense_2.weight"], before)
    assert not same_bits(wide.weights["dense.weight"], saved["dense.weight"])

    renamed = {f"layer{number}": array for number, array in enumerate(saved.values())}
    other = nn.from_config(net.config()).build(8, seed=5)
    other.load_state(renamed, by_name=False)
    assert not same_bits(other.predict(x), net.predict(x))


def test_summary_counts():
    net = mlp()
    net.layer("dense").trainable = False
    summary = net.summary()
    assert summary.parameters == sum(array.size for array in net.weights.values()) == 8 * 16 + 16 + 256 + 64 + 51
    assert summary.trainable == summary.parameters - 8 * 16 - 16
    text = repr(summary)
    assert "batch_norm → relu → dropout" in text and "(frozen)" in text and "residual.batch_norm" in text
    row = next(row for row in summary.rows if row.path == "dense")
    assert row.flops == 2 * 8 * 16 + 16 and row.activations == 64 and row.shape == (16,)


class Doubled(nn.Layer):
    """A layer of a user's."""

    def __init__(self, factor=2.0):
        self.factor = factor

    def setup(self, shape):
        self.add_parameter("gain", (1,), 1.0)
        return shape

    def forward(self, x, run):
        gain = self.params["gain"] * self.factor

        def backward(dy):
            self.grads["gain"][...] = (dy * x).sum() * self.factor
            return dy * gain

        return x * gain, backward


def test_a_layer_of_ones_own():
    net = nn.Sequential([nn.Dense(4, "tanh"), Doubled(), nn.Dense(2)]).build(8, seed=0, dtype="float64")
    check_gradients(net, batch(4, "float64"))
    x = batch(4, "float64")
    assert not same_bits(net.clone().predict(x), net.predict(x))
    with pytest.raises(ValueError, match="config names the layer 'Doubled'"):
        nn.from_config(net.config())
    assert nn.from_config(net.config(), layers=[Doubled]).config() == net.config()


def test_vanilla_dropout_scales_results_or_the_next_weights():
    """Prediction multiplies by the probability to keep what stands before the product, or its weights: the same."""
    x, results = batch(dtype="float64"), {}
    for mode in ("vanilla", "weights"):
        net = nn.Sequential([nn.Dropout(keep=0.25, mode=mode), nn.Dense(3)]).build(8, seed=0, dtype="float64")
        y, back = net(x, training=True, step=1)
        results[mode] = y.copy(), net.predict(x), net(x)[1](np.ones_like(y)).copy(), net.gradients.copy()
    for vanilla, weights in zip(*results.values()):
        assert np.allclose(vanilla, weights, rtol=1e-14, atol=1e-14)
    weight, bias = net.params["dense.weight"], net.params["dense.bias"]
    assert np.allclose(results["weights"][1], x @ (0.25 * weight) + bias, rtol=1e-14, atol=1e-14)
