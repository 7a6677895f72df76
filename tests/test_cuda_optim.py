# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers and list functions on the emulated GPU: the bits of the CPU, from Python through the C ABI to the kernels."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401
from test_optim_lists import OPTIONS
from tolerance import DTYPES, same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

# Around a chunk, its lanes and a block of chunks; matrices for rows, columns and units; empty ones among them.
SHAPES = [(7,), (0,), (5, 13), (), (3, 2, 190), (1030, 3), (0, 3)]
MORE = {
    "plain": {},
    "all": OPTIONS,
    "units of rows": {"agc": 0.1, "unit_axis": 0, "max_norm": 2.0, "l2": 0.1, "report_norms": True},
    "reported": {
        "report_norms": True,
        "zero_grads": True,
        "ema": 0.9,
        "ema_bias_correction": True,
        "weight_decay": 0.1,
    },
}


def _compare(told, given, expected):
    for number, (made, wanted) in enumerate(zip(given, expected, strict=True)):
        wrong = same_bits(made.get() if hasattr(made, "get") else made, wanted)
        assert not wrong, f"{told}: array {number}: {wrong}"


def _everything(opt, params):
    arrays = [*params, *(array for arrays in opt.state.values() for array in arrays)]
    arrays += [array for own in opt._axes for array in own.values()]
    for beside in (opt._averages, opt._copies):
        arrays += beside or []
    return [array for array in arrays if array is not None]


def _both(cupy, name, settings, dtype, shapes=SHAPES, steps=2, **options):  # noqa: F811
    """The same steps on both devices; the optimizers and their parameters, the CPU's first."""
    ways = []
    for place in (np.asarray, cupy.on_device):
        params = [place(array) for array in optim_cases.arrays(shapes, dtype)]
        opt = bz.optim.get(name)(params, **settings, **options)
        reports = []
        for step in range(steps):
            grads = [place(grad) for grad in optim_cases.gradients(step, shapes, dtype)]
            reports.append(opt.step(grads, scale=2.0))
        ways.append((opt, params, reports, grads))
    return ways


# Options meet each rule once, and some of them each kind of rule.
CASES = [
    (name, settings, more)
    for name, settings in optim_cases.CASES
    for more in MORE
    if more == "plain" or (not settings and (more == "all" or name in ("sgd", "lamb", "adafactor")))
]


@pytest.mark.parametrize("name, settings, more", CASES, ids=[f"{optim_cases.ids(c[:2])}-{c[2]}" for c in CASES])
def test_every_rule(cupy, name, settings, more):  # noqa: F811
    for dtype in ("float32", "float64") if more == "plain" or name in ("lamb", "adafactor") else ("float32",):
        (cpu, cpu_params, cpu_reports, cpu_grads), (gpu, params, reports, grads) = _both(
            cupy, name, settings, dtype, **MORE[more]
        )
        _compare(f"{dtype} {more}", _everything(gpu, params), _everything(cpu, cpu_params))
        _compare("gradients", grads, cpu_grads)
        assert gpu.steps == cpu.steps == 2
        for on_gpu, on_cpu in zip(reports, cpu_reports):
            assert on_gpu.skipped == on_cpu.skipped and on_gpu.grad_norm == on_cpu.grad_norm
            if MORE[more].get("report_norms"):
                assert on_gpu.groups == on_cpu.groups


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("more", ["plain", "all"])
def test_16_bits(cupy, dtype, more):  # noqa: F811
    for name in ("adamw", "lamb", "adafactor"):
        for options in ({}, {"state_dtype": dtype}, {"state_dtype": dtype, "stochastic_rounding": 2**40 + 7}):
            if options and name == "adafactor":
                continue  # their states are of the compute type
            (cpu, cpu_params, *_), (gpu, params, *_) = _both(cupy, name, {}, DTYPES[dtype], **MORE[more], **options)
            _compare(f"{name} {options}", _everything(gpu, params), _everything(cpu, cpu_params))


@pytest.mark.parametrize("param", DTYPES)
@pytest.mark.parametrize("grad", DTYPES)
def test_dtypes_are_free(cupy, param, grad):  # noqa: F811
    shapes = [(1031,), (3, 5)]
    for state in ("bfloat16", "float32", "float64"):
        made = []
        for place in (np.asarray, cupy.on_device):
            params = [place(array) for array in optim_cases.arrays(shapes, DTYPES[param])]
            opt = bz.optim.Adam(params, lr=0.1, state_dtype=state, clip_norm=1.0, copy_to="float16")
            for step in range(2):
                opt.step([place(g) for g in optim_cases.gradients(step, shapes, DTYPES[grad])])
            made.append(_everything(opt, params))
        _compare(state, made[1], made[0])


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1023, 1024, 1025, 8191, 8193])
def test_sizes(cupy, size):  # noqa: F811
    (cpu, cpu_params, *_), (gpu, params, *_) = _both(cupy, "adam", {}, "float32", [(size,), (3,)], clip_norm=1.0)
    _compare(size, _everything(gpu, params), _everything(cpu, cpu_params))


def test_many_tensors_and_groups(cupy):  # noqa: F811
    """More than one parcel of tables, more than one block folds, groups of their own."""
    shapes = [(1 + i % 37,) for i in range(300)] + [(9 * 1024 + 5,)]
    made = []
    for place in (np.asarray, cupy.on_device):
        params = [place(array) for array in optim_cases.arrays(shapes)]
        opt = bz.optim.Adam(
            [{"params": params[:100], "lr": 0.5}, {"params": params[100:], "weight_decay": 0.1}],
            clip_norm=0.5, exclude={"clip_norm": ["0.*"]}, report_norms=True,
        )  # fmt: skip
        for step in range(2):
            report = opt.step([place(grad) for grad in optim_cases.gradients(step, shapes)])
        made.append((params, report))
    assert len(shapes) * 104 > 4 * 3968, "several parcels"
    _compare("", made[1][0], made[0][0])
    assert made[0][1].groups == made[1][1].groups and made[0][1].grad_norm == made[1][1].grad_norm


def test_a_long_list_is_folded_twice(cupy):  # noqa: F811
    shapes = [(2048 * 1024 * 2 + 1025,)]
    (_, cpu_params, cpu_reports, _), (_, params, reports, _) = _both(
        cupy, "sgd", {}, "float32", shapes, steps=1, clip_norm=1.0
    )
    _compare("", params, cpu_params)
    assert cpu_reports[0].grad_norm == reports[0].grad_norm


def test_nonfinite_gradients_change_nothing(cupy):  # noqa: F811
    shapes = [(1031,), (5, 7)]
    for name in bz.optim.names():
        params = [cupy.on_device(array) for array in optim_cases.arrays(shapes)]
        opt = bz.optim.get(name)(params, lr=bz.schedules.exponential(0.1, 0.5), skip_nonfinite=True, ema=0.9)
        grads = optim_cases.gradients(0, shapes)
        opt.step(list(map(cupy.on_device, grads)))
        before = [array.get() for array in [*_everything(opt, params), *opt.state_dict().values()]]
        for poison in (np.inf, np.nan):
            grads[1][2, 3] = poison
            report = opt.step(list(map(cupy.on_device, grads)))
            assert report.skipped and opt.steps == 1
        _compare(name, [*_everything(opt, params), *opt.state_dict().values()], before)
        grads[1][2, 3] = 0
        assert not opt.step(list(map(cupy.on_device, grads))).skipped and opt.steps == 2


def test_loss_scale(cupy):  # noqa: F811
    scale, weight = bz.optim.LossScale(1024.0, interval=2), cupy.on_device(np.zeros(3, "float32"))
    opt = bz.optim.SGD([weight], lr=1.0)
    opt.step([cupy.on_device(np.full(3, np.inf, "float32"))], scale=scale)
    assert scale.value == 512 and not weight.get().any()
    for _ in range(2):
        opt.step([cupy.on_device(np.full(3, 512, "float32"))], scale=scale)
    assert scale.value == 1024 and (weight.get() == -2).all() and opt.steps == 2


def test_state_round_trip_between_devices(cupy):  # noqa: F811
    shapes = [(5, 13), (1031,)]
    for name in ("adam", "novograd", "adafactor", "sm3", "nadam"):
        (cpu, cpu_params, *_), (gpu, params, *_) = _both(cupy, name, {}, "float32", shapes, ema=0.9)
        saved = {key: value.get().copy() for key, value in gpu.state_dict().items()}
        assert list(saved) == list(cpu.state_dict())
        weights = [array.get().copy() for array in params]
        again = bz.optim.get(name)(weights, ema=0.9)
        again.load_state_dict(saved)
        there = [cupy.on_device(array.copy()) for array in cpu_params]
        back = bz.optim.get(name)(there, ema=0.9)
        back.load_state_dict({key: np.array(value) for key, value in cpu.state_dict().items()})
        assert again.steps == back.steps == 2
        for opt, place in ((again, np.asarray), (back, cupy.on_device), (gpu, cupy.on_device)):
            opt.step([place(grad) for grad in optim_cases.gradients(7, shapes)])
        _compare(name, _everything(back, there), _everything(again, weights))
        _compare(name, _everything(gpu, params), _everything(again, weights))


def test_scalars_on_the_device(cupy):  # noqa: F811
    params, twins = [cupy.on_device(np.ones(5, "float32"))], [np.ones(5, "float32")]
    lr, beta, scale = (cupy.on_device(np.array(v, "float64")) for v in (0.5, 0.8, 4.0))
    opt = bz.optim.Adam(params, lr=lr, betas=(beta, 0.99), weight_decay=0.1, decoupled_weight_decay=True)
    other = bz.optim.Adam(twins, lr=0.5, betas=(0.8, 0.99), weight_decay=0.1, decoupled_weight_decay=True)
    for step in range(3):
        grad = optim_cases.gradients(step, [(5,)])
        opt.step([cupy.on_device(grad[0])], scale=scale)
        other.step(grad, scale=4.0)
        lr[...] = other.lr = 0.5 / (step + 2)
    _compare("", params, twins)
    # An array in the place of an equal number counts from the next step on.
    for optimizer in (opt, other):
        optimizer.set(lr=0.25, betas=(0.8, 0.99))
    opt.step([cupy.on_device(grad[0])]), other.step(grad)
    lr[...] = 0.25
    opt.lr = lr
    opt.step([cupy.on_device(grad[0])]), other.step(grad)
    lr[...] = other.lr = 0.125
    opt.step([cupy.on_device(grad[0])]), other.step(grad)
    _compare("", params, twins)


def test_bound_and_replaced_arrays(cupy):  # noqa: F811
    params = {"w": cupy.on_device(np.zeros(3, "float32"))}
    grads = [cupy.on_device(np.ones(3, "float32"))]
    opt = bz.optim.SGD(params, lr=1.0, momentum=0.5)
    opt.bind_grads(grads)
    opt.step()
    grads[0][...] = 2
    opt.step()
    old, params["w"] = params["w"], cupy.on_device(np.full(3, 10, "float32"))
    opt.step()
    assert (old.get() == -3.5).all() and (params["w"].get() == 10 - 3.25).all()
    with pytest.raises(ValueError, match="the gradient of w is on another device than its parameter"):
        opt.step([np.ones(3, "float32")])
    with pytest.raises(ValueError, match="is not contiguous; on a GPU pass ascontiguousarray"):
        opt.step([cupy.on_device(np.ones(6, "float32")[::2])])
    with pytest.raises(ValueError, match="lives elsewhere than the first parameter"):
        bz.optim.SGD([params["w"], np.zeros(3, "float32")])


def test_reports_outlive_later_steps(cupy):  # noqa: F811
    opt = bz.optim.SGD([cupy.on_device(np.zeros(4, "float32"))], clip_norm=1e9)
    reports = [opt.step([cupy.on_device(np.full(4, value, "float32"))]) for value in range(8)]
    assert [report.grad_norm for report in reports] == [2.0 * value for value in range(8)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions(cupy, dtype):  # noqa: F811
    shapes = [(7,), (0,), (5, 13), (2, 1031), (9 * 1024 + 5,)]
    on_cpu = optim_cases.gradients(0, shapes, DTYPES[dtype])
    on_gpu = [cupy.on_device(array.copy()) for array in on_cpu]
    functions = bz.optim
    assert float(functions.global_norm(on_gpu)) == functions.global_norm(on_cpu)
    assert functions.norm_partials(on_gpu, 3).tolist() == functions.norm_partials(on_cpu, 3).tolist()
    assert functions.merge_norm([functions.norm_partials(on_gpu)]) == (functions.global_norm(on_cpu), True)
    for bound in (1e9, 1.0):
        assert float(functions.clip_grad_norm(on_gpu, bound)) == functions.clip_grad_norm(on_cpu, bound)
        _compare("clip_grad_norm", on_gpu, on_cpu)
    functions.clip_grad_value(on_gpu, 0.01), functions.clip_grad_value(on_cpu, 0.01)
    _compare("clip_grad_value", on_gpu, on_cpu)
    assert bool(functions.scale_and_check(on_gpu, 0.5)) is functions.scale_and_check(on_cpu, 0.5) is True
    _compare("scale_and_check", on_gpu, on_cpu)
    params = optim_cases.arrays(shapes, DTYPES[dtype])
    functions.ema_update(on_gpu, list(map(cupy.on_device, params)), 0.9)
    functions.ema_update(on_cpu, params, 0.9)
    _compare("ema_update", on_gpu, on_cpu)
    on_gpu[2][1, 1] = np.nan
    assert not bool(functions.scale_and_check(on_gpu, 0.5))
    with pytest.raises(ValueError, match=r"grads\[1\] is on the CPU, grads\[0\] on CUDA device 0"):
        functions.global_norm([on_gpu[0], on_cpu[0]])


@pytest.mark.emulation  # the matrix products of a GPU are others
def test_the_loop_of_the_readme(cupy):  # noqa: F811
    text = (build.ROOT / "README.md").read_text()
    loop = text[text.index("import numpy as np") : text.index("assert losses[-1]")]
    spaces = []
    for program in (loop, loop.replace("import numpy as np", "import cupy as np")):
        spaces.append({})
        exec(program.replace("range(400)", "range(5)"), spaces[-1])  # noqa: S102
    assert type(spaces[1]["params"]["w1"]) is cupy.ndarray
    _compare("", spaces[1]["params"].values(), spaces[0]["params"].values())
    assert spaces[0]["losses"] == spaces[1]["losses"]


@pytest.mark.emulation
def test_failures_leave_the_list_usable(cupy, monkeypatch):  # noqa: F811
    params, twins = [cupy.on_device(np.ones(5, "float32"))], [np.ones(5, "float32")]
    opt, other = bz.optim.Adam(params), bz.optim.Adam(twins)
    monkeypatch.setenv("BRAZEN_EMULATED_FAILURE", "700")
    with pytest.raises(RuntimeError, match="optim: cudaErrorIllegalAddress on CUDA device 0"):
        opt.step([cupy.on_device(np.ones(5, "float32"))])
    monkeypatch.delenv("BRAZEN_EMULATED_FAILURE")
    opt.step([cupy.on_device(np.ones(5, "float32"))])
    other.step([np.ones(5, "float32")])
    _compare("", params, twins)
