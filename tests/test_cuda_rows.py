# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA kernels over rows, compiled for the host, give the bits of the CPU loops: losses, softmax kinds, norms."""

import contextlib
from types import SimpleNamespace

import brazen as bz
import numpy as np
import pytest
from brazen import _core
from loss_table import LOSSES, REDUCTIONS, each, numbers
from test_cuda_emulated import LAYOUTS, cupy  # noqa: F401
from test_row_norms import NAMES, WHOLE, _draw
from tolerance import DTYPES, same_bits

MAPS = [entry["name"] for entry in _core.row_operations() if entry["family"] == "row_map"]
SHAPES = [(5, 40), (3, 4, 33), (1, 2500), (9,), (3, 1)]


def _there(cupy, value):  # noqa: F811
    return cupy.on_device(value) if isinstance(value, np.ndarray) else value


def _equal(results, expected, told):
    for result, wanted in zip(results, expected):
        assert (result is None) == (wanted is None), told
        wrong = "" if result is None else same_bits(result.get(), np.asarray(wanted))
        assert not wrong, f"{told}: {wrong}"


@pytest.mark.parametrize("loss, dtype", each())
def test_losses(cupy, loss, dtype):  # noqa: F811
    for i, shape in enumerate([*SHAPES, (1, 9000)] if dtype == "float32" else SHAPES):
        for k, options in enumerate(loss.options):
            x, targets, keywords = loss.draw(shape, dtype, 1, options)
            keywords |= {"reduction": REDUCTIONS[(i + k) % 3], "grad_scale": 2.0}
            expected = loss.call(x, targets, **keywords)
            given = {key: _there(cupy, value) for key, value in keywords.items()}
            results = loss.call(cupy.on_device(x), cupy.on_device(targets), **given)
            _equal(results, expected, f"{shape} {options}")
    place = cupy.on_device(x)
    _equal(loss.call(place, cupy.on_device(targets), **given, out=place), expected, "in place")
    x, targets, keywords = loss.draw((3, 4, 33), dtype, 2)
    given = {key: _there(cupy, value) for key, value in keywords.items()}
    for change in LAYOUTS[::2]:
        expected = loss.call(x, targets, **keywords)
        results = loss.call(cupy.on_device(change(x)), cupy.on_device(change(targets)), **given)
        _equal(results, expected, change.__name__)


FIRST_BAD = (
    r"softmax_cross_entropy: labels holds 5 at position 1; expected 0 to 4, or ignore_index = -100 "
    r"\(an earlier call, on CUDA device 0; its loss and gradient are NaN there\)"
)


@pytest.fixture
def no_label_waits():
    """A test that fails leaves no error behind for the next one."""
    yield
    with contextlib.suppress(ValueError):
        bz.checks.labels()


def test_labels_out_of_range_are_marked_and_told_later(cupy, no_label_waits):  # noqa: F811
    """No hidden synchronisation: the row's loss and gradient are NaN, so is a mean, and a later call raises."""
    x = np.random.default_rng(0).standard_normal((6, 5)).astype("f4")
    labels = np.array([0, 5, 1, -1, 2, -100])
    there, wrong = cupy.on_device(x), cupy.on_device(labels)
    losses, gradient = bz.softmax_cross_entropy(there, wrong, reduction="none")
    assert np.isnan(losses.get()).tolist() == [False, True, False, True, False, False]
    assert np.isnan(gradient.get()).all(axis=1).tolist() == [False, True, False, True, False, False]
    # The next loss with labels on that device, of whatever kind, before it writes anything.
    out = cupy.on_device(np.full_like(x, 7))
    with pytest.raises(ValueError, match=f"^{FIRST_BAD}$"):
        bz.multiclass_hinge(there, cupy.on_device(np.abs(labels) % 5), out=out)
    assert (out.get() == 7).all()
    # Told once; then the device tells again.
    mean, _ = bz.softmax_cross_entropy(there, wrong)
    assert np.isnan(mean.get())
    with pytest.raises(ValueError, match=FIRST_BAD):
        bz.checks.labels()
    bz.checks.labels()
    for kind in ("int32", "uint8"):
        good = np.array([0, 1, 2, 3, 4, 0], kind)
        expected = bz.softmax_cross_entropy(x, good)
        _equal(bz.softmax_cross_entropy(cupy.on_device(x), cupy.on_device(good)), expected, kind)


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_the_smallest_position_is_told_in_the_labels_shape(cupy, no_label_waits, kind):  # noqa: F811
    x = np.zeros((3, 4, 1000), "f4")  # classes second; the labels are many chunks for the warps of one block
    labels = np.zeros((3, 1000), kind)
    labels[2, 999], labels[1, 37], labels[1, 990] = 9, 8, 7
    bz.softmax_cross_entropy(cupy.on_device(x), cupy.on_device(labels), axis=1, ignore_index=None)
    with pytest.raises(ValueError, match=r"holds 8 at position \(1, 37\); expected 0 to 3 \(an earlier"):
        bz.checks.labels()
    bz.multiclass_hinge(cupy.on_device(x[0, 0, :4]), cupy.on_device(np.array(5)))
    with pytest.raises(ValueError, match=r"multiclass_hinge: labels holds 5 at position \(\); expected 0 to 3 "):
        bz.checks.labels()


@pytest.mark.parametrize("rows", [8192, 8193, 3 * 8192 + 5])
def test_labels_and_losses_of_many_rows_are_summed_by_many_blocks(cupy, no_label_waits, rows):  # noqa: F811
    """Groups of 8,192 rows meet in one tree: weights, ignored labels, means, and the first of several bad labels."""
    random = np.random.default_rng(rows)
    x, labels = random.standard_normal((rows, 2)).astype("f4"), random.integers(-1, 2, rows)
    weights = np.array([0.3, 1.7], "f4")
    for reduction in ("mean", "sum", "none"):
        options = {"ignore_index": -1, "weight": weights, "reduction": reduction}
        expected = bz.softmax_cross_entropy(x, labels, **options)
        options["weight"] = cupy.on_device(weights)
        given = bz.softmax_cross_entropy(cupy.on_device(x), cupy.on_device(labels), **options)
        for result, wanted in zip(given, expected):
            assert not same_bits(result.get(), np.asarray(wanted)), reduction
    soft = np.abs(x) / np.abs(x).sum(axis=1, keepdims=True)
    for loss in (bz.softmax_cross_entropy, bz.kl_divergence):
        for result, wanted in zip(loss(cupy.on_device(x), cupy.on_device(soft)), loss(x, soft)):
            assert not same_bits(result.get(), np.asarray(wanted)), loss.__name__
    last = rows - 1
    for bad in ({5: 9, last: 7}, {last: 7}, {rows // 2: 8, last: 9}):
        wrong = np.maximum(labels, 0)
        for place, label in bad.items():
            wrong[place] = label
        bz.softmax_cross_entropy(cupy.on_device(x), cupy.on_device(wrong))
        place = min(bad)
        with pytest.raises(ValueError, match=f"labels holds {bad[place]} at position {place};"):
            bz.checks.labels()


def test_a_replayed_graph_tells_too(cupy, no_label_waits):  # noqa: F811
    """Captured with good labels; the launch after they were overwritten meets a bad one."""
    x, labels = cupy.on_device(np.zeros((40, 6), "f4")), cupy.on_device(np.zeros(40, "i4"))
    out = cupy.on_device(np.full((40, 6), 7, "f4"))
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        loss, _ = bz.softmax_cross_entropy(x, labels, out=out)
        graph = stream.end_capture()
    assert (out.get() == 7).all()
    graph.launch(stream)
    stream.synchronize()
    assert abs(float(loss) - np.log(6)) < 1e-6
    bz.checks.labels()
    for bad in (6, -7):  # told once a launch, as long as somebody takes it
        labels[33] = bad
        cupy.cuda.get_current_stream().synchronize()
        graph.launch(stream)
        stream.synchronize()
        assert np.isnan(float(loss)) and np.isnan(out.get()[33]).all()
        with pytest.raises(ValueError, match=f"holds {bad} at position 33; expected 0 to 5, or ignore_index = -100"):
            bz.checks.labels()


def test_a_loss_without_labels_neither_asks_nor_tells(cupy, no_label_waits):  # noqa: F811
    x = cupy.on_device(np.zeros((2, 3), "f4"))
    bz.softmax_cross_entropy(x, cupy.on_device(np.array([3, 0])))
    bz.mse(x, x)
    bz.kl_divergence(x, x)
    with pytest.raises(ValueError, match="holds 3 at position 0"):
        bz.checks.labels()
    bz.softmax_cross_entropy(x, x)
    bz.checks.labels()


def test_a_training_loop_stops_with_the_label(cupy, no_label_waits):  # noqa: F811
    """TerminateOnNaN says what made the loss NaN."""
    x = cupy.on_device(np.zeros((2, 3), "f4"))
    loss, _ = bz.softmax_cross_entropy(x, cupy.on_device(np.array([0, 4])))
    callback = bz.callbacks.TerminateOnNaN()
    callback.model = SimpleNamespace(batch_loss=float(loss), lr=0.1)
    with pytest.raises(ValueError, match="labels holds 4 at position 1"):
        callback.on_train_batch_end(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MAPS)
def test_maps(cupy, name, dtype):  # noqa: F811
    operation = getattr(bz, name)
    for shape in [*SHAPES, (0, 4)]:
        rng = np.random.default_rng(2)
        x, dy = numbers(rng, shape, dtype), numbers(rng, shape, dtype, 1.0)
        for axis in {-1, 0}:
            y = operation(x, axis=axis)
            dx = operation.backward(dy, y, axis=axis)
            for change in LAYOUTS[::3]:
                there = cupy.on_device(change(x))
                _equal([operation(there, axis=axis)], [y], f"{shape} {axis} {change.__name__}")
                grads = cupy.on_device(change(dy)), cupy.on_device(change(y))
                _equal([operation.backward(*grads, axis=axis)], [dx], f"{shape} {axis} {change.__name__}")
            there = cupy.on_device(x)
            _equal([operation(there, axis=axis, out=there)], [y], "in place")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_norms(cupy, name, dtype):  # noqa: F811
    operation = getattr(bz, name)
    shapes = [(7, 40), (1100, 3), (1, 2500)] if name in WHOLE else [(3, 4, 2, 7), (1, 2, 1100), (5, 6), (70, 4, 3)]
    for shape in shapes:
        for options in [{}, {"scale": False}, {"shift": False}, {"add": True}]:
            x, dy, keywords = _draw(name, shape, dtype, 3, **options)
            y, saved = operation(x, **keywords)
            expected = operation.backward(dy, saved)
            for change in [LAYOUTS[1]]:
                there = cupy.on_device(change(dy))
                given = {key: _there(cupy, value) for key, value in keywords.items()}
                y_there, saved_there = operation(cupy.on_device(change(x)), **given)
                told = f"{shape} {options} {change.__name__}"
                _equal([y_there, saved_there.mean, saved_there.inverse_std], [y, saved.mean, saved.inverse_std], told)
                _equal(operation.backward(there, saved_there), expected, told)
                _equal(operation.backward(there, saved_there, dx=there), expected, f"{told} in place")


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_norms(cupy, dtype):  # noqa: F811
    for shape, axis in [((5, 7), -1), ((5, 7), 0), ((3, 4, 5), (0, 2)), ((2, 9000), 1)]:
        x = numbers(np.random.default_rng(4), shape, dtype)
        _equal([bz.row_norms(cupy.on_device(x), axis=axis)], [bz.row_norms(x, axis=axis)], f"{shape} {axis}")


def test_the_table_is_not_empty():
    assert LOSSES and MAPS


def test_a_number_as_pos_weight(cupy):  # noqa: F811
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((3, 7)).astype("f4"), rng.random((3, 7)).astype("f4")
    expected = bz.sigmoid_cross_entropy(x, targets, pos_weight=2.6)
    results = bz.sigmoid_cross_entropy(cupy.on_device(x), cupy.on_device(targets), pos_weight=2.6)
    for result, wanted in zip(results, expected):
        assert not same_bits(result.get(), np.asarray(wanted))
