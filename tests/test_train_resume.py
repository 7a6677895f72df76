# SPDX-License-Identifier: BSD-3-Clause
"""A run that was stopped after any step and gone on with gives the bits of one that was not."""

import copy
import hashlib
import warnings

import brazen as bz
import numpy as np
import pytest
from brazen.callbacks import Callback

SAMPLES, BATCH, EPOCHS = 76, 8, 5  # ten steps an epoch, the last of four samples
STEPS = 50
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SAMPLES, 6)).astype("float32")
Y = RNG.integers(0, 3, SAMPLES)


class PauseAt(Callback):
    """Pauses after so many steps of the trainer."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.steps == self.step:
            self.model.pause_training = True


class Remembering(Callback):
    """A callback whose decisions depend on all it has seen."""

    remembers = {"seen": [], "sum": 0.0}

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(logs["loss"])
        self.sum += logs["accuracy"]

    def on_epoch_begin(self, epoch, logs=None):
        self.number = epoch
        self.model.lr = self.model.lr * 0.9

    def on_train_batch_begin(self, batch, logs=None):
        assert 0 <= self.number < EPOCHS + 1

    def on_epoch_end(self, epoch, logs=None):
        self.model.lr = 0.01 / (1 + len(self.seen) % 7 + self.sum % 1)


def network(seed=0):
    layers = [bz.nn.Dense(8), bz.nn.BatchNorm(), bz.nn.Activation("relu"), bz.nn.Dropout(0.3), bz.nn.Dense(3)]
    return bz.nn.Sequential(layers).build(6, seed=seed)


def trainer(**changed):
    given = {
        "metrics": ["accuracy", "auc"][:1],
        "regularizer": bz.l2(1e-3),
        "ema": 0.9,
        "loss_scale": "dynamic",
        **changed,
    }
    return bz.Trainer(network(), "softmax_cross_entropy", bz.optim.Adam(lr=0.01), **given)


def fit(made, *callbacks, **named):
    given = {"epochs": EPOCHS, "batch_size": BATCH, "validation_data": (X[:20], Y[:20]), "verbose": 0, **named}
    return made.fit(X, Y, callbacks=[Remembering(), *callbacks], **given)


def digest(made, history):
    """SHA-256 of weights, statistics, optimizer, averages and history."""
    hashed = hashlib.sha256()
    for name, array in {**made.model.state(), **made.optimizer.state_dict()}.items():
        hashed.update(name.encode() + np.ascontiguousarray(array).tobytes())
    hashed.update(repr((history.history, history.epoch, history.batch_loss, made.steps, made.lr)).encode())
    return hashed.hexdigest()


def interrupted_run(step, make=trainer, run=fit):
    first = make()
    run(first, PauseAt(step))
    assert first.steps == step
    kept = copy.deepcopy(first.state())
    second = make()
    second.load_state(kept)
    return second, run(second, PauseAt(-1), resume=True)


@pytest.fixture(scope="module")
def whole():
    made = trainer()
    history = fit(made, PauseAt(-1))
    assert made.steps == STEPS and len(history.batch_loss) == STEPS and len(set(history["loss"])) == EPOCHS
    return digest(made, history)


def test_two_runs_of_a_seed_are_equal(whole):
    made = trainer()
    assert digest(made, fit(made, PauseAt(-1))) == whole
    other = trainer(seed=1)
    assert digest(other, fit(other, PauseAt(-1))) != whole, "the seed changes the order and the masks"


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_from_every_step(step, whole):
    assert digest(*interrupted_run(step)) == whole


@pytest.mark.parametrize("step", [3, 10, 27])
def test_in_parts_with_schedules(step):
    """Accumulation, a schedule of epochs that listens, and one of steps."""

    def listens():
        return trainer(accumulate=2, lr=bz.schedules.reduce_on_plateau(0.02, patience=1, threshold=0.5))

    def decays():
        return trainer(lr=bz.schedules.cosine(0.02, 50))

    for make in (listens, decays):
        made = make()
        history = fit(made, PauseAt(-1), epochs=3)
        expected = digest(made, history)
        assert digest(*interrupted_run(step, make, lambda *a, **n: fit(*a, epochs=3, **n))) == expected


@pytest.mark.parametrize("step", [1, 9, 10, 11, 25])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_loaders_that_fetch_ahead(step, workers):
    """The position is what was consumed, not what was fetched."""

    def noisy(batch, ids, epoch):
        noise = bz.random.normal(batch.x.shape, std=0.1, seed=7, step=epoch, site=int(ids[0]))
        return batch.x + noise, batch.y

    def loader():
        return bz.data.Loader(X, Y, batch_size=BATCH, seed=3, prefetch=4, workers=workers, transform=noisy)

    def run(made, *callbacks, **named):
        return made.fit(loader(), epochs=3, callbacks=[Remembering(), *callbacks], verbose=0, **named)

    made = trainer()
    expected = digest(made, run(made, PauseAt(-1)))
    assert digest(*interrupted_run(step, run=run)) == expected


def test_functions_of_the_position():
    def batches(epoch, start):
        order = bz.data.order(SAMPLES, 5, epoch)
        for number in range(start, 9):
            chosen = order[number * BATCH : (number + 1) * BATCH]
            yield X[chosen], Y[chosen]

    def run(made, *callbacks, **named):
        return made.fit(batches, epochs=2, callbacks=[Remembering(), *callbacks], verbose=0, **named)

    made = trainer()
    expected = digest(made, run(made, PauseAt(-1)))
    for step in (1, 8, 9, 10, 17):
        assert digest(*interrupted_run(step, run=run)) == expected


def test_a_second_fit_goes_on():
    """Steps and orders count on; a resumed second fit knows of the first."""

    def run(made, *callbacks, **named):
        if not named:
            fit(made, epochs=1)
        return fit(made, *callbacks, epochs=2, **named)

    made = trainer()
    expected = digest(made, run(made, PauseAt(-1)))
    assert digest(*interrupted_run(17, run=run)) == expected


def test_what_cannot_be_resumed_says_what_to_pass(tmp_path):
    for named in ({"resume": True}, {"checkpoint_dir": tmp_path}):
        with pytest.raises(ValueError, match=r"runs once.*Loader.*\(epoch, start_batch\)"):
            trainer().fit(iter([(X, Y)]), verbose=0, **named)
    with pytest.raises(ValueError, match="nothing to resume"):
        fit(trainer(), resume=True)
    first = trainer()
    fit(first, PauseAt(3))
    kept = copy.deepcopy(first.state())
    for named, name in (
        ({"batch_size": 4}, "batch_size is 4, was 8"),
        ({"shuffle": False}, "shuffle is False, was True"),
    ):
        second = trainer()
        second.load_state(kept)
        with pytest.raises(ValueError, match=f"cannot resume: {name}"):
            fit(second, resume=True, **named)
    with pytest.raises(ValueError, match="format"):
        first.load_state({})


def test_a_state_that_does_not_fit_changes_nothing():
    made, other = trainer(), bz.Trainer(network(), "softmax_cross_entropy", "adagrad", loss_scale="dynamic")
    fit(made, PauseAt(3))
    before = copy.deepcopy(other.model.state())
    with pytest.raises(ValueError, match="does not fit this Adagrad"):
        other.load_state(made.state())
    assert all((other.model.state()[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("every", ["epoch", 3])
def test_through_a_directory(tmp_path, every, whole):
    """resume="auto" begins where there is nothing, and goes on where there is something, over and over."""
    for step in (4, 11, 30, -1):
        made = trainer()
        history = fit(made, PauseAt(step), checkpoint_dir=tmp_path, checkpoint_every=every, resume="auto")
    assert digest(made, history) == whole
    again = trainer()
    assert digest(again, fit(again, PauseAt(-1), checkpoint_dir=tmp_path, resume="auto")) == whole, "it is over"
    longer = trainer()
    assert (
        len(fit(longer, PauseAt(-1), checkpoint_dir=tmp_path, resume="auto", epochs=EPOCHS + 1)["loss"]) == EPOCHS + 1
    )
    path = bz.checkpoint.newest(tmp_path)
    named = trainer()
    fit(named, PauseAt(-1), checkpoint_dir=tmp_path / "other", resume=path, epochs=EPOCHS + 1)
    assert named.steps == longer.steps


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="checkpoint_dir is .*file/checkpoints.*cannot be made"):
        fit(trainer(), checkpoint_dir=tmp_path / "file" / "checkpoints")
    with pytest.raises(ValueError, match="checkpoint_every is 0"):
        fit(trainer(), checkpoint_dir=tmp_path, checkpoint_every=0)


def test_checkpoints_of_another_run_are_warned_of(tmp_path):
    """They are further on: a resumed run would take them for its own."""
    fit(trainer(), epochs=2, checkpoint_dir=tmp_path)
    with pytest.warns(UserWarning, match="up to step 20 of another run, and this one begins at step 0") as seen:
        fit(trainer(), epochs=1, checkpoint_dir=tmp_path)
    assert seen[0].filename == __file__
    for resume in ("auto", tmp_path / "step-00000020"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(trainer(), epochs=2, checkpoint_dir=tmp_path, resume=resume)
    with pytest.warns(UserWarning, match="begins at step 10"):
        fit(trainer(), epochs=2, checkpoint_dir=tmp_path, resume=tmp_path / "step-00000010")
