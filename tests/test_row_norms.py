# SPDX-License-Identifier: BSD-3-Clause
"""Layer, RMS, group, instance norm and the lengths of rows: against the reference, and the same bits however computed."""

import brazen as bz
import layouts
import numpy as np
import pytest
from brazen import _core, reference
from loss_table import allowed, numbers
from tolerance import DTYPES, compute_type, same_bits, tolerance

WHOLE = ("layer_norm", "rms_norm")
CHANNELS = ("group_norm", "instance_norm")
NAMES = WHOLE + CHANNELS
SHAPES = {
    **dict.fromkeys(WHOLE, [(7, 40), (3, 4, 33), (2, 1500), (1100, 5), (40, 1), (130, 64)]),
    **dict.fromkeys(CHANNELS, [(3, 8, 5, 7), (2, 4, 1100), (5, 6), (40, 4, 9), (2, 12, 3, 2, 2)]),
}


def _parameters(dtype):
    """float32 where the arrays are 16 bits wide."""
    return "float64" if dtype == "float64" else "float32"


def _draw(name, shape, dtype, seed=0, scale=True, shift=True, add=False, axis=None):
    rng = np.random.default_rng(seed)
    axis = (-1 if name in WHOLE else 1) if axis is None else axis
    of = shape[axis % len(shape) :] if name in WHOLE else (shape[axis],)
    x = (numbers(rng, shape, dtype, 2.0).astype("f8") + 0.5).astype(DTYPES[dtype])
    keywords = {"axis": axis}
    if scale:
        keywords["scale"] = (rng.random(of) + 0.5).astype(_parameters(dtype))
    if shift and name != "rms_norm":
        keywords["shift"] = rng.standard_normal(of).astype(_parameters(dtype))
    if add and name in WHOLE:
        keywords["add"] = numbers(rng, shape, dtype)
    if name == "group_norm":
        keywords["groups"] = 2
    return x, numbers(rng, shape, dtype, 1.0), keywords


def _both(module, name, x, dy, keywords, **slots):
    operation = getattr(module, name)
    y, saved = operation(x, **keywords)
    return y, saved, operation.backward(dy, saved, **slots)


def _wide(array, kind):
    return array.astype(kind) if isinstance(array, np.ndarray) else array


def _same(a, b, told=""):
    y, saved, gradients = a
    expected_y, expected_saved, expected = b
    pairs = {"y": (y, expected_y), "mean": (saved.mean, expected_saved.mean)}
    pairs |= {"inverse_std": (saved.inverse_std, expected_saved.inverse_std)}
    pairs |= {field: (getattr(gradients, field), getattr(expected, field)) for field in gradients._fields}
    for what, (one, other) in pairs.items():
        assert (one is None) == (other is None), what
        wrong = "" if one is None else same_bits(np.asarray(one), np.asarray(other))
        assert not wrong, f"{told} {what}: {wrong}"


@pytest.fixture
def switches():
    yield
    _core.set_isa("")
    bz.set_num_threads(None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_against_the_reference(name, dtype):
    kind = np.longdouble if dtype == "float64" else np.float64
    for shape in SHAPES[name]:
        for options in [{}, {"scale": False}, {"shift": False}, {"scale": False, "shift": False}, {"add": True}]:
            x, dy, keywords = _draw(name, shape, dtype, 1, **options)
            y, saved, gradients = _both(bz, name, x, dy, keywords)
            wide = {key: _wide(value, kind) for key, value in keywords.items() if key != "add"}
            if "add" in keywords:
                total = (x.astype(compute_type(dtype)) + keywords["add"].astype(compute_type(dtype))).astype(x.dtype)
                assert not same_bits(saved.x, total) and gradients.add is gradients.x
                x = total
            truth, _, slopes = _both(reference, name, x.astype(kind), dy.astype(kind), wide)
            told = f"{shape} {options}"
            assert y.dtype == x.dtype and gradients.x.dtype == x.dtype
            size = 4 + np.abs(truth).max()
            assert np.abs(y.astype(kind) - truth).max() <= allowed(dtype, size), told
            deviation = np.abs(saved.inverse_std.astype(kind)).max()
            unit = allowed(dtype, 4 * deviation * (1 + np.abs(dy.astype(kind)).max()) ** 2, 40)
            assert np.abs(gradients.x.astype(kind) - slopes.x).max() <= unit, told
            for field in ("scale", "shift"):
                ours, theirs = getattr(gradients, field), getattr(slopes, field)
                assert (ours is None) == (theirs is None) == (keywords.get(field) is None)
                if ours is not None:
                    terms = dy.size // max(1, ours.size)
                    error = tolerance(compute_type(dtype)).unit * terms * 40
                    assert ours.dtype == keywords[field].dtype
                    assert np.abs(ours - theirs).max() <= error, f"{told} d{field}"


@pytest.mark.parametrize("name", NAMES)
def test_gradients_by_central_differences(name):
    shape = (3, 5) if name in WHOLE else (2, 4, 3)
    x, dy, keywords = _draw(name, shape, "float64", 3, add=name in WHOLE)
    gradients = _both(bz, name, x, dy, keywords)[2]

    def value(**changed):
        given = {**keywords, **{key: array for key, array in changed.items() if key != "x"}}
        return (getattr(bz, name)(changed.get("x", x), **given)[0] * dy).sum()

    step = 1e-6
    for field in gradients._fields:
        gradient = getattr(gradients, field)
        if gradient is None:
            continue
        array = x if field == "x" else keywords[field]
        for at in np.ndindex(array.shape):
            up, down = array.copy(), array.copy()
            up[at] += step
            down[at] -= step
            difference = (value(**{field: up}) - value(**{field: down})) / (2 * step)
            error = 10 * tolerance("float64").central_difference * max(1, abs(gradient[at]))
            assert abs(difference - gradient[at]) <= error, (field, at)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_same_bits_for_every_isa_thread_count_and_layout(name, dtype, switches):
    big = [(2100, 33), (5, 70, 64)] if name in WHOLE else [(40, 8, 61), (3, 4, 30, 40)]
    for shape in big:
        x, dy, keywords = _draw(name, shape, dtype, 2, add=name in WHOLE)
        expected = _both(bz, name, x, dy, keywords)
        for isa in _core.isas():
            _core.set_isa(isa)
            for threads in (1, 2, 3, 8):
                bz.set_num_threads(threads)
                _same(_both(bz, name, x, dy, keywords), expected, f"{isa} {threads}")
        for change in layouts.READABLE:
            told = f"{shape} {change.__name__}"
            given = {key: change(v) if isinstance(v, np.ndarray) else v for key, v in keywords.items()}
            _same(_both(bz, name, change(x), change(dy), given), expected, told)
            if change in layouts.WRITABLE:
                out = change(np.full_like(x, 7))
                y, saved = getattr(bz, name)(x, **keywords, out=out)
                assert y is out and not same_bits(np.asarray(y), expected[0])
                gradients = getattr(bz, name).backward(dy, saved, dx=out)
                assert gradients.x is out and not same_bits(np.asarray(gradients.x), expected[2].x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_in_place_and_slots(name, dtype):
    x, dy, keywords = _draw(name, (40, 8, 16), dtype, 4)
    expected = _both(bz, name, x, dy, keywords)
    place = x.copy()
    y, _ = getattr(bz, name)(place, **keywords, out=place)
    assert y is place and not same_bits(place, expected[0])
    _, saved = getattr(bz, name)(x, **keywords)
    for over in ("dy", "x"):
        own_dy, own = dy.copy(), saved._replace(x=x.copy())
        slots = {"dx": own_dy if over == "dy" else own.x, "dscale": np.empty_like(keywords["scale"])}
        if "shift" in keywords:
            slots["dshift"] = np.empty_like(keywords["shift"])
        gradients = getattr(bz, name).backward(own_dy, own, **slots)
        assert gradients.x is slots["dx"] and gradients.scale is slots["dscale"]
        _same((expected[0], saved, gradients), expected, over)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_forward_pass_wrote_over_is_gone(name):
    x, dy, keywords = _draw(name, (6, 8, 16), "float32", 4)
    for out in ("x", "view", "empty"):
        own = x[:0].copy() if out == "empty" else x.copy()
        _, saved = getattr(bz, name)(own, **keywords, out=own if out == "x" else own[:])
        if out == "empty":
            getattr(bz, name).backward(dy[:0], saved)
            continue
        with pytest.raises(
            ValueError, match=f"{name}: x is gone, the forward call wrote over it; give it an out apart"
        ):
            getattr(bz, name).backward(dy, saved)


@pytest.mark.parametrize("name", WHOLE)
def test_a_sum_outlives_its_addends(name):
    x, dy, keywords = _draw(name, (6, 16), "float32", 4, add=True)
    expected = _both(bz, name, x, dy, keywords)
    for over in ("x", "add"):
        given = {**keywords, "x": x.copy(), "add": keywords["add"].copy()}
        y, saved = getattr(bz, name)(**given, out=given[over][:])
        _same((y, saved, getattr(bz, name).backward(dy, saved)), expected, over)


def test_slots_for_the_gradient_of_add():
    x, dy, keywords = _draw("layer_norm", (6, 16), "float32", 4, add=True)
    _, saved = bz.layer_norm(x, **keywords)
    dadd, dx = np.empty_like(x), np.empty((7, 16), "float32")
    read_only = dadd.copy()
    read_only.flags.writeable = False
    gradients = bz.layer_norm.backward(dy, saved, dadd=dadd)
    assert gradients.add is dadd and not same_bits(dadd, gradients.x)
    for slot, kind, text in [
        (dadd.astype("f8"), TypeError, "dadd has dtype float64; expected float32"),
        (dadd[:1], ValueError, r"dadd has shape \(1, 16\); expected \(6, 16\)"),
        (dx[1:], ValueError, "dadd overlaps dx in memory"),
        (read_only, ValueError, "dadd is read-only"),
        (dadd.tolist(), TypeError, "dadd is list"),
    ]:
        with pytest.raises(kind, match=f"layer_norm: {text}"):
            bz.layer_norm.backward(dy, saved, dx=dx[:6], dadd=slot)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_independent(name):
    for shape in [(6, 300), (3, 70000)] if name in WHOLE else [(6, 8, 40)]:
        x, dy, keywords = _draw(name, shape, "float32", 5)
        y, saved, gradients = _both(bz, name, x, dy, keywords)
        for row in range(shape[0]):
            alone = _both(bz, name, x[row : row + 1].copy(), dy[row : row + 1].copy(), keywords)
            assert not same_bits(alone[0], y[row : row + 1]) and not same_bits(alone[2].x, gradients.x[row : row + 1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_16_bits(name, dtype):
    """They are widened: the results are those of the same numbers in float32, their gradients' rounded."""
    for shape in SHAPES[name]:
        x, dy, keywords = _draw(name, shape, dtype, 2)
        narrow = {k: v.astype(DTYPES[dtype]) if k in ("scale", "shift") else v for k, v in keywords.items()}
        wide = {k: v.astype("f4") if k in ("scale", "shift") else v for k, v in narrow.items()}
        y, _, gradients = _both(bz, name, x, dy, narrow)
        expected, _, slopes = _both(bz, name, x, dy, wide)
        assert not same_bits(y, expected) and not same_bits(gradients.x, slopes.x), shape
        for field in ("scale", "shift"):
            if field in narrow:
                given, wanted = getattr(gradients, field), getattr(slopes, field)
                assert not same_bits(given, wanted.astype(DTYPES[dtype])), f"{shape} {field}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_short_rows_that_leave_the_caches_together(dtype):
    """Results of 8 MB and more are written past the caches, several short rows at once, and what is left of them last:
    the bits of parts that are too small for it, in results that held something else before."""
    rows, columns = (11003, 300) if dtype == "float32" else (22003, 300)
    random = np.random.default_rng(3)
    x, dy = (random.standard_normal((rows, columns)).astype(DTYPES[dtype]) for _ in range(2))
    labels = random.integers(0, columns, rows)

    def norm(x, dy, labels, out):
        _, saved = bz.layer_norm(x, out=out[0])
        bz.layer_norm.backward(dy, saved, dx=out[1])

    def maps(x, dy, labels, out):
        y = bz.softmax(x, out=out[0])
        bz.softmax.backward(dy, y, out=out[1])

    def losses(x, dy, labels, out):
        bz.softmax_cross_entropy(x, labels, reduction="none", out=out[0])
        bz.multiclass_hinge(x, labels, reduction="none", out=out[1])

    def images(x, dy, labels, out):
        _, saved = bz.instance_norm(x[None], out=out[0][None])
        bz.instance_norm.backward(dy[None], saved, dx=out[1][None])

    for call in (norm, maps, losses, images):
        whole, parts = (np.full((2, rows, columns), np.nan, x.dtype) for _ in range(2))
        call(x, dy, labels, whole)
        for start in range(0, rows, 1000):
            part = slice(start, start + 1000)
            call(x[part], dy[part], labels[part], parts[:, part])
        wrong = same_bits(whole, parts)
        assert not wrong and not np.isnan(whole.astype("f4")).any(), f"{call.__name__}: {wrong}"


@pytest.mark.parametrize("name", NAMES)
def test_rows_far_from_zero_lose_nothing(name):
    """The mean's rounding rest is not lost: a row and the same row far away normalise alike, as far as x can say."""
    rng = np.random.default_rng(7)
    shape = (4, 512) if name == "layer_norm" else (4, 8, 128)
    if name == "rms_norm":
        pytest.skip("no mean is subtracted")
    x = (rng.standard_normal(shape) + 1e4).astype("f4")
    keywords = {"groups": 2} if name == "group_norm" else {}
    y = getattr(bz, name)(x, **keywords)[0]
    truth = getattr(reference, name)(x.astype("f8"), **keywords)[0]
    assert np.abs(y - truth).max() <= 32 * tolerance("float32").unit * np.abs(truth).max()


@pytest.mark.parametrize("name", NAMES)
def test_not_further_from_the_truth_than_pytorch(name):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    for shape in SHAPES[name][:3]:
        ours, theirs = np.zeros(2), np.zeros(2)
        for seed in range(10):
            x, dy, keywords = _draw(name, shape, "float32", seed)
            y, _, gradients = _both(bz, name, x, dy, keywords)
            truth, _, slopes = _both(
                reference, name, x.astype("f8"), dy.astype("f8"), {k: _wide(v, "f8") for k, v in keywords.items()}
            )
            tensor = torch.from_numpy(x).requires_grad_()
            weight = torch.from_numpy(keywords["scale"])
            bias = torch.from_numpy(keywords["shift"]) if "shift" in keywords else None
            if name == "layer_norm":
                peer = f.layer_norm(tensor, weight.shape, weight, bias)
            elif name == "rms_norm":
                peer = f.rms_norm(tensor, weight.shape, weight, 1e-6)
            elif name == "group_norm":
                peer = f.group_norm(tensor, 2, weight, bias)
            else:
                if x.ndim == 2:
                    continue
                peer = f.instance_norm(tensor, weight=weight, bias=bias)
            peer.backward(torch.from_numpy(dy))
            for k, (a, b, t) in enumerate(
                [(y, peer.detach().numpy(), truth), (gradients.x, tensor.grad.numpy(), slopes.x)]
            ):
                ours[k] += np.sqrt(np.mean((a - t) ** 2))
                theirs[k] += np.sqrt(np.mean((b - t) ** 2))
        assert (ours <= theirs).all(), f"{shape}: {ours} against {theirs}"


@pytest.mark.parametrize("name", NAMES)
def test_no_rows_and_nan(name):
    shape = (0, 6) if name in WHOLE else (0, 6, 3)
    x, dy, keywords = _draw(name, shape, "float32")
    y, _, gradients = _both(bz, name, x, dy, keywords)
    assert y.shape == shape and gradients.x.shape == shape and (gradients.scale == 0).all()
    x, dy, keywords = _draw(name, (2, 6, 4), "float32")
    x[1, 2, 1] = np.nan
    y, _, gradients = _both(bz, name, x, dy, keywords)
    assert np.isnan(y[1, 2]).all() and not np.isnan(y[0]).any() and np.isnan(gradients.x[1, 2]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_norms(dtype, switches):
    rng = np.random.default_rng(8)
    kind = np.longdouble if dtype == "float64" else np.float64
    for shape, axis in [
        ((5, 7), -1),
        ((5, 7), 0),
        ((3, 4, 5), (1, 2)),
        ((3, 4, 5), (0, 2)),
        ((2, 70000), 1),
        ((0, 4), 1),
    ]:
        x = numbers(rng, shape, dtype)
        norms, truth = bz.row_norms(x, axis=axis), reference.row_norms(x.astype(kind), axis=axis)
        assert norms.dtype == compute_type(dtype) and norms.shape == truth.shape
        assert (np.abs(norms - truth) <= 24 * tolerance(compute_type(dtype)).unit * truth).all()
        for change in layouts.READABLE:
            assert not same_bits(bz.row_norms(change(x), axis=axis), norms), change.__name__
        for threads in (1, 3):
            bz.set_num_threads(threads)
            assert not same_bits(bz.row_norms(x, axis=axis), norms)
        out = np.empty(truth.shape, norms.dtype)
        assert bz.row_norms(x, axis=axis, out=out) is out and not same_bits(out, norms)


def test_errors_name_the_argument():
    x = np.zeros((4, 6), "f4")
    scale = np.ones(6, "f4")
    _, saved = bz.layer_norm(x, scale)
    images = np.zeros((2, 6, 3), "f4")
    for match, call in [
        ("layer_norm: x has dtype int64", lambda: bz.layer_norm(np.zeros((2, 2), "i8"))),
        (r"layer_norm: scale has shape \(4,\); expected \(6,\)", lambda: bz.layer_norm(x, scale[:4])),
        ("layer_norm: shift has dtype float64", lambda: bz.layer_norm(x, scale, np.ones(6))),
        ("layer_norm: add has shape", lambda: bz.layer_norm(x, add=x[:2])),
        ("layer_norm: eps is -1", lambda: bz.layer_norm(x, eps=-1.0)),
        ("layer_norm: eps is '1e-5'; expected a number", lambda: bz.layer_norm(x, eps="1e-5")),
        ("layer_norm: saved is ndarray; expected what the forward call", lambda: bz.layer_norm.backward(x, x)),
        ("layer_norm: axis is 2", lambda: bz.layer_norm(x, axis=2)),
        ("layer_norm: out overlaps x", lambda: bz.layer_norm(x[:, ::-1], out=x)),
        ("layer_norm: dy has shape", lambda: bz.layer_norm.backward(x[:2], saved)),
        ("layer_norm: dshift was given", lambda: bz.layer_norm.backward(x, saved, dshift=scale)),
        ("layer_norm: dscale overlaps scale", lambda: bz.layer_norm.backward(x, saved, dscale=scale)),
        ("layer_norm: mean has shape", lambda: bz.layer_norm.backward(x, saved._replace(mean=saved.mean[:2]))),
        ("group_norm: groups is 4; expected a divisor of 6", lambda: bz.group_norm(images, 4)),
        ("group_norm: groups is 0", lambda: bz.group_norm(images, 0)),
        ("group_norm: axis is 0, the samples", lambda: bz.group_norm(images, 2, axis=0)),
        ("instance_norm: x has shape", lambda: bz.instance_norm(scale)),
        ("row_norms: axis names -1 twice", lambda: bz.row_norms(x, axis=(1, -1))),
        ("row_norms: out has dtype float64", lambda: bz.row_norms(x, out=np.zeros(4))),
    ]:
        with pytest.raises((TypeError, ValueError), match=match):
            call()
