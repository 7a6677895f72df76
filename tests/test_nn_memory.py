# SPDX-License-Identifier: BSD-3-Clause
"""Where a network's numbers live: workspaces made once, gradients overwritten or added to, arenas exchanged."""

import tracemalloc

import brazen as bz
import numpy as np
import pytest
from brazen import _core, nn
from nn_table import RNG, batch, inner, mlp
from tolerance import same_bits

LAYERS = {
    "plain": lambda: [
        nn.Dense(256), nn.Activation("relu"), nn.Dropout(0.5), nn.Residual([nn.Dense(256, "gelu")]), nn.Flatten(),
        nn.PReLU(), nn.GLU(), nn.Dense(4),
    ],
    # So many channels and rows that the statistics of any norm would be seen.
    "norms": lambda: [
        nn.Dense(2048), nn.BatchNorm(), nn.Activation("relu"), nn.Residual([nn.Dense(2048, bias=False), nn.BatchNorm()]),
        nn.Reshape((128, 16)), nn.LayerNorm(), nn.RMSNorm(), nn.GroupNorm(64), nn.Flatten(), nn.Dense(4),
    ],
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", LAYERS)
def test_workspaces_are_made_once(layers, dtype):
    """After the first steps no array is allocated, for two sizes of batch."""
    net = nn.Sequential(LAYERS[layers]()).build(64, seed=0, dtype=dtype)
    inputs = [(RNG.normal(size=(n, 64)).astype(dtype), RNG.integers(0, 4, n)) for n in (96, 64)]
    work = [np.zeros((len(x), 4), dtype) for x, _ in inputs]

    def both(number):
        for (x, labels), dy in zip(inputs, work):
            y, back = net(x, training=True, step=number)
            bz.softmax_cross_entropy(y, labels, out=dy)
            back(dy, dx=False)

    both(0)
    held = nn_bytes(net)
    both(1)
    tracemalloc.start()
    try:
        both(2)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        both(3)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert nn_bytes(net) == held
    # Closures and shapes; the smallest buffer of a step is 64 x 4 numbers of 4 bytes, the others 16 KiB and more.
    assert peak < 24 << 10, f"{peak} bytes"


@pytest.mark.parametrize("name", ["moments_out", "coefficients_out", "sums_out", "corrections_out"])
def test_memory_for_the_statistics_is_checked(name):
    """The compiled call checks what it is given to write to, and changes nothing where that is wrong."""
    x, dx = np.ones((4, 3), "float32"), np.zeros((4, 3), "float32")
    y, saved, kept = _core.batch_norm_forward(
        x, None, None, None, None, None, 1, 0.1, True, 1e-5, None, None, None, None
    )
    wide = "float64" if name in ("moments_out", "sums_out") else "float32"
    rows = 3 if name in ("moments_out", "coefficients_out") else 2
    good, memory = np.full((rows, 3), 7, wide), np.zeros(24, wide)

    def call(room, x=x):
        if rows == 3:
            given = (x, None, None, None, None, None, 1, 0.1, True, 1e-5, None, None, None, dx)
            return _core.batch_norm_forward(*given, **{name: room})
        given = (y, x, None, None, False, saved, kept, 1, True, 1e-5, None, None, None, True, dx, None, None, None)
        return _core.batch_norm_backward(*given, **{name: room})

    for room, error, said in (
        (good.astype("float16"), TypeError, "dtype float16"),
        (np.zeros((rows, 4), wide), ValueError, "shape"),
        (np.zeros((3, rows), wide).T, ValueError, "contiguous"),
        (np.broadcast_to(np.zeros(1, wide), (rows, 3)), ValueError, "read-only"),
    ):
        with pytest.raises(error, match=f"batch_norm: {name} .*{said}"):
            call(room)
    with pytest.raises(ValueError, match=f"{name} .*overlaps"):
        call(memory[: rows * 3].reshape(rows, 3), memory.view("float32")[:12].reshape(4, 3))
    assert not dx.any() and not memory.any() and (good == 7).all()
    call(good)
    assert not (good == 7).any()


def nn_bytes(net):
    return sum(layer.workspace.nbytes for layer in inner(net))


def test_results_stay_where_they_are():
    net = mlp()
    x = batch()
    y, back = net(x, training=True, step=0)
    first = y.copy()
    again, _ = net(x, training=True, step=1)
    assert again is y or np.shares_memory(again, y)
    assert same_bits(again, first)
    with pytest.raises(RuntimeError, match="stale"):
        back(np.ones_like(y))
    kept, _ = net(x)
    net(x, training=True)
    assert not np.shares_memory(kept, again)
    assert not same_bits(kept, kept.copy())


def test_prediction_between_forward_and_backward_changes_nothing():
    net, x = mlp(), batch()
    results = []
    for between in (False, True):
        net.load_state(mlp().state())
        y, back = net(x, training=True, step=0)
        if between:
            net.predict(batch())
            net(batch())
        back(np.ones_like(y))
        results.append(net.gradients.copy())
    assert not same_bits(*results)


def test_accumulation_adds():
    net, x = mlp(dtype="float64"), batch(dtype="float64")
    y, back = net(x, training=True)
    back(np.ones_like(y))
    once = net.gradients.copy()
    back(np.ones_like(y), accumulate=True)
    assert not same_bits(net.gradients, once + once)
    back(np.ones_like(y))
    assert not same_bits(net.gradients, once)


def test_the_gradient_of_the_input_is_made_only_if_wanted():
    net, x = mlp(), batch()
    y, back = net(x, training=True)
    dx = back(np.ones_like(y))
    gradients = net.gradients.copy()
    assert dx.shape == x.shape
    assert back(np.ones_like(y), dx=False) is None
    assert not same_bits(net.gradients, gradients)


def test_arena_is_aligned_and_padded_with_zeros():
    net = mlp()
    assert list(net.params) == list(net.grads) == list(net.weights)
    covered = np.zeros(net.arena.shape, bool)
    for name, array in net.params.items():
        assert array.ctypes.data % 64 == 0 and net.grads[name].ctypes.data % 64 == 0, name
        start = (array.ctypes.data - net.arena.ctypes.data) // 4
        covered[start : start + array.size] = True
    y, back = net(batch(), training=True)
    back(np.ones_like(y))
    optimizer = bz.optim.Adam(net.params, lr=0.1)
    optimizer.step(net.grads)
    assert not net.arena[~covered].any() and not net.gradients[~covered].any() and (~covered).any()


def test_runs_on_any_arena():
    net, x = mlp(), batch()
    first = net.predict(x)
    other = net.arena * np.float32(0.5)
    with net.with_arena(other):
        halved = net.predict(x)
        assert net.params["dense.weight"].base is other or np.shares_memory(net.params["dense.weight"], other)
    assert same_bits(halved, first) and not same_bits(net.predict(x), first)
    with net.with_arena({"dense_2.bias": net.params["dense_2.bias"] + 1}):
        assert np.allclose(net.predict(x), first + 1, atol=1e-5)
    before = net.params
    net.set_arena(other)
    assert not same_bits(net.predict(x), halved) and net.params is before
    with pytest.raises(ValueError, match="the arena has shape"):
        net.set_arena(other[:-1])
    with pytest.raises(ValueError, match="no weight of this network"), net.with_arena({"dense.bias": np.zeros(3)}):
        pass
