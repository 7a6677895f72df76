# SPDX-License-Identifier: BSD-3-Clause
"""What a two-layer network must do before anything longer is trained: N1 to N6, with the course's names and log lines."""

import math
import re

import brazen as bz
import numpy as np
import pytest
from brazen.callbacks import DivergenceBreak
from brazen.train import ClassifierTrainer, init_two_layer_model, two_layer_net

PIXELS = 32 * 32 * 3


def images(count=200, std=64.0, seed=0):
    """X3: images with a spectrum of 1/f: a shared and three fields of their own, centred, at this scale; and labels."""
    rng = np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    k[0, 0] = 1 / 32
    shared, own = rng.normal(size=(count, 1, 32, 32)), rng.normal(size=(count, 3, 32, 32))
    x = np.fft.ifft2(np.fft.fft2(0.9 * shared + 0.44 * own) / k).real.reshape(count, PIXELS)
    x -= x.mean(axis=0)
    return x * (std / x.std()), rng.integers(0, 10, count)


def heavy_tailed(rows=49_000, held=1_000, seed=0):
    """X4: overlapping classes in 200 dimensions with a contrast of their own for every row."""
    rng = np.random.default_rng(seed)
    variance = np.arange(1, 201) ** -1.4
    deviation = np.sqrt(variance * (PIXELS * 64.0**2 / variance.sum()))
    means = rng.normal(size=(10, 200)) * 0.12 * deviation
    y = rng.integers(0, 10, rows + held)
    contrast = np.exp(0.4 * rng.normal(size=(rows + held, 1)) - 0.4**2)  # E[c^2] = 1
    x = (means[y] + deviation * rng.normal(size=(rows + held, 200))) * contrast
    x -= x.mean(axis=0)
    return x[:rows], y[:rows], x[rows:], y[rows:]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Products of 100 x 200 x 50 gain nothing from a second thread, and lose much where it must wait for a core."""
    limits = pytest.importorskip("threadpoolctl", reason="pip install scikit-learn, which brings threadpoolctl")
    with limits.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def surrogate():
    return heavy_tailed()


def naive_net(X, model, y=None, reg=0.0):
    """two_layer_net with -log(exp(s) / sum exp(s)) as written, which overflows."""
    scores = two_layer_net(X, model)
    if y is None:
        return scores
    probabilities = np.exp(scores)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[np.arange(len(y)), y]).mean()
    dscores = probabilities
    dscores[np.arange(len(y)), y] -= 1
    dscores /= len(y)
    hidden = np.maximum(0, X @ model["W1"] + model["b1"])
    dhidden = dscores @ model["W2"].T * (hidden > 0)
    return loss, {"W1": X.T @ dhidden, "b1": dhidden.sum(axis=0), "W2": hidden.T @ dscores, "b2": dscores.sum(axis=0)}


def train(data, loss_fn=two_layer_net, **named):
    X, y, X_val, y_val = data
    model = init_two_layer_model(X.shape[1], 50, 10)
    with np.errstate(all="ignore"):
        return ClassifierTrainer().train(X, y, X_val, y_val, model, loss_fn, verbose=True, **named)


LINE = re.compile(
    r"Finished epoch (\d+) / (\d+): cost (-?\d+\.\d{6}|nan|inf), train: (\d\.\d{6}), val (\d\.\d{6}), lr (\d\.\d{6}e[+-]\d\d)"
)


def log(out):
    """The numbers of the log lines, byte for byte in their form; the last line."""
    *lines, last = out.splitlines()
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [[float(value) for value in match.groups()] for match in found], last


def test_n1_the_first_loss_is_ln_of_the_classes():
    x, y = images()
    loss, gradients = two_layer_net(x, init_two_layer_model(PIXELS, 50, 10), y, 0.0)
    assert abs(loss - math.log(10)) < 1e-3 and set(gradients) == {"W1", "b1", "W2", "b2"}


def test_n2_regularisation_raises_it():
    x, y = images()
    model = init_two_layer_model(PIXELS, 50, 10)
    squares = sum((model[name] ** 2).sum() for name in ("W1", "W2"))
    plain, penalised = (float(two_layer_net(x, model, y, reg)[0]) for reg in (0.0, 1e3))
    assert np.isclose(penalised - plain, 0.5e3 * squares, rtol=1e-12) and 3.062 < penalised < 3.085


def test_the_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 6)), rng.integers(0, 3, 7)
    model = {name: rng.normal(size=array.shape) for name, array in init_two_layer_model(6, 5, 3).items()}
    _, gradients = two_layer_net(x, model, y, 0.3)
    for name, array in model.items():
        for place in [tuple(rng.integers(0, n) for n in array.shape) for _ in range(5)]:
            kept, step, sides = array[place], 1e-6, []
            for moved in (kept + step, kept - step):
                array[place] = moved
                sides.append(two_layer_net(x, model, y, 0.3)[0])
            array[place] = kept
            assert np.isclose((sides[0] - sides[1]) / (2 * step), gradients[name][place], rtol=1e-6, atol=1e-9)


def test_n3_twenty_examples_are_learnt_by_heart(capsys):
    x, y = images()
    data = (x[:20], y[:20], x[:20], y[:20])
    best, stats = train(data, num_epochs=200, reg=0.0, update="sgd", learning_rate_decay=1, sample_batches=False, learning_rate=1e-3)  # fmt: skip
    rows, last = log(capsys.readouterr().out)
    assert len(rows) == len(stats.loss_history) == 200, "M17: one update an epoch"
    assert rows[-1][2] < 0.01 and rows[-1][3] == 1 and [row[0] for row in rows] == list(range(1, 201))
    assert rows[0][2] == pytest.approx(2.3026, abs=1e-3) and rows[0][5] == 1e-3
    assert last == "finished optimization. best validation accuracy: 1.000000"
    assert (two_layer_net(x[:20], best).argmax(axis=1) == y[:20]).all()
    small = images(std=1.0)
    _, stats = train((small[0][:20], small[1][:20]) * 2, num_epochs=200, sample_batches=False, learning_rate=1e-3)
    assert stats.loss_history[-1] > 2, "the recipe is for the scale of pixels"


def test_n4_a_rate_too_low(surrogate, capsys):
    best, stats = train(surrogate, num_epochs=10, reg=1e-6, learning_rate=1e-6)
    rows, _ = log(capsys.readouterr().out)
    assert len(stats.loss_history) == 4900
    assert abs(rows[0][2] - rows[-1][2]) < 1e-3, "flat"
    x, y, *_ = surrogate
    right = (two_layer_net(x, best).argmax(axis=1) == y).mean()
    assert right > 0.1 + 5 * math.sqrt(0.09 / len(y)), "and yet better than chance, by five standard errors"


@pytest.mark.parametrize("loss_fn", [two_layer_net, naive_net])
def test_n5_a_rate_too_high(surrogate, capsys, loss_fn):
    """Y27: the slide's code says 1e-6, its log 1e6."""
    rule = DivergenceBreak()
    train(surrogate, loss_fn, num_epochs=1, reg=1e-6, learning_rate=1e6, callbacks=[rule])
    assert rule.stopped_step == 2
    capsys.readouterr()
    _, stats = train(surrogate, loss_fn, num_epochs=1, reg=1e-6, learning_rate=1e6)
    rows, _ = log(capsys.readouterr().out)
    assert math.isnan(rows[0][2]) and rows[0][4] < 0.2


def test_n6_a_rate_still_too_high(surrogate, capsys):
    """It learns first; then the rule breaks out."""
    rule = DivergenceBreak()
    _, stats = train(surrogate, num_epochs=6, reg=1e-6, learning_rate=3e-3, callbacks=[rule])
    capsys.readouterr()
    assert rule.stopped_step is not None and rule.stopped_step <= 6 * 490
    assert min(stats.loss_history) < 0.9 * stats.loss_history[0]


def test_a_good_rate_learns(surrogate, capsys):
    train(surrogate, num_epochs=3, reg=1e-6, learning_rate=1e-3, learning_rate_decay=0.9)
    rows, _ = log(capsys.readouterr().out)
    assert rows[-1][4] > 0.4
    assert [row[5] for row in rows] == [pytest.approx(1e-3 * 0.9**n, rel=1e-6) for n in (1, 2, 3)]


def test_halving_the_rate_until_it_does_not_diverge(surrogate):
    """G13: from 1e6 down by halves, with the rule to stop each try."""
    X, y, X_val, y_val = (part[:500] for part in surrogate)
    rate, tries = 1e6, 0
    while True:
        rule, model = DivergenceBreak(), init_two_layer_model(200, 50, 10)
        with np.errstate(all="ignore"):
            _, stats = ClassifierTrainer().train(X, y, X_val, y_val, model, two_layer_net, num_epochs=5, learning_rate=rate, callbacks=[rule])  # fmt: skip
        if rule.stopped_step is None and stats.loss_history[-1] < stats.loss_history[0]:
            break
        rate, tries = rate / 2, tries + 1
        assert tries < 64
    assert 1e-6 < rate < 1e-1


def test_updates_by_name(surrogate):
    X, y, X_val, y_val = (part[:200] for part in surrogate)

    def run(**named):
        model = init_two_layer_model(200, 50, 10)
        return ClassifierTrainer().train(
            X, y, X_val, y_val, model, two_layer_net, num_epochs=2, learning_rate=1e-4, **named
        )[1]

    assert len(run(update="rmsprop").loss_history) == 4
    assert run(update="momentum", momentum=0.9).loss_history != run(update="sgd").loss_history
    with pytest.raises(TypeError, match="momentum is missing"):
        run(update="momentum")
    with pytest.raises(ValueError, match="name is 'tea'"):
        run(update="tea")


def test_bz_knows_it():
    assert bz.ClassifierTrainer is ClassifierTrainer
