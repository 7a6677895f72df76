# SPDX-License-Identifier: BSD-3-Clause
"""Settings that ask for other arrays once steps were made, gradients that may not be cleared, settings and states refused."""

import brazen as bz
import numpy as np
import pytest


def grads_of(step):
    return [np.full(3, 0.1 * (step + 1)), np.full((2, 2), -0.2 * (step + 1))]


def weights():
    return [np.ones(3), np.full((2, 2), 2.0)]


# Rule, settings at first, settings from the start on; a fresh optimizer with the latter takes the same steps.
CHANGES = [
    ("sgd", {}, {"momentum": 0.9}),
    ("sgd", {}, {"momentum": 0.9, "nesterov": True}),
    ("rmsprop", {}, {"momentum": 0.9}),
    ("rmsprop", {}, {"centered": True}),
    ("adam", {}, {"amsgrad": True}),
    ("adam", {"amsgrad": True}, {"amsgrad": False}),
    ("adam", {}, {"max_norm": 0.5}),
    ("adam", {}, {"agc": 0.01}),
    ("adam", {}, {"ema": 0.5}),
]
WAYS = [("set", *change) for change in CHANGES] + [("groups", *change) for change in CHANGES if "ema" not in change[2]]


@pytest.mark.parametrize("way, name, first, later", WAYS)
def test_a_change_that_needs_other_arrays(way, name, first, later):
    params, twins = weights(), weights()
    opt = bz.optim.get(name)(params, lr=0.1, **first)
    opt.set(**later) if way == "set" else opt.groups[0].update(later)
    wanted = bz.optim.get(name)(twins, lr=0.1, **{**first, **later})
    for step in range(4):
        opt.step(grads_of(step))
        wanted.step(grads_of(step))
    assert all((a == b).all() for a, b in zip(params, twins))
    assert set(opt.state_dict()) == set(wanted.state_dict())
    if "ema" in later:
        assert all((a == b).all() for a, b in zip(opt.averages, wanted.averages))


def test_a_change_keeps_the_state_that_stays():
    params = weights()
    opt = bz.optim.Adam(params, lr=0.1)
    opt.step(grads_of(0))
    before = opt.state["exp_avg_sq"][0]
    opt.set(amsgrad=True, ema=0.5)
    assert opt.state["exp_avg_sq"][0] is before and not opt.state["max_exp_avg_sq"][0].any()
    assert (opt.averages[0] == params[0]).all()
    opt.step(grads_of(1))
    assert opt.steps == 2 and (opt.state["max_exp_avg_sq"][0] == before).all()
    opt.set(ema=None)
    with pytest.raises(ValueError, match="made without ema"):
        _ = opt.averages


def test_a_changed_group_among_others():
    """The first group's settings are worked out before the second's ask for another rule."""
    params, twins = weights(), weights()
    opt = bz.optim.SGD([{"params": [params[0]]}, {"params": [params[1]]}], lr=0.1)
    opt.groups[1]["momentum"] = 0.9
    other = bz.optim.SGD([{"params": [twins[0]]}, {"params": [twins[1]], "momentum": 0.9}], lr=0.1)
    for step in range(3):
        opt.step(grads_of(step)), other.step(grads_of(step))
    assert all((a == b).all() for a, b in zip(params, twins))


REFUSED_CHANGES = [
    ("sgd", {}, {"nesterov": True}, "nesterov needs a momentum"),
    ("adam", {}, {"form": "bogus"}, "form is 'bogus'"),
    ("adam", {"ema_bias_correction": True}, {"ema": 0.5}, "ema is 0.5 after 1 steps"),
    ("adam", {}, {"betas": 0.9}, r"betas is 0.9; expected 2 values"),
]


@pytest.mark.parametrize("name, options, change, text", REFUSED_CHANGES)
def test_a_refused_change_changes_nothing(name, options, change, text):
    opt = bz.optim.get(name)(weights(), **options)
    opt.step(grads_of(0))
    with pytest.raises(ValueError, match=text):
        opt.set(lr=0.5, **change)
    assert opt.lr == opt.hyper["lr"]
    opt.step(grads_of(1))


GROUP_CHANGES = [
    ("lr", -1.0, ValueError, "lr is -1.0; expected a number of at least 0"),
    ("lr", float("nan"), ValueError, "lr is nan"),
    ("betas", (0.9, 1.0), ValueError, "betas is 1.0; expected a number of at least 0 and below 1"),
    ("weight_decay", None, ValueError, "weight_decay is None; expected a number"),
    ("clip_value", 0, ValueError, "clip_value is 0; expected a positive number, or None"),
    ("learningrate", 0.1, TypeError, "Adam knows no learningrate"),
]


@pytest.mark.parametrize("name, value, kind, text", GROUP_CHANGES)
def test_what_is_written_into_a_group_is_held_against_its_bounds(name, value, kind, text):
    params = weights()
    opt = bz.optim.Adam(params)
    opt.step(grads_of(0))
    before = [param.copy() for param in params]
    opt.groups[0][name] = value
    for _ in range(2):
        with pytest.raises(kind, match=text):
            opt.step(grads_of(1))
    assert all((a == b).all() for a, b in zip(params, before)) and opt.steps == 1
    opt.groups[0] = dict(opt.defaults)
    opt.step(grads_of(1))


def test_numbers_of_numpy_in_a_group():
    opt = bz.optim.Adam(weights())
    opt.groups[0]["lr"] = np.float32(0.5)
    opt.step(grads_of(0))
    assert type(opt.lr) is float and opt.config()["groups"] == [{"lr": 0.5}]


def test_options_of_a_step_are_set():
    params, twins = weights(), weights()
    opt = bz.optim.Adam(params)
    opt.step(grads_of(0))
    opt.set(report_norms=True, skip_nonfinite=True, zero_grads=True, maximize=True)
    grads = grads_of(1)
    assert opt.step(grads).groups[0].weight > 0 and not any(grad.any() for grad in grads)
    assert opt.step([np.full(3, np.nan), np.ones((2, 2))]).skipped and opt.steps == 2
    other = bz.optim.Adam(twins)
    other.step(grads_of(0)), other.step([-grad for grad in grads_of(1)])
    assert all((a == b).all() for a, b in zip(params, twins))
    with pytest.raises(TypeError, match="knows no copy_to"):
        opt.set(copy_to="float16")


def read_only(array):
    array.flags.writeable = False
    return array


UNCLEARABLE = {
    "bytes": lambda: np.frombuffer(bytes(24)),
    "read only": lambda: read_only(np.ones(3)),
    "broadcast": lambda: np.broadcast_to(np.ones(1), (3,)),
    "shared": lambda: np.lib.stride_tricks.as_strided(np.ones(3), (3,), (0,)),
}


@pytest.mark.parametrize("case", UNCLEARABLE)
@pytest.mark.parametrize("bound", [False, True])
def test_gradients_that_cannot_be_cleared(case, bound):
    opt = bz.optim.SGD([(weight := np.ones(3))], lr=0.1, zero_grads=True)
    grad = UNCLEARABLE[case]()
    with pytest.raises(ValueError, match=r"the gradient of 0 (is read-only|has elements that share memory)"):
        opt.bind_grads([grad]) if bound else opt.step([grad])
    assert (weight == 1).all()
    bz.optim.SGD([weight], lr=0.1).step([UNCLEARABLE[case]()])


@pytest.mark.parametrize("bound", [False, True])
def test_a_gradient_that_becomes_read_only(bound):
    opt = bz.optim.SGD([np.ones(3)], lr=0.1, zero_grads=True)
    grads = [np.ones(3)]
    opt.bind_grads(grads)
    opt.step(None if bound else grads)
    grads[0][...] = 1
    read_only(grads[0])
    with pytest.raises(ValueError, match="the gradient of 0 is read-only"):
        opt.step(None if bound else grads)
    assert (grads[0] == 1).all()


def test_gradients_that_are_cleared_are_apart():
    params = [np.ones(4), np.ones(4)]
    opt = bz.optim.SGD(params, lr=0.1, momentum=0.9, zero_grads=True)
    one = np.ones(4)
    for grads, text in (
        ([one, one], "the gradient of 1 shares memory with the gradient of 0"),
        ([params[1], one], "shares memory with"),
        ([one, opt.state["momentum_buffer"][0]], "shares memory with"),
    ):
        with pytest.raises(ValueError, match=text):
            opt.step(grads)
    columns = np.ones((4, 2))
    opt.step([columns[:, 0], columns[:, 1]])
    assert not columns.any() and (params[0] == np.float64(1) - 0.1).all()


def test_two_parameters_of_one_name():
    x, y = np.ones(2), np.ones(2)
    with pytest.raises(ValueError, match=r"params has two arrays named a\.b"):
        bz.optim.SGD({"a.b": x, "a": {"b": y}})
    with pytest.raises(ValueError, match=r"grads has two arrays named a\.b"):
        bz.optim.SGD({"a": {"b": y}}).step({"a.b": x, "a": {"b": y}})


BAD_STATES = {
    "a NaN": ("memory", np.array([[np.nan, 1.0]]), "memory holds"),
    "negative": ("memory", np.array([[-1.0, 1.0]]), "memory holds"),
    "a list": ("exp_avg.0", [1.0, 2.0, 3.0], "exp_avg.0 is list, expected an array"),
    "None": ("exp_avg_sq.1", None, "exp_avg_sq.1 is NoneType, expected an array"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_bad_state_changes_nothing(case):
    opt = bz.optim.Adam(weights(), lr=0.1)
    opt.step(grads_of(0))
    before = {name: np.array(value) for name, value in opt.state_dict().items()}
    name, value, text = BAD_STATES[case]
    other = {name: np.array(value) + 1 for name, value in before.items()} | {name: value}
    with pytest.raises(ValueError, match=text):
        opt.load_state_dict(other)
    assert all((np.asarray(value) == before[name]).all() for name, value in opt.state_dict().items())
    with pytest.raises(TypeError, match="the state is NoneType"):
        opt.load_state_dict(None)


def test_a_schedule_that_refuses_its_state_changes_nothing():
    opt = bz.optim.Adam(weights(), lr=bz.schedules.reduce_on_plateau(0.1))
    before = {name: np.array(value) for name, value in opt.state_dict().items()}
    name = next(name for name in before if name.startswith("schedule."))
    bad = {key: np.array(value) + 1 for key, value in before.items()} | {name: np.full(before[name].shape, np.nan)}
    with pytest.raises(ValueError, match=f"{name} is refused"):
        opt.load_state_dict(bad)
    assert all((np.asarray(v) == before[n]).all() for n, v in opt.state_dict().items() if n != name)


def test_numbers_of_numpy():
    opt = bz.optim.Adam(
        weights(), lr=np.logspace(-3, -1, 3)[0], betas=(np.float32(0.5), np.array(0.75)), ema=np.float64(0.5)
    )
    opt.set(weight_decay=np.float32(0.25))
    made = bz.optim.from_config(opt.config())
    assert type(opt.lr) is float and made.defaults["betas"] == (0.5, 0.75) and made.defaults["weight_decay"] == 0.25
    with pytest.raises(ValueError, match="lr is -0.5"):
        bz.optim.SGD(lr=np.float32(-0.5))
    with pytest.raises(ValueError, match="lr is -0.5"):
        bz.optim.SGD([{"params": weights(), "lr": np.float64(-0.5)}])


def test_dtypes_are_kept_by_name():
    opt = bz.optim.Adam(weights(), copy_to=np.float16, state_dtype={"exp_avg": np.dtype("float32"), "exp_avg_sq": None})
    assert opt.copies[0].dtype == np.float16 and opt.state["exp_avg"][0].dtype == np.float32
    config = opt.config()
    assert config["copy_to"] == "float16" and config["state_dtype"] == {"exp_avg": "float32", "exp_avg_sq": None}
    assert bz.optim.from_config(config).options == opt.options
    with pytest.raises(ValueError, match="state_dtype names exp_avgs; the states of Adam are exp_avg, exp_avg_sq"):
        bz.optim.Adam(state_dtype={"exp_avgs": "float32"})
    with pytest.raises(ValueError, match="copy_to is 'float8'; expected one of float16"):
        bz.optim.Adam(copy_to="float8")


MESSAGES = [
    (lambda: bz.optim.Adam(betas=0.9), ValueError, r"betas is 0\.9; expected 2 values"),
    (lambda: bz.optim.Adam(betas=(0.9,)), ValueError, r"betas is \(0\.9,\); expected 2 values"),
    (lambda: bz.optim.Adam(betas=(0.9, 0.9, 0.9)), ValueError, "expected 2 values"),
    (lambda: bz.optim.Rprop(etas=0.5), ValueError, r"etas is 0\.5; expected 2 values"),
    (lambda: bz.optim.SGD(weight_decay=None), ValueError, "weight_decay is None; expected a number"),
    (lambda: bz.optim.SGD(l1=None), ValueError, "l1 is None; expected a number"),
    (lambda: bz.optim.SGD(clip_norm=0), ValueError, "clip_norm is 0; expected a positive number, or None"),
    (lambda: bz.optim.SGD(clip_value=0.0), ValueError, r"clip_value is 0\.0; expected a positive number, or None"),
    (lambda: bz.optim.SGD(agc=0), ValueError, "agc is 0; expected a positive number, or None"),
    (lambda: bz.optim.SGD(max_norm=0), ValueError, "max_norm is 0; expected a positive number, or None"),
    (lambda: bz.optim.SGD(momentum=0.9, nesterov="no"), ValueError, "nesterov is 'no'; expected True or False"),
    (lambda: bz.optim.SGD(zero_grads=2), ValueError, "zero_grads is 2; expected True or False"),
    (lambda: bz.optim.SGD(weights(), max_norm=1.0, unit_axis=5), ValueError, r"unit_axis is 5; expected an axis of .* \(2, 2\)"),
    (lambda: bz.optim.SGD(weights(), copy_to=[np.ones(3)]), ValueError, "copy_to holds 1 arrays for 2 parameters"),
    (lambda: bz.optim.SGD(weights()).norm_partials([np.ones(3)]), ValueError, "1 gradients for 2 parameters"),
    (lambda: bz.optim.shard({"w": np.ones(2)}, 0, 1), TypeError, r"arrays is dict; .* list\(arrays\.values\(\)\)"),
    (lambda: bz.optim.SGD(weights()).step(grads_of(0), scale="a"), TypeError, "scale is 'a'; expected a number"),
    (lambda: bz.optim.SGD(weights()).step(grads_of(0), norm="a"), TypeError, "norm is 'a'; expected a number"),
    (lambda: bz.optim.SGD(weights(), lr=lambda step: None).step(grads_of(0)), ValueError, "lr is None, as its schedule gave it"),
    (lambda: bz.optim.SGD(weights(), lr=lambda step: -1.0).step(grads_of(0)), ValueError, "lr is -1.0; expected a number of at least 0"),
    (lambda: bz.optim.SGD(weights(), lr=lambda step: "a").step(grads_of(0)), ValueError, "lr is 'a'; expected a number of at least 0"),
    (lambda: bz.optim.Rprop(etas=(1.2, 0.5)), ValueError, r"etas is \(1.2, 0.5\); expected one below 1"),
    (lambda: bz.optim.Rprop(step_sizes=(1, 0)), ValueError, r"step_sizes is \(1, 0\); expected the smallest"),
    (lambda: bz.optim.LAMB(trust_clip=3), ValueError, "trust_clip is 3; expected None, or the smallest"),
    (lambda: bz.optim.Adafactor(d=0.0), ValueError, r"d is 0\.0; expected a positive number"),
    (lambda: bz.optim.NAdam(momentum_decay=-1), ValueError, "momentum_decay is -1; expected a number of at least 0"),
    (lambda: bz.optim.Adafactor(state_dtype="bfloat16"), ValueError, "state_dtype is 'bfloat16'; Adafactor keeps its sums by axis"),
    (lambda: bz.optim.SM3(state_dtype={"direction": "float32"}), ValueError, "SM3 keeps its sums by axis"),
    (lambda: bz.optim.SGD([np.ones(2)]).step([np.ones(2)], scale=0), ValueError, r"scale is 0\.0; expected a positive"),
    (lambda: bz.optim.SGD([np.ones(2)]).step([np.ones(2)], scale=np.nan), ValueError, "scale is nan"),
    (lambda: bz.optim.SGD([np.ones(2)]).step([np.ones(2)], scale=-1), ValueError, r"scale is -1\.0"),
    (lambda: bz.optim.SGD(weights()).step([None, np.ones((2, 2))]), TypeError, "grads at 0 is NoneType"),
    (lambda: bz.optim.clip_grad_norm({"w": np.ones(2)}, 1.0), TypeError, r"grads is dict; .* list\(grads\.values\(\)\)"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, text", MESSAGES)
def test_messages(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_look_ahead_on_tensors(torch):
    arrays = weights()
    tensors = [torch.from_numpy(array.copy()) for array in arrays]
    tensors[1] = tensors[1].float()
    opts = [bz.optim.SGD(params, lr=0.1, momentum=0.5, form="classic") for params in (arrays, tensors)]
    for opt, of in zip(opts, (np.asarray, torch.from_numpy)):
        opt.step([of(grad) for grad in grads_of(0)])
    before = [tensor.clone() for tensor in tensors]
    with opts[0].look_ahead(), opts[1].look_ahead():
        assert (tensors[0].numpy() == arrays[0]).all() and not (tensors[0] == before[0]).any()
        assert tensors[1].numpy() == pytest.approx(arrays[1], rel=1e-6)
    assert all((a == b).all() for a, b in zip(tensors, before))
