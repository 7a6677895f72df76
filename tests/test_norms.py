# SPDX-License-Identifier: BSD-3-Clause
"""The norms, brazen's and the reference's: against PyTorch in float64, their own differences, and the claims I1 to I6, X7b and K8 about
formulas (tests/test_techniques.py says what a claim is)."""

import math

import brazen as bz
import numpy as np
import pytest
from brazen import reference
from tolerance import DTYPES, tolerance

UNIT = tolerance("float64").unit
RELATIVE = tolerance("float64").central_difference
RNG = np.random.default_rng(0)


@pytest.fixture(params=[bz, reference], ids=["brazen", "reference"])
def ops(request):
    """What holds the operations."""
    return request.param


def close(ours, theirs):
    """Within what a few dozen roundings leave of values around 1."""
    theirs = np.asarray(theirs.detach() if hasattr(theirs, "detach") else theirs)
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 64 * UNIT * max(1, np.abs(theirs).max())


def tensors(torch, *arrays):
    return [None if array is None else torch.tensor(array, requires_grad=True) for array in arrays]


def gradients_agree(ours, theirs):
    return all((a is None) == (b is None) and (a is None or close(a, b.grad)) for a, b in zip(ours, theirs))


SHAPES = [(6, 5), (6, 5, 7), (4, 5, 3, 2), (2, 5, 3, 2, 2), (3, 60, 7, 7), (2, 60, 7, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_norm_is_pytorch_s_in_training(torch, shape, affine, channels_last, ops):
    x, dy = RNG.normal(2, 3, shape), RNG.normal(size=shape)
    scale, shift = (RNG.normal(size=shape[1]), RNG.normal(size=shape[1])) if affine else (None, None)
    given = tensors(torch, x, scale, shift)
    wanted = torch.nn.functional.batch_norm(given[0], None, None, given[1], given[2], True, 0.1, 1e-5)
    wanted.backward(torch.tensor(dy))
    last, first = (np.moveaxis(a, 1, -1) for a in (x, dy)) if channels_last else (x, dy)
    y, saved = ops.batch_norm(last, scale, shift, axis=-1 if channels_last else 1)
    grads = ops.batch_norm.backward(first, saved)
    back = (lambda a: np.moveaxis(a, -1, 1)) if channels_last else (lambda a: a)
    assert close(back(y), wanted) and grads.add is None
    assert gradients_agree((back(grads.x), grads.scale, grads.shift), given)


@pytest.mark.parametrize("momentum", [0.1, 0.5])
def test_running_statistics_are_pytorch_s_over_ten_steps(torch, momentum, ops):
    theirs = torch.nn.BatchNorm2d(5, momentum=momentum, dtype=torch.float64)
    mean, variance = np.zeros(5), np.ones(5)
    for step in range(10):
        x = RNG.normal(step, 1 + step, (4, 5, 3, 2))
        y, _ = ops.batch_norm(x, np.ones(5), np.zeros(5), mean, variance, momentum=momentum)
        assert close(y, theirs(torch.tensor(x)))
        assert close(mean, theirs.running_mean) and close(variance, theirs.running_var)
    theirs.eval()
    x, dy = RNG.normal(5, 3, (1, 5, 3, 2)), RNG.normal(size=(1, 5, 3, 2))
    given = tensors(torch, x)
    wanted = theirs(given[0])
    wanted.backward(torch.tensor(dy))
    before = mean.copy(), variance.copy()
    y, saved = ops.batch_norm(x, np.ones(5), np.zeros(5), mean, variance, training=False)
    grads = ops.batch_norm.backward(dy, saved)
    assert close(y, wanted) and close(grads.x, given[0].grad)
    assert close(grads.scale, theirs.weight.grad) and close(grads.shift, theirs.bias.grad)
    assert np.array_equal(mean, before[0]) and np.array_equal(variance, before[1]), "inference moves nothing"


def test_keras_convention(ops):
    """moving = m * moving + (1 - m) * batch with the biased variance, is momentum = 1 - m, running="biased"."""
    x, mean, variance = RNG.normal(3, 2, (8, 4)), np.zeros(4), np.ones(4)
    ops.batch_norm(x, running_mean=mean, running_var=variance, momentum=1 - 0.99, running="biased", eps=1e-3)
    assert close(mean, 0.01 * x.mean(0)) and close(variance, 0.99 + 0.01 * x.var(0))


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_layer_and_rms_norm_are_pytorch_s(torch, axis, ops):
    x, dy = RNG.normal(1, 2, (4, 6, 10)), RNG.normal(size=(4, 6, 10))
    shape = x.shape[axis % 3 :]
    scale, shift = RNG.normal(size=shape), RNG.normal(size=shape)
    functions = torch.nn.functional
    for parameters in ((scale, shift), (scale, None), (None, None)):
        given = tensors(torch, x, *parameters)
        wanted = functions.layer_norm(given[0], shape, *given[1:], eps=1e-5)
        wanted.backward(torch.tensor(dy))
        y, saved = ops.layer_norm(x, *parameters, axis=axis)
        assert close(y, wanted) and gradients_agree(ops.layer_norm.backward(dy, saved), given)
    for parameter in (scale, None):
        given = tensors(torch, x, parameter)
        wanted = functions.rms_norm(given[0], shape, given[1], eps=1e-6)
        wanted.backward(torch.tensor(dy))
        y, saved = ops.rms_norm(x, parameter, axis=axis)
        assert close(y, wanted) and gradients_agree(ops.rms_norm.backward(dy, saved)[:2], given)


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 4), (2, 6, 3, 5)])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("channels_last", [False, True])
def test_group_and_instance_norm_are_pytorch_s(torch, shape, groups, channels_last, ops):
    x, dy = RNG.normal(1, 2, shape), RNG.normal(size=shape)
    scale, shift = RNG.normal(size=6), RNG.normal(size=6)
    given = tensors(torch, x, scale, shift)
    wanted = torch.nn.functional.group_norm(given[0], groups, given[1], given[2])
    wanted.backward(torch.tensor(dy))
    there, back = (
        (lambda a: np.moveaxis(a, 1, -1), lambda a: np.moveaxis(a, -1, 1)) if channels_last else (np.array, np.array)
    )
    axis = -1 if channels_last else 1
    results = [ops.group_norm(there(x), groups, scale, shift, axis=axis)]
    if groups == 6:
        results.append(ops.instance_norm(there(x), scale, shift, axis=axis))
    for operation, (y, saved) in zip((ops.group_norm, ops.instance_norm), results):
        grads = operation.backward(there(dy), saved)
        if x[0].size == groups:  # rows of one value: the shift, and nothing but noise times 1 / sqrt(eps)
            assert (y == shift).all() and not grads.scale.any()
            assert np.abs(grads.x).max() <= 64 * UNIT / math.sqrt(1e-5) * np.abs(dy * scale).max()
            continue
        assert close(back(y), wanted) and gradients_agree((back(grads.x), grads.scale, grads.shift), given)


def test_residual_is_added_before_a_row_is_normalised(ops):
    x, add, dy = (RNG.normal(size=(4, 10)) for _ in range(3))
    for operation in (ops.layer_norm, ops.rms_norm):
        y, saved = operation(x, add=add)
        together, whole = operation(x + add)
        grads, plain = operation.backward(dy, saved), operation.backward(dy, whole)
        assert np.array_equal(y, together) and np.array_equal(grads.x, plain.x) and np.array_equal(grads.add, plain.x)


def numeric(function, arrays, k, dy, step=2.0**-18):
    """d sum(dy * function) / d arrays[k] by central differences."""
    gradient = np.zeros_like(arrays[k])
    for index in np.ndindex(arrays[k].shape):
        ends = []
        for sign in (1, -1):
            changed = [a.copy() for a in arrays]
            changed[k][index] += sign * step
            ends.append((dy * function(*changed)).sum())
        gradient[index] = (ends[0] - ends[1]) / (2 * step)
    return gradient


EPILOGUES = [
    {"activation": "relu"},
    {"activation": "gelu", "dropout": 0.3, "seed": 4, "step": 2, "site": 1, "offset": 30},
    {"activation": bz.silu},
    {"dropout": 0.5, "seed": 1},
]


@pytest.mark.parametrize("epilogue", EPILOGUES, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("axis", [1, -1])
def test_differences_of_batch_norm_with_its_epilogue(epilogue, training, axis, ops):
    x, add, dy = (RNG.normal(size=(4, 3, 3)) for _ in range(3))
    scale, shift = RNG.uniform(0.5, 2, 3), RNG.normal(size=3)
    running = {"running_mean": np.full(3, 0.1), "running_var": np.full(3, 2.0)}

    def function(x, scale, shift, add):
        frozen = {name: value.copy() for name, value in running.items()}
        return ops.batch_norm(x, scale, shift, **frozen, training=training, axis=axis, add=add, **epilogue)

    arrays = [x, scale, shift, add]
    grads = ops.batch_norm.backward(dy, function(*arrays)[1])
    for k, gradient in enumerate(grads):
        wanted = numeric(lambda *a: function(*a)[0], arrays, k, dy)
        assert np.abs(gradient - wanted).max() <= RELATIVE * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("name, options", [("layer_norm", {}), ("rms_norm", {}), ("group_norm", {"groups": 3}), ("instance_norm", {})])  # fmt: skip
def test_differences_of_row_norms(name, options):
    operation = getattr(reference, name)
    x, dy = RNG.normal(size=(2, 6, 5)), RNG.normal(size=(2, 6, 5))
    size = 5 if name in ("layer_norm", "rms_norm") else 6
    arrays = [x, RNG.normal(size=size)] + ([] if name == "rms_norm" else [RNG.normal(size=size)])

    def function(x, scale, *shift):
        return operation(x, *options.values(), scale, *shift)

    grads = operation.backward(dy, function(*arrays)[1])
    for k in range(len(arrays)):
        wanted = numeric(lambda *a: function(*a)[0], arrays, k, dy)
        assert np.abs(grads[k] - wanted).max() <= RELATIVE * max(1, np.abs(wanted).max())


@pytest.mark.parametrize("pieces", [[1, 23], [8, 8, 8], [5, 1, 17, 1], [24]])
def test_steps_stand_apart_and_merge(pieces, ops):
    """What several devices, or several micro-batches, compute together is the whole batch's."""
    x, dy, add = (RNG.normal(3, 2, (24, 5, 3)) for _ in range(3))
    scale, shift = RNG.normal(size=5), RNG.normal(size=5)
    place = {"activation": "silu", "dropout": 0.25, "seed": 3, "step": 1}
    y, saved = ops.batch_norm(x, scale, shift, add=add, **place)
    whole = ops.batch_norm.backward(dy, saved)
    edges = np.cumsum([0, *pieces])
    parts = [slice(a, b) for a, b in zip(edges, edges[1:])]
    moments = ops.batch_norm.merge([ops.batch_norm.statistics(x[part]) for part in parts])
    assert (moments[0] == 72).all() and close(moments[1], x.mean((0, 2))) and close(moments[2] / 72, x.var((0, 2)))
    made = [
        ops.batch_norm.normalize(x[p], moments, scale, shift, add=add[p], offset=p.start * 15, **place) for p in parts
    ]
    assert close(np.concatenate([m[0] for m in made]), y)
    sums = ops.batch_norm.merge_sums([ops.batch_norm.backward_sums(dy[p], m[1]) for p, m in zip(parts, made)])
    grads = [ops.batch_norm.backward_apply(dy[p], m[1], sums) for p, m in zip(parts, made)]
    assert close(np.concatenate([g.x for g in grads]), whole.x)
    assert close(np.concatenate([g.add for g in grads]), whole.add)
    assert close(grads[0].shift, whole.shift) and close(grads[-1].scale, whole.scale)


# The claims.


def test_i1_batch_norm_forward(ops):
    x = RNG.normal(5, 3, (64, 8, 4, 4))
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    for dtype, bound in (("float64", 1e-12), ("float32", 1e-6)):
        y, saved = ops.batch_norm(x.astype(dtype))
        exact = (x - mean) / np.sqrt(variance + 1e-5)
        assert np.abs(y - exact).max() <= bound * np.abs(exact).max()
    y, _ = ops.batch_norm(x)
    assert np.abs(y.mean((0, 2, 3))).max() < 1e-12
    assert np.allclose(y.var((0, 2, 3)), (variance / (variance + 1e-5)).ravel(), rtol=1e-12, atol=0)
    eights = np.random.default_rng(1).normal(size=(8, 20_000))
    moments = ops.batch_norm.statistics(eights)
    spread = (moments[2] / 8).std() / math.sqrt(20_000)
    assert abs((moments[2] / 8).mean() - 0.875) < 4 * spread, "E[biased var] is 7/8 for m = 8, not 1"


def test_i2_without_eps(ops):
    x = RNG.normal(size=(10, 3))
    y, _ = ops.batch_norm(x, eps=0)
    assert close(y, (x - x.mean(0)) / x.std(0)) and close(y.var(0), np.ones(3))


def test_i3_scale_and_shift_can_undo_it(ops):
    x, dy = RNG.normal(2, 3, (16, 4)), RNG.normal(size=(16, 4))
    scale, shift = np.sqrt(x.var(0) + 1e-5), x.mean(0)
    y, saved = ops.batch_norm(x, scale, shift)
    assert close(y, x)
    grads = ops.batch_norm.backward(dy, saved)
    assert close(grads.scale, (dy * (x - x.mean(0)) / scale).sum(0)) and close(grads.shift, dy.sum(0))


def test_i4_before_the_activation(ops):
    x = RNG.normal(size=(8, 4, 5, 5))
    y, _ = ops.batch_norm(x, activation="relu")
    apart, _ = ops.batch_norm(x)
    assert np.array_equal(y, ops.relu(apart)) and apart.mean((0, 2, 3)).max() < 1e-12, "over N, H and W"


def test_i5_i6_running_statistics_tend_to_the_population_s(ops):
    rng = np.random.default_rng(2)
    data = rng.normal(3, 2, (4096, 3))
    mean, variance = np.zeros(3), np.ones(3)
    ops.batch_norm.recalibrate((data[i : i + 100] for i in range(0, 4096, 100)), mean, variance)
    assert close(mean, data.mean(0)) and close(variance, data.var(0))
    moving = np.zeros(3), np.ones(3)
    for _ in range(600):
        ops.batch_norm(data[rng.integers(0, 4096, 256)], None, None, *moving, momentum=0.02)
    # A moving average of weight w leaves w / (2 - w) of a batch's variance, here 4 / 256 (of the variance's: 32 / 256).
    share = 0.02 / 1.98
    assert (np.abs(moving[0] - mean) < 5 * np.sqrt(share * 4 / 256)).all()
    assert (np.abs(moving[1] - variance) < 5 * np.sqrt(share * 32 / 256)).all()
    together, _ = ops.batch_norm(data[:32], None, None, mean, variance, training=False)
    alone = [ops.batch_norm(data[i : i + 1], None, None, mean, variance, training=False)[0] for i in range(32)]
    assert np.array_equal(np.concatenate(alone), together), "one instance or a batch"


def test_x7b_scaled_weights_before_it_change_nothing(ops):
    x, weights = RNG.normal(size=(32, 6)), RNG.normal(size=(6, 4))
    plain, _ = ops.batch_norm(x @ weights, eps=0)
    scaled, _ = ops.batch_norm(x @ (8 * weights), eps=0)
    assert np.array_equal(plain, scaled)


def test_k8_row_norms_serve_max_norm(ops):
    """Scaling by min(1, c / norm) of each unit's incoming weights: at most c, direction kept, smaller ones untouched."""
    weights, limit = RNG.normal(size=(20, 9)) * np.geomspace(0.1, 10, 9), 3.0
    norms = ops.row_norms(weights, axis=0)
    assert close(norms, np.sqrt((weights**2).sum(0)))
    kept = weights * np.minimum(1, limit / norms)
    after = ops.row_norms(kept, axis=0)
    assert (after <= limit * (1 + 4 * UNIT)).all() and np.array_equal(
        kept[:, norms <= limit], weights[:, norms <= limit]
    )
    assert close((kept / after)[:, norms > limit], (weights / norms)[:, norms > limit])
    kernels = RNG.normal(size=(5, 3, 2, 2))
    assert close(ops.row_norms(kernels, axis=(1, 2, 3)), np.linalg.norm(kernels.reshape(5, -1), axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, ops):
    """16-bit arrays have float32 statistics and parameters, and are rounded once."""
    x, dy = (RNG.normal(size=(6, 4, 5)).astype(DTYPES[dtype]) for _ in range(2))
    wide = "float64" if dtype == "float64" else "float32"
    parameter = np.linspace(0.5, 2, 4).astype(wide)
    calls = {
        ops.batch_norm: lambda x: ops.batch_norm(x, parameter, parameter, np.zeros(4, wide), np.ones(4, wide)),
        ops.group_norm: lambda x: ops.group_norm(x, 2, parameter, parameter),
        ops.instance_norm: lambda x: ops.instance_norm(x, parameter, parameter),
        ops.layer_norm: lambda x: ops.layer_norm(x, np.ones(5, wide), np.ones(5, wide)),
        ops.rms_norm: lambda x: ops.rms_norm(x, np.ones(5, wide)),
    }
    assert {operation.__name__ for operation in calls} | {"row_norms"} == set(reference.norms())
    assert ops.row_norms(x).dtype == wide
    for operation, call in calls.items():
        y, saved = call(x)
        grads, dx = operation.backward(dy, saved), np.empty_like(x)
        assert y.dtype == grads.x.dtype == x.dtype and grads.scale.dtype == wide and saved.x is x
        assert operation.backward(dy, saved, dx=dx).x is dx and np.array_equal(dx, grads.x)
        if x.dtype.itemsize == 2:
            single, kept = call(x.astype(wide))
            assert np.array_equal(y, single.astype(x.dtype))
            assert np.array_equal(grads.x, operation.backward(dy.astype(wide), kept).x.astype(x.dtype))


def test_errors(ops):
    x = np.ones((1, 3))
    with pytest.raises(ValueError, match=r"batch_norm: x has shape \(1, 3\).* 1 values per channel"):
        ops.batch_norm(x)
    with pytest.raises(ValueError, match=r"x has shape \(0, 3\).* 0 values per channel"):
        ops.batch_norm(x[:0])
    assert ops.batch_norm(x, None, None, np.zeros(3), np.ones(3), training=False)[0].shape == (1, 3)
    with pytest.raises(TypeError, match="training=False needs running_mean and running_var"):
        ops.batch_norm(x, training=False)
    with pytest.raises(ValueError, match="axis is 2"):
        ops.batch_norm(x, axis=2)
    with pytest.raises(ValueError, match="running is 'keras'; expected"):
        ops.batch_norm(np.ones((2, 3)), running_mean=np.zeros(3), running_var=np.ones(3), running="keras")
    with pytest.raises(ValueError, match=r"scale has shape \(2,\); expected \(3,\), one value"):
        ops.batch_norm(np.ones((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match=r"add has shape \(1, 3\); expected .*\(2, 3\)"):
        ops.batch_norm(np.ones((2, 3)), add=np.ones((1, 3)))
    with pytest.raises(ValueError, match="group_norm: groups is 2; expected a divisor of 3 channels"):
        ops.group_norm(x, 2)
    with pytest.raises(ValueError, match="instance_norm: axis is 0, the samples"):
        ops.instance_norm(x, axis=0)
    with pytest.raises(ValueError, match="layer_norm: axis is 5[,;] x has 2"):
        ops.layer_norm(x, axis=5)
    with pytest.raises(ValueError, match=r"layer_norm: scale has shape \(2,\); expected \(3,\)"):
        ops.layer_norm(x, np.ones(2))
    with pytest.raises(ValueError, match="batch_norm: partials is empty; expected at least one"):
        ops.batch_norm.merge([])
