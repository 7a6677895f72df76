# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: an error that names the argument, before the first step, and nothing lost."""

import brazen as bz
import numpy as np
import pytest
from training import RNG, X, Y, trainer

NAN = X.copy()
NAN[3, 1] = np.nan
INFINITE = X.copy()
INFINITE[5, 0] = np.inf
BAD = {
    "another width": ((X[:, :4], Y), {}, r"x has shape \(40, 4\); expected \(samples, 5\), as the network was built"),
    "another rank": ((X[:, :, None], Y), {}, "x has shape"),
    "no samples": ((X[:0], Y[:0]), {}, r"x has shape \(0, 5\); expected at least one sample"),
    "a number": ((np.float32(1), Y), {}, "x has shape"),
    "text": ((["a", "b"], Y), {}, "x is list of <U1; expected an array of numbers"),
    "complex numbers": ((X.astype(complex), Y), {}, "x has dtype complex128; expected numbers"),
    "NaN": ((NAN, Y), {}, "x holds NaN or infinity in 1 samples, the first at 3"),
    "infinity": ((INFINITE, Y), {}, "x holds NaN or infinity in 1 samples, the first at 5"),
    "no targets": ((X,), {}, "y is missing"),
    "too few targets": ((X, Y[:7]), {}, r"y has shape \(7,\); expected 40 samples, as x has"),
    "a label too high": ((X, np.where(Y == 2, 3, Y)), {}, "y holds the label 3; expected 0 to 2"),
    "a label below": ((X, Y - 1), {}, "y holds the label -1; expected 0 to 2"),
    "labels in floats": ((X, Y.astype("float32")), {}, r'y has dtype float32; expected classes as integers: y.astype\("int64"\)'),
    "labels of two axes": ((X, np.stack([Y, Y], 1)), {}, r"y has shape \(40, 2\); expected classes \(40,\) or probabilities \(40, 3\)"),
    "NaN among probabilities": ((X, np.where(np.eye(3)[Y] > 0, np.nan, 0)), {}, "y holds NaN"),
    "no epoch number": ((X, Y), {"epochs": 1.5}, "epochs is 1.5; expected a whole number of at least 0"),
    "batches of none": ((X, Y), {"batch_size": 0}, "batch_size is 0; expected a whole number of at least 1"),
    "weights of samples": ((X, Y), {"sample_weight": Y[:3]}, r"sample_weight has shape \(3,\); expected 40 samples"),
    "weights of two axes": ((X, Y), {"sample_weight": np.ones((40, 2))}, "sample_weight has shape"),
    "NaN among weights": ((X, Y), {"sample_weight": np.full(40, np.nan)}, "sample_weight holds NaN"),
    "a class that is not there": ((X, Y), {"class_weight": {7: 1.0}}, "class_weight holds 7: 1.0; expected classes"),
    "a negative class weight": ((X, Y), {"class_weight": {1: -1.0}}, "class_weight holds 1: -1.0"),
    "bad validation data": ((X, Y), {"validation_data": (X[:, :2], Y)}, r"validation_data has shape \(40, 2\)"),
    "a bad label in them": ((X, Y), {"validation_data": (X, Y + 5)}, "y holds the label 7"),
    "validation that runs once": ((X, Y), {"validation_data": iter([(X, Y)])}, "validation_data is an iterator that runs once"),
    "a part of nothing": ((X, Y), {"validation_split": 1.5}, "validation_split is 1.5"),
    "targets beside batches": ((iter([]), Y), {}, "x yields batches"),
    "an empty iterator": ((iter([]),), {}, "epoch 0 has no batch; the iterator is used up"),
    "a batch of the wrong width": (([(X[:, :4], Y)],), {}, r"x of a batch has shape \(40, 4\)"),
    "a batch of too many parts": (([(X, Y, Y, Y)],), {}, "a batch has 4 parts"),
    "resume from nowhere": ((X, Y), {"resume": "auto"}, "resume is 'auto' without checkpoint_dir"),
    "a verbosity that is none": ((X, Y), {"verbose": 7}, "verbose is 7"),
}  # fmt: skip


@pytest.mark.parametrize("row", BAD)
def test_before_the_first_step(row):
    given, named, message = BAD[row]
    made = trainer()
    before = {name: array.copy() for name, array in made.model.state().items()}
    with pytest.raises((ValueError, TypeError), match=message):
        made.fit(*given, **{"epochs": 2, "verbose": 0, **named})
    assert made.steps == 0
    assert all((made.model.state()[name] == array).all() for name, array in before.items())
    made.fit(X, Y, epochs=1, verbose=0)
    assert made.steps == 2, "it can still be used"


def net(outputs=3):
    return bz.nn.Sequential([bz.nn.Dense(outputs)]).build(5, seed=0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: bz.Trainer(net()), "loss is missing"),
        (lambda: bz.Trainer(net(), "cross_entropie"), "loss is 'cross_entropie'; expected one of"),
        (lambda: bz.Trainer(net(), 7), "loss is 7"),
        (lambda: bz.Trainer(net(), {}), "loss is empty"),
        (lambda: bz.Trainer(net(), "mse", "adm"), "optimizer is 'adm'; expected one of"),
        (lambda: bz.Trainer(net(), "mse", bz.optim.Adam), "optimizer is <class.*; write it with parentheses"),
        (lambda: bz.Trainer(net(), "mse", clip_norm=-1.0), "clip_norm is -1.0"),
        (lambda: bz.Trainer(net(), "mse", clip_value="1"), "clip_value is '1'"),
        (lambda: bz.Trainer(net(), "mse", ema=1.5), "ema is 1.5"),
        (lambda: bz.Trainer(net(), "mse", 7), "optimizer is 7; expected one of brazen.optim"),
        (lambda: bz.Trainer(net(), "mse", metrics=["acuracy"]), "metrics: 'acuracy' is not known"),
        (lambda: bz.Trainer(net(), "mse", accumulate=0), "accumulate is 0"),
        (lambda: bz.Trainer(net(), "mse", lr=-1.0), "lr is -1.0"),
        (lambda: bz.Trainer(net(), "mse", loss_scale=-1.0), "value is -1.0"),
        (lambda: bz.Trainer(7, "mse"), "model is 7; expected a network"),
        (lambda: bz.Trainer(bz.nn.Sequential([bz.nn.Dense(3)]), "mse"), "this network has no weights yet"),
        (lambda: bz.Trainer(lambda x, p, y, r: None), "params is missing"),
        (lambda: bz.Trainer(abs, params={"w": np.ones(3)}, metrics=["mse"]), "metrics need predictions"),
        (lambda: bz.Trainer(abs, params={"w": np.ones(3)}, regularizer=bz.l2(0.1)), "regularizer is for networks"),
        (lambda: bz.l2(-1.0), "l2 is -2|l2 is -1"),
    ],
)
def test_what_a_trainer_is_made_of(make, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        make()


def test_regression_targets():
    made = bz.Trainer(net(2), "mse", "sgd")
    for y in (RNG.normal(size=40), RNG.normal(size=(40, 3))):
        with pytest.raises(ValueError, match=r"y has shape .*; expected \(40, 2\), the shape the network gives"):
            made.fit(X, y, verbose=0)
    one = bz.Trainer(net(1), "mse", "sgd")
    one.fit(X, RNG.normal(size=40), verbose=0)
    assert one.steps == 2, "a column and a row of numbers mean the same; nothing is broadcast"


def test_a_gradient_function_that_forgets_one():
    params = {"a": np.ones(2), "b": np.ones(2)}
    made = bz.Trainer(lambda x, p, y, reg: (1.0, {"a": np.ones(2)}), params=params)
    with pytest.raises(ValueError, match="loss_fn gave gradients of a; expected of a, b"):
        made.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    assert (params["a"] == 1).all()


def test_evaluate_and_predict():
    made = trainer()
    with pytest.raises(ValueError, match="x has shape"):
        made.evaluate(X[:, :3], Y)
    with pytest.raises(ValueError, match="there is no batch to evaluate"):
        made.evaluate(iter([]))
    with pytest.raises(ValueError, match="batch_size is -1"):
        made.predict(X, batch_size=-1)
    with pytest.raises(ValueError, match="weights holds 1 arrays"):
        made.set_weights([X])


def test_an_error_in_a_callback_ends_the_run_in_order(tmp_path):
    """on_train_end is heard, checkpoints are durable, and the run can be gone on with."""

    class Break(bz.callbacks.Callback):
        ended = False

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise OSError("disk full")

        def on_train_end(self, logs=None):
            self.ended = True

    made, broken = trainer(), Break()
    with pytest.raises(OSError, match="disk full"):
        made.fit(X, Y, epochs=4, batch_size=20, callbacks=[broken], verbose=0, checkpoint_dir=tmp_path)
    assert broken.ended and made.history.epoch == [0, 1]
    again = trainer()
    history = again.fit(X, Y, epochs=4, batch_size=20, verbose=0, checkpoint_dir=tmp_path, resume="auto")
    whole = trainer()
    assert whole.fit(X, Y, epochs=4, batch_size=20, verbose=0).history == history.history
