# SPDX-License-Identifier: BSD-3-Clause
"""The options every optimizer has, alone and together, and the functions for loops of one's own, against the reference."""

import math

import brazen as bz
import ml_dtypes
import numpy as np
import optim_cases
import pytest
from brazen import _core, reference
from test_optim_lists import different, everything
from tolerance import tolerance

SHAPES = [(7,), (5, 13), (), (0,), (1031,)]
STEPS = 20
OPTIONS = [
    {"clip_norm": 0.5},
    {"clip_norm": 1e9},
    {"clip_value": 0.3},
    {"l1": 0.1},
    {"l2": 0.1},
    {"maximize": True},
    {"agc": 0.1},
    {"agc": 0.1, "unit_axis": 0, "agc_eps": 0.5, "l2": 0.1, "clip_value": 0.5},
    {"agc": 0.1, "unit_axis": 1, "weight_decay": 0.1},
    {"max_norm": 0.7},
    {"max_norm": 0.7, "unit_axis": 0, "ema": 0.9},
    {"max_norm": 0.7, "unit_axis": 1},
    {"ema": 0.9},
    {"ema": 0.9, "ema_bias_correction": True},
    {"clip_norm": 0.5, "clip_value": 0.01, "l1": 0.1, "l2": 0.1, "weight_decay": 0.1, "ema": 0.9, "maximize": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_options_follow_the_reference(name, options):
    shapes = [(3, 4, 5), (1100, 3), (3, 70), *(shape for shape in SHAPES if shape != ())]
    if options.get("unit_axis") == 1:
        shapes = [
            shape for shape in shapes if len(shape) > 1
        ]  # the reference's corrected average of one number is no array
    params = optim_cases.arrays(shapes, "float64")
    truth = [p.copy() for p in params]
    opt, rule = bz.optim.get(name)(params, lr=0.1, **options), reference.optim.get(name)(lr=0.1, **options)
    for step in range(STEPS):
        grads = [8 * g for g in optim_cases.gradients(step, shapes, "float64")]
        mine, theirs = opt.step(grads, scale=8.0), rule.step(truth, grads, scale=8.0)
        if "clip_norm" in options:
            assert mine.grad_norm == pytest.approx(float(theirs.grad_norm), rel=1e-12)
    assert not optim_cases.too_far(params, truth, STEPS, "float64")
    if "ema" in options:
        assert not optim_cases.too_far(opt.averages, rule.averages(), STEPS, "float64")


@pytest.mark.parametrize("name", bz.optim.names())
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_step_that_is_skipped_changes_nothing(name, value):
    options = {"skip_nonfinite": True, "ema": 0.9, "ema_bias_correction": True, "zero_grads": False, "clip_norm": 1.0}
    params, twins = optim_cases.arrays(SHAPES), optim_cases.arrays(SHAPES)
    opt, other = (bz.optim.get(name)(p, **options) for p in (params, twins))
    for step in range(6):
        grads = optim_cases.gradients(step, SHAPES)
        if step in (0, 3):
            before = [np.array(a) for a in [*everything(opt, params), *opt.averages]]
            bad = [g.copy() for g in grads]
            bad[step].flat[-1:] = value
            bad[4][1030] = value
            report = opt.step(bad)
            assert report.skipped and not different([*everything(opt, params), *opt.averages], before)
        opt.step(grads)
        assert not other.step(grads).skipped
    assert opt.steps == other.steps == 6
    assert not different([*everything(opt, params), *opt.averages], [*everything(other, twins), *other.averages])


def test_without_skip_a_nan_arrives():
    weight = np.zeros(3)
    assert not bz.optim.SGD([weight], lr=1.0).step([np.array([0.0, np.nan, 1.0])]).skipped
    assert np.isnan(weight[1]) and weight[2] == -1


def test_dynamic_loss_scale():
    weight = np.zeros(1, "float32")
    opt, scale = bz.optim.SGD([weight], lr=1.0), bz.optim.LossScale(8.0, interval=2)
    assert opt.step([np.array([8.0], "float32")], scale=scale).skipped is False and weight.item() == -1
    assert opt.step([np.array([np.inf], "float32")], scale=scale).skipped and scale.value == 4.0
    for _ in range(2):
        opt.step([np.array([4.0], "float32")], scale=scale)
    assert weight.item() == -3 and scale.value == 8.0 and 3.0 * scale == 24.0
    again = bz.optim.LossScale()
    again.load_state_dict(scale.state_dict())
    assert again.value == 8.0
    static = bz.optim.LossScale(4.0, dynamic=False)
    assert not opt.step([np.array([np.inf], "float32")], scale=static).skipped and static.value == 4.0


def test_copies_are_the_rounded_weights():
    params = optim_cases.arrays(SHAPES)
    mine = [np.full(p.shape, 7, np.float16) for p in params]
    for options in ({"copy_to": "bfloat16"}, {"copy_to": mine}, {"copy_to": np.float64}):
        opt = bz.optim.AdamW(params, ema=0.9, **options)
        opt.step(optim_cases.gradients(0, SHAPES))
        dtype = {"bfloat16": ml_dtypes.bfloat16}.get(
            str(options["copy_to"]), getattr(options["copy_to"], "dtype", None)
        )
        dtype = np.float16 if options["copy_to"] is mine else np.float64 if options["copy_to"] is np.float64 else dtype
        assert not different(opt.copies, [p.astype(dtype) for p in params])


def test_norms_of_the_report():
    params = optim_cases.arrays(SHAPES, "float64")
    before = [p.copy() for p in params]
    grads = optim_cases.gradients(0, SHAPES, "float64")
    opt = bz.optim.AdamW([{"params": params[:2]}, {"params": params[2:], "lr": 0.1}], report_norms=True, exclude=[1])
    report = opt.step([np.asarray(4 * g) for g in grads], scale=4.0)
    norm = reference.optim.global_norm
    for part, group in ((slice(0, 2), report.groups[0]), (slice(2, 5), report.groups[1])):
        moved = [p - b for p, b in zip(params[part], before[part])]
        assert group.grad == pytest.approx(float(norm(grads[part])), rel=1e-12)
        assert group.weight == pytest.approx(float(norm(before[part])), rel=1e-12)
        assert group.update == pytest.approx(float(norm(moved)), rel=1e-9)
        assert group.ratio == pytest.approx(group.update / group.weight)
    assert report.grad_norm == pytest.approx(float(norm(grads)), rel=1e-12)
    with pytest.raises(ValueError, match="report_norms=True"):
        _ = bz.optim.SGD([np.zeros(1)]).step([np.zeros(1)]).groups


def test_max_norm_shrinks_only_what_is_over_it():
    """K8."""
    weight = np.array([[3.0, 0.1], [4.0, 0.2]])
    bz.optim.SGD([weight], lr=1.0, max_norm=1.0).step([np.zeros((2, 2))])
    assert weight[:, 0] == pytest.approx([0.6, 0.8]) and weight[:, 1].tolist() == [0.1, 0.2]
    for dtype in ("float16", "float32"):
        weight = np.array([[3.0, 4.0], [0.5, 0.25]], dtype)
        opt = bz.optim.SGD([weight], lr=1.0, max_norm=1.0, unit_axis=0, copy_to="float64", ema=0.0)
        opt.step([np.zeros((2, 2), dtype)])
        assert weight.astype("float64") == pytest.approx(np.array([[0.6, 0.8], [0.5, 0.25]]), rel=1e-3)
        assert (opt.copies[0] == weight).all() and (opt.averages[0] == weight).all(), "after max_norm"


def test_exclusions():
    def tree():
        return {"dense": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}, "norm": {"scale": np.ones(3)}}

    zeros = {"dense": {"kernel": np.zeros((2, 3)), "bias": np.zeros(3)}, "norm": {"scale": np.zeros(3)}}
    params = tree()
    opt = bz.optim.AdamW(params, lr=0.5, weight_decay=0.5, exclude=["*bias"], ema=0.5)
    opt.step(zeros)
    assert (params["dense"]["kernel"] == 0.75).all() and (params["dense"]["bias"] == 1).all()
    assert (params["norm"]["scale"] == 0.75).all()
    params = tree()
    opt = bz.optim.SGD(
        params,
        lr=0.5,
        weight_decay=0.5,
        exclude={"weight_decay": 1, "ema": "norm.*", "clip_norm": 1},
        ema=0.5,
        clip_norm=1.0,
    )
    report = opt.step(
        {"dense": {"kernel": np.full((2, 3), 10.0), "bias": np.full(3, 10.0)}, "norm": {"scale": np.zeros(3)}}
    )
    assert opt.averages["norm"]["scale"] is None and opt.averages["dense"]["bias"].shape == (3,)
    assert report.grad_norm == pytest.approx(10 * math.sqrt(6))
    assert params["dense"]["bias"] == pytest.approx(np.full(3, -4.0)), "not clipped, not decayed"
    assert params["dense"]["kernel"] == pytest.approx(np.full((2, 3), 0.75 - 0.5 / math.sqrt(6)))


# What an option does to a parameter it applies to, told apart from one that `exclude` keeps from it.
EXCLUDED = {
    "weight_decay": {"weight_decay": 0.5}, "l1": {"l1": 0.5}, "l2": {"l2": 0.5}, "clip_value": {"clip_value": 0.01},
    "agc": {"agc": 0.01}, "max_norm": {"max_norm": 0.5}, "clip_norm": {"clip_norm": 0.01},
}  # fmt: skip


@pytest.mark.parametrize("option", EXCLUDED)
@pytest.mark.parametrize("pattern", ["b*", 1])
def test_every_option_can_be_kept_away(option, pattern):
    def run(**settings):
        params = {"a": np.full((4, 3), 2.0), "b": np.full((4, 3) if pattern == "b*" else 3, 2.0)}
        opt = bz.optim.AdamW(params, lr=0.1, **{"weight_decay": 0.0, **settings})
        for step in range(3):
            opt.step({name: np.full(p.shape, 1.0 + step) for name, p in params.items()})
        return params

    plain, kept, everywhere = run(), run(**EXCLUDED[option], exclude={option: [pattern]}), run(**EXCLUDED[option])
    assert (kept["b"] == plain["b"]).all(), "left alone to the bit"
    assert not (kept["a"] == plain["a"]).any(), "the other is not"
    if option != "clip_norm":  # the norm is of fewer
        assert (kept["a"] == everywhere["a"]).all()
    if option != "max_norm" or pattern == "b*":  # a vector has no units
        assert not (everywhere["b"] == plain["b"]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_anywhere_is_found(value):
    """First and last of a chunk, of a lane, of a piece, of an array; in any array; in any dtype and layout."""
    size = 2 * 16 * 1024 + 5
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        grads = [np.ones(3, kind), np.ones((size, 2), kind)[:, 0], np.ones(size, kind)]
        opt = bz.optim.SGD([np.zeros(g.shape, kind) for g in grads], skip_nonfinite=True)
        for number, grad in enumerate(grads):
            for place in {0, 1, len(grad) - 1, *(p for p in (31, 32, 1023, 1024, 16383, 16384) if p < len(grad))}:
                grad[place] = value
                assert opt.step(grads).skipped, (dtype, number, place)
                grad[place] = 1
        assert not opt.step(grads).skipped and opt.steps == 1


PENALTIES = {
    "K1 lambda/2 w^2": ({"l2": 0.3}, lambda w: 0.3 * w),
    "K2 lambda w^2": ({"l2": 2 * 0.3}, lambda w: 2 * 0.3 * w),
    "K6 lambda |w|": ({"l1": 0.3}, lambda w: 0.3 * np.sign(w)),
    "K7 beta w^2 + |w|": ({"l1": 1.0, "l2": 2 * 0.3}, lambda w: 2 * 0.3 * w + np.sign(w)),
    "F30 coupled decay": ({"weight_decay": 0.3}, lambda w: 0.3 * w),
}


@pytest.mark.parametrize("row", PENALTIES)
def test_penalties_are_part_of_the_gradient(row):
    """Of the gradient that every rule sees, so that an adaptive one divides it too; nothing at 0, where sgn is 0."""
    settings, term = PENALTIES[row]
    for kind in (bz.optim.SGD, bz.optim.Adagrad, bz.optim.Adam):
        start, grad = np.array([2.0, -0.5, 0.0, 1e-3]), np.array([0.1, -0.2, 0.0, 0.3])
        weights, twins = [start.copy()], [start.copy()]
        kind(weights, lr=0.1, **settings).step([grad])
        kind(twins, lr=0.1).step([grad + term(start)])
        assert weights[0] == pytest.approx(twins[0], rel=8 * tolerance("float64").unit) and weights[0][2] == 0


def test_decoupled_decay_stays_out_of_the_accumulator():
    """F30 and K5: Adam divides a coupled decay by its root, so that the first step is lr whatever the decay is."""
    ends = {}
    for decoupled in (False, True):
        weight = np.array([100.0])
        bz.optim.Adam([weight], lr=0.1, weight_decay=0.5, decoupled_weight_decay=decoupled).step([np.array([1e-3])])
        ends[decoupled] = 100.0 - weight.item()
    assert ends[False] == pytest.approx(0.1) and ends[True] == pytest.approx(0.1 * 0.5 * 100 + 0.1, rel=1e-4)


def test_decays_by_name():
    """K5: the factors .9990 (coupled), .9800 and .9980 (decoupled by 2 lambda, without and with the learning rate)."""

    def factor(kind, **settings):
        weight = np.ones(1)
        kind([weight], lr=0.1, **settings).step([np.zeros(1)])
        return weight.item()

    assert factor(bz.optim.SGD, weight_decay=0.01) == pytest.approx(0.9990)
    assert factor(bz.optim.SGD, l2=0.01) == pytest.approx(0.9990)
    assert factor(bz.optim.SGD, weight_decay=0.02, decoupled_weight_decay=True) == pytest.approx(0.9980)
    assert factor(bz.optim.SGD, weight_decay=0.02 / 0.1, decoupled_weight_decay=True) == pytest.approx(0.9800)
    assert factor(bz.optim.SGD, l1=0.01) == pytest.approx(0.9990)
    assert factor(bz.optim.SGD, l1=0.01, l2=0.02) == pytest.approx(0.9970)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_functions(dtype):
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype).type
    grads = optim_cases.arrays(SHAPES, kind)
    wide = [g.astype("float64") for g in grads]
    # Sums of up to 32 float32 terms a lane, then float64.
    exact = 40 * tolerance("float64" if dtype == "float64" else "float32").unit
    truth = float(reference.optim.global_norm(wide))
    assert bz.optim.global_norm(grads) == pytest.approx(truth, rel=exact)
    assert bz.optim.global_norm([]) == 0.0
    assert bz.optim.global_norm([np.asfortranarray(g)[..., ::-1] if g.ndim else g for g in grads]) == pytest.approx(
        truth, rel=exact
    )
    unit = 4 * tolerance(kind).unit
    assert bz.optim.clip_grad_norm(grads, 1e6) == pytest.approx(truth, rel=exact)
    assert not different(grads, [w.astype(kind) for w in wide])
    assert bz.optim.clip_grad_norm(grads, 2.0) == pytest.approx(truth, rel=exact)
    for grad, w in zip(grads, wide):
        assert grad.astype("float64") == pytest.approx(w * 2.0 / truth, rel=unit, abs=1e-7)
    bz.optim.clip_grad_value(grads, 0.01)
    assert all((np.abs(g.astype("float64")) <= kind(0.01)).all() for g in grads if g.size)
    assert bz.optim.scale_and_check(grads, 0.5)
    grads[4][5] = np.nan
    assert not bz.optim.scale_and_check(grads, 2.0)
    averages, params = optim_cases.arrays(SHAPES, "float64"), optim_cases.arrays(SHAPES, kind, 3)
    expected = [a.copy() for a in averages]
    bz.optim.ema_update(averages, params, 0.9)
    reference.optim.ema_update(expected, [p.astype("float64") for p in params], 0.9)
    for a, e in zip(averages, expected):
        assert a == pytest.approx(e, rel=8 * tolerance("float64" if dtype == "float64" else "float32").unit, abs=1e-6)


def test_shards_merge_to_the_same_norm():
    grads = optim_cases.arrays([(5000,), (3,), (1024,), (77, 33)])
    whole = bz.optim.global_norm(grads)
    parts = [bz.optim.norm_partials([g], first) for g, first in zip(grads, (0, 5, 6, 7))]
    assert [len(p) for p in parts] == [5, 1, 1, 3]
    assert bz.optim.merge_norm(parts[::-1]) == (whole, True)
    found = set()
    for isa in _core.isas():
        for threads in (1, 2, 3):
            _core.set_isa(isa)
            bz.set_num_threads(threads)
            found.add(bz.optim.global_norm(grads))
    assert found == {whole}


def test_fused_is_unfused():
    """One pass with everything gives the bits of the steps done one after another."""
    params, twins = optim_cases.arrays(SHAPES), optim_cases.arrays(SHAPES)
    opt = bz.optim.AdamW(params, clip_norm=0.5, ema=0.9, copy_to="bfloat16", zero_grads=True)
    plain, averages = bz.optim.AdamW(twins), [t.copy() for t in twins]
    for step in range(5):
        grads = [np.asarray(4 * g) for g in optim_cases.gradients(step, SHAPES)]
        mine = [g.copy() for g in grads]
        opt.step(mine, scale=4.0)
        assert not any(g.any() for g in mine)
        bz.optim.scale_and_check(grads, 4.0)
        norm = bz.optim.global_norm(grads)
        plain.step(grads, scale=1 / (0.5 / norm) if norm > 0.5 else 1.0)
        bz.optim.ema_update(averages, twins, 0.9)
    for a, b in zip(params, twins):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-7)
    for a, b in zip(opt.averages, averages):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-7)
