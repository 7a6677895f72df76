# SPDX-License-Identifier: BSD-3-Clause
"""Keras 3's own EarlyStopping, ReduceLROnPlateau and LearningRateScheduler on our trainer, beside ours on the same curves."""

import importlib.util
import os

import brazen as bz
import numpy as np
import pytest
from brazen import callbacks
from training import Replay, X, Y, trainer

if importlib.util.find_spec("keras") is None:
    pytest.skip("Keras is not installed: pip install 'brazen[peers]' brings it", allow_module_level=True)

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras = pytest.importorskip("keras")

RNG = np.random.default_rng(1)
CURVES = {
    "falls": np.linspace(2, 1, 12),
    "turns": np.concatenate([np.linspace(2, 1, 5), np.linspace(1, 2, 7)]),
    "stands": np.full(12, 1.0),
    "noise": 1 + RNG.normal(size=12) / 2,
    "steps": np.repeat([3.0, 2.0, 1.0], 4),
    "small steps": 1 - 0.005 * np.arange(12),
    "with NaN": np.array([3, 2, np.nan, 2.5, np.nan, 1, 1, 1, 1, 0.5, 1, 1]),
}
GIVEN = {
    "EarlyStopping": [
        {},
        {"patience": 2},
        {"patience": 3, "min_delta": 0.1},
        {"patience": 2, "baseline": 1.2},
        {"patience": 2, "restore_best_weights": True},
        # Not at the NaN of epoch 4: Keras takes a first value for the best even if it is NaN, ours does not.
        {"patience": 1, "start_from_epoch": 3, "restore_best_weights": True},
        {"patience": 2, "mode": "max"},
    ],
    "ReduceLROnPlateau": [
        {"patience": 1},
        {"patience": 2, "factor": 0.5, "min_lr": 0.01},
        {"patience": 1, "cooldown": 2},
        {"patience": 2, "min_delta": 0.3, "mode": "max"},
    ],
    "LearningRateScheduler": [
        {"schedule": lambda epoch: 0.1 * 0.9**epoch},
        {"schedule": lambda epoch, rate: rate * 0.9 if epoch else rate},
    ],
}


def run(callback, curve):
    """(weights after each epoch and at the end, learning rates, epochs) of a run with these validation losses."""
    made, seen = trainer(), []
    watch = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(made.get_weights()))
    given = [Replay(val_loss=curve), callback, watch]
    history = made.fit(X, Y, epochs=len(curve), batch_size=20, callbacks=given, verbose=0)
    return [*seen, made.get_weights()], history["learning_rate"], history.epoch


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("name, given", [(name, given) for name, rows in GIVEN.items() for given in rows])
def test_the_same_decisions(name, given, curve):
    ours, ours_rates, ours_epochs = run(getattr(callbacks, name)(**given), CURVES[curve])
    theirs, theirs_rates, theirs_epochs = run(getattr(keras.callbacks, name)(**given), CURVES[curve])
    assert ours_epochs == theirs_epochs
    assert ours_rates == theirs_rates
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs):
        assert all((a == b).all() for a, b in zip(mine, other)), "to the bit"


def test_an_empty_keras_callback_costs_nothing():
    """Only what a callback defines itself is called."""
    assert not any(callbacks.CallbackList([keras.callbacks.Callback()]).hear.values())
    hear = callbacks.CallbackList([keras.callbacks.EarlyStopping()]).hear
    assert {name for name, hooks in hear.items() if hooks} == {"train_begin", "train_end", "epoch_end"}


def test_defaults_are_those_of_keras():
    import inspect

    for name in (*GIVEN, "CSVLogger", "ModelCheckpoint", "TerminateOnNaN"):
        own = inspect.signature(getattr(callbacks, name)).parameters
        theirs = dict(inspect.signature(getattr(keras.callbacks, name)).parameters)
        theirs.pop("kwargs", None)
        assert {key: own[key].default for key in theirs} == {key: p.default for key, p in theirs.items()}


def test_checkpoints_leave_keras_callbacks_alone():
    """They have no state to save: a resumed run starts them anew."""
    made = trainer()
    made.fit(
        X, Y, epochs=1, callbacks=[keras.callbacks.EarlyStopping("loss"), bz.callbacks.EarlyStopping("loss")], verbose=0
    )
    assert set(made.state()["fit"]["callbacks"]) == {"EarlyStopping 2", "History"}
