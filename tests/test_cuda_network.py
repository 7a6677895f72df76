# SPDX-License-Identifier: BSD-3-Clause
"""Networks and the trainer on the emulated GPU: the bits of NumPy, nothing that waits inside an epoch, checkpoints and resuming.

Matrix products are the stand-in's, which are NumPy's: so every bit can be compared.
"""

import brazen as bz
import nn_table
import numpy as np
import pytest
from brazen import callbacks, nn
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401
from tolerance import same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

pytestmark = pytest.mark.emulation  # the matrix products of a GPU are others
SAMPLES, BATCH = 12, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SAMPLES, 2, 4, 4)).astype("float32")
Y = RNG.integers(0, 3, SAMPLES)


def host(value):
    return value.get() if hasattr(value, "get") and not isinstance(value, dict) else value


@pytest.mark.parametrize("name", nn_table.EXAMPLES)
def test_every_layer(cupy, name):  # noqa: F811
    layers, shape = nn_table.EXAMPLES[name]
    x = nn_table.sample_input(name, np, "float32")
    results = []
    for xp in (np, cupy):
        net = nn.Sequential(layers()).build(input_shape=shape, seed=3, dtype="float32", xp=xp)
        y, backward = net(xp.asarray(x), training=True, step=2)
        dx = backward(xp.asarray(np.cos(np.arange(y.size, dtype="float32")).reshape(y.shape)))
        predicted = net.predict(xp.asarray(x), batch_size=3)
        results.append({"y": y, "dx": dx, "gradients": net.gradients, "predicted": predicted, **net.state()})
    for key, expected in results[0].items():
        assert (expected is None) == (results[1][key] is None), key
        wrong = None if expected is None else same_bits(host(results[1][key]), expected)
        assert not wrong, f"{key}: {wrong}"


def network(xp):
    layers = [
        nn.Conv2D(4, 3, padding="same", bias=False), nn.BatchNorm(), nn.Activation("relu"), nn.MaxPool2D(2), nn.Flatten(),
        nn.Dense(8, "gelu"), nn.Residual([nn.Dense(8), nn.Activation("tanh"), nn.Dropout(0.3)]), nn.LayerNorm(),
        nn.Dense(3),
    ]  # fmt: skip
    return nn.Sequential(layers).build((2, 4, 4), seed=0, xp=xp)


def trainer(xp, **named):
    given = {"metrics": ["accuracy", "f1"], "regularizer": bz.l2(1e-3), "clip_norm": 1.0, "ema": 0.9, **named}
    return bz.Trainer(network(xp), "softmax_cross_entropy", bz.optim.Adam(lr=0.01), **given)


def fit(xp, made, *extra, **named):
    given = {"epochs": 2, "batch_size": BATCH, "verbose": 0, "callbacks": list(extra), **named}
    if given.pop("validate", True):
        given["validation_data"] = (xp.asarray(X[:6]), xp.asarray(Y[:6]))
    return made.fit(xp.asarray(X), xp.asarray(Y), **given)


def everything(made):
    found = {**made.model.state(), **made.optimizer.state_dict(), "gradients": made.model.net.gradients}
    return {name: host(value) for name, value in found.items()}


def require_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        wrong = same_bits(np.asarray(one[name]), np.asarray(other[name]))
        assert not wrong, f"{name}: {wrong}"


WAYS = {
    "plain": {},
    "in parts, scaled": {"accumulate": 2, "loss_scale": "dynamic"},
    "a schedule": {"lr": lambda step: 0.01 / (1 + step)},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_the_bits_of_numpy_s(cupy, way):  # noqa: F811
    ways = []
    for xp in (np, cupy):
        made = trainer(xp, **WAYS[way])
        history = fit(xp, made)
        ways.append((made, history))
    (one, expected), (two, history) = ways
    require_equal(everything(two), everything(one))
    assert history.history == expected.history and history.batch_loss == expected.batch_loss
    assert history["f1"][-1] > 0 and len(history.batch_loss) == 6
    x, y = X[:5], Y[:5]
    assert two.evaluate(cupy.asarray(x), cupy.asarray(y)) == one.evaluate(x, y)
    for samples in (0, 3):
        predicted = two.predict(cupy.asarray(x), batch_size=2, mc_samples=samples)
        assert not same_bits(host(predicted), one.predict(x, batch_size=2, mc_samples=samples))


class Waits(callbacks.Callback):
    """How often the host has waited for the device, at each batch's end; asks for nothing."""

    def __init__(self, cupy):  # noqa: F811
        self.cupy, self.seen, self.epochs = cupy, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append([self.cupy.waits[0]])

    def on_train_batch_end(self, batch, logs=None):
        self.seen[-1].append(self.cupy.waits[0])

    def on_test_begin(self, logs=None):
        self.epochs.append([self.cupy.waits[0]])

    def on_test_batch_end(self, batch, logs=None):
        self.epochs[-1].append(self.cupy.waits[0])


def test_the_loop_never_waits_for_the_device(cupy):  # noqa: F811
    """Not in a step, nor in a batch of validation; the bar asks for nothing either. One epoch costs a few numbers."""
    watch = Waits(cupy)
    weights = cupy.asarray(np.linspace(0.5, 1, SAMPLES, dtype="float32"))
    made = trainer(cupy, metrics=["accuracy", "confusion_matrix", "top_2"], accumulate=2)
    before = cupy.waits[0]
    fit(cupy, made, watch, verbose=1, sample_weight=weights, class_weight={0: 2.0})
    assert [len(seen) for seen in watch.seen] == [1 + SAMPLES // BATCH] * 2
    for seen in watch.seen + watch.epochs:
        assert len(set(seen)) == 1, "inside an epoch"
    # Once: whether the data are finite, and the labels in range. Each epoch: the losses, and each value of its logs.
    assert cupy.waits[0] - before < 50


def test_a_callback_that_asks_waits(cupy):  # noqa: F811
    made, watch = trainer(cupy), Waits(cupy)
    fit(cupy, made, callbacks.TerminateOnNaN(), watch, epochs=1)
    steps = np.diff(watch.seen[0])
    assert (steps == 1).all() and len(steps) == 3


class PauseAt(callbacks.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        self.model.pause_training = self.model.steps == self.step


def watchers(directory):
    return [
        callbacks.WeightAveraging(0.5, overwrite=False),
        callbacks.EarlyStopping("val_loss", patience=9, restore_best_weights=True),
        callbacks.UpdateRatio(),
        callbacks.ModelCheckpoint(f"{directory}/best.safetensors", save_best_only=True, save_weights_only=True),
        callbacks.SnapshotEnsemble(1, lr_max=0.02),
    ]


@pytest.mark.parametrize("step", [1, 3, 4])
def test_resumed_from_a_directory(cupy, tmp_path, step):  # noqa: F811
    """In the middle of an epoch, with metrics and callbacks that hold arrays; a checkpoint's arrays are the host's."""
    results = []
    for number, stops in enumerate(([], [step])):
        directory = tmp_path / str(number)
        for stop in [*stops, -1]:
            made, given = trainer(cupy, loss_scale="dynamic"), watchers(tmp_path)
            history = fit(cupy, made, *given, PauseAt(stop), checkpoint_dir=directory, resume="auto")
        results.append((made, history, given))
    (one, expected, before), (two, history, after) = results
    require_equal(everything(two), everything(one))
    assert history.history == expected.history and history.batch_loss == expected.batch_loss
    assert after[2].ratios == before[2].ratios and len(after[2].steps) == 6
    require_equal(
        {n: host(a) for n, a in after[0].averages.items()}, {n: host(a) for n, a in before[0].averages.items()}
    )
    ensemble = after[4].predict(cupy.asarray(X), transform=bz.softmax)
    assert not same_bits(host(ensemble), host(before[4].predict(cupy.asarray(X), transform=bz.softmax)))


def test_a_checkpoint_crosses_over(cupy, tmp_path):  # noqa: F811
    """Begun on the device, ended on the host, and the other way round: the same bits."""
    whole = trainer(np)
    fit(np, whole)
    for first, second in ((np, cupy), (cupy, np)):
        directory = tmp_path / first.__name__
        fit(first, trainer(first), PauseAt(4), checkpoint_dir=directory)
        made = trainer(second)
        fit(second, made, checkpoint_dir=directory, resume="auto")
        require_equal(everything(made), everything(whole))
    bz.save(tmp_path / "weights", made.model.state())
    net = network(cupy)
    net.load_state(bz.load(tmp_path / "weights", xp=cupy))
    require_equal({n: host(a) for n, a in net.state().items()}, made.model.state())


def test_arrays_of_the_other_library_are_refused_by_name(cupy):  # noqa: F811
    with pytest.raises(TypeError, match="x = cupy.asarray"):
        fit(np, trainer(cupy))
    with pytest.raises(TypeError, match="x = numpy.asarray"):
        fit(cupy, trainer(np))


def test_initialisers(cupy):  # noqa: F811
    """The same weights on both, but for products of matrices, which are each library's own: here the same, too."""
    for name in ("he_normal", "xavier_uniform", "truncated_normal", "orthogonal", "identity"):
        made = bz.init.get(name)(**({"std": 0.5} if name == "truncated_normal" else {}))
        expected = np.zeros((6, 4), "float32")
        made(seed=1, site=2, out=expected)
        given = cupy.zeros((6, 4), "float32")
        made(seed=1, site=2, out=given)
        assert not same_bits(host(given), expected), name
    net = nn.Sequential([nn.Dense(2, weight=lambda shape, seed, site: np.ones(shape, "float32"))])
    assert (host(net.build(3, xp=cupy).params["dense.weight"]) == 1).all()


def test_loaders_and_functions(cupy):  # noqa: F811
    """Batches gathered ahead by threads, in one memory, and of functions: one order."""
    x, y = cupy.asarray(X), cupy.asarray(Y)
    kinds = [
        {"x": bz.data.Loader(x, y, batch_size=BATCH, seed=0)},
        {"x": bz.data.Loader(x, y, batch_size=BATCH, seed=0, prefetch=2, workers=2)},
        {"x": bz.data.Loader(lambda epoch, start: bz.data.Loader(x, y, batch_size=BATCH)(epoch, start))},
        {"x": x, "y": y, "batch_size": BATCH},
    ]
    kinds.append(
        {
            "x": bz.data.Loader(
                X, Y, batch_size=BATCH, seed=0, transform=lambda b, *_: (cupy.asarray(b.x), cupy.asarray(b.y))
            )
        }
    )
    results = []
    for given in kinds:
        made = trainer(cupy)
        made.fit(**given, epochs=2, verbose=0)
        results.append(everything(made))
    for other in results[1:]:
        require_equal(other, results[0])
