# SPDX-License-Identifier: BSD-3-Clause
"""What each callback is documented to do, by table; the order of hooks; what they are told."""

import inspect
import json

import brazen as bz
import numpy as np
import pytest
from brazen import callbacks
from brazen.callbacks import EVENTS, Callback, hooks
from training import X, Y, replayed, trainer


class Recorder(Callback):
    """Writes down every hook it hears, with what it was told."""

    def __init__(self):
        self.heard = []

    def set_params(self, params):
        self.heard.append(("set_params", dict(params)))

    def set_model(self, model):
        super().set_model(model)
        self.heard.append(("set_model", model))

    def names(self):
        return [name for name, *_ in self.heard]


def _recording(name, counts):
    def method(self, *arguments):
        given = arguments[:-1] if counts else ()
        logs = arguments[-1]
        assert len(arguments) == (2 if counts else 1) and (logs is None or isinstance(logs, dict))
        self.heard.append((name, *given))
        if name in ("on_train_batch_begin", "on_train_batch_end"):  # the base hands on to the older name
            getattr(Callback, name)(self, *arguments)

    return method


for _event in EVENTS.values():
    setattr(Recorder, f"on_{_event.name}", _recording(f"on_{_event.name}", _event.counts))
    if _event.alias:
        setattr(Recorder, f"on_{_event.alias}", _recording(f"on_{_event.alias}", _event.counts))

M1 = """on_batch_begin on_batch_end on_epoch_begin on_epoch_end on_predict_batch_begin on_predict_batch_end on_predict_begin
on_predict_end on_test_batch_begin on_test_batch_end on_test_begin on_test_end on_train_batch_begin on_train_batch_end
on_train_begin on_train_end set_model set_params""".split()


def test_the_eighteen_hooks():
    """M1, and the two that Keras lacks."""
    assert set(hooks()) == {*M1, "on_before_optimizer_step", "on_after_optimizer_step"}
    assert all(callable(getattr(Callback, name)) for name in hooks())
    assert all(getattr(Callback, name).__name__ == name for name in hooks())


def test_order_of_hooks():
    """Validation is nested in the epoch; aliases come with what they stand for; evaluate and predict emit theirs alone."""
    recorder, made = Recorder(), trainer()
    made.fit(X, Y, epochs=2, batch_size=20, validation_data=(X, Y), callbacks=[recorder], verbose=0)

    def batch(number, step):
        return [
            ("on_train_batch_begin", number),
            ("on_batch_begin", number),
            ("on_before_optimizer_step", step),
            ("on_after_optimizer_step", step),
            ("on_train_batch_end", number),
            ("on_batch_end", number),
        ]

    validation = [("on_test_begin",), ("on_test_batch_begin", 0), ("on_test_batch_end", 0), ("on_test_end",)]
    expected = [("on_train_begin",)]
    for epoch in (0, 1):
        expected += [("on_epoch_begin", epoch), *batch(0, 2 * epoch), *batch(1, 2 * epoch + 1), *validation]
        expected += [("on_epoch_end", epoch)]
    expected += [("on_train_end",)]
    assert recorder.names()[:2] == ["set_params", "set_model"] and recorder.heard[1][1] is made
    assert recorder.heard[0][1] == {"verbose": 0, "epochs": 2, "steps": 2, "batch_size": 20}
    assert recorder.heard[2:] == expected
    recorder.heard.clear()
    made.evaluate(X, Y, batch_size=25, callbacks=[recorder])
    assert set(recorder.names()) == {"set_params", "set_model", *(n for n in M1 if "test" in n)}
    recorder.heard.clear()
    made.predict(X, batch_size=25, callbacks=[recorder])
    assert set(recorder.names()) == {"set_params", "set_model", *(n for n in M1 if "predict" in n)}


def test_arguments_of_hooks(capsys):
    """M2, M3: batches count from 0, logs are dicts."""
    import datetime

    class MyCustomCallback(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            print(f"Training: batch {batch} begins at {datetime.datetime.now().time()}")

        def on_train_batch_end(self, batch, logs=None):
            print(f"Training: batch {batch} ends at {datetime.datetime.now().time()}")

        def on_test_batch_begin(self, batch, logs=None):
            print(f"Evaluating: batch {batch} begins at {datetime.datetime.now().time()}")

        def on_test_batch_end(self, batch, logs=None):
            print(f"Evaluating: batch {batch} ends at {datetime.datetime.now().time()}")

    made = trainer()
    made.fit(X, Y, batch_size=8, callbacks=[MyCustomCallback()], verbose=0)
    made.evaluate(X, Y, batch_size=8, callbacks=[MyCustomCallback()])
    lines = capsys.readouterr().out.splitlines()
    expected = [f"{kind}: batch {n} {what} at" for kind in ("Training", "Evaluating") for n in range(5) for what in ("begins", "ends")]  # fmt: skip
    assert [line.rpartition(" ")[0] for line in lines] == expected
    times = [line.rpartition(" ")[2] for line in lines]
    assert times == sorted(times)


def test_logs_of_batches_are_worked_out_when_read():
    computed = []
    logs = callbacks.Logs(lambda: computed.append(1) or {"loss": 1.0})
    assert not computed and isinstance(logs, dict)
    assert (
        logs["loss"] == 1.0 and logs.get("none") is None and dict(logs) == {**logs} == {"loss": 1.0} and len(logs) == 1
    )
    assert computed == [1]
    for use in (dict, list, len, repr, lambda logs: "loss" in logs, lambda logs: logs.items()):
        use(callbacks.Logs(lambda: computed.append(1) or {"loss": 1.0}))
    assert len(computed) == 7


def test_what_a_callback_may_do():
    """M16: stop, change the rate, read and write weights and gradients."""
    seen = {}

    class Interferes(Callback):
        def on_before_optimizer_step(self, step, logs=None):
            seen["norm"] = logs["grad_norm"]
            if step == 2:
                self.model.grads["dense.weight"][...] = 0
                seen["before"] = self.model.params["dense.weight"].copy()

        def on_after_optimizer_step(self, step, logs=None):
            seen["logs"] = dict(logs)
            if step == 2:
                assert (self.model.params["dense.weight"] == seen["before"]).all()
                self.model.lr = 0.025
            if step == 3:
                assert logs["learning_rate"] == 0.025
                self.model.stop_training = True

    made = trainer()
    history = made.fit(X, Y, epochs=9, batch_size=8, callbacks=[Interferes()], verbose=0)
    assert made.steps == 4 and len(history.epoch) == 1
    exact = np.sqrt(sum((grad.astype("float64") ** 2).sum() for grad in made.grads.values()))
    assert np.isclose(seen["norm"], exact, rtol=1e-6) and np.isclose(seen["logs"]["grad_norm"], exact, rtol=1e-6)
    assert np.isclose(seen["logs"]["update_norm"], 0.025 * exact, rtol=1e-4) and not seen["logs"]["skipped"]


# Callbacks that watch: (arguments, curve, epochs trained, best epoch).
STOPPING = {
    "patience 0": ({}, [5, 4, 4, 3], 3, 1),
    "patience 3": ({"patience": 3}, [5, 4, 6, 6, 6, 1], 5, 1),
    "an improvement begins anew": ({"patience": 2}, [5, 6, 4, 6, 6, 1], 5, 2),
    "min_delta": ({"patience": 2, "min_delta": 0.5}, [5, 4.8, 4.6, 1], 3, 0),
    "min_delta exactly reached": ({"patience": 1, "min_delta": 0.5}, [5, 4.5, 1], 2, 0),
    "mode max": ({"patience": 1, "mode": "max"}, [1, 2, 2, 5], 3, 1),
    "a baseline never reached": ({"patience": 2, "baseline": 0.5}, [5, 4, 3, 2, 2, 1], 5, 3),
    "a baseline reached": ({"patience": 1, "baseline": 4.5}, [5, 4, 4.6, 1], 3, 1),
    "start_from_epoch": ({"patience": 1, "start_from_epoch": 3}, [1, 2, 3, 4, 5, 0], 5, 3),
    "never": ({"patience": 3}, [5, 4, 3, 2], 4, 3),
    "NaN is no improvement": ({"patience": 2}, [5, float("nan"), float("nan"), 1], 3, 0),
}


@pytest.mark.parametrize("row", STOPPING)
def test_early_stopping(row):
    given, curve, epochs, best = STOPPING[row]
    weights = {}

    class Keep(Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights[epoch] = self.model.get_weights()

    for restores in (False, True):
        stopping = callbacks.EarlyStopping(restore_best_weights=restores, **given)
        made, history = replayed([Keep(), stopping], val_loss=curve)
        assert len(history.epoch) == epochs and stopping.best_epoch == best and stopping.best == curve[best]
        kept = weights[best if restores else epochs - 1]
        assert all((ours == theirs).all() for ours, theirs in zip(made.get_weights(), kept)), "to the bit"
        assert stopping.stopped_epoch == (epochs - 1 if epochs < len(curve) else 0)


def test_early_stopping_watches_several():
    a, b = [5, 4, 6, 6, 6, 6], [0.1, 0.2, 0.3, 0.2, 0.2, 0.1]
    stopping = callbacks.EarlyStopping(["val_loss", "val_accuracy"], patience=2)
    _, history = replayed(stopping, val_loss=a, val_accuracy=b)
    assert len(history.epoch) == 5 and stopping.all_best == [4, 0.3]
    with pytest.raises(ValueError, match="mode has 3 values; expected one, or 2"):
        callbacks.EarlyStopping(["a", "b"], mode=["min", "max", "max"])


def test_a_missing_value_is_warned_of():
    with pytest.warns(UserWarning, match="EarlyStopping watches 'val_f1', which is not there; there are loss"):
        replayed(callbacks.EarlyStopping("val_f1"), val_loss=[1])


# (arguments, curve, learning rates of the epochs, from 0.1)
PLATEAU = {
    "every fifth epoch to the floor": (  # M6
        {"factor": 0.2, "patience": 5, "min_lr": 0.001},
        [1.0] * 22,
        [0.1] * 6 + [0.02] * 5 + [0.004] * 5 + [0.001] * 6,
    ),
    "no improvement": ({"factor": 0.5, "patience": 1}, [1, 1, 1, 1], [0.1, 0.1, 0.05, 0.025]),
    "improvements": ({"factor": 0.5, "patience": 2}, [4, 3, 3, 2, 2, 2, 2], [0.1] * 6 + [0.05]),
    "min_delta": ({"factor": 0.5, "patience": 1, "min_delta": 0.5}, [4, 3.6, 3.2, 2], [0.1, 0.1, 0.05, 0.05]),
    "cooldown": (
        {"factor": 0.5, "patience": 1, "cooldown": 2},
        [1] * 7,
        [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125],
    ),
    "mode max": ({"factor": 0.5, "patience": 1, "mode": "max"}, [1, 2, 2, 3], [0.1, 0.1, 0.1, 0.05]),
}


@pytest.mark.parametrize("row", PLATEAU)
def test_reduce_on_plateau(row):
    given, curve, rates = PLATEAU[row]
    _, history = replayed(callbacks.ReduceLROnPlateau(**given), val_loss=curve)
    assert np.allclose(history["learning_rate"], rates, rtol=1e-12, atol=0)


def test_a_floor_above_the_rate_is_warned_of():
    """M6: with min_lr=0.001 and an optimizer's default of 0.001 nothing ever changes."""
    with pytest.warns(UserWarning, match="0.001 is not above min_lr 0.001: it will never change"):
        _, history = replayed(
            callbacks.ReduceLROnPlateau(factor=0.2, patience=1, min_lr=0.001), lr=0.001, val_loss=[1] * 4
        )
    assert set(history["learning_rate"]) == {0.001}


@pytest.mark.parametrize(
    "schedule",
    [
        lambda epoch: 0.1 * 0.5**epoch,
        lambda epoch, rate: rate if epoch == 0 else rate * 0.5,
        bz.schedules.exponential(0.1, gamma=0.5, unit="epoch"),
    ],
)
def test_learning_rate_scheduler(schedule):
    """M7: one argument or two."""
    _, history = replayed(callbacks.LearningRateScheduler(schedule), epochs=4, val_loss=[1] * 4)
    assert np.allclose(history["learning_rate"], [0.1, 0.05, 0.025, 0.0125], rtol=1e-15, atol=0)


def test_exponential_decay_of_the_deck():
    """G1 through G10: lr0 e^(-k t) with the epoch as t."""
    _, history = replayed(
        callbacks.LearningRateScheduler(lambda t: 0.1 * np.exp(-0.1 * t)), epochs=11, val_loss=[1] * 11
    )
    assert [round(history["learning_rate"][t], 7) for t in (0, 1, 10)] == [0.1, 0.0904837, 0.0367879]
    with pytest.raises(ValueError, match="schedule gave None for epoch 0; expected a number"):
        replayed(callbacks.LearningRateScheduler(lambda epoch: None), val_loss=[1])


def test_terminate_on_nan(capsys):
    """N9: the message says what it almost always means."""
    made = trainer(lr=1e30)
    with np.errstate(all="ignore"):
        made.fit(X, Y, epochs=50, batch_size=20, callbacks=[callbacks.TerminateOnNaN()], verbose=0)
        assert made.steps < 20 and "the learning rate, 1e+30, is too high" in capsys.readouterr().out
        with pytest.raises(RuntimeError, match="too high"):
            trainer(lr=1e30).fit(X, Y, epochs=50, callbacks=[callbacks.TerminateOnNaN(raise_error=True)], verbose=0)


def test_divergence_break():
    """N8: not cost <= 3 times the first; NaN counts."""

    class Costs(Callback):
        def __init__(self, *costs):
            self.costs = costs

        def on_train_batch_end(self, batch, logs=None):
            self.model._batch_loss = self.costs[self.model.steps - 1]

    for costs, stops in (
        ([2, 6, 6.1, 1], 3),
        ([2, float("nan"), 1, 1], 2),
        ([2, 5.9, 1, 1], 4),
        ([1, float("inf"), 1, 1], 2),
    ):
        made, rule = trainer(), callbacks.DivergenceBreak()
        made.fit(X, Y, batch_size=10, callbacks=[Costs(*costs), rule], verbose=0)
        assert made.steps == stops and rule.stopped_step == (stops if stops < 4 else None)


def test_time_budget():
    made = trainer()
    history = made.fit(X, Y, epochs=10**6, callbacks=[callbacks.TimeBudget(0.05)], verbose=0)
    assert 0 < made.steps < 10**5 and made.pause_training and len(history.epoch) < 10**6
    with pytest.raises(ValueError, match="seconds is 0"):
        callbacks.TimeBudget(0)


def test_lambda_callback():
    heard = []
    made = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: heard.append(epoch), on_batch_end=lambda batch, logs: heard.append("batch")
    )
    replayed(made, val_loss=[1, 1])
    assert heard == ["batch", "batch", 0, "batch", "batch", 1]
    with pytest.raises(TypeError, match="knows no on_tea; hooks are on_train_begin"):
        callbacks.LambdaCallback(on_tea=print)


EXAMPLES = {"ModelCheckpoint": ["x"], "CSVLogger": ["x"], "JSONLogger": ["x"], "LearningRateScheduler": [abs],
            "SnapshotEnsemble": [3], "TimeBudget": [3]}  # fmt: skip
CONCRETE = [name for name in callbacks.__all__ if isinstance(getattr(callbacks, name), type) and name not in ("Callback", "CallbackList", "Logs")]  # fmt: skip


@pytest.mark.parametrize("name", CONCRETE)
def test_state_and_config_of_each(name):
    """Plain data both; what is loaded is what was saved."""
    made = getattr(callbacks, name)(*EXAMPLES.get(name, []))
    assert issubclass(type(made), Callback) and made.config()["callback"] == name and repr(made).startswith(name)
    json.dumps(made.config())
    state = made.state()
    if name not in ("CSVLogger", "JSONLogger"):  # which open their file
        made.load_state(state)
        assert made.state() == state
    if made.remembers:
        with pytest.raises(ValueError, match=f"{name}: the state lacks {next(iter(made.remembers))}"):
            made.load_state({})


KERAS = {
    "EarlyStopping": {
        "monitor": "val_loss", "min_delta": 0, "patience": 0, "verbose": 0, "mode": "auto", "baseline": None,
        "restore_best_weights": False, "start_from_epoch": 0,
    },
    "ModelCheckpoint": {
        "filepath": inspect.Parameter.empty, "monitor": "val_loss", "verbose": 0, "save_best_only": False,
        "save_weights_only": False, "mode": "auto", "save_freq": "epoch", "initial_value_threshold": None,
    },
    "ReduceLROnPlateau": {
        "monitor": "val_loss", "factor": 0.1, "patience": 10, "verbose": 0, "mode": "auto", "min_delta": 1e-4, "cooldown": 0,
        "min_lr": 0.0,
    },
    "LearningRateScheduler": {"schedule": inspect.Parameter.empty, "verbose": 0},
    "CSVLogger": {"filename": inspect.Parameter.empty, "separator": ",", "append": False},
    "TerminateOnNaN": {"raise_error": False},
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
def test_arguments_and_defaults_are_keras(name):
    own = inspect.signature(getattr(callbacks, name)).parameters
    assert {key: own[key].default for key in KERAS[name]} == KERAS[name]
    assert list(own)[: len(KERAS[name])] == list(KERAS[name])


def test_what_is_no_callback_is_refused():
    for given in (callbacks.History, 7):
        with pytest.raises(TypeError, match=r"callbacks\[0\] is .*expected a Callback"):
            trainer().fit(X, Y, callbacks=[given], verbose=0)
