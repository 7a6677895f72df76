# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers over lists of arrays: the same bits however the arrays are cut, stored or computed; arrays that come and go."""

import threading

import brazen as bz
import layouts
import numpy as np
import optim_cases
import pytest
from brazen import _core
from tolerance import DTYPES, same_bits

STEPS = 5


def different(made, wanted):
    return "; ".join(f"{i}: {wrong}" for i, (a, b) in enumerate(zip(made, wanted)) if (wrong := same_bits(a, b)))


def everything(opt, params):
    return [*params, *(array for arrays in opt.state.values() for array in arrays)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", optim_cases.CASES, ids=optim_cases.ids)
def test_many_tensors_are_one_by_one(case, dtype):
    name, settings = case
    together = optim_cases.arrays(optim_cases.SHAPES, dtype)
    opt = optim_cases.run(name, settings, together, STEPS)
    for index, shape in enumerate(optim_cases.SHAPES):
        alone = [optim_cases.arrays(optim_cases.SHAPES, dtype)[index]]
        single = bz.optim.get(name)(alone, **settings)
        for step in range(STEPS):
            single.step([optim_cases.gradients(step, optim_cases.SHAPES, dtype)[index]])
        states = [arrays[index] for arrays in opt.state.values()]
        wrong = different(everything(single, alone), [together[index], *states])
        assert not wrong, f"{shape}: {wrong}"


OPTIONS = {
    "clip_norm": 1.0,
    "clip_value": 0.4,
    "l1": 0.01,
    "l2": 0.1,
    "ema": 0.9,
    "copy_to": "bfloat16",
    "skip_nonfinite": True,
    "agc": 0.1,
    "max_norm": 2.0,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", optim_cases.CASES, ids=optim_cases.ids)
def test_instruction_sets_and_threads(case, dtype):
    name, settings = case
    found = []
    for isa in _core.isas():
        for threads in (1, 2, 3, 8) if isa == _core.isas()[0] else (2,):
            _core.set_isa(isa)
            bz.set_num_threads(threads)
            params = optim_cases.arrays(optim_cases.SHAPES, dtype)
            opt = optim_cases.run(name, settings, params, 2, **OPTIONS)
            plain = optim_cases.arrays(optim_cases.SHAPES, dtype)
            bare = optim_cases.run(name, settings, plain, 2)
            found.append([*everything(opt, params), *opt.averages, *opt.copies, *everything(bare, plain)])
    for other in found[1:]:
        assert not different(other, found[0])


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("case", optim_cases.CASES, ids=optim_cases.ids)
def test_state_round_trip_goes_on_to_the_bit(case, dtype):
    name, settings = case
    shapes = [(5, 13), (0,), (1031,)]
    params = optim_cases.arrays(shapes, dtype)
    opt = optim_cases.run(name, settings, params, 7, ema=0.9)
    saved = {key: np.array(value) for key, value in opt.state_dict().items()}
    weights = [p.copy() for p in params]
    again = bz.optim.get(name)(weights, **settings, ema=0.9)
    again.load_state_dict(saved)
    assert again.steps == 7
    for step in range(7, 12):
        opt.step(optim_cases.gradients(step, shapes, dtype))
        again.step(optim_cases.gradients(step, shapes, dtype))
    assert not different(everything(again, weights), everything(opt, params))
    assert not different(again.averages, opt.averages)
    made = bz.optim.from_config(opt.config())
    assert type(made) is type(opt) and made.defaults == opt.defaults and made.options == opt.options


@pytest.mark.parametrize("param", DTYPES)
@pytest.mark.parametrize("grad", DTYPES)
def test_dtypes_are_free(param, grad):
    shapes = [(1031,), (3, 5)]
    compute = "float64" if param == "float64" else "float32"
    for state in ("float16", "bfloat16", "float32", "float64"):
        params = optim_cases.arrays(shapes, DTYPES[param])
        opt = bz.optim.Adam(params, lr=0.1, state_dtype=state)
        wide = [p.astype(compute) for p in params]
        same = bz.optim.Adam(wide, lr=0.1)
        grads = optim_cases.gradients(0, shapes, DTYPES[grad])
        opt.step(grads)
        same.step([g.astype(compute) for g in grads])
        # One step from equal states: only the last rounding differs.
        assert not different(
            params,
            [
                p.astype("float32").astype(DTYPES[param]) if DTYPES[param].itemsize == 2 else p.astype(DTYPES[param])
                for p in wide
            ],
        )
        assert opt.state["exp_avg"][0].dtype == DTYPES[state]


@pytest.mark.parametrize("change", list(layouts.WRITABLE), ids=lambda c: c.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_any_layout(change, dtype):
    shapes = [(5, 13), (3, 4, 257), (1031,)]
    params, twins = optim_cases.arrays(shapes, DTYPES[dtype]), optim_cases.arrays(shapes, DTYPES[dtype])
    opt, other = bz.optim.Adam(params, zero_grads=True, clip_norm=1.0), bz.optim.Adam(twins, clip_norm=1.0)
    for step in range(3):
        grads = optim_cases.gradients(step, shapes, DTYPES[dtype])
        changed = [change(g) for g in grads]
        opt.step(changed)
        other.step(grads)
        assert all(not np.asarray(g).any() for g in changed), "zero_grads"
    assert not different(params, twins)


def test_read_only_and_broadcast_gradients():
    params, twins = [np.ones((4, 3), "float32")], [np.ones((4, 3), "float32")]
    row = np.arange(3, dtype="float32")
    bz.optim.SGD(params, lr=0.1).step([np.broadcast_to(row, (4, 3))])
    bz.optim.SGD(twins, lr=0.1).step([np.tile(row, (4, 1))])
    assert not different(params, twins)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 31, 32, 33, 1009, 1023, 1024, 1025, 16381, 16384, 32771])
def test_sizes(size):
    for dtype in DTYPES.values():
        params = optim_cases.arrays([(size,)], dtype)
        expected = [params[0].copy().reshape(1, size)]
        optim_cases.run("adam", {}, params, 2, clip_norm=1.0)
        opt = bz.optim.Adam(expected, clip_norm=1.0)
        for step in range(2):
            opt.step([g.reshape(1, size) for g in optim_cases.gradients(step, [(size,)], dtype)])
        assert not different(params, [e.reshape(size) for e in expected])


def test_ten_thousand_tensors():
    shapes = [(1 + i % 7,) for i in range(10_000)]
    params = optim_cases.arrays(shapes)
    grads = optim_cases.gradients(0, shapes)
    expected = [p - np.float32(0.5) * g for p, g in zip(params, grads)]
    report = bz.optim.SGD(params, lr=0.5, clip_norm=1e9).step(grads)
    assert not different(params, expected)
    poisoned = [g.copy() for g in grads]
    poisoned[9_999][-1] = np.nan
    opt = bz.optim.AdamW(params, skip_nonfinite=True, ema=0.9)
    assert opt.step(poisoned).skipped and not different(params, expected) and opt.steps == 0
    assert not opt.step(grads).skipped and not opt.step(grads).skipped
    again = [p.copy() for p in params]
    other = bz.optim.AdamW(again, ema=0.9)
    other.load_state_dict({name: np.array(value) for name, value in opt.state_dict().items()})
    opt.step(grads), other.step(grads)
    assert not different(again, params)
    assert report.grad_norm == pytest.approx(np.sqrt(sum((g.astype("float64") ** 2).sum() for g in grads)), rel=1e-6)


def test_parallel_regions_of_a_step():
    """One, and one more for each phase that has to see all gradients or a whole array first; however many arrays."""
    shapes = [(40_000,)] * 3 + [(64,)] * 500
    params = optim_cases.arrays(shapes)
    grads = optim_cases.gradients(0, shapes)
    for name, options, regions in (
        ("adamw", {}, 1),
        ("adamw", {"ema": 0.9, "copy_to": "bfloat16", "l1": 0.1, "clip_value": 1.0}, 1),
        ("adamw", {"clip_norm": 1.0, "skip_nonfinite": True}, 2),
        ("lamb", {}, 2),
        ("lamb", {"clip_norm": 1.0}, 3),
    ):
        opt = bz.optim.get(name)(params, **options)
        before = _core.region_count()
        opt.step(grads)
        assert _core.region_count() - before == regions, (name, options)


def test_structures():
    def tree():
        a, b, c = optim_cases.arrays([(3,), (2, 2), (4,)])
        return {"first": {"w": a, "b": b}, "second": [c]}

    params, grads = (
        tree(),
        {"second": [np.ones(4, "float32")], "first": {"b": np.ones((2, 2), "float32"), "w": np.ones(3, "float32")}},
    )
    before = tree()
    opt = bz.optim.SGD(params, lr=0.5, ema=0.5, copy_to="float16")
    opt.step(grads)
    assert (params["first"]["w"] == before["first"]["w"] - np.float32(0.5)).all()
    assert (params["second"][0] == before["second"][0] - np.float32(0.5)).all()
    assert set(opt.state_dict()) == {"memory", "average.first.w", "average.first.b", "average.second.0"}
    assert opt.averages["first"]["b"].shape == (2, 2) and opt.copies["second"][0].dtype == np.float16
    with pytest.raises(ValueError, match=r"grads do not fit the parameters: missing first\.b; unknown first\.x"):
        opt.step({"first": {"w": params["first"]["w"] * 0, "x": np.ones(1)}, "second": [np.ones(4, "float32")]})
    single = np.ones(3)
    bz.optim.SGD(single, lr=1.0).step(np.ones(3))
    assert (single == 0).all()


def test_groups():
    a, b, c = np.ones(2), np.ones(3), np.ones(4)
    opt = bz.optim.SGD([{"params": [a, b], "lr": 0.5}, {"params": c, "weight_decay": 0.25}], lr=0.1)
    opt.step([np.ones(2), np.ones(3), np.ones(4)])
    assert (a == 0.5).all() and (b == 0.5).all() and c == pytest.approx(np.full(4, 1 - 0.1 * 1.25))
    opt.groups[1]["lr"] = 0.0
    opt.step([np.zeros(2), np.zeros(3), np.ones(4)])
    assert c == pytest.approx(np.full(4, 1 - 0.1 * 1.25))
    assert list(opt.state_dict()) == ["memory"]


def test_hyper_parameters_change_between_steps():
    weight = np.zeros(1)
    opt = bz.optim.SGD([weight], lr=lambda step: [1.0, 0.5, 0.25][step])
    for expected in (-1, -1.5, -1.75):
        opt.step([np.ones(1)])
        assert weight.item() == expected
    opt.lr = 2.0
    opt.step([np.ones(1)])
    assert weight.item() == -3.75
    with pytest.raises(ValueError, match="lr is -1"):
        opt.lr = -1
    other = bz.optim.Adam([np.zeros(1)], betas=(lambda step: 0.5, 0.9))
    other.step([np.ones(1)])
    assert other.state["exp_avg"][0].item() == 0.5


def test_replaced_arrays_are_noticed():
    for params in ({"w": np.zeros(3), "b": np.zeros(2)}, [np.zeros(3), np.zeros(2)]):
        key = "w" if isinstance(params, dict) else 0
        opt = bz.optim.SGD(params, lr=1.0, momentum=0.5)
        grads = [np.ones(3), np.ones(2)]
        opt.step(list(grads))
        old, params[key] = params[key], np.full(3, 10.0)
        opt.step(list(grads))
        assert (old == -1).all() and (params[key] == 8.5).all()
        params[key] = np.zeros(4)
        with pytest.raises(ValueError, match=r"has shape \(4,\); expected \(3,\), the shape it had when it was bound"):
            opt.step(list(grads))


def test_bound_gradients():
    params, grads = [np.zeros(3), np.zeros((2, 2))], [np.ones(3), np.ones((2, 2))]
    opt = bz.optim.SGD(params, lr=1.0)
    with pytest.raises(ValueError, match="none are bound"):
        opt.step()
    opt.bind_grads(grads)
    opt.step()
    grads[0][...] = 3
    opt.step()
    assert (params[0] == -4).all()
    opt.step([np.zeros(3), np.zeros((2, 2))])
    opt.step()
    assert (params[0] == -7).all() and (params[1] == -3).all()
    grads[1][...] = [[1, 2], [3, 4]]
    opt.step([grads[0], grads[1].T])  # where the bound one begins
    before = params[1].copy()
    opt.step()
    assert (params[1] == before - grads[1]).all()


def test_a_concurrent_step_is_refused():
    params = [np.zeros(1 << 22, "float32")]
    grads = [np.ones(1 << 22, "float32")]
    opt = bz.optim.AdamW(params)
    refused, done = [], []

    def work():
        for _ in range(20):
            try:
                opt.step(grads)
                done.append(1)
            except RuntimeError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) + len(refused) == 80 and done
    assert refused and all("in a step on another thread" in text for text in refused)


ERRORS = [
    (lambda: bz.optim.SGD([]), ValueError, "params holds no array"),
    (lambda: bz.optim.SGD({"a": 3}), TypeError, r"params at a is int; expected an array"),
    (lambda: bz.optim.SGD([np.zeros(3, "int32")]), TypeError, r"0 has dtype int32; expected one of float16"),
    (lambda: bz.optim.SGD([np.zeros((3, 4))[:, ::2]]), ValueError, r"0 is not contiguous"),
    (lambda: bz.optim.SGD([np.broadcast_to(np.zeros(3), (2, 3))]), ValueError, "read-only"),
    (lambda: bz.optim.SGD([(x := np.zeros(4)), x[2:]]), ValueError, "1 shares memory with 0"),
    (lambda: bz.optim.SGD([np.zeros(3)], mometum=0.9), TypeError, r"SGD knows no mometum; it takes lr"),
    (lambda: bz.optim.Adam([np.zeros(3)], betas=(0.9, 1.0)), ValueError, r"betas is 1\.0; expected a number of at least 0 and below 1"),
    (lambda: bz.optim.Adam([np.zeros(3)], eps_mode="in"), ValueError, "eps_mode is 'in'; expected one of None|eps_mode is 'in'"),
    (lambda: bz.optim.SGD(nesterov=True), ValueError, "nesterov needs a momentum"),
    (lambda: bz.optim.SGD().step([np.zeros(3)]), ValueError, "SGD has no parameters yet"),
    (lambda: bz.optim.SGD([np.zeros(3)]).step([np.zeros(4)]), ValueError, r"the gradient of 0 has shape \(4,\); expected \(3,\)"),
    (lambda: bz.optim.SGD([np.zeros(3)]).step([np.zeros(3, "int64")]), TypeError, "the gradient of 0 has dtype int64"),
    (lambda: bz.optim.SGD([np.zeros(3)]).step([np.zeros(3), np.zeros(3)]), ValueError, "2 gradients for 1 parameters"),
    (lambda: bz.optim.SGD([np.zeros(3)]).averages, ValueError, "made without ema"),
    (lambda: bz.optim.SGD([(x := np.zeros(3))]).step([x]), ValueError, "the gradient of 0 shares memory with its parameter"),
    (lambda: bz.optim.SGD([(x := np.zeros(8))[:4]]).step([x[::2]]), ValueError, "the gradient of 0 shares memory with its parameter"),
    (lambda: bz.optim.SGD([np.zeros(3)], exclude={"lr": 1}), ValueError, "exclude names lr"),
    (lambda: bz.optim.SGD([np.zeros(3)], lr=lambda step: 1.0).config(), TypeError, r"lr is function, which has no config\(\)"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, text", ERRORS, ids=lambda v: str(v)[:40] if isinstance(v, str) else "")
def test_errors(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_state_that_does_not_fit_is_listed_and_changes_nothing():
    params = optim_cases.arrays([(3,), (4,)])
    opt = optim_cases.run("adam", {}, params, 3)
    before = {key: np.array(value) for key, value in opt.state_dict().items()}
    other = bz.optim.Adam([np.zeros(3, "float32"), np.zeros(5)]).state_dict()
    other["extra.0"] = other.pop("exp_avg.0")
    with pytest.raises(ValueError) as error:
        opt.load_state_dict(other)
    for part in (
        "exp_avg.0 is missing", "extra.0 is not known", "exp_avg.1 has shape (5,), expected (4,)",
    ):  # fmt: skip
        assert part in str(error.value)
    assert not different(list(opt.state_dict().values()), list(before.values()))


def test_import_does_not_load_it(run_python):
    assert (
        run_python("import brazen, sys; print('brazen.optim' in sys.modules, brazen.optim.get('sgd').name)")
        == "False sgd"
    )
