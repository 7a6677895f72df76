# SPDX-License-Identifier: BSD-3-Clause
"""What fit, evaluate, predict and test do, in every form of data, loss and option."""

import os
import signal
import threading

import brazen as bz
import numpy as np
import pytest
from brazen.callbacks import Callback, LambdaCallback
from training import RNG, X, Y, trainer

REGRESSION = (X @ RNG.normal(size=(5, 2)) + 0.1 * RNG.normal(size=(40, 2))).astype("float32")


def network(*layers, outputs=3, dtype="float32", inputs=5):
    layers = layers or (bz.nn.Dense(8, "tanh"), bz.nn.Dropout(0.3))
    return bz.nn.Sequential([*layers, bz.nn.Dense(outputs)]).build(inputs, seed=0, dtype=dtype)


def fitted(net, x=X, y=Y, loss="softmax_cross_entropy", optimizer=None, fit=None, **named):
    made = bz.Trainer(net, loss, optimizer or bz.optim.SGD(lr=0.1), **named)
    return made, made.fit(x, y, **{"epochs": 3, "batch_size": 8, "verbose": 0, **(fit or {})})


def weights(made):
    return {name: array.copy() for name, array in made.params.items()}


def same(a, b):
    return all((a[name] == b[name]).all() for name in a)


def by_hand(epochs=3, batch=8, lr=0.1, seed=0):
    """The loop that fit stands for."""
    net = network()
    optimizer = bz.optim.SGD(net.params, lr=lr)
    step = 0
    for epoch in range(epochs):
        order = bz.data.order(len(X), seed, epoch)
        for start in range(0, len(X), batch):
            chosen = order[start : start + batch]
            y, backward = net(X[chosen], training=True, step=step, seed=seed)
            backward(bz.softmax_cross_entropy(y, Y[chosen])[1], dx=False)
            optimizer.step(net.grads)
            step += 1
    return dict(net.params)


def test_fit_is_the_loop_written_out():
    made, history = fitted(network())
    assert same(weights(made), by_hand()) and made.steps == 15 and history.epoch == [0, 1, 2]
    assert history["loss"][-1] < history["loss"][0]


def test_the_seed_decides():
    first, second, other = (weights(fitted(network(), seed=seed)[0]) for seed in (3, 3, 4))
    assert same(first, second) and not same(first, other)


def batches():
    for epoch in range(3):
        order = bz.data.order(len(X), 0, epoch)
        yield [(X[order[start : start + 8]], Y[order[start : start + 8]]) for start in range(0, len(X), 8)]


def test_every_form_of_data_gives_the_same():
    expected = by_hand()
    three = list(batches())
    flat = iter([batch for epoch in three for batch in epoch])

    def function(epoch, start):
        return iter(three[epoch][start:])

    forms = {
        "a loader": bz.data.Loader(X, Y, batch_size=8),
        "a loader that fetches ahead": bz.data.Loader(X, Y, batch_size=8, prefetch=2, workers=2),
        "a function": function,
    }
    for form, data in forms.items():
        assert same(weights(fitted(network(), data, None)[0]), expected), form
    made, _ = fitted(network(), flat, None, fit={"steps_per_epoch": 5})
    assert same(weights(made), expected), "an iterator that runs once"
    made, _ = fitted(network(), three[0], None, fit={"epochs": 1})
    assert same(weights(made), by_hand(epochs=1)), "a list of batches"
    lists = fitted(network(), X.tolist(), Y.tolist())[0]
    assert same(weights(lists), expected), "lists of numbers"
    made, _ = fitted(network(), X.astype("float64"), Y.astype("int16")[:, None])
    assert same(weights(made), expected), "other dtypes, and classes in a column"


def test_full_batches():
    """M17, F1: one update an epoch."""
    made, history = fitted(network(), fit={"sample_batches": False, "epochs": 20})
    assert made.steps == 20 == len(history.batch_loss)
    net = network()
    optimizer = bz.optim.SGD(net.params, lr=0.1)
    for step in range(20):
        y, backward = net(X, training=True, step=step, seed=0)
        backward(bz.softmax_cross_entropy(y, Y)[1], dx=False)
        optimizer.step(net.grads)
    assert same(weights(made), dict(net.params))


def test_batches_of_one():
    """F2: as many updates as samples."""
    made, _ = fitted(network(), fit={"batch_size": 1, "epochs": 1})
    assert made.steps == 40


def test_keras_older_name():
    """M8, M9, Y29."""
    made, history = fitted(network(), fit={"epochs": None, "nb_epoch": 2, "batch_size": 16})
    assert made.steps == 2 * 3 and len(history.epoch) == 2
    with pytest.raises(TypeError, match="epochs and nb_epoch"):
        trainer().fit(X, Y, epochs=1, nb_epoch=2)


def test_loss_fn_on_a_dict():
    """The two-layer network as a function: the same steps as the network itself."""
    params = bz.train.init_two_layer_model(5, 6, 3, seed=1)
    held = {name: array.copy() for name, array in params.items()}
    made = bz.Trainer(bz.train.two_layer_net, params=params, reg=0.01, optimizer=bz.optim.SGD(lr=0.5))
    history = made.fit(X.astype("float64"), Y, epochs=5, batch_size=40, shuffle=False, verbose=0)
    for _ in range(5):
        _, grads = bz.train.two_layer_net(X.astype("float64"), held, Y, 0.01)
        for name in held:
            held[name] -= 0.5 * grads[name]
    assert (
        all(np.allclose(params[name], held[name], rtol=1e-12) for name in held)
        and history["loss"][4] < history["loss"][0]
    )
    assert (made.predict(X.astype("float64")) == bz.train.two_layer_net(X.astype("float64"), params)).all()
    assert made.evaluate(X.astype("float64"), Y)["loss"] == pytest.approx(
        float(bz.train.two_layer_net(X.astype("float64"), params, Y, 0.01)[0]), rel=1e-12
    )


@pytest.mark.parametrize("kind", ["network", "loss_fn"])
def test_accumulation(kind):
    """In parts: the masks of the whole, and its gradients up to the order of the sum."""

    def run(accumulate):
        if kind == "network":
            return weights(fitted(network(dtype="float64"), fit={"batch_size": 10}, accumulate=accumulate)[0])
        params = bz.train.init_two_layer_model(5, 6, 3)
        made = bz.Trainer(bz.train.two_layer_net, params=params, optimizer=bz.optim.SGD(lr=0.1), accumulate=accumulate)
        made.fit(X.astype("float64"), Y, epochs=2, batch_size=10, verbose=0)
        return params

    whole, parts = run(1), run(3)
    assert all(np.allclose(whole[name], parts[name], rtol=1e-10, atol=1e-14) for name in whole)


def test_weights_of_samples_and_classes():
    """sum(weight * loss) / samples; a weight of 2 is a sample that is there twice, and 0 one that is not."""
    weight = RNG.integers(0, 3, 40).astype("float32")
    chosen = np.repeat(np.arange(40), weight.astype(int))
    plain = network(bz.nn.Dense(4, "tanh"), dtype="float64")
    scale = len(chosen) / 40
    twice, _ = fitted(
        plain, X[chosen], Y[chosen], optimizer=bz.optim.SGD(lr=0.1 * scale), fit={"sample_batches": False}
    )
    weighed, _ = fitted(
        network(bz.nn.Dense(4, "tanh"), dtype="float64"), fit={"sample_batches": False, "sample_weight": weight}
    )
    assert all(np.allclose(a, b, rtol=1e-9) for a, b in zip(weights(twice).values(), weights(weighed).values()))
    by_class = {0: 0.5, 2: 3.0}
    classes, _ = fitted(network(), fit={"class_weight": by_class})
    samples, _ = fitted(network(), fit={"sample_weight": np.array([by_class.get(y, 1.0) for y in Y.tolist()])})
    assert same(weights(classes), weights(samples))
    measured = weighed.evaluate(X, Y, sample_weight=weight)["loss"]
    each = bz.softmax_cross_entropy(weighed.predict(X), Y, reduction="none")[0]
    assert measured == pytest.approx(float((each * weight).sum() / 40), rel=1e-9)


def test_regularizers():
    """K1, K4, K6, K7: on weights, not on biases; in the loss as well."""
    for regularizer, gradient, penalty in (
        (bz.l2(0.1), lambda w: 0.1 * w, lambda w: 0.05 * (w**2).sum()),
        (bz.l2(0.1, half=False), lambda w: 0.2 * w, lambda w: 0.1 * (w**2).sum()),
        (bz.l1(0.1), lambda w: 0.1 * np.sign(w), lambda w: 0.1 * np.abs(w).sum()),
        (
            bz.elastic_net(0.1, 0.2),
            lambda w: 0.1 * np.sign(w) + 0.4 * w,
            lambda w: (0.1 * np.abs(w) + 0.2 * w**2).sum(),
        ),
    ):
        one = {"sample_batches": False, "epochs": 1}
        net = network(bz.nn.Dense(4, "tanh"), dtype="float64")
        before = {name: array.copy() for name, array in net.params.items()}
        plain, loss = fitted(network(bz.nn.Dense(4, "tanh"), dtype="float64"), fit=one)
        made, with_penalty = fitted(net, regularizer=regularizer, fit=one)
        for name, start in before.items():
            expected = plain.params[name] - (0.1 * gradient(start) if start.ndim > 1 else 0)
            assert np.allclose(made.params[name], expected, rtol=1e-12, atol=1e-15), name
        whole = sum(penalty(start) for start in before.values() if start.ndim > 1)
        assert with_penalty["loss"][0] - loss["loss"][0] == pytest.approx(whole, rel=1e-12)
        assert made.batch_loss == pytest.approx(with_penalty["loss"][0])
    with pytest.raises(ValueError, match="l1 or l2 of its own"):
        bz.Trainer(network(), "mse", bz.optim.SGD(l2=0.1), regularizer=bz.l2(0.1))


def test_options_of_the_optimizer_by_argument():
    made, _ = fitted(network(), clip_norm=0.01, clip_value=0.5, ema=0.9)
    plain, _ = fitted(network(), optimizer=bz.optim.SGD(lr=0.1, clip_norm=0.01, clip_value=0.5, ema=0.9))
    assert same(weights(made), weights(plain)) and not same(weights(made), by_hand())
    assert set(made.optimizer.averages) == set(made.params)
    rates = []
    made = trainer(lr=bz.schedules.cosine(0.1, 10))
    note = LambdaCallback(on_train_batch_begin=lambda batch, logs: rates.append(made.lr))
    made.fit(X, Y, epochs=2, batch_size=10, callbacks=[note], verbose=0)
    assert rates == bz.schedules.cosine(0.1, 10).values(8).tolist(), "a schedule of steps"
    made = trainer(lr=bz.schedules.step(0.1, 1, 0.5, unit="epoch"))
    assert made.fit(X, Y, epochs=3, verbose=0)["learning_rate"] == [0.1, 0.05, 0.025], "a schedule of epochs"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_with_a_loss_scale(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="pip install 'brazen[bf16]'")
    made, history = fitted(network(dtype=dtype), loss_scale="dynamic", fit={"epochs": 10}, metrics=["accuracy"])
    assert made.params["dense.weight"].dtype == "float32" and history["loss"][-1] < history["loss"][0]
    static, _ = fitted(network(), loss_scale=128.0)
    assert same(weights(static), by_hand()), "a power of two changes no bit"


def test_an_overflow_skips_the_step():
    seen = []

    class Overflow(Callback):
        def on_before_optimizer_step(self, step, logs=None):
            if step == 1:
                self.model.grads["dense.weight"][...] = np.inf

        def on_after_optimizer_step(self, step, logs=None):
            seen.append((logs["skipped"], self.model.loss_scale.value))

    made = bz.Trainer(network(), "softmax_cross_entropy", "sgd", loss_scale=bz.optim.LossScale(8.0))
    made.fit(X, Y, batch_size=10, callbacks=[Overflow()], verbose=0)
    assert seen == [(False, 8.0), (True, 4.0), (False, 4.0), (False, 4.0)]


def test_several_losses_and_metrics():
    made, history = fitted(network(outputs=2), X, REGRESSION, {"mse": 1.0, "mae": 0.5}, metrics=["r2", "mse", "rmse"],
                           fit={"epochs": 30, "validation_split": 0.25})  # fmt: skip
    prediction = made.predict(X)
    values = made.evaluate(X, REGRESSION)
    assert values["mse"] == pytest.approx(((prediction - REGRESSION) ** 2).mean(), rel=1e-5)
    assert values["loss"] == pytest.approx(values["mse_loss"] + 0.5 * values["mae_loss"], rel=1e-5)
    assert values["mse_loss"] == pytest.approx(values["mse"], rel=1e-5) and values["r2"] > 0.5
    assert {"val_loss", "val_r2", "val_mae_loss"} <= set(history.history)


def test_a_loss_of_ones_own():
    def cubic(prediction, target):
        d = prediction - target
        return np.abs(d**3).mean(), 3 * d * np.abs(d) / d.size

    made, history = fitted(network(outputs=2), X, REGRESSION, cubic, fit={"epochs": 30})
    assert history["loss"][-1] < history["loss"][0] / 2
    with pytest.raises(ValueError, match="reduction=, grad_scale= and out="):
        made.fit(X, REGRESSION, sample_weight=np.ones(40), verbose=0)


def test_two_classes_and_probabilities():
    made, _ = fitted(network(outputs=1), X, (Y > 0).astype(int), "sigmoid_cross_entropy", metrics=["accuracy", "auc"],
                     fit={"epochs": 60})  # fmt: skip
    assert made.evaluate(X, Y > 0)["accuracy"] > 0.7
    hard, _ = fitted(network())
    soft, _ = fitted(network(), X, np.eye(3, dtype="float32")[Y])
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(weights(hard).values(), weights(soft).values()))


def test_predict_with_dropout_drawing():
    """J10: the mean over masks; the error falls as 1 / sqrt(k); statistics stay at rest."""
    net = network(bz.nn.Dense(16, "relu"), bz.nn.BatchNorm(), bz.nn.Dropout(0.5))
    made, _ = fitted(net)
    before = {name: array.copy() for name, array in net.state().items()}
    exact = made.predict(X, mc_samples=4000)
    errors = {k: np.abs(made.predict(X, mc_samples=k) - exact).mean() for k in (10, 160)}
    assert 2.5 < errors[10] / errors[160] < 6.5, "four times the samples' root"
    assert (made.predict(X, mc_samples=3) == made.predict(X, mc_samples=3)).all()
    assert not (made.predict(X, mc_samples=3) == made.predict(X)).all()
    assert same(before, net.state()) and net.layer("batch_norm").trainable


def test_test_data_are_counted():
    """C5."""
    import warnings

    made, _ = fitted(network())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.test(X, Y) == made.evaluate(X, Y)
    with pytest.warns(UserWarning, match="for the 2nd time"):
        made.test(X, Y)
    again = bz.Trainer(network(), "softmax_cross_entropy", "sgd")
    again.load_state(made.state())
    with pytest.warns(UserWarning, match="for the 3rd time"):
        again.test(X, Y)


def test_frozen_layers_stay():
    net = network(bz.nn.Dense(4, "tanh", name="body"))
    made = bz.Trainer(net, "softmax_cross_entropy", "adam")
    net.layer("body").trainable = False
    before = net.weights["body.weight"].copy()
    made.fit(X, Y, epochs=2, verbose=0)
    assert (net.weights["body.weight"] == before).all() and list(made.params) == ["dense.weight", "dense.bias"]


@pytest.mark.parametrize("times", [1, 2])
def test_interruption(times, interruptible):
    """Ctrl-C: the batch ends, history and weights are in place, a second fit goes on; twice: at once."""

    class Press(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.steps == 7:
                for _ in range(times):
                    os.kill(os.getpid(), signal.SIGINT)

    made = bz.Trainer(network(), "softmax_cross_entropy", bz.optim.SGD(lr=0.1))
    if times == 2:
        with pytest.raises(KeyboardInterrupt):
            made.fit(X, Y, epochs=3, batch_size=8, callbacks=[Press()], verbose=0)
        assert made.steps == 7
        return
    history = made.fit(X, Y, epochs=3, batch_size=8, callbacks=[Press()], verbose=0)
    assert made.interrupted and made.steps == 8 and len(history.batch_loss) == 8 and history.epoch == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    made.load_state(made.state())
    made.fit(X, Y, epochs=3, batch_size=8, verbose=0, resume=True)
    assert same(weights(made), by_hand())


def test_fit_in_a_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(weights(fitted(network())[0])))
    thread.start()
    thread.join(60)
    assert same(results[0], by_hand())
