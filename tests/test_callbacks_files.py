# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that write files: checkpoints, tables, event files."""

import json

import brazen as bz
import numpy as np
import pytest
from brazen import callbacks
from brazen.callbacks import Callback
from training import Replay, X, Y, names, replayed, trainer

CHECKPOINT = {
    "every epoch": ({}, ["1", "2", "3", "4", "5", "6"]),
    "period 2": ({"period": 2}, ["2", "4", "6"]),
    "the best": ({"save_best_only": True}, ["1", "2", "5"]),
    "the best of an accuracy": ({"save_best_only": True, "monitor": "val_accuracy"}, ["1", "4"]),
    "better than a threshold": ({"save_best_only": True, "initial_value_threshold": 3.5}, ["5"]),
    "the two best, of equals the newer": ({"top_k": 2}, ["4", "5"]),
    "the two last": ({"last_n": 2}, ["5", "6"]),
    "seconds": ({"every_seconds": 3600.0}, []),
}


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("row", CHECKPOINT)
def test_model_checkpoint(row, weights_only, tmp_path):
    given, kept = CHECKPOINT[row]
    saving = callbacks.ModelCheckpoint(tmp_path / "{epoch}", save_weights_only=weights_only, **given)
    replayed(saving, val_loss=[5, 4, 6, 4, 3, 7], val_accuracy=[0.2, 0.2, 0.1, 0.5, 0.3, 0.5])
    assert names(tmp_path) == kept


def test_model_checkpoint_names_and_contents(tmp_path):
    path = tmp_path / "model.{epoch:02d}-{val_loss:.2f}.safetensors"
    made, _ = replayed(callbacks.ModelCheckpoint(path, save_weights_only=True), val_loss=[0.125, 0.25])
    assert names(tmp_path) == ["model.01-0.12.safetensors", "model.02-0.25.safetensors"]
    saved = bz.load(tmp_path / "model.02-0.25.safetensors")
    assert all((saved[name] == array).all() for name, array in made.model.state().items())
    other = trainer()
    other.model.load_state(saved)
    assert (other.predict(X) == made.predict(X)).all()
    with pytest.raises(KeyError, match="names 'val_f1'; there are epoch, batch, loss"):
        replayed(callbacks.ModelCheckpoint(tmp_path / "{val_f1}"), val_loss=[1])
    with pytest.raises(ValueError, match="save_freq is 0"):
        callbacks.ModelCheckpoint("x", save_freq=0)
    with pytest.raises(ValueError, match="expected fields such as {epoch}"):
        callbacks.ModelCheckpoint("x", top_k=3)
    (tmp_path / "file").write_text("")
    made = trainer()
    with pytest.raises(ValueError, match="filepath is"):
        made.fit(X, Y, callbacks=[callbacks.ModelCheckpoint(tmp_path / "file" / "x")], verbose=0)
    assert made.steps == 0


def test_model_checkpoint_between_epochs_can_be_gone_on_from(tmp_path):
    """The state is that after all callbacks: going on gives the bits of the whole run."""
    saving = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{batch}", save_freq=3)
    stopping = callbacks.EarlyStopping("loss", patience=3, restore_best_weights=True)
    whole, history = replayed([saving, stopping], val_loss=[1] * 4)
    assert names(tmp_path) == ["2-1", "3-2"]
    again = trainer()
    curves = Replay(val_loss=[1] * 4)
    fresh = [
        curves,
        callbacks.ModelCheckpoint(tmp_path / "again", save_freq=100),
        callbacks.EarlyStopping("loss", patience=3),
    ]
    went_on = again.fit(X, Y, epochs=4, batch_size=20, callbacks=fresh, verbose=0, resume=tmp_path / "2-1")
    assert went_on.history == history.history and went_on.batch_loss == history.batch_loss
    assert all((a == b).all() for a, b in zip(again.get_weights(), whole.get_weights()))


def test_history():
    made, history = replayed([], val_loss=[3, 1, 2], confusion=[np.eye(2)] * 3)
    assert history is made.history and history.epoch == [0, 1, 2] and history["val_loss"] == [3, 1, 2]
    assert len(history.batch_loss) == 6 and history.best() == 1 and "val_loss" in history
    assert history["confusion"][0] == [[1, 0], [0, 1]]
    with pytest.raises(KeyError, match="'val_f1' was not recorded; recorded are loss"):
        history["val_f1"]


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    replayed(callbacks.CSVLogger(path, separator=";"), val_loss=[0.5, 0.25], m=[np.eye(2)] * 2)
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch;learning_rate;loss;m;val_loss" and len(lines) == 3
    assert lines[2].startswith("1;0.1;") and lines[2].endswith("[1.0, 0.0, 0.0, 1.0];0.25")
    replayed(callbacks.CSVLogger(path, separator=";", append=True), val_loss=[0.75], m=[0])
    assert len(path.read_text().splitlines()) == 4
    replayed(callbacks.CSVLogger(path), val_loss=[0.75])
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="filename is .*cannot be written"):
        replayed(callbacks.CSVLogger(tmp_path / "none" / "log.csv"), val_loss=[1])


def test_json_logger(tmp_path):
    path = tmp_path / "log.jsonl"
    replayed(callbacks.JSONLogger(path), val_loss=[0.5, float("nan")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [0, 1] and [row["val_loss"] for row in rows] == [0.5, None]


@pytest.mark.parametrize("kind", ["CSVLogger", "JSONLogger"])
def test_loggers_go_on_where_the_checkpoint_was(kind, tmp_path):
    """What a killed run wrote after its last checkpoint is written again, once."""

    class Kill(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def run(path, *more):
        made = trainer()
        logger = getattr(callbacks, kind)(path / "log")
        # A checkpoint after 4 batches, of 2 an epoch; the run is killed in the fourth epoch.
        made.fit(X, Y, epochs=5, batch_size=20, verbose=0, callbacks=[logger, *more], checkpoint_dir=path / "c",
                 checkpoint_every=4, resume="auto")  # fmt: skip

    (tmp_path / "whole").mkdir(), (tmp_path / "killed").mkdir()
    run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Kill())
    before = (tmp_path / "killed" / "log").read_text()
    run(tmp_path / "killed")
    after = (tmp_path / "killed" / "log").read_text()
    assert after == (tmp_path / "whole" / "log").read_text() and after.startswith(before) and len(after) > len(before)


def test_tensorboard(tmp_path):
    """Real event files, read back by TensorBoard's own reader."""
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard tensorboardX"
    )
    pytest.importorskip("tensorboardX", reason="pip install 'brazen[tensorboard]'")
    board = callbacks.TensorBoard(tmp_path, histogram_freq=1, write_steps_per_second=True, update_freq=2)
    _, history = replayed(board, val_loss=[0.5, 0.25])

    def scalars(where, tag):
        events = reading.EventAccumulator(str(tmp_path / where))
        events.Reload()
        return [(event.step, event.value) for event in events.Scalars(tag)], events

    assert scalars("validation", "epoch_loss")[0] == [(0, 0.5), (1, 0.25)]
    values, events = scalars("train", "epoch_loss")
    assert np.allclose([value for _, value in values], history["loss"], rtol=1e-6)
    assert [step for step, _ in scalars("train", "batch_loss")[0]] == [2, 4]
    assert "dense/weight" in events.Tags()["histograms"] and "epoch_steps_per_second" in events.Tags()["scalars"]
