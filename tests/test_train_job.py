# SPDX-License-Identifier: BSD-3-Clause
"""`python -m brazen train --config file.toml`: on files of numbers, gone on with, and every mistake with its line."""

import json
import os
import signal

import brazen as bz
import numpy as np
import pytest
from brazen.__main__ import main
from brazen.train.job import config

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) * [1, 10, 100, 1] + 50
Y = (X[:, 0] + (X[:, 1] - 50) / 10 > 50).astype(int)
SMALL = '\n[network]\nhidden = [16]\ndropout = 0.1\n[training]\nepochs = 8\nbatch_size = 32\noptimizer = {rule = "adam", lr = 0.02}\n'


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Products this small gain nothing from a second BLAS thread, and lose much where it must wait for a core."""
    limits = pytest.importorskip("threadpoolctl", reason="pip install scikit-learn, which brings threadpoolctl")
    with limits.threadpool_limits(1):
        yield


@pytest.fixture
def place(tmp_path):
    np.savez(tmp_path / "data.npz", x=X, y=Y, number=X @ [1.0, 0.2, 0.03, 4.0], text=np.array(["a"] * 300))
    rows = [f"{a},{b},{'yes' if y else 'no'},{c}" for (a, b, c, _), y in zip(X.tolist(), Y.tolist())]
    (tmp_path / "data.csv").write_text("\n".join(["one,two,answer,three", *rows]) + "\n")
    return tmp_path


def run(place, text, *more):
    (place / "job.toml").write_text(text)
    return main(["train", "--config", str(place / "job.toml"), "--verbose", "2", *more])


def test_classes_of_an_npz(place, capsys):
    assert run(place, '[data]\nfile = "data.npz"' + SMALL) == 0
    shown = capsys.readouterr().out
    assert "data.npz: 210 to train, 45 to validate, 45 to test; 2 classes." in shown and "Test: loss" in shown
    left = set(os.listdir(place / "run"))
    assert {
        "model.safetensors",
        "scaling.safetensors",
        "model.json",
        "log.csv",
        "checkpoints",
        "loss.png",
        "accuracy.png",
    } <= left
    # The three files are enough to predict with.
    described = json.loads((place / "run" / "model.json").read_text())
    net = bz.nn.from_config(described["network"]).build(described["input_shape"], seed=9)
    net.load_state(bz.load(place / "run" / "model.safetensors"))
    scaling = bz.load(place / "run" / "scaling.safetensors")
    prediction = net.predict(((X - scaling["mean"]) / scaling["std"]).astype("float32"))
    assert bz.metrics.accuracy(prediction, Y) > 0.9 and described["classes"] == [0, 1]


def test_texts_of_a_csv(place, capsys):
    text = '[data]\nfile = "data.csv"\ntarget = "answer"\n[network]\nlayers = [{layer = "Dense", units = 8}, {layer = "Activation", function = "tanh"}]\n[training]\nepochs = 2\nl2 = 1e-3\nclip_norm = 1.0\n'
    assert run(place, text) == 0
    assert json.loads((place / "run" / "model.json").read_text())["classes"] == ["no", "yes"]
    assert len((place / "run" / "log.csv").read_text().splitlines()) == 3


def test_numbers(place, capsys):
    assert run(place, '[data]\nfile = "data.npz"\ny = "number"' + SMALL) == 0
    shown = capsys.readouterr().out
    assert "; 1 numbers." in shown and "val_r2" in shown


def test_interrupted_and_repeated(place, capsys, monkeypatch, interruptible):
    text = '[data]\nfile = "data.npz"' + SMALL
    assert run(place, text) == 0
    whole = bz.load(place / "run" / "model.safetensors")
    log = (place / "run" / "log.csv").read_text()
    plain = bz.Trainer.fit

    def interrupted(self, *given, callbacks=(), **named):
        press = bz.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self.steps == 17 and os.kill(os.getpid(), signal.SIGINT)
        )
        return plain(self, *given, callbacks=[*callbacks, press], **named)

    monkeypatch.setattr(bz.Trainer, "fit", interrupted)
    capsys.readouterr()
    assert run(place, text, "--fresh") == 130 and "Run it again" in capsys.readouterr().out
    assert run(place, text) == 0 and "Going on from" in capsys.readouterr().out
    again = bz.load(place / "run" / "model.safetensors")
    assert (
        all((again[name] == array).all() for name, array in whole.items())
        and (place / "run" / "log.csv").read_text() == log
    )
    assert run(place, text.replace("batch_size = 32", "batch_size = 16")) == 2
    assert "cannot resume: batch_size is 16, was 32" in capsys.readouterr().err


WRONG = {
    "no TOML": ("[data]\nfile = \n", 2, "Invalid value"),
    "a section that is none": ('[data]\nfile = "data.npz"\n[trainning]\nepochs = 3', 3, "trainning is no section; did you mean training?"),
    "a key that is none": ('[data]\nfile = "data.npz"\n\n[training]\n# comment\nepoch = 3', 6, "epoch is no key of [training]; did you mean epochs?"),
    "a text for a number": ('[data]\nfile = "data.npz"\n[training]\nepochs = "3"', 4, "epochs is '3'; expected a whole number"),
    "a flag for a number": ('[data]\nfile = "data.npz"\n[training]\nepochs = true', 4, "epochs is True; expected a whole number"),
    "no file": ('[data]\nx = "x"', 1, "[data] names no file"),
    "a file that is not there": ('[data]\nval = 0.1\nfile = "none.npz"', 3, "No such file"),
    "a file of another kind": ('[data]\nfile = "job.toml"', 2, "ends in .toml; expected .npz or .csv"),
    "an array that is not there": ('[data]\nfile = "data.npz"\nx = "X"', 2, "holds no array 'X'; it holds x, y, number, text"),
    "an array of texts": ('[data]\nfile = "data.npz"\nx = "text"', 2, "text has dtype <U1; expected numbers"),
    "a column that is not there": ('[data]\nfile = "data.csv"\ntarget = "four"', 2, "has no column 'four'; it has one, two, answer, three"),
    "a column of texts": ('[data]\nfile = "data.csv"\ntarget = "one"', 2, "data.csv, line 2: could not convert string to float"),
    "no training data left": ('[data]\nfile = "data.npz"\nval = 150\ntest = 150', 3, "val and test take 300 of 300"),
    "a layer that is none": ('[data]\nfile = "data.npz"\n[network]\nlayers = [\n  {layer = "Dense", units = 3},\n  {layer = "Dens"},\n]', 6, "layer 2: config names the layer 'Dens'"),
    "an argument it does not take": ('[data]\nfile = "data.npz"\n[network]\nlayers = [{layer = "Dense", unit = 3}]', 4, "layer 1:"),
    "an activation that is none": ('[data]\nfile = "data.npz"\n[network]\nactivation = "relo"', 4, "activation"),
    "a dropout of 1": ('[data]\nfile = "data.npz"\n[network]\nhidden = [4]\ndropout = 1.0', 5, "dropout"),
    "a rule that is none": ('[data]\nfile = "data.npz"\n[training]\noptimizer = {rule = "adm"}', 4, "name is 'adm'"),
    "a rate below 0": ('[data]\nfile = "data.npz"\n[training]\nschedule = "constant"\nwarmup = 0\noptimizer = {lr = -1.0}', 6, "lr"),
    "a loss that is none": ('[data]\nfile = "data.npz"\n[training]\nloss = "mze"', 4, "loss is 'mze'"),
    "a metric that is none": ('[data]\nfile = "data.npz"\n[training]\nmetrics = ["acc"]', 4, "'acc' is not known"),
    "a schedule that is none": ('[data]\nfile = "data.npz"\n[training]\nschedule = "cos"', 4, "expected cosine or constant"),
    "no epochs": ('[data]\nfile = "data.npz"\n[training]\nepochs = 0', 4, "epochs is 0"),
    "no patience at all": ('[data]\nfile = "data.npz"\n[training]\nl2 = 0.0\npatience = -1', 5, "patience is -1; expected at least 0"),
    "a seed below 0": ('[data]\nfile = "data.npz"\n[training]\nseed = -1', 4, "seed is -1; expected at least 0"),
    "a penalty below 0": ('[data]\nfile = "data.npz"\n[training]\nl2 = -0.5', 4, "l2 is -0.5; expected at least 0"),
    "no checkpoints kept": ('[data]\nfile = "data.npz"\n[output]\nkeep = 0', 4, "keep is 0; expected at least 1"),
    "a warm-up of everything": ('[data]\nfile = "data.npz"\n[training]\nwarmup = 1.5', 4, "warmup is 1.5"),
    "a directory that cannot be": ('[data]\nfile = "data.npz"\n[output]\nkeep = 2\ndirectory = "data.npz/run"', 5, "cannot be made"),
}  # fmt: skip


@pytest.mark.parametrize("row", WRONG)
def test_mistakes_name_the_line(row, place, capsys):
    text, line, message = WRONG[row]
    assert run(place, text) == 2
    shown = capsys.readouterr().err
    assert f"job.toml, line {line}: " in shown and message in shown and "Traceback" not in shown


def test_a_file_that_cannot_be_read(tmp_path, capsys):
    assert main(["train", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml cannot be read" in capsys.readouterr().err


def test_nothing_is_unpickled(place, capsys):
    np.savez(place / "data.npz", x=np.array([{"a": 1}] * 300, dtype=object), y=Y)
    assert run(place, '[data]\nfile = "data.npz"') == 2
    assert "Object arrays cannot be loaded" in capsys.readouterr().err


def test_help_lists_every_key(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {key} " in shown for keys in config.KEYS.values() for key in keys)


def test_two_at_once(place, capsys):
    """The second is refused before it changes anything, --fresh or not."""
    text = '[data]\nfile = "data.npz"\n[training]\nepochs = 1'
    held = place / "run" / "checkpoints"
    held.mkdir(parents=True)
    with bz.checkpoint.Writer(held) as writer:
        writer.write(3, {})
        writer.wait()
        for more in ((), ("--fresh",)):
            assert run(place, text, *more) == 2
            shown = capsys.readouterr().err
            assert "another writer holds this directory" in shown and "Traceback" not in shown
        assert [entry.name for entry in held.iterdir()] == ["step-00000003"]
    assert run(place, text, "--fresh") == 0
