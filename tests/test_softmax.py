# SPDX-License-Identifier: BSD-3-Clause
"""softmax, log_softmax, sparsemax: against the reference, the same bits however computed, extreme rows."""

import brazen as bz
import layouts
import numpy as np
import pytest
from brazen import _core, reference
from loss_table import allowed, numbers
from tolerance import DTYPES, same_bits, tolerance

NAMES = [entry["name"] for entry in _core.row_operations() if entry["family"] == "row_map"]
SHAPES = [(7, 40), (3, 4, 33), (2, 1500), (1100, 5), (40, 1), (9,), (2, 70000)]


def _both(module, name, x, dy, **keywords):
    operation = getattr(module, name)
    y = operation(x, **keywords)
    return y, operation.backward(dy, y, **keywords)


@pytest.fixture
def switches():
    yield
    _core.set_isa("")
    bz.set_num_threads(None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_against_the_reference(name, dtype):
    kind = np.longdouble if dtype == "float64" else np.float64
    for shape in SHAPES:
        rng = np.random.default_rng(1)
        x, dy = numbers(rng, shape, dtype), numbers(rng, shape, dtype, 1.0)
        y, dx = _both(bz, name, x, dy)
        truth = getattr(reference, name)(x.astype(kind))
        assert y.dtype == x.dtype
        size = np.abs(truth).max() if name == "log_softmax" else 1
        assert np.abs(y.astype(kind) - truth).max() <= allowed(dtype, 2 * size), shape
        if name != "log_softmax":
            mask = truth > 1e-30
            relative = np.abs(y.astype(kind) - truth)[mask] / truth[mask]
            if name == "softmax" and dtype in ("float32", "float64"):
                # The argument of exp is rounded once, by up to half an ulp of 32.
                assert relative.max() <= 64 * tolerance(dtype).unit
        slope = getattr(reference, name).backward(dy.astype(kind), y.astype(kind))
        terms = (
            np.abs(dy.astype(kind)).sum(axis=-1).max() if name == "log_softmax" else 1 + np.abs(dy.astype(kind)).max()
        )
        assert np.abs(dx.astype(kind) - slope).max() <= allowed(dtype, 4 * terms), shape


@pytest.mark.parametrize("name", NAMES)
def test_gradient_by_central_differences(name):
    rng = np.random.default_rng(2)
    x, dy, step = rng.standard_normal((4, 6)), rng.standard_normal((4, 6)), 1e-6
    _, dx = _both(bz, name, x, dy)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        difference = ((getattr(bz, name)(up) - getattr(bz, name)(down)) * dy).sum() / (2 * step)
        assert abs(difference - dx[at]) <= tolerance("float64").central_difference * max(1, abs(dx[at]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_every_isa_thread_count_layout_and_axis(name, dtype, switches):
    for shape in [(700, 65), (3, 5, 40), (3, 1100)]:
        rng = np.random.default_rng(3)
        x, dy = numbers(rng, shape, dtype), numbers(rng, shape, dtype, 1.0)
        expected = _both(bz, name, x, dy)
        for isa in _core.isas():
            _core.set_isa(isa)
            for threads in (1, 2, 3, 8):
                bz.set_num_threads(threads)
                for one, other in zip(_both(bz, name, x, dy), expected):
                    assert not same_bits(one, other), (isa, threads)
        for change in layouts.READABLE:
            assert not same_bits(getattr(bz, name)(change(x)), expected[0]), change.__name__
            assert not same_bits(getattr(bz, name).backward(change(dy), change(expected[0])), expected[1])
            if change in layouts.WRITABLE:
                out = change(np.full_like(x, 7))
                assert getattr(bz, name)(x, out=out) is out and not same_bits(np.asarray(out), expected[0])
                assert getattr(bz, name).backward(dy, expected[0], out=out) is out
                assert not same_bits(np.asarray(out), expected[1])
        for k in range(2):
            place = [dy.copy(), expected[0].copy()]
            assert not same_bits(getattr(bz, name).backward(*place, out=place[k]), expected[1])
        place = x.copy()
        assert not same_bits(getattr(bz, name)(place, out=place), expected[0])
        for axis in range(x.ndim):
            moved = np.moveaxis(x, -1, axis), np.moveaxis(dy, -1, axis)
            results = _both(bz, name, *(np.ascontiguousarray(array) for array in moved), axis=axis)
            for one, other in zip(results, expected):
                assert not same_bits(np.ascontiguousarray(np.moveaxis(one, axis, -1)), other)


# Rows that lie across memory: more and fewer of them side by side than a panel holds, an end inside one, long rows.
ACROSS = [(3, 20, 7, 7), (2, 5, 130), (4, 1030, 33), (2, 300, 3), (90, 17), (5, 2, 64)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_rows_across_memory(name, dtype, switches):
    for shape in ACROSS:
        axis = 0 if len(shape) == 2 else 1
        rng = np.random.default_rng(6)
        x, dy = numbers(rng, shape, dtype), numbers(rng, shape, dtype, 1.0)
        rows = [np.ascontiguousarray(np.moveaxis(array, axis, -1)) for array in (x, dy)]
        expected = [np.moveaxis(array, -1, axis) for array in _both(bz, name, *rows)]
        y = np.ascontiguousarray(expected[0])
        for threads in (1, 3):
            bz.set_num_threads(threads)
            for one, other in zip(_both(bz, name, x, dy, axis=axis), expected):
                assert not same_bits(np.ascontiguousarray(one), np.ascontiguousarray(other)), shape
            place = x.copy()
            assert not same_bits(getattr(bz, name)(place, axis, place), y), f"{shape} in place"
            for k in range(2):
                pair = [dy.copy(), y.copy()]
                result = getattr(bz, name).backward(*pair, axis, pair[k])
                assert not same_bits(result, np.ascontiguousarray(expected[1])), f"{shape} in place of {k}"
            # Beside the view, nothing is touched: columns 3 to -2 of wider rows.
            wide = np.full((*shape[:-1], shape[-1] + 5), 7, x.dtype)
            wide[..., 3:-2] = x
            view = wide[..., 3:-2]
            getattr(bz, name)(view, axis, view)
            assert not same_bits(np.ascontiguousarray(view), y)
            assert (wide[..., :3] == 7).all() and (wide[..., -2:] == 7).all()


# Short rows go through the kernels many at a time where there are many, up to 160 elements where they lie across memory:
# one alone never does.
SHORT = (2, 3, 10, 21, 32, 33, 48, 49, 64, 65, 160, 161)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_short_row_among_many_has_the_bits_of_one_alone(name, dtype, switches):
    operation = getattr(bz, name)
    for columns in SHORT:
        rng = np.random.default_rng(columns)
        x, dy = (numbers(rng, (77, columns), dtype, scale) for scale in (3.0, 1.0))
        x[5], x[40, 1], x[41, 0], x[42] = -np.inf, np.nan, np.inf, -0.0
        with np.errstate(invalid="ignore"):
            pairs = [_both(bz, name, x[k].copy(), dy[k].copy()) for k in range(len(x))]
        y, dx = (np.stack([pair[k] for pair in pairs]) for k in range(2))
        for isa in _core.isas():
            _core.set_isa(isa)
            for change in (np.array, *layouts.READABLE) if columns < 70 else ():
                given, grads = change(x), change(dy)
                assert not same_bits(operation(given), y), f"{columns} {isa} {change.__name__}"
                assert not same_bits(operation.backward(grads, change(y)), dx), f"{columns} {isa} {change.__name__}"
            # Bundles that begin and end inside a sample: 7 and 11 positions of 77, beside each other in memory.
            for inner in (7, 11):
                across = [np.ascontiguousarray(np.moveaxis(a.reshape(-1, inner, columns), -1, 1)) for a in (x, dy, y)]
                for result, wanted in [
                    (operation(across[0], axis=1), y),
                    (operation.backward(across[1], across[2], axis=1), dx),
                    (operation(across[0], axis=1, out=across[0]), y),
                ]:
                    rows = np.ascontiguousarray(np.moveaxis(result, 1, -1)).reshape(77, columns)
                    assert not same_bits(rows, wanted), f"{columns} {isa} across {inner}"


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_independent(name):
    for columns in (50, 70001):
        rng = np.random.default_rng(4)
        x, dy = numbers(rng, (4, columns), "float32"), numbers(rng, (4, columns), "float32")
        y, dx = _both(bz, name, x, dy)
        for row in range(4):
            alone = _both(bz, name, x[row].copy(), dy[row].copy())
            assert not same_bits(alone[0], y[row]) and not same_bits(alone[1], dx[row])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sparsemax"])
def test_not_further_from_the_truth_than_pytorch(name):
    """The root mean square errors against float64, over shapes of few and of many elements together."""
    torch = pytest.importorskip("torch")
    ours, theirs = np.zeros(2), np.zeros(2)
    for shape in [(300, 10), (300, 21), (300, 64), (60, 300), (8, 5000)]:
        for seed in range(5):
            rng = np.random.default_rng(seed)
            x, dy = numbers(rng, shape, "float32"), numbers(rng, shape, "float32", 1.0)
            y, dx = _both(bz, name, x, dy)
            truth, slope = _both(reference, name, x.astype("f8"), dy.astype("f8"))
            tensor = torch.from_numpy(x).requires_grad_()
            with torch.enable_grad():
                peer = getattr(torch, name)(tensor, -1)
                peer.backward(torch.from_numpy(dy))
            for k, (a, b, t) in enumerate([(y, peer.detach().numpy(), truth), (dx, tensor.grad.numpy(), slope)]):
                ours[k] += np.sqrt(np.mean((a - t) ** 2)) / np.abs(t).max()
                theirs[k] += np.sqrt(np.mean((b - t) ** 2)) / np.abs(t).max()
    assert (ours <= theirs).all(), f"{ours} against {theirs}"


def test_extreme_rows():
    largest = float(np.finfo("f4").max)
    x = np.array([[largest, -largest, 0], [-np.inf, 0, 0], [np.nan, 0, 0], [-1e30] * 3], "f4")
    with np.errstate(invalid="ignore"):
        for name in NAMES:
            y = getattr(bz, name)(x)
            assert np.isnan(y[2]).all() and not np.isnan(y[[0, 1, 3]]).any(), name
    np.testing.assert_allclose(bz.softmax(x)[[0, 1, 3]], [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3], rtol=1e-6)
    np.testing.assert_allclose(bz.sparsemax(x)[[0, 1, 3]], [[1, 0, 0], [0, 0.5, 0.5], [1 / 3] * 3], rtol=1e-6)
    assert bz.log_softmax(x)[0, 0] == 0 and bz.log_softmax(x)[1, 0] == -np.inf


def test_rows_of_sparsemax_sum_to_one():
    x = np.random.default_rng(5).standard_normal((500, 300)).astype("f4")
    y = bz.sparsemax(x)
    np.testing.assert_allclose(y.sum(axis=-1, dtype="f8"), 1, atol=300 * tolerance("float32").unit)
    assert 1 < (y > 0).sum(axis=-1).mean() < 30


def test_zero_size_and_errors():
    assert bz.softmax(np.zeros((0, 4), "f4")).shape == (0, 4) and bz.softmax(np.zeros((4, 0), "f4")).shape == (4, 0)
    x = np.zeros((2, 3), "f4")
    for match, call in [
        ("softmax: x has dtype int64", lambda: bz.softmax(np.zeros(3, "i8"))),
        ("softmax: x has no axis", lambda: bz.softmax(np.zeros((), "f4"))),
        ("softmax: axis is 2", lambda: bz.softmax(x, axis=2)),
        ("log_softmax: y has shape", lambda: bz.log_softmax.backward(x, x[:1])),
        (r"softmax: there is no argument dim \(here it is axis\); it takes x, axis, out", lambda: bz.softmax(x, dim=1)),
        ("layer_norm: there is no argument weight .here it is scale.", lambda: bz.layer_norm(x, weight=x)),
        ("mse: there is no argument size_average; it takes prediction", lambda: bz.mse(x, x, size_average=True)),
        ("sparsemax: out overlaps x", lambda: bz.sparsemax(x[::-1], out=x)),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            call()
