# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks that average, measure and show."""

import brazen as bz
import numpy as np
import pytest
from brazen import callbacks
from brazen.callbacks import Callback
from training import X, Y, names, trainer


def test_weight_averaging():
    """P6: the recurrence, begun at the weights; validation sees the averages, training does not."""
    snapshots, predictions = [], []

    class Watch(Callback):
        def on_train_begin(self, logs=None):
            snapshots.append(self.model.params["dense.weight"].astype("float64"))

        def on_train_batch_end(self, batch, logs=None):
            snapshots.append(self.model.params["dense.weight"].astype("float64"))

        def on_test_batch_begin(self, batch, logs=None):
            predictions.append(self.model.params["dense.weight"].copy())

    for decay in (0.9, None):
        snapshots.clear(), predictions.clear()
        made = trainer()
        averaging = callbacks.WeightAveraging(decay)
        made.fit(X, Y, epochs=3, batch_size=20, validation_data=(X, Y), callbacks=[Watch(), averaging], verbose=0)
        expected, mean = snapshots[0], np.mean([snapshots[2], snapshots[4], snapshots[6]], axis=0)
        for weights in snapshots[1:]:
            expected = 0.9 * expected + 0.1 * weights
        expected = mean if decay is None else expected
        assert np.allclose(predictions[-1], expected, atol=1e-6) and np.allclose(
            made.params["dense.weight"], expected, atol=1e-6
        )
        assert not np.allclose(snapshots[-1], expected, atol=1e-4)
        if decay is None:
            assert np.allclose(predictions[0], snapshots[2], atol=1e-7)


def test_snapshot_ensemble(tmp_path):
    """G12, P7: the rate is back at the top at each cycle's start; a snapshot at each end."""
    rates, made = [], trainer()
    ensemble = callbacks.SnapshotEnsemble(2, lr_max=0.2, directory=tmp_path)
    note = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: rates.append(made.lr))
    made.fit(X, Y, epochs=6, batch_size=20, callbacks=[ensemble, note], verbose=0)
    assert np.allclose(rates, [0.1 * (1 + np.cos(np.pi * step / 4)) for step in range(4)] * 3)
    assert len(ensemble.snapshots) == 3 and names(tmp_path) == [f"snapshot-0{n}.safetensors" for n in (1, 2, 3)]
    one_by_one = []
    for weights in ensemble.snapshots:
        made.model.load_state(weights)
        one_by_one.append(bz.softmax(made.predict(X)))
    together = ensemble.predict(X, transform=bz.softmax)
    assert np.allclose(together, np.mean(one_by_one, axis=0), atol=1e-7)
    assert (made.predict(X) == made.predict(X)).all()


def test_update_ratio():
    """N13, N14: 0.0002 / 0.02 is 0.01; statistics are NumPy's; what is outside is flagged."""
    kept, made = {}, trainer(lr=0.05)
    ratios = callbacks.UpdateRatio()
    watch = callbacks.LambdaCallback(
        on_before_optimizer_step=lambda step, logs: kept.update({step: made.params["dense.weight"].copy()})
    )
    history = made.fit(X, Y, epochs=2, batch_size=20, callbacks=[ratios, watch], verbose=0)
    update = (kept[1] - kept[0]).astype("float64")
    assert np.isclose(ratios.ratios["dense.weight"][0], np.linalg.norm(update) / np.linalg.norm(kept[0]), rtol=1e-5)
    expected = [kept[1].min(), kept[1].max(), kept[1].std(), update.min(), update.max(), update.std()]
    assert np.allclose(ratios.statistics["dense.weight"][0], expected, rtol=1e-5)
    assert ratios.steps == [0, 1, 2, 3] and set(ratios.ratios) == {"dense.weight", "dense_2.weight"}
    everything = [(step, name, r) for name, values in ratios.ratios.items() for step, r in enumerate(values)]
    assert sorted(map(tuple, ratios.flagged)) == sorted(row for row in everything if not 1e-3 <= row[2] <= 1e-2)
    assert len(history["update_ratio"]) == 2
    assert np.isclose(history["update_ratio"][0], np.mean([r for step, _, r in everything if step < 2]))


def test_live_bench(capsys):
    from brazen import _matmul

    live, made = callbacks.LiveBench(verbose=1), trainer()
    busy = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: dict(logs))
    made.fit(X, Y, epochs=2, batch_size=20, callbacks=[live, busy], verbose=0)
    report = live.report
    assert report["samples_per_second"] > 0 and "samples/s; data" in capsys.readouterr().out
    shares = [report[name] for name in ("data", "ops", "blas", "callbacks")]
    assert all(share > 0 for share in shares[1:]) and 0.9 < sum(shares) < 1.01
    assert _matmul.watch is None


def test_progress_bar(capsys):
    for verbose, lines in ((0, 0), (1, 3), (2, 3)):
        trainer().fit(X, Y, epochs=3, verbose=verbose)
        out = capsys.readouterr().out.splitlines()
        assert len(out) == lines and all(line.startswith("epoch ") and "loss " in line for line in out)
    with pytest.raises(ValueError, match="verbose is 3"):
        callbacks.ProgressBar(3)


def test_progress_bar_on_a_terminal(monkeypatch):
    pytest.importorskip("rich", reason="pip install 'brazen[demo]'")
    import io
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(callbacks.progress, "_INTERVAL", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    trainer().fit(X, Y, epochs=2, batch_size=10, verbose=1)
    shown = sys.stdout.getvalue()
    assert "4/4" in shown and "epoch 2/2" in shown and "\x1b[" in shown
