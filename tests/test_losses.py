# SPDX-License-Identifier: BSD-3-Clause
"""The losses: value and gradient against the reference, the same bits however they are computed, and their errors."""

import brazen as bz
import layouts
import loss_table
import numpy as np
import pytest
from brazen import _core
from loss_table import LOSSES, REDUCTIONS, each
from tolerance import DTYPES, same_bits, tolerance

ELEMENT = {entry["name"] for entry in _core.row_operations() if entry["family"] == "element_loss"}
SHAPES = [(7, 10), (5, 1), (3, 4, 33), (2, 1500), (40, 64), (1100, 5), (12,)]


def _same(results, expected, told=""):
    for name, a, b in zip(("loss", "gradient"), results, expected):
        wrong = same_bits(np.asarray(a), np.asarray(b))
        assert not wrong, f"{told} {name}: {wrong}"


@pytest.fixture
def switches():
    yield
    _core.set_isa("")
    bz.set_num_threads(None)


@pytest.mark.parametrize("loss, dtype", each())
def test_against_the_reference(loss, dtype):
    for shape in SHAPES:
        for options in loss.options:
            for reduction in REDUCTIONS:
                x, targets, keywords = loss.draw(shape, dtype, 1, options)
                keywords |= {"reduction": reduction, "grad_scale": 1.5}
                value, gradient = loss.call(x, targets, **keywords)
                truth, slope = loss.truth(x, targets, **keywords)
                told = f"{shape} {options} {reduction}"
                assert gradient.dtype == x.dtype and gradient.shape == x.shape, told
                assert value.dtype == (np.float64 if dtype == "float64" else np.float32) and value.shape == truth.shape
                each_loss, each_slope = loss.truth(x, targets, **{**keywords, "reduction": "none"})
                size = 1 + np.abs(each_loss).max(initial=0)
                total = {"sum": max(1, each_loss.size), "mean": 1 + each_loss.size / max(1, x.size), "none": 1}[
                    reduction
                ]
                error = loss_table.allowed(compute_of(dtype), 8 * size * total, x.shape[-1])
                assert np.abs(value - truth).max(initial=0) <= error, told
                # The gradient of a mean is as much smaller as its loss is.
                divisor = each_loss.sum() / truth if reduction == "mean" and truth > 0 else 1
                unit = loss_table.allowed(dtype, 4 * (1 + np.abs(each_slope).max(initial=0)) / divisor, x.shape[-1])
                smallest = 2.0 ** (tolerance(dtype).min_exponent - tolerance(dtype).precision)
                assert np.abs(gradient.astype(slope.dtype) - slope).max(initial=0) <= unit + smallest, told


def compute_of(dtype):
    return "float64" if dtype == "float64" else "float32"


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.id)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_by_central_differences(loss, reduction):
    for options in loss.options:
        x, targets, keywords = loss.draw((4, 6), "float64", 5, options)
        keywords["reduction"] = reduction
        _, gradient = loss.call(x, targets, **keywords)
        step = 1e-5
        for at in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[at] += step
            down[at] -= step
            difference = np.sum(loss.call(up, targets, **keywords)[0] - loss.call(down, targets, **keywords)[0])
            error = abs(difference / (2 * step) - gradient[at])
            assert error <= tolerance("float64").central_difference * max(1, abs(gradient[at])), (options, at)


@pytest.mark.parametrize("loss, dtype", each())
def test_same_bits_for_every_isa_thread_count_and_layout(loss, dtype, switches):
    for shape in [(300, 65), (3, 5, 40), (2500, 7), (3, 1100)]:
        x, targets, keywords = loss.draw(shape, dtype, 2)
        expected = loss.call(x, targets, **keywords)
        for isa in _core.isas():
            _core.set_isa(isa)
            for threads in (1, 2, 3, 8):
                bz.set_num_threads(threads)
                _same(loss.call(x, targets, **keywords), expected, f"{isa} {threads}")
        for change in layouts.READABLE:
            told = f"{shape} {change.__name__}"
            given = {k: change(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
            _same(loss.call(change(x), change(targets), **given), expected, told)
            if change in layouts.WRITABLE:
                out = change(np.full_like(x, 77))
                results = loss.call(x, targets, **keywords, out=out)
                assert results[1] is out
                _same(results, expected, told)
        spread = np.broadcast_to(x[:1], x.shape)
        _same(loss.call(spread, targets, **keywords), loss.call(spread.copy(), targets, **keywords), "broadcast")
        place = x.copy()
        _same(loss.call(place, targets, **keywords, out=place), expected, "in place")


@pytest.mark.parametrize("loss, dtype", each())
def test_rows_are_independent_and_long_rows_are_not_special(loss, dtype):
    for columns in (50, 70001):
        x, targets, keywords = loss.draw((5, columns), dtype, 3)
        keywords["reduction"] = "none"
        losses, gradient = loss.call(x, targets, **keywords)
        for row in range(5):
            alone = loss.call(x[row : row + 1].copy(), targets[row : row + 1].copy(), **keywords)
            _same(alone, (losses[row : row + 1], gradient[row : row + 1]), f"row {row}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if loss.name == "softmax_cross_entropy"], ids=lambda loss: loss.id
)
def test_a_short_row_among_many_has_the_bits_of_one_alone(loss, dtype, switches):
    """Rows of few classes go through the kernels many at a time where there are many: one alone never does."""
    for columns in (2, 10, 21, 33, 64, 65, 160):
        for options in loss.options:
            x, targets, keywords = loss.draw((77, columns), dtype, columns, options)
            x[5], x[40, 1], x[41, 0] = -np.inf, np.nan, np.inf
            keywords |= {"reduction": "none", "grad_scale": 3.0}
            with np.errstate(invalid="ignore"):
                pairs = [loss.call(x[k : k + 1].copy(), targets[k : k + 1].copy(), **keywords) for k in range(77)]
            expected = [np.concatenate([pair[k] for pair in pairs]) for k in range(2)]
            for isa in _core.isas():
                _core.set_isa(isa)
                told = f"{columns} {options} {isa}"
                _same(loss.call(x, targets, **keywords), expected, told)
                _same(loss.call(layouts.strided(x), targets, **keywords), expected, told)
                place = x.copy()
                _same(loss.call(place, targets, **keywords, out=place), expected, told)
                if targets.ndim == 1:
                    across = np.ascontiguousarray(np.moveaxis(x.reshape(11, 7, columns), -1, 1))
                    losses, gradient = loss.call(across, targets.reshape(11, 7), axis=1, **keywords)
                    rows = np.ascontiguousarray(np.moveaxis(gradient, 1, -1)).reshape(77, columns)
                    _same((losses.reshape(77), rows), expected, f"{told} across")


@pytest.mark.parametrize("loss, dtype", each())
def test_no_rows(loss, dtype):
    for reduction in REDUCTIONS:
        x, targets, keywords = loss.draw((0, 4), dtype)
        value, gradient = loss.call(x, targets, **keywords, reduction=reduction)
        each = (0, 4) if loss.elementwise else (0,)
        assert gradient.shape == (0, 4) and (value == 0).all() and value.shape == (each if reduction == "none" else ())


def test_the_table_is_the_registry():
    assert {loss.name for loss in LOSSES} == set(bz.losses())
    assert all(loss.elementwise == (loss.name in ELEMENT) for loss in LOSSES)


@pytest.mark.parametrize("dtype", DTYPES)
def test_uniform_scores_give_the_logarithm_of_the_classes(dtype):
    for classes in (2, 10, 1000):
        for level in (0, 5, -5):
            loss, _ = bz.softmax_cross_entropy(np.full((3, classes), level, DTYPES[dtype]), np.array([0, 1, 1]))
            assert abs(loss - np.log(classes)) <= 4 * tolerance(compute_of(dtype)).unit * np.log(classes)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_logits(dtype):
    largest = float(tolerance(dtype).largest) / 4
    x = np.array([[largest, -largest, 0], [-largest, -largest, -largest], [0, largest, largest]]).astype(DTYPES[dtype])
    losses, gradient = bz.softmax_cross_entropy(x, np.array([0, 2, 1]), reduction="none")
    np.testing.assert_allclose(losses, [0, np.log(3), np.log(2)], rtol=4 * tolerance("float32").unit)
    np.testing.assert_allclose(
        gradient.astype("f8"), [[0, 0, 0], [1 / 3, 1 / 3, -2 / 3], [0, -0.5, 0.5]], atol=4 * tolerance(dtype).unit
    )
    wrong, _ = bz.softmax_cross_entropy(x[:1], np.array([1]))
    # In float32 arithmetic 2 * largest may be beyond the numbers of float16 alone.
    assert np.isfinite(wrong) and wrong >= largest


def test_masked_logits_and_nan():
    x = np.array([[1.0, -np.inf, 2.0], [np.nan, 1.0, 2.0], [np.inf, 1.0, 2.0], [-np.inf] * 3], "f4")
    with np.errstate(invalid="ignore"):
        losses, gradient = bz.softmax_cross_entropy(x, np.array([0, 1, 1, 1]), reduction="none")
    np.testing.assert_allclose(losses[0], np.log1p(np.exp(1.0)), rtol=1e-6)
    assert gradient[0, 1] == 0 and np.isnan(losses[1:]).all() and np.isnan(gradient[1:]).all()


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("columns", [3, 200, 3000])
def test_a_class_that_cannot_be_and_is_not_costs_nothing(columns, isa, switches):
    """Probability 0 times minus infinity is 0 and not NaN: soft labels, and a class of weight 0 under smoothing."""
    _core.set_isa(isa)
    rng = np.random.default_rng(columns)
    x = rng.standard_normal((4, columns)).astype("f4")
    x[:, 1] = -np.inf
    soft = rng.random((4, columns)).astype("f4")
    soft[:, 1] = 0
    soft /= soft.sum(axis=1, keepdims=True)
    rest = np.arange(columns) != 1
    losses, gradient = bz.softmax_cross_entropy(x, soft, reduction="none")
    expected, slopes = bz.softmax_cross_entropy(x[:, rest].copy(), soft[:, rest].copy(), reduction="none")
    np.testing.assert_allclose(losses, expected, rtol=64 * tolerance("float32").unit)
    np.testing.assert_allclose(gradient[:, rest], slopes, atol=4 * tolerance("float32").unit)
    assert (gradient[:, 1] == 0).all()

    weight = np.where(rest, 1, 0).astype("f4")
    losses, gradient = bz.softmax_cross_entropy(
        x, np.array([0, 2, 0, 2]), weight=weight, label_smoothing=0.2, reduction="none"
    )
    assert np.isfinite(losses).all() and np.isfinite(gradient).all() and (gradient[:, 1] == 0).all()


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8"])
def test_labels_of_every_kind(kind):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((50, 9)).astype("f4"), rng.integers(0, 9, 50)
    _same(bz.softmax_cross_entropy(x, labels.astype(kind)), bz.softmax_cross_entropy(x, labels))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_any_axis(axis):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 6)).astype("f4")
    labels = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
    losses, gradient = bz.softmax_cross_entropy(x, labels, axis=axis, reduction="none")
    moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    expected = bz.softmax_cross_entropy(moved, labels, reduction="none")
    _same((losses, np.moveaxis(gradient, axis, -1)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_across_memory(dtype, switches):
    """Classes before the positions, as of images: in place, with ignored labels, soft ones, several threads."""
    for shape in [(3, 20, 7, 7), (2, 5, 130), (4, 1030, 33), (5, 2, 64)]:
        rng = np.random.default_rng(2)
        x = loss_table.numbers(rng, shape, dtype)
        rows = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        labels = loss_table._some_ignored(rng, rows.shape, dtype)
        labels[0] = -100
        soft = loss_table.probabilities(rng, rows.shape, dtype)
        for targets, across in [(labels, labels), (soft, np.ascontiguousarray(np.moveaxis(soft, -1, 1)))]:
            expected = bz.softmax_cross_entropy(rows, targets, reduction="none")
            for threads in (1, 3):
                bz.set_num_threads(threads)
                place = x.copy()
                losses, gradient = bz.softmax_cross_entropy(place, across, axis=1, reduction="none", out=place)
                _same((losses, np.ascontiguousarray(np.moveaxis(gradient, 1, -1))), expected, shape)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pos_weight_is_a_number_or_an_array(dtype):
    rng = np.random.default_rng(1)
    x, targets = loss_table.numbers(rng, (4, 9), dtype), loss_table.probabilities(rng, (4, 9), dtype)
    weight = np.array(2.6, compute_of(dtype))
    expected = bz.sigmoid_cross_entropy(x, targets, pos_weight=weight)
    for given in (2.6, np.float64(2.6), weight[()], np.broadcast_to(weight, (4, 1))):
        _same(bz.sigmoid_cross_entropy(x, targets, pos_weight=given), expected)
    twice = bz.sigmoid_cross_entropy(x, targets, pos_weight=2)
    _same(bz.sigmoid_cross_entropy(x, targets, pos_weight=2.0), twice)
    for wrong, error in [(float("nan"), ValueError), (float("inf"), ValueError), ("2", TypeError), (2j, TypeError)]:
        with pytest.raises(error, match="sigmoid_cross_entropy: pos_weight"):
            bz.sigmoid_cross_entropy(x, targets, pos_weight=wrong)


def test_labels_out_of_range_are_named():
    x = np.zeros((2, 3, 4), "f4")
    labels = np.zeros((2, 3), "i8")
    labels[1, 2] = 4
    out = np.full_like(x, 7)
    with pytest.raises(
        ValueError, match=r"labels holds 4 at position \(1, 2\); expected 0 to 3, or ignore_index = -100"
    ):
        bz.softmax_cross_entropy(x, labels, out=out)
    assert (out == 7).all()
    with pytest.raises(ValueError, match="holds -100 at position 1; expected 0 to 3$"):
        bz.softmax_cross_entropy(x[0], np.array([0, -100, 2]), ignore_index=None)
    assert bz.softmax_cross_entropy(x[0], np.array([-100, -100, -100]))[0] == 0


def test_errors_name_the_argument():
    x, labels = np.zeros((3, 4), "f4"), np.zeros(3, "i8")
    read_only = np.zeros_like(x)
    read_only.flags.writeable = False
    for match, arguments, keywords in [
        ("logits has dtype int64", (labels, labels), {}),
        ("logits has no axis", (np.array(1, "f4"), labels), {}),
        ("logits has no classes", (np.zeros((3, 0), "f4"), labels), {}),
        (r"labels has shape \(2,\); expected \(3,\)", (x, labels[:2]), {}),
        (
            "labels has dtype float64; expected float32, the dtype of logits, for soft labels; classes are int32, int64 or",
            (x, np.zeros((3, 4))),
            {},
        ),
        ("labels has dtype int16; expected int32, int64 or uint8, or soft labels", (x, labels.astype("i2")), {}),
        ("labels has dtype uint32; expected int32, int64 or uint8", (x, labels.astype("u4")), {}),
        ("labels has dtype bool", (x, np.zeros(3, bool)), {}),
        (r"weight has shape \(3,\); expected \(4,\)", (x, labels), {"weight": np.ones(3, "f4")}),
        ("weight has dtype float64", (x, labels), {"weight": np.ones(4)}),
        ("label_smoothing is 1.5", (x, labels), {"label_smoothing": 1.5}),
        ("label_smoothing is nan", (x, labels), {"label_smoothing": float("nan")}),
        ("grad_scale is inf", (x, labels), {"grad_scale": float("inf")}),
        ("grad_scale is None; expected a finite number", (x, labels), {"grad_scale": None}),
        ("label_smoothing is None; expected 0 to 1", (x, labels), {"label_smoothing": None}),
        ("reduction is None; expected 'mean'", (x, labels), {"reduction": None}),
        (r"labels is list; expected an array of classes: np\.asarray\(labels\)", (x, [1, 2, 3]), {}),
        ("reduction is 'average'", (x, labels), {"reduction": "average"}),
        ("axis is 2", (x, labels), {"axis": 2}),
        ("out is read-only", (x, labels), {"out": read_only}),
        ("out has dtype float64", (x, labels), {"out": np.zeros((3, 4))}),
        ("out overlaps logits", (x[:, ::-1], labels), {"out": x}),
    ]:
        with pytest.raises((TypeError, ValueError), match=f"softmax_cross_entropy: {match}"):
            bz.softmax_cross_entropy(*arguments, **keywords)


# PyTorch's way to the same numbers, one an element or one a row.
_PYTORCH = {
    "softmax_cross_entropy": lambda f, x, t, **k: f.cross_entropy(x, t, reduction="none", **k),
    "multiclass_hinge": lambda f, x, t, **k: f.multi_margin_loss(x, t, reduction="none", **k) * x.shape[1],
    "sigmoid_cross_entropy": lambda f, x, t, **k: f.binary_cross_entropy_with_logits(x, t, reduction="none", **k),
    "mse": lambda f, x, t: f.mse_loss(x, t, reduction="none"),
    "mae": lambda f, x, t: f.l1_loss(x, t, reduction="none"),
    "huber": lambda f, x, t, delta=1.0: f.huber_loss(x, t, reduction="none", delta=delta),
    "kl_divergence": lambda f, x, t, log_target=False: f.kl_div(x, t, reduction="none", log_target=log_target).sum(-1),
}


# The gradient of logarithms is nothing but exp, and that of soft targets little but two sigmoids: ours are within 1.02
# and 1.87 ulp (docs/numbers.md), PyTorch's mostly within half, which their roundings of the rest nearly make up for.
_SLACK = {"kl_divergence.log": 1.1, "sigmoid_cross_entropy.soft": 1.02}
_PEERED = pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss.name in _PYTORCH], ids=lambda loss: loss.id)


def _errors(torch, loss, shape, options, seeds):
    """The root mean squares of ours and of PyTorch's errors against float64: of the losses, of the gradient."""
    ours, theirs = np.zeros(2), np.zeros(2)
    for seed in range(seeds):
        x, targets, keywords = loss.draw(shape, "float32", seed, options)
        results = loss.call(x, targets, **keywords, reduction="none")
        truth = loss.truth(x, targets, **keywords, reduction="none")
        tensor = torch.from_numpy(x).requires_grad_()
        given = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
        with torch.enable_grad():
            peer = _PYTORCH[loss.name](torch.nn.functional, tensor, torch.from_numpy(targets), **given)
            peer.sum().backward()
        for k, (a, b, t) in enumerate(zip(results, (peer.detach().numpy(), tensor.grad.numpy()), truth)):
            ours[k] += np.sqrt(np.mean((a - t) ** 2))
            theirs[k] += np.sqrt(np.mean((b - t) ** 2))
    return ours, theirs


@_PEERED
def test_not_further_from_the_truth_than_pytorch(loss):
    torch = pytest.importorskip("torch")
    for options in loss.options:
        for shape in [(64, 10), (64, 300), (8, 2000)]:
            ours, theirs = _errors(torch, loss, shape, options, 5)
            assert (ours <= _SLACK.get(loss.id, 1) * theirs).all(), f"{options} {shape}: {ours} against {theirs}"


@_PEERED
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reduced_losses_are_not_further_from_the_truth_than_pytorch_s(loss, reduction):
    """One number's error is one draw of a rounding, so many are taken together, each relative to the sum of its terms."""
    torch = pytest.importorskip("torch")
    ours = theirs = 0.0
    for options in loss.options:
        for shape in [(64, 10), (32, 100), (8, 600), (70, 30), (1100, 3)]:
            for seed in range(12):
                x, targets, keywords = loss.draw(shape, "float32", seed, options)
                value, _ = loss.call(x, targets, **keywords, reduction=reduction)
                truth, _ = loss.truth(x, targets, **keywords, reduction=reduction)
                given = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in keywords.items()}
                tensors = torch.from_numpy(x), torch.from_numpy(targets)
                if loss.name == "softmax_cross_entropy":
                    peer = torch.nn.functional.cross_entropy(*tensors, reduction=reduction, **given)
                else:
                    peer = getattr(_PYTORCH[loss.name](torch.nn.functional, *tensors, **given), reduction)()
                size = np.abs(loss.truth(x, targets, **keywords, reduction="none")[0]).sum()
                size /= 1 if reduction == "sum" else loss.truth(x, targets, **keywords, reduction="sum")[0] / truth
                ours += float((value - truth) / size) ** 2
                theirs += float((float(peer) - truth) / size) ** 2
    assert ours <= theirs, f"{np.sqrt(ours)} against {np.sqrt(theirs)}"
