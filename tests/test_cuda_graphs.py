# SPDX-License-Identifier: BSD-3-Clause
"""Steps inside a CUDA graph on the emulated GPU, which keeps launches and runs them when the graph is: what a graph and the
steps beside it leave each other, settings that are read anew, and how many launches a step takes."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401
from tolerance import same_bits

if build.compiler() is None:
    pytest.skip("the emulation of CUDA needs g++ (or CXX), which is not here", allow_module_level=True)

SHAPES = [(1031,), (5, 7), (40, 3)]


def capture(cupy, call):  # noqa: F811
    stream, others = cupy.cuda.Stream(non_blocking=True), cupy.cuda.get_current_stream()
    with stream:
        stream.begin_capture()
        kept = call()
        graph = stream.end_capture()

    def launch():
        others.synchronize()
        graph.launch(stream)
        stream.synchronize()

    return launch, kept


def pair(cupy, name="adamw", **settings):  # noqa: F811
    """The same optimizer on both devices, with gradients that keep their memory."""
    made = []
    for place in (cupy.on_device, np.asarray):
        params = [place(array) for array in optim_cases.arrays(SHAPES)]
        grads = [place(array) for array in optim_cases.gradients(0, SHAPES)]
        opt = bz.optim.get(name)(params, **settings)
        opt.bind_grads(grads)
        opt.step()
        made.append((opt, params, grads))
    return made


def compare(there, here):
    for number, (a, b) in enumerate(zip(there, here, strict=True)):
        wrong = same_bits(a.get(), b)
        assert not wrong, f"array {number}: {wrong}"


def test_a_graph_goes_on_stepping(cupy):  # noqa: F811
    (gpu, params, _), (cpu, twins, _) = pair(cupy, lr=0.1, clip_norm=1.0)
    before = [array.get() for array in params]
    launch, _ = capture(cupy, gpu.step)
    compare(params, before)
    for count in range(2, 6):
        launch(), cpu.step()
        compare(params, twins)
        assert gpu.steps == cpu.steps == count
    assert gpu.state_dict()["memory"].get().tolist() == cpu.state_dict()["memory"].tolist()


def test_steps_beside_a_graph(cupy):  # noqa: F811
    """Neither runs with the settings or the gradients of the other."""
    (gpu, params, _), (cpu, twins, grads) = pair(cupy, lr=0.1)
    gpu.lr = cpu.lr = 0.05
    launch, _ = capture(cupy, gpu.step)
    gpu.step(), cpu.step()  # the capture sent nothing yet
    compare(params, twins)
    launch(), cpu.step()
    other = optim_cases.gradients(1, SHAPES)
    gpu.lr = cpu.lr = 0.2
    gpu.step(list(map(cupy.on_device, other))), cpu.step(other)
    compare(params, twins)
    cpu.lr = 0.05  # a number is the graph's own, and so are its gradients
    launch(), cpu.step()
    compare(params, twins)
    gpu.step(), setattr(cpu, "lr", 0.2), cpu.step()
    compare(params, twins)


@pytest.mark.emulation  # CuPy's pool may refuse to grow during a capture
def test_a_first_step_that_is_captured(cupy):  # noqa: F811
    """The room of the phases is cleared by the graph, and by the first step beside it."""
    params, twins = list(map(cupy.on_device, optim_cases.arrays(SHAPES))), optim_cases.arrays(SHAPES)
    gpu, cpu = (bz.optim.SM3(weights, clip_norm=1.0) for weights in (params, twins))
    grads = optim_cases.gradients(0, SHAPES)
    gpu.bind_grads(list(map(cupy.on_device, grads)))
    launch, _ = capture(cupy, gpu.step)
    assert gpu.steps == 0
    gpu.step(), cpu.step(grads)
    compare(params, twins)
    launch(), cpu.step(grads)
    compare(params, twins)
    assert gpu.steps == 2


def test_a_skipped_step_in_a_graph(cupy):  # noqa: F811
    (gpu, params, there), (cpu, twins, here) = pair(cupy, lr=0.1, skip_nonfinite=True, clip_norm=1.0)
    launch, report = capture(cupy, gpu.step)
    there[1][2, 3], here[1][2, 3] = np.nan, np.nan
    launch()
    assert cpu.step().skipped and gpu.steps == cpu.steps == 1
    compare(params, twins)
    there[1][2, 3], here[1][2, 3] = 1.0, 1.0
    launch()
    assert not cpu.step().skipped and not report.skipped and gpu.steps == 2
    compare(params, twins)


def test_the_report_of_a_graph_is_its_own(cupy):  # noqa: F811
    (gpu, _, grads), _ = pair(cupy, "sgd", lr=0.1, clip_norm=1e9)
    held = [gpu.step() for _ in range(8)]
    launch, report = capture(cupy, gpu.step)
    del held
    grads[0][...] = 0
    launch()
    eager = [gpu.step() for _ in range(8)]
    norm = report.grad_norm
    grads[1][...] = 7
    launch()
    assert all(one.grad_norm == norm for one in eager)


SCALARS = {
    "lr": 0.05, "weight_decay": 0.3, "l1": 0.02, "l2": 0.4, "clip_value": 0.3, "agc": 0.05, "agc_eps": 0.2, "max_norm": 1.5,
    "ema": 0.7, "clip_norm": 0.2,
}  # fmt: skip


@pytest.mark.parametrize("name", ["sgd", "adamw", "adan", "lamb", "adafactor"])
def test_every_number_may_be_on_the_device(cupy, name):  # noqa: F811
    first = {"lr": 0.1, "weight_decay": 0.1, "l1": 0.01, "l2": 0.1, "clip_value": 0.4, "agc": 0.1, "agc_eps": 1e-3, "max_norm": 2.0, "ema": 0.9, "clip_norm": 1.0}  # fmt: skip
    (_, *_), (cpu, twins, _) = pair(cupy, name, **first)
    scalars = {key: cupy.on_device(np.array(value)) for key, value in first.items()}
    params = [cupy.on_device(array) for array in optim_cases.arrays(SHAPES)]
    grads = [cupy.on_device(array) for array in optim_cases.gradients(0, SHAPES)]
    gpu = bz.optim.get(name)(params, **scalars)
    gpu.bind_grads(grads)
    gpu.step()
    compare([*params, *gpu.averages], [*twins, *cpu.averages])
    launch, _ = capture(cupy, gpu.step)
    for key, value in SCALARS.items():
        scalars[key][...] = value
        cpu.set(**{key: value})
        launch(), cpu.step()
        compare([*params, *gpu.averages], [*twins, *cpu.averages])


def test_a_momentum_on_the_device(cupy):  # noqa: F811
    weights, twins = [cupy.on_device(np.ones(5, "float32"))], [np.ones(5, "float32")]
    momentum = cupy.on_device(np.array(0.9))
    gpu = bz.optim.SGD(weights, lr=0.1, momentum=momentum, nesterov=True)
    cpu = bz.optim.SGD(twins, lr=0.1, momentum=0.9, nesterov=True)
    for step in range(3):
        momentum[...] = 0.9 - 0.1 * step
        cpu.set(momentum=0.9 - 0.1 * step)
        grad = optim_cases.gradients(step, [(5,)])
        gpu.step([cupy.on_device(grad[0])]), cpu.step(grad)
    compare(weights, twins)


# Phases beside the update itself: sums of gradients (squares, merge), what begins a step, and those of the rule.
LAUNCHES = [
    ("sgd", {}, 2), ("adamw", {}, 2), ("adamw", {"clip_norm": 1.0}, 4), ("adamw", {"clip_norm": 1.0, "ema": 0.9, "copy_to": "bfloat16", "zero_grads": True, "skip_nonfinite": True}, 4),
    ("lamb", {}, 4), ("lars", {}, 4), ("novograd", {}, 4), ("adafactor", {}, 8), ("sm3", {}, 5),
    ("adamw", {"agc": 0.1}, 3), ("adamw", {"max_norm": 1.0}, 4),
]  # fmt: skip


@pytest.mark.emulation
@pytest.mark.parametrize("name, options, launches", LAUNCHES)
def test_launches_of_a_step(cupy, name, options, launches):  # noqa: F811
    """However many arrays there are, once their tables were sent."""
    count = cupy.cuda.emulation().emulated_launches
    for arrays in (1, 300):
        shapes = [(3, 5)] * arrays
        opt = bz.optim.get(name)([cupy.on_device(a) for a in optim_cases.arrays(shapes)], **options)
        opt.bind_grads([cupy.on_device(a) for a in optim_cases.gradients(0, shapes)])
        opt.step()
        before = count()
        opt.step()
        assert count() - before == launches, f"{arrays} arrays"
