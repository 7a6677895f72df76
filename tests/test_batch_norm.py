# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm against its float64 reference, the specified order of its sums, and itself on other layouts and machines.

It catches a wrong gradient of any stage, statistics in another order, rows numbered by memory, a running statistic by
another convention, a mask that depends on the layout, and a result that depends on threads or on how a batch was cut.
"""

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from brazen import _core
from reduction import merged_moments, ordered_moments, ordered_sum
from tolerance import DTYPES, compute_type, same_bits, tolerance

reference = bz.reference.batch_norm

# Rows of one chunk and of several, fewer than lanes, no multiple of anything; few and many channels.
SHAPES = [(3, 5, 7, 7), (9, 6, 20, 16), (37, 40), (70, 3, 5), (2, 60, 7, 9), (2, 60, 7, 7), (40, 8, 8, 16), (2100, 3)]
CHAINS = [
    {},
    {"activation": "relu"},
    {"add": True},
    {"dropout": 0.3},
    {"add": True, "activation": "gelu", "dropout": 0.25},
    {"activation": bz.leaky_relu.with_(alpha=0.2), "dropout": 0.5},
]
DRAW = {"seed": 5, "step": 2, "site": 3, "offset": 11}


def channels_last(array):
    """Channels last in memory, second in the shape."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def half_batch(array):
    """Every second sample of a batch, channels last."""
    store = np.zeros((2 * array.shape[0], *np.moveaxis(array, 1, -1).shape[1:]), array.dtype)
    store[::2] = np.moveaxis(array, 1, -1)
    return np.moveaxis(store[::2], -1, 1)


ORDERS = [channels_last, half_batch, layouts.fortran, layouts.strided, layouts.reversed_, layouts.misaligned]


def wide(array):
    return None if array is None else array.astype(np.float64)


class Problem:
    """Arrays of one shape and dtype, and what to call with them."""

    def __init__(self, shape, dtype, chain, parameters=True, training=True):
        draw = lambda seed, *of: samples.ordinary(of or shape, dtype, seed)  # noqa: E731
        self.x, self.dy = draw(1), draw(2)
        self.x += self.x.dtype.type(2)
        self.kind = DTYPES[compute_type(dtype)]
        channels = shape[1]
        self.scale = samples.ordinary(channels, self.kind, 3) if parameters else None
        self.shift = samples.ordinary(channels, self.kind, 4) if parameters else None
        self.add = draw(5) if chain.get("add") else None
        self.options = {**chain, **(DRAW if chain.get("dropout") else {}), "training": training}
        self.options.pop("add", None)
        self.running = samples.ordinary(channels, self.kind, 6), np.abs(samples.ordinary(channels, self.kind, 7)) + 1

    def forward(self, function=bz.batch_norm, change=np.array, convert=lambda a: a, **more):
        add = None if self.add is None else change(convert(self.add))
        running = [convert(r).copy() for r in self.running]
        x = change(convert(self.x))
        y, saved = function(x, convert(self.scale), convert(self.shift), *running, add=add, **self.options, **more)
        return y, saved, running

    def results(self, function=bz.batch_norm, change=np.array, convert=lambda a: a, **more):
        """Everything there is, by name."""
        y, saved, running = self.forward(function, change, convert, **more)
        gradients = function.backward(change(convert(self.dy)), saved)
        named = {"y": y, "running_mean": running[0], "running_var": running[1]}
        named |= {f"d{name}": value for name, value in gradients._asdict().items()}
        return {name: value for name, value in named.items() if value is not None}


def assert_same(a, b, told):
    assert a.keys() == b.keys()
    for name in a:
        wrong = same_bits(a[name], b[name])
        assert not wrong, f"{told}: {name}: {wrong}"


def assert_close(result, truth, told):
    """Within some roundings of the largest term: sums of thousands of terms of both signs stand behind each number."""
    assert result.keys() == truth.keys()
    for name, exact in truth.items():
        given = result[name].astype(np.float64)
        error = np.abs(given - exact)
        allowed = tolerance(result[name].dtype).unit * np.abs(exact) * 1.001
        largest = np.abs(exact).max(initial=0)
        scale = 1 + largest + (100 if name in ("dscale", "dshift") else 0)
        compute = tolerance(compute_type(result[name].dtype))
        roundings = 40 if compute.precision == 24 else 100  # a float64 truth is rounded itself
        allowed = allowed + roundings * compute.unit * scale
        assert (error <= allowed).all(), f"{told}: {name}: {error.max()} over {allowed.max()}"


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(chain) or "plain")
@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_the_reference(dtype, chain, training):
    for shape in SHAPES:
        for parameters in (True, False):
            problem = Problem(shape, dtype, chain, parameters, training)
            told = f"{shape} {'with' if parameters else 'without'} scale and shift"
            assert_close(problem.results(), problem.results(reference, convert=wide), told)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_have_the_specified_order(dtype, isa):
    for shape in [(3, 2, 7, 7), (5, 3), (40, 2, 30), (1025, 1), (2, 3, 33, 31), (31, 2), (1100, 70)]:
        x = samples.ordinary(shape, dtype, 1) + DTYPES[dtype].type(3)
        rows = np.moveaxis(x, 1, 0).reshape(shape[1], -1).astype(compute_type(dtype))
        rows = rows[:3]
        expected = np.array([ordered_moments(row) for row in rows]).T
        for change in (np.array, *ORDERS):
            moments = bz.batch_norm.statistics(change(x))
            wrong = same_bits(moments[:, :3], expected)
            assert not wrong, f"{shape} {change.__name__}: {wrong}"
        wrong = same_bits(bz.batch_norm.statistics(np.moveaxis(channels_last(x), 1, -1), axis=-1)[:, :3], expected)
        assert not wrong, f"{shape} axis=-1: {wrong}"


def test_sums_have_the_specified_order(isa):
    shape = (3, 5, 33, 31)
    problem = Problem(shape, "float32", {}, parameters=False)
    _, saved, _ = problem.forward()
    sums = bz.batch_norm.backward_sums(problem.dy, saved)
    for channel in range(5):
        rows = problem.dy[:, channel].ravel()
        assert sums[0, channel] == ordered_sum(rows)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(chain) or "plain")
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_every_layout_and_instruction_set(dtype, chain):
    for shape in [*SHAPES, (300, 8, 16, 16)]:
        problem = Problem(shape, dtype, chain)
        wanted = problem.results()
        for isa in _core.isas():
            _core.set_isa(isa)
            for change in (np.array, *ORDERS) if isa == _core.isas()[0] else (np.array, channels_last):
                assert_same(problem.results(change=change), wanted, f"{shape} {isa} {change.__name__}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("shape", [(64, 16, 32, 32), (9000, 70), (20, 33, 49, 49)])
def test_same_bits_for_every_number_of_threads(shape, dtype):
    problem = Problem(shape, dtype, CHAINS[4])
    wanted = problem.results()
    for threads in (1, 2, 3, 8):
        bz.set_num_threads(threads)
        for change in (np.array, channels_last):
            assert_same(problem.results(change=change), wanted, f"{threads} threads {change.__name__}")


def test_a_channel_of_constants_and_one_far_from_zero():
    x = np.zeros((500, 3, 10), "float32")
    x[:, 0] = 7.25
    x[:, 1] = 1e6 + np.random.default_rng(0).normal(0, 1, (500, 10))
    y, saved = bz.batch_norm(x)
    exact, _ = reference(x.astype(np.float64))
    assert (y[:, 0] == 0).all() and (saved.variance[0] == 0) and saved.mean[0] == 7.25
    assert np.abs(y - exact).max() < 1e4 * tolerance("float32").unit


def test_nan_and_infinity_stay_in_their_channel():
    x = samples.ordinary((6, 3, 4), "float32")
    x[2, 1, 1] = np.nan
    x[0, 2, 0] = np.inf
    y, _ = bz.batch_norm(x)
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1:]).all()


@pytest.mark.parametrize("shape", [(4096, 6), (8, 6, 16, 16)])
def test_parts_that_are_whole_chunks_merge_to_the_bits_of_the_whole(shape):
    problem = Problem(shape, "float32", CHAINS[4])
    whole = bz.batch_norm.statistics(problem.x)
    parts = np.split(problem.x, 2 if len(shape) == 4 else 4)
    moments = bz.batch_norm.merge([bz.batch_norm.statistics(part) for part in parts])
    assert not same_bits(moments, whole)

    y, saved, running = problem.forward()
    gradients = bz.batch_norm.backward(problem.dy, saved)
    own = [r.copy() for r in problem.running]
    outs, states, start = [], [], 0
    options = {**problem.options, "offset": 11}
    options.pop("training")
    for part, add in zip(parts, np.split(problem.add, len(parts))):
        last = start + part.size == problem.x.size
        moved = own if last else [None, None]
        options["offset"] = 11 + start
        out, state = bz.batch_norm.normalize(part, moments, problem.scale, problem.shift, *moved, add=add, **options)
        outs.append(out), states.append(state)
        start += part.size
    assert not same_bits(np.concatenate(outs), y)
    assert not same_bits(own[1], running[1])
    dys = np.split(problem.dy, len(parts))
    sums = bz.batch_norm.merge_sums([bz.batch_norm.backward_sums(dy, state) for dy, state in zip(dys, states)])
    applied = [bz.batch_norm.backward_apply(dy, state, sums) for dy, state in zip(dys, states)]
    assert not same_bits(np.concatenate([g.x for g in applied]), gradients.x)
    assert not same_bits(np.concatenate([g.add for g in applied]), gradients.add)
    assert not same_bits(applied[0].scale, gradients.scale) and not same_bits(applied[0].shift, gradients.shift)


def test_uneven_parts_merge_by_chans_formula():
    parts = [samples.ordinary((n, 3, 5), "float32", n) for n in (2, 7, 1, 30)]
    each = [bz.batch_norm.statistics(part) for part in parts]
    tree = [merged_moments(merged_moments(each[0][:, c], each[1][:, c]), merged_moments(each[2][:, c], each[3][:, c])) for c in range(3)]  # fmt: skip
    merged = bz.batch_norm.merge(each)
    assert not same_bits(merged, np.array(tree).T)
    together = np.concatenate(parts).astype(np.float64)
    np.testing.assert_allclose(merged[2] / merged[0], together.var(axis=(0, 2)), rtol=40 * tolerance("float32").unit)


def test_recalibrate_is_the_population():
    batches = [samples.ordinary((n, 4, 3), "float32", n) for n in (8, 8, 5)]
    mean, variance = np.zeros(4, "float32"), np.zeros(4, "float32")
    whole = np.concatenate(batches).astype(np.float64)
    for running, ddof in (("biased", 0), ("unbiased", 1)):
        bz.batch_norm.recalibrate(iter(batches), mean, variance, running=running)
        np.testing.assert_allclose(mean, whole.mean((0, 2)), rtol=1e3 * tolerance("float32").unit)
        np.testing.assert_allclose(variance, whole.var((0, 2), ddof=ddof), rtol=1e3 * tolerance("float32").unit)
    y, _ = bz.batch_norm(whole.astype("float32")[:1], None, None, mean, variance, training=False)
    assert np.abs(y).max() < 5


def test_running_statistics_by_both_conventions():
    x = samples.ordinary((8, 3), "float64", 1)
    for running, ddof in (("biased", 0), ("unbiased", 1)):
        mean, variance = np.full(3, 2.0), np.full(3, 5.0)
        bz.batch_norm(x, None, None, mean, variance, momentum=0.25, running=running)
        np.testing.assert_allclose(mean, 0.75 * 2 + 0.25 * x.mean(0), rtol=8 * tolerance("float64").unit)
        np.testing.assert_allclose(variance, 0.75 * 5 + 0.25 * x.var(0, ddof=ddof), rtol=8 * tolerance("float64").unit)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(
    "chain",
    [{}, {"add": True, "activation": "gelu"}, {"add": True, "activation": "silu", "dropout": 0.3}, {"dropout": 0.5}],
    ids=lambda chain: "-".join(chain) or "plain",
)
def test_gradients_are_those_of_differences(chain, training):
    problem = Problem((5, 3, 4), "float64", chain, training=training)
    names = ["x", "scale", "shift"] + ["add"] * bool(chain.get("add"))

    def loss():
        return float((problem.forward()[0] * problem.dy).sum())

    gradients = bz.batch_norm.backward(problem.dy, problem.forward()[1])._asdict()
    step = 1e-5
    for name in names:
        array, gradient = getattr(problem, name), gradients[name]
        for at in list(np.ndindex(array.shape))[::7]:
            value = array[at]
            array[at] = value + step
            above = loss()
            array[at] = value - step
            difference = (above - loss()) / (2 * step)
            array[at] = value
            scale = 1 + np.abs(gradient).max()
            assert abs(difference - gradient[at]) <= tolerance("float64").central_difference * scale, f"{name}{at}"


class _Errors:
    """Sums of squared errors of ours and of PyTorch's, each array's relative to its largest number."""

    def __init__(self):
        self.ours, self.theirs = {}, {}

    def add(self, name, ours, theirs, exact):
        for sums, given in ((self.ours, ours), (self.theirs, theirs)):
            error = (np.asarray(given, np.float64) - exact) / np.abs(exact).max()
            sums[name] = sums.get(name, 0.0) + (error**2).mean()


@pytest.mark.parametrize("order", [np.array, channels_last], ids=["nchw", "channels_last"])
def test_at_least_as_exact_as_torch(torch, order):
    """Ten training steps with running statistics, gradients, then inference: the root mean square errors against float64."""
    errors = _Errors()
    for shape in [(8, 5, 6, 7), (50, 12), (3, 64, 16, 16), (16, 24, 5, 5)]:
        channels = shape[1]
        scale, shift = samples.ordinary(channels, "float32", 3), samples.ordinary(channels, "float32", 4)
        layer = (torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d)(channels)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(scale)), layer.bias.copy_(torch.from_numpy(shift))
        running = np.zeros(channels, "float32"), np.ones(channels, "float32")
        truth = np.zeros(channels), np.ones(channels)
        for step in range(10):
            x = order(samples.ordinary(shape, "float32", step) + np.float32(1))
            dy = order(samples.ordinary(shape, "float32", 99 + step))
            y, saved = bz.batch_norm(x, scale, shift, *running)
            exact, exact_saved = reference(wide(x), wide(scale), wide(shift), *truth)
            tensor = torch.from_numpy(x).requires_grad_()
            layer.zero_grad()
            their_y = layer(tensor)
            their_y.backward(torch.from_numpy(dy))
            errors.add("y", y, their_y.detach().numpy(), exact)
            ours, right = bz.batch_norm.backward(dy, saved), reference.backward(wide(dy), exact_saved)
            errors.add("dx", ours.x, tensor.grad.numpy(), right.x)
            errors.add("dscale", ours.scale, layer.weight.grad.numpy(), right.scale)
            errors.add("dshift", ours.shift, layer.bias.grad.numpy(), right.shift)
            errors.add("running mean", running[0], layer.running_mean.numpy(), truth[0])
            errors.add("running variance", running[1], layer.running_var.numpy(), truth[1])
        layer.eval()
        y, _ = bz.batch_norm(x, scale, shift, *running, training=False)
        exact, _ = reference(wide(x), wide(scale), wide(shift), *truth, training=False)
        errors.add("inference", y, layer(torch.from_numpy(x)).detach().numpy(), exact)
    ratios = {name: round((errors.ours[name] / errors.theirs[name]) ** 0.5, 3) for name in errors.ours}
    # PyTorch sums these two of NCHW in float64 and rounds once: the least error there is. Ours add float32 terms in lanes
    # and round once more, an error of about the same size where a few hundred terms are added: sqrt(1 + 1/2).
    spare = {"dscale": 1.5**0.5, "dshift": 1.5**0.5} if order is np.array else {}
    assert all(ratio <= spare.get(name, 1) for name, ratio in ratios.items()), ratios


@pytest.mark.parametrize("shape", [(70_001, 3), (2, 70_001), (70_001, 2, 2), (2, 70_001, 3)])
def test_more_than_65535_samples_or_channels(shape):
    problem = Problem(shape, "float32", CHAINS[4])
    given = problem.results()
    assert_close(given, problem.results(reference, convert=wide), shape)
    assert_same(problem.results(change=channels_last), given, shape)


@pytest.mark.slow
def test_more_than_2_to_the_31_elements():
    """A batch whose samples share their memory: counts and means that went through 32 bits would be wrong."""
    one = samples.ordinary((1, 3, 32, 1024), "float32", 1)
    samples_in_all = (1 << 31) // one.size + 7
    x = np.broadcast_to(one, (samples_in_all, *one.shape[1:]))
    moments = bz.batch_norm.statistics(x)
    part = bz.batch_norm.statistics(one)
    assert (moments[0] == samples_in_all * part[0]).all() and moments[0].sum() > 1 << 31
    rounding = 64 * tolerance("float64").unit  # a float64 tree over chunks that are the same 32 again and again
    assert np.allclose(moments[1], part[1], rtol=0, atol=rounding * np.abs(one).max())
    assert np.allclose(moments[2] / samples_in_all, part[2], rtol=rounding, atol=0)
    # The backward sums of the same: dy is x, and its sum the mean times the count.
    _, saved = bz.batch_norm(one)
    sums = bz.batch_norm.backward_sums(x, saved._replace(x=x, moments=moments))
    alone = bz.batch_norm.backward_sums(one, saved)
    assert np.allclose(
        sums, alone * samples_in_all, rtol=rounding, atol=rounding * np.abs(alone).max() * samples_in_all
    )
