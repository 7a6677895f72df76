# SPDX-License-Identifier: BSD-3-Clause
"""A list of arrays spread over processes: shards that step apart take the steps of the whole, to the bit."""

import brazen as bz
import numpy as np
import optim_cases
import pytest
from emulation import build
from test_cuda_emulated import cupy  # noqa: F401
from tolerance import same_bits

# Tensors of many chunks and of one, empty ones, one that ends inside a chunk; a shard may end inside a tensor.
SHAPES = [(5000,), (3,), (0,), (3, 1024), (77, 33), (1,)]
LAYERWISE = ("lars", "lamb", "novograd", "adafactor", "sm3")
RULES = [name for name in bz.optim.names() if name not in LAYERWISE]
OPTIONS = {"clip_norm": 0.5, "skip_nonfinite": True, "ema": 0.9, "clip_value": 0.2, "l1": 0.01, "weight_decay": 0.1}


def pieces(arrays, count):
    return [bz.optim.shard(arrays, number, count) for number in range(count)]


def steps_of_shards(name, count, place, poisoned):
    """The weights after some steps by shards, which exchange only what norm_partials gives; and which were skipped."""
    whole = [place(array) for array in optim_cases.arrays(SHAPES)]
    opts = [(bz.optim.get(name)(views, lr=0.1, **OPTIONS), first) for views, first in pieces(whole, count)]
    skipped = []
    for step in range(4):
        grads = [place(g) for g in gradients(step, poisoned)]
        shards = [views for views, _ in pieces(grads, count)]
        parts = [opt.norm_partials(own, first) for (opt, first), own in zip(opts, shards)]
        norm, finite = bz.optim.merge_norm(parts[::-1])
        reports = [opt.step(own, scale=2.0, norm=norm, skip=not finite) for (opt, _), own in zip(opts, shards)]
        assert len({(report.skipped, report.grad_norm) for report in reports if finite}) <= 1
        skipped.append(reports[0].skipped)
    assert {opt.steps for opt, _ in opts} == {4 - sum(skipped)}
    averages = [view for opt, _ in opts for view in opt.averages]
    return whole, averages, skipped


def gradients(step, poisoned):
    grads = optim_cases.gradients(step, SHAPES)
    if poisoned and step == 1:
        grads[3][2, 7] = np.nan
    return grads


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("name", RULES)
def test_shards_step_as_the_whole(name, count):
    compare(name, count, np.asarray)


@pytest.mark.skipif(build.compiler() is None, reason="the emulation of CUDA needs g++ (or CXX), which is not here")
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_shards_on_a_gpu(cupy, name):  # noqa: F811
    compare(name, 2, cupy.on_device)


def compare(name, count, place):
    host = lambda array: array.get() if hasattr(array, "get") else array  # noqa: E731
    for poisoned in (False, True):
        wanted = optim_cases.arrays(SHAPES)
        opt = bz.optim.get(name)(wanted, lr=0.1, **OPTIONS)
        skipped = [opt.step(gradients(step, poisoned), scale=2.0).skipped for step in range(4)]
        made, averages, found = steps_of_shards(name, count, place, poisoned)
        assert found == skipped == [poisoned and step == 1 for step in range(4)]
        for array, other in zip(map(host, made), wanted):
            assert not same_bits(array, other)
        flat = np.concatenate([np.zeros(0, "float32"), *map(host, averages)])
        assert (flat == np.concatenate([average.reshape(-1) for average in opt.averages])).all()


def test_a_norm_that_overflows_is_not_skipped():
    """Every element is finite, their squares are not: clipping brings the step to nothing, skipping would not."""
    weight, twin = np.zeros(3, "float32"), np.zeros(3, "float32")
    grad = np.full(3, 3e38, "float32")
    opt, other = (bz.optim.SGD([w], lr=1.0, clip_norm=1.0, skip_nonfinite=True) for w in (weight, twin))
    norm, finite = bz.optim.merge_norm([opt.norm_partials([grad])])
    assert norm == np.inf and finite
    assert not opt.step([grad], norm=norm, skip=not finite).skipped and not other.step([grad]).skipped
    assert not same_bits(weight, twin)


def test_what_is_not_clipped_does_not_count():
    params = {"w": np.zeros(2), "b": np.zeros(2)}
    opt = bz.optim.SGD(params, lr=1.0, clip_norm=1.0, exclude={"clip_norm": ["b"]})
    partials = opt.norm_partials({"w": np.array([3.0, 4.0]), "b": np.full(2, 100.0)}, first_chunk=4)
    assert partials.tolist() == [[4.0, 25.0, 1.0], [5.0, 0.0, 1.0]]


def test_given_norm_and_skip_take_the_place_of_what_is_measured():
    weight = np.zeros(2)
    opt = bz.optim.SGD([weight], lr=1.0, clip_norm=1.0, skip_nonfinite=True)
    report = opt.step([np.array([3.0, 4.0])], norm=10.0)
    assert weight == pytest.approx([-0.3, -0.4]) and report.grad_norm == 10.0 and not report.skipped
    assert opt.step([np.ones(2)], skip=True).skipped and weight == pytest.approx([-0.3, -0.4]) and opt.steps == 1
    assert not opt.step([np.array([np.nan, 1.0])], norm=1.0, skip=False).skipped and np.isnan(weight[0])
    plain = bz.optim.SGD([np.zeros(1)], lr=1.0)
    assert plain.step([np.ones(1)], skip=True).skipped and plain.steps == 0


def test_shards_are_views_of_every_chunk_once():
    arrays = [np.arange(n, dtype="float64") for n in (1, 1024, 1025, 0, 5000)]
    for count in (1, 2, 5, 40):
        found = pieces(arrays, count)
        assert (
            np.concatenate([view for views, _ in found for view in views]).tolist() == np.concatenate(arrays).tolist()
        )
        firsts = [first for _, first in found]
        assert firsts == sorted(firsts) and all(view.base is not None for views, _ in found for view in views)


ERRORS = [
    (lambda: bz.optim.shard([np.ones(3)], 2, 2), "number is 2, count 2; expected a number of at least 0 and below count"),
    (lambda: bz.optim.shard([np.ones((4, 4))[:, ::2]], 0, 1), r"arrays\[0\] is not contiguous"),
    (lambda: bz.optim.merge_norm([np.ones(3)]), r"partials\[0\] has shape \(3,\); expected \(chunks, 3\)"),
    (lambda: bz.optim.merge_norm([bz.optim.norm_partials([np.ones(3)], 1)]), "after chunk -1 comes chunk 1"),
    (lambda: bz.optim.merge_norm([bz.optim.norm_partials([np.ones(3)])] * 2), "after chunk 0 comes chunk 0; .* each chunk once"),
    (lambda: bz.optim.SGD([np.ones(3)]).step([np.ones(3)], norm=-1.0), "norm is -1.0; expected the norm"),
]  # fmt: skip


@pytest.mark.parametrize("call, text", ERRORS)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_no_partials_are_a_norm_of_nothing():
    assert bz.optim.merge_norm([]) == (0.0, True) and bz.optim.norm_partials([]).shape == (0, 3)
