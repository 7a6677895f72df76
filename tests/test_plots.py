# SPDX-License-Identifier: BSD-3-Clause
"""Figures hold the numbers they are given, mark what they should, and can be written."""

import io

import brazen as bz
import numpy as np
import pytest
from brazen import plots
from brazen.callbacks import History, UpdateRatio
from training import X, Y, replayed, trainer

pytest.importorskip("matplotlib", reason="pip install 'brazen[demo]'")

VAL = [3.0, 2.0, 1.0, 1.5, 2.0]


@pytest.fixture(scope="module")
def history():
    made, history = replayed(
        [], val_loss=VAL, accuracy=[0.2, 0.4, 0.6, 0.8, 1.0], val_accuracy=[0.2, 0.3, 0.5, 0.4, 0.3]
    )
    return history


def series(figure):
    """The lines of a figure, by label."""
    return {line.get_label(): line.get_xydata() for axes in figure.axes for line in axes.lines}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def written(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return len(file.getvalue()) > 5000


def test_loss(history):
    """O3: a series of batches, and those of epochs."""
    figure = plots.loss(history)
    lines = series(figure)
    assert lines["each batch"][:, 1].tolist() == history.batch_loss and lines["each batch"][-1, 0] == 5
    assert lines["training"][:, 1].tolist() == history["loss"] and lines["validation"][:, 1].tolist() == VAL
    assert "best: epoch 3, 1" in texts(figure)[0] and written(figure)
    assert plots.loss(history, log=True).axes[0].get_yscale() == "log"


def test_accuracy(history):
    """O5: the gap, where validation is best."""
    figure = plots.accuracy(history)
    assert series(figure)["validation"][:, 1].tolist() == history["val_accuracy"]
    assert texts(figure) == ["best: epoch 3, 0.5000; gap to training +0.1000"] and written(figure)


def test_early_stopping(history):
    """O15: the best epoch and the one it stopped at."""
    figure = plots.early_stopping(history)
    assert texts(figure) == ["best: epoch 3, 1", "stopped: 5"] and written(figure)
    assert texts(plots.early_stopping(history, stopped=False)) == ["best: epoch 3, 1"]
    assert "best: epoch 3, 0.5" in texts(plots.early_stopping(history, "val_accuracy"))[0]


def test_learning_rate(history):
    (line,) = plots.learning_rate(history).axes[0].lines
    assert line.get_ydata().tolist() == history["learning_rate"]


def test_update_ratio():
    """O6."""
    ratios, made = UpdateRatio(), trainer()
    made.fit(X, Y, epochs=2, callbacks=[ratios], verbose=0)
    lines = series(plots.update_ratio(ratios))
    assert lines["dense.weight"][:, 1].tolist() == ratios.ratios["dense.weight"]
    assert written(plots.update_ratio(ratios))
    with pytest.raises(ValueError, match="ratios has recorded no step"):
        plots.update_ratio(UpdateRatio())


def test_learning_rates():
    """O4: low is flat, good falls, very high leaves the picture."""
    histories = {}
    with np.errstate(all="ignore"):
        for name, rate in (("low", 1e-6), ("good", 0.05), ("very high", 1e6)):
            made = trainer(lr=rate)
            histories[name] = made.fit(X, Y, epochs=8, batch_size=10, verbose=0)
    figure = plots.learning_rates(histories)
    lines = {name: values[:, 1] for name, values in series(figure).items()}
    low, high = figure.axes[0].get_ylim()
    assert (
        abs(lines["low"][-1] - lines["low"][0]) < 0.02 * lines["low"][0] and lines["good"][-1] < 0.95 * lines["good"][0]
    )
    assert not lines["very high"][-1] < high and written(figure)


def test_schedules():
    """O16: the values of each on one axis."""
    given = {"cosine": bz.schedules.cosine(0.1, 50), "step": bz.schedules.step(0.1, 20)}
    lines = series(plots.schedules(given, 60))
    assert all((lines[name][:, 1] == schedule.values(60)).all() for name, schedule in given.items())


def test_errors(history):
    with pytest.raises(TypeError, match="history is dict; expected the History"):
        plots.loss({"loss": [1]})
    with pytest.raises(KeyError, match="'f1' was not recorded"):
        plots.accuracy(history, "f1")
    with pytest.raises(KeyError, match="'loss' was not recorded; recorded are no epochs yet"):
        plots.loss(History())
    for empty in (plots.learning_rates, plots.schedules):
        with pytest.raises(ValueError, match="is empty"):
            empty({})
