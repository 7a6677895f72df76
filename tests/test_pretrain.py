# SPDX-License-Identifier: BSD-3-Clause
"""Weights that come from elsewhere: pretrained without labels, or on another task; frozen, or trained on. R1 is the first
claim of the courses about them."""

import brazen as bz
import numpy as np
import pytest
from brazen.nn import pretrain

SEEDS = range(3)


@pytest.fixture(scope="module")
def digits():
    """The digits of scikit-learn from 0 to 1, and their labels, in a fixed random order."""
    datasets = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn, which brings the digits")
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 16).astype("float32"), y[order]


def network(seed, activation="relu", dtype="float32"):
    layers = [bz.nn.Dense(64), bz.nn.Activation(activation), bz.nn.Dense(32, activation), bz.nn.Dense(10, name="head")]
    return bz.nn.Sequential(layers).build(input_shape=64, seed=seed, dtype=dtype)


def train(net, x, y, steps, until=0.0, lr=3e-3, batch=32):
    """Steps until the loss over all of x falls to `until`, at most `steps`; and what the optimizer holds."""
    optimizer = bz.optim.Adam(net.params, lr=lr)
    for step in range(steps):
        chosen = np.arange(step * batch, (step + 1) * batch) % len(x)
        z, backward = net(x[chosen], training=True, step=step)
        _, dy = bz.softmax_cross_entropy(z, y[chosen])
        if until and step % 5 == 0 and bz.softmax_cross_entropy(net.predict(x), y)[0] < until:
            return step, optimizer
        backward(dy, dx=False)
        optimizer.step(net.grads)
    return steps, optimizer


def accuracy(net, x, y):
    return float((net.predict(x).argmax(axis=1) == y).mean())


@pytest.fixture(scope="module")
def tasks(digits):
    """Digits under other names, on which a network has been trained, and others under their own."""
    x, y = digits
    return {"source": (x[:700], (y[:700] + 3) % 10), "target": (x[700:1700], y[700:1700])}


def fresh_and_transferred(tasks, seed):
    source, fresh, transferred = network(seed), network(seed + 100), network(seed + 100)
    train(source, *tasks["source"], steps=300)
    saved = {name: array for name, array in source.state().items() if not name.startswith("head")}
    report = transferred.load_state(saved, strict=False)
    assert report.loaded == list(saved) and report.missing == ["head.weight", "head.bias"]
    return fresh, transferred


def test_r1_a_network_of_another_task_learns_faster(tasks):
    taken = np.array([
        [train(net, *tasks["target"], steps=300, until=0.5)[0] for net in fresh_and_transferred(tasks, seed)]
        for seed in SEEDS
    ])  # fmt: skip
    assert taken.max() < 300 and taken[:, 1].sum() < 0.9 * taken[:, 0].sum()


@pytest.mark.parametrize("frozen", [True, False])
def test_r2_frozen_weights_keep_their_bits_and_others_move(tasks, frozen):
    _, net = fresh_and_transferred(tasks, 0)
    for layer in net.layers[:3]:
        layer.trainable = not frozen
    before = {name: array.copy() for name, array in net.state().items()}
    _, optimizer = train(net, *tasks["target"], steps=30)
    still = {name for name, array in net.state().items() if array.tobytes() == before[name].tobytes()}
    body = {name for name in before if not name.startswith("head")}
    assert still == (body if frozen else set())
    kept = " ".join(optimizer.state_dict())
    assert "head.weight" in kept and ("dense" in kept) != frozen, "no state of an optimizer for what is frozen"


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_r3_autoencoders(digits, activation):
    x, net = digits[0][:600], network(1, activation)
    before = {name: array.copy() for name, array in net.state().items()}
    made = pretrain.autoencoder(net, x, epochs=8, batch_size=32, lr=3e-3, seed=3)
    assert all((array == before[name]).all() for name, array in net.state().items()), "the network is left as it is"
    assert list(made.errors) == ["dense", "dense_2"] and all(len(errors) == 8 for errors in made.errors.values())
    variance = float(x.var(axis=0).mean())
    assert made.errors["dense"][-1] < 0.6 * variance, "better than the mean of all digits"
    assert all(errors[-1] < 0.5 * errors[0] for errors in made.errors.values())
    report = net.load_state(made.weights, strict=False)
    assert report.loaded == ["dense.weight", "dense.bias", "dense_2.weight", "dense_2.bias"] and not report.unknown
    again = pretrain.autoencoder(network(1, activation), x, epochs=8, batch_size=32, lr=3e-3, seed=3)
    assert all((again.weights[name] == made.weights[name]).all() for name in made.weights), "a function of the seed"
    other = pretrain.autoencoder(network(1, activation), x, epochs=1, seed=4)
    assert (other.weights["dense.weight"] != made.weights["dense.weight"]).any()


@pytest.mark.parametrize("visible, dtype", [("binary", "float32"), ("binary", "float64"), ("gaussian", "float32")])
def test_r4_restricted_boltzmann_machines(digits, visible, dtype):
    x = digits[0][:600].astype(dtype)
    if visible == "gaussian":
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 0.1)
    net = network(1, "sigmoid", dtype)
    made = pretrain.rbm(net, x, epochs=8, lr=0.1 if visible == "binary" else 0.01, batch_size=10, visible=visible)
    assert made.errors["dense"][-1] < 0.8 * made.errors["dense"][0]
    assert all(errors[-1] == min(errors) for errors in made.errors.values())
    assert {name: array.dtype for name, array in made.weights.items()} == dict.fromkeys(made.weights, np.dtype(dtype))
    assert net.load_state(made.weights, strict=False).loaded == list(made.weights)
    again = pretrain.rbm(network(1, "sigmoid", dtype), x, epochs=8, lr=0.1 if visible == "binary" else 0.01,
                         batch_size=10, visible=visible)  # fmt: skip
    assert all((again.weights[name] == made.weights[name]).all() for name in made.weights), "a function of the seed"


def test_r4_one_step_of_contrastive_divergence():
    """A machine of one step, against the formula on its own draws."""
    net = bz.nn.Sequential([bz.nn.Dense(3, "sigmoid"), bz.nn.Dense(2)]).build(input_shape=4, seed=0, dtype="float64")
    x = np.random.default_rng(0).random((5, 4))
    made = pretrain.rbm(net, x, epochs=1, batch_size=5, lr=0.1, seed=7)
    weight = bz.random.normal((4, 3), std=0.01, seed=7, site=0, dtype="float64")
    v0 = x[bz.random.permutation(5, seed=7, step=0)]
    h0 = 1 / (1 + np.exp(-v0 @ weight))
    h = 1.0 * (bz.random.uniform((5, 3), seed=7, step=0, site=1, dtype="float64") < h0)
    v1 = 1 / (1 + np.exp(-h @ weight.T))
    h1 = 1 / (1 + np.exp(-v1 @ weight))
    expected = weight + 0.1 * (v0.T @ h0 - v1.T @ h1) / 5
    assert np.allclose(made.weights["dense.weight"], expected, rtol=1e-12, atol=0)
    assert np.allclose(made.weights["dense.bias"], 0.1 * (h0 - h1).mean(axis=0), rtol=1e-9, atol=1e-15)
    assert np.isclose(made.errors["dense"][0], ((v0 - v1) ** 2).mean(), rtol=1e-12)


def test_r6_fine_tuning_with_one_label_in_a_hundred(tasks):
    x, y = tasks["target"]
    few = [np.flatnonzero(y == digit)[0] for digit in range(10)]
    others = np.setdiff1d(np.arange(len(x)), few)
    assert len(few) == len(x) // 100
    reached = {"fresh": [], "transferred": []}
    for seed in SEEDS:
        for name, net in zip(reached, fresh_and_transferred(tasks, seed)):
            train(net, x[few], y[few], steps=100)
            reached[name].append(accuracy(net, x[others], y[others]))
    assert np.mean(reached["transferred"]) > np.mean(reached["fresh"]) + 0.03


def test_layers_before_and_between():
    """Images into convolutions, batch norm before the activation: what reaches a Dense layer is taken as rows."""
    layers = [
        bz.nn.Conv2D(3, 3), bz.nn.Activation("relu"), bz.nn.Flatten(), bz.nn.Dense(6), bz.nn.BatchNorm(),
        bz.nn.Activation("tanh"), bz.nn.Dense(5, "relu", bias=False), bz.nn.Dense(2),
    ]  # fmt: skip
    net = bz.nn.Sequential(layers).build(input_shape=(1, 6, 6), seed=0)
    x = np.random.default_rng(0).normal(size=(40, 1, 6, 6)).astype("float32")
    made = pretrain.autoencoder(net, x, epochs=2, batch_size=16)
    assert list(made.weights) == ["dense.weight", "dense.bias", "dense_2.weight"]
    assert net.load_state(made.weights, strict=False).loaded == list(made.weights)
    with pytest.raises(ValueError, match="layer dense takes 48 inputs, where 36 reach it"):
        pretrain.rbm(net, x, visible="gaussian")


@pytest.mark.parametrize("way", [pretrain.autoencoder, pretrain.rbm])
def test_what_cannot_be_pretrained(way):
    x = np.zeros((4, 3), "float32")
    net = bz.nn.Sequential([bz.nn.Dense(4), bz.nn.Dense(2)]).build(input_shape=3, seed=0)
    with pytest.raises(TypeError, match="net is Dense; expected a built Sequential"):
        way(bz.nn.Dense(3), x)
    with pytest.raises(TypeError, match="expected a built Sequential"):
        way(bz.nn.Sequential([bz.nn.Dense(4), bz.nn.Dense(2)]), x)
    with pytest.raises(ValueError, match="net has 1 Dense layers; expected at least two"):
        way(bz.nn.Sequential([bz.nn.Dense(4)]).build(input_shape=3, seed=0), x)
    with pytest.raises(ValueError, match="x is empty"):
        way(net, x[:0])
    with pytest.raises(ValueError, match="x has shape"):
        way(net, np.zeros((4, 5), "float32"))
    with pytest.raises(ValueError, match="epochs is 0"):
        way(net, x, epochs=0)
    with pytest.raises(TypeError, match="net has dtype float16"):
        way(
            bz.nn.Sequential([bz.nn.Dense(4), bz.nn.Dense(2)]).build(input_shape=3, dtype="float16"),
            x.astype("float16"),
        )
    with pytest.raises(ValueError, match="beyond 0 to 1"):
        pretrain.rbm(net, x - 1)
    with pytest.raises(ValueError, match="visible is 'poisson'"):
        pretrain.rbm(net, x, visible="poisson")
