# SPDX-License-Identifier: BSD-3-Clause
"""The demo: accurate on real digits, quick, interrupted and gone on with, and its figures are there."""

import os
import signal

import brazen as bz
import numpy as np
import pytest

pytest.importorskip("sklearn", reason="pip install 'brazen[demo]'")

from brazen.demo import digits


@pytest.fixture(autouse=True)
def one_thread():
    """BLAS threads that share two cores with other processes wait for one another longer than these products take."""
    limits = pytest.importorskip("threadpoolctl", reason="pip install scikit-learn, which brings threadpoolctl")
    with limits.threadpool_limits(1):
        yield


def test_five_seeds():
    """The mean test accuracy, each seed with a split of its own."""
    assert digits.accuracy_of_seeds(5) >= 0.98


def test_interrupted_and_repeated(tmp_path, capsys, monkeypatch, interruptible):
    """Ctrl-C leaves a checkpoint; the same command goes on, with the bits of the whole run, and leaves figures and weights."""
    monkeypatch.setattr(digits, "EPOCHS", 4)
    whole = digits.train(digits.digits(), verbose=0).trainer.model.state()
    plain = bz.Trainer.fit

    def interrupted(self, *given, callbacks=(), **named):
        press = bz.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.steps == 30 and os.kill(os.getpid(), signal.SIGINT)
        )
        return plain(self, *given, callbacks=[*callbacks, press], **named)

    monkeypatch.setattr(bz.Trainer, "fit", interrupted)
    assert digits.main(str(tmp_path)) == 130
    assert "Run it again" in capsys.readouterr().out and os.listdir(tmp_path) == ["checkpoints"]
    assert digits.main(str(tmp_path)) == 0
    shown = capsys.readouterr().out
    assert "Going on from" in shown and "Test accuracy 9" in shown and "resume=" in shown
    saved = bz.load(tmp_path / "model.safetensors")
    assert all((saved[name] == array).all() for name, array in whole.items())
    figures = {"loss.png", "accuracy.png", "early-stopping.png", "learning-rate.png", "update-ratio.png"}
    assert set(os.listdir(tmp_path)) == figures | {"model.safetensors"}
    assert all(os.path.getsize(tmp_path / name) > 5000 for name in figures)


def test_the_split_holds_every_digit():
    given = digits.digits()
    assert [len(x) for x, _ in given] == [1168, 270, 359]
    for _, y in given:
        assert np.bincount(y).min() > 0.08 * len(y)
