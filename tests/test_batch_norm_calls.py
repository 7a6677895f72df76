# SPDX-License-Identifier: BSD-3-Clause
"""How batch norm is called: outputs, libraries, empty arrays, errors, memory. The numbers are test_batch_norm.py's.

It catches a result that is not where it was asked for, an argument that is not checked, scratch that grows with x.
"""

import brazen as bz
import layouts
import numpy as np
import pytest
import samples
from test_batch_norm import CHAINS, Problem, channels_last
from tolerance import same_bits


def test_torch_tensors_give_tensors(torch):
    x = torch.from_numpy(samples.ordinary((4, 3, 5), "float32"))
    y, saved = bz.batch_norm(x, torch.ones(3), torch.zeros(3))
    gradients = bz.batch_norm.backward(y, saved)
    expected, own = bz.batch_norm(x.numpy(), np.ones(3, "float32"), np.zeros(3, "float32"))
    assert isinstance(y, torch.Tensor) and isinstance(gradients.scale, torch.Tensor)
    assert not same_bits(y.numpy(), expected)
    assert not same_bits(gradients.x.numpy(), bz.batch_norm.backward(expected, own).x)


def test_outputs_are_written_where_asked():
    problem = Problem((6, 5, 40), "float32", CHAINS[4])
    wanted = problem.results()
    out = layouts.strided(np.zeros_like(problem.x))
    y, saved, _ = problem.forward(out=out)
    assert y is out and not same_bits(y, wanted["y"])
    into = {"dx": np.empty_like(problem.x), "dscale": np.empty(5, "float32"), "dshift": np.empty(10, "float32")[::2],
            "dadd": np.empty_like(problem.x)}  # fmt: skip
    gradients = bz.batch_norm.backward(problem.dy, saved, **into)
    for name, gradient in gradients._asdict().items():
        assert gradient is into[f"d{name}"] and not same_bits(gradient, wanted[f"d{name}"])
    # In place of dy, and of x itself, once nothing reads them any more.
    for change in (np.array, channels_last):
        over = change(problem.dy)
        bz.batch_norm.backward(over, saved, dx=over)
        assert not same_bits(over, wanted["dx"])
    y, _, _ = Problem((6, 5, 40), "float32", {}, training=False).forward()
    x = Problem((6, 5, 40), "float32", {}).x
    running = Problem((6, 5, 40), "float32", {}).running
    scale, shift = problem.scale, problem.shift
    result, saved = bz.batch_norm(x, scale, shift, *running, training=False, out=x)
    assert result is x and not same_bits(x, y)
    with pytest.raises(ValueError, match="x is gone, the forward call wrote over it"):
        bz.batch_norm.backward(x, saved)


@pytest.mark.parametrize("name", ["x", "add"])
def test_what_a_view_wrote_over_is_gone(name):
    given = {"x": X.copy(), "add": X.copy()}
    for out in (given[name], given[name][:]):
        _, saved = bz.batch_norm(**given, **STILL, training=False, activation="gelu", out=out)
        for call in (bz.batch_norm.backward, bz.batch_norm.backward_sums):
            with pytest.raises(ValueError, match=f"batch_norm: {name} is gone, the forward call wrote over it"):
                call(X, saved)
    halves = np.ones((2, 4, 3, 2), "float32").transpose(1, 0, 2, 3)
    _, saved = bz.batch_norm(halves[:, 0], **STILL, training=False, out=halves[:, 1])
    bz.batch_norm.backward(X, saved)


def test_gone_and_shared_memory_of_tensors(torch):
    x, three = torch.ones(4, 3, 2), torch.ones(3, 2)
    _, saved = bz.batch_norm(x, None, None, torch.zeros(3), torch.ones(3), training=False, out=x[:])
    with pytest.raises(ValueError, match="x is gone"):
        bz.batch_norm.backward(x, saved)
    with pytest.raises(ValueError, match="running_var overlaps running_mean"):
        bz.batch_norm(x, None, None, three[:, 0], three[:, 0])
    bz.batch_norm(x, None, None, three[:, 0], three[:, 1])
    assert not torch.equal(three, torch.ones(3, 2))


def test_one_value_a_channel():
    x = samples.ordinary((1, 3), "float32")
    with pytest.raises(ValueError, match=r"x has shape \(1, 3\), 1 values per channel.*training=False"):
        bz.batch_norm(x)
    y, _ = bz.batch_norm(x, None, None, np.zeros(3, "float32"), np.ones(3, "float32"), training=False, eps=0.0)
    assert not same_bits(y, x)


def test_no_values_and_no_channels():
    running = np.zeros(3, "float32"), np.ones(3, "float32")
    y, saved = bz.batch_norm(np.empty((0, 3, 4), "float32"), running[1], None, *running, training=False)
    assert y.shape == (0, 3, 4)
    assert (bz.batch_norm.backward(y, saved).scale == 0).all()
    assert bz.batch_norm(np.empty((5, 0, 4), "float32"))[0].shape == (5, 0, 4)
    assert (bz.batch_norm.statistics(np.empty((0, 3), "float32")) == 0).all()
    with pytest.raises(ValueError, match="0 values per channel"):
        bz.batch_norm(np.empty((0, 3), "float32"))


X = np.ones((4, 3, 2), "float32")
THREE, STILL = np.ones(3, "float32"), {"running_mean": np.zeros(3, "float32"), "running_var": np.ones(3, "float32")}
ERRORS = [
    (lambda: bz.batch_norm(np.ones(3, "float32")), ValueError, r"x has shape \(3,\); expected at least two axes"),
    (lambda: bz.batch_norm(X, axis=3), ValueError, r"axis is 3; x has 3 dimensions"),
    (lambda: bz.batch_norm(X.astype(int)), TypeError, r"batch_norm: x has dtype int64"),
    (lambda: bz.batch_norm(X, np.ones(4, "float32")), ValueError, r"scale has shape \(4,\); expected \(3,\)"),
    (lambda: bz.batch_norm(X, None, np.ones(3)), TypeError, r"shift has dtype float64; expected float32"),
    (lambda: bz.batch_norm(X.astype("f2"), THREE.astype("f2")), TypeError, r"scale has dtype float16; expected float32"),
    (lambda: bz.batch_norm(X, None, None, [0.0] * 3, THREE), TypeError, r"running_mean is list"),
    (lambda: bz.batch_norm(X, training=False), TypeError, r"training=False needs running_mean and running_var"),
    (lambda: bz.batch_norm(X, running="keras"), ValueError, r"running is 'keras'; expected \"unbiased\""),
    (lambda: bz.batch_norm(X, activation="prelu"), TypeError, r"prelu takes more than one array"),
    (lambda: bz.batch_norm(X, activation=bz.glu), TypeError, r"glu takes more than one array"),
    (lambda: bz.batch_norm(X, activation="threshold"), TypeError, r"activation threshold needs its threshold"),
    (lambda: bz.batch_norm(X, dropout=0.5), TypeError, r"seed is missing; call batch_norm\(x, …, dropout=0.5, seed=0"),
    (lambda: bz.batch_norm(X, dropout=1.0, seed=1), ValueError, r"rate is 1.0; expected the probability to drop"),
    (lambda: bz.batch_norm(X, dropout=0.5, seed=-1), ValueError, r"seed is -1"),
    (lambda: bz.batch_norm(X, add=X[:2]), ValueError, r"add has shape \(2, 3, 2\); expected \(4, 3, 2\)"),
    (lambda: bz.batch_norm(X, out=X), ValueError, r"out overlaps x in memory"),
    (lambda: bz.batch_norm(X, add=(a := X.copy()), out=a), ValueError, r"out overlaps add in memory"),
    (lambda: bz.batch_norm(X, **STILL, training=False, out=X[::-1]), ValueError, r"out overlaps x in memory without"),
    (lambda: bz.batch_norm(X, out=np.empty((4, 3), "float32")), ValueError, r"out has shape \(4, 3\)"),
    (lambda: bz.batch_norm.backward(X[:2], bz.batch_norm(X)[1]), ValueError, r"dy has shape \(2, 3, 2\)"),
    (lambda: bz.batch_norm.backward(X, bz.batch_norm(X)[1], dscale=THREE), ValueError, r"dscale is given.*no scale"),
    (lambda: bz.batch_norm.backward(X, bz.batch_norm(X)[1], dadd=X), ValueError, r"dadd is given.*no add"),
    (lambda: bz.batch_norm.normalize(X, np.ones((3, 4))), ValueError, r"moments has shape \(3, 4\); expected \(3, 3\)"),
    (lambda: bz.batch_norm.merge([]), ValueError, r"partials is empty"),
    (lambda: bz.batch_norm.merge([np.ones((2, 3))]), ValueError, r"partials has shape \(2, 3\)"),
    (lambda: bz.batch_norm.recalibrate([], THREE, THREE), ValueError, r"batches is empty"),
    (lambda: bz.batch_norm.recalibrate([X], THREE, THREE), ValueError, r"running_var overlaps running_mean"),
    (lambda: bz.batch_norm.recalibrate([X], None, THREE), TypeError, r"running_mean is NoneType"),
    (lambda: bz.batch_norm.recalibrate([X], THREE, THREE.astype(int)), TypeError, r"running_var has dtype int64"),
    (lambda: bz.batch_norm(X, dropout=None, seed=1), TypeError, r"batch_norm: dropout is None; expected the prob"),
    (lambda: bz.batch_norm(X, eps=-1e-5), ValueError, r"batch_norm: eps is -1e-05; expected a finite number"),
    (lambda: bz.batch_norm(X, eps=float("nan")), ValueError, r"batch_norm: eps is nan; expected a finite number"),
    (lambda: bz.batch_norm(X, eps=float("inf")), ValueError, r"batch_norm: eps is inf; expected a finite number"),
    (lambda: bz.batch_norm(X, eps="1e-5"), TypeError, r"batch_norm: eps is '1e-5'; expected a finite number"),
    (lambda: bz.batch_norm(X, **STILL, momentum=1.5), ValueError, r"momentum is 1.5; expected a number from 0 to 1"),
    (lambda: bz.batch_norm(X, **STILL, momentum=-0.1), ValueError, r"momentum is -0.1; expected a number from 0 to 1"),
    (lambda: bz.batch_norm(X, **STILL, momentum=float("nan")), ValueError, r"momentum is nan; expected"),
    (lambda: bz.batch_norm(X, **STILL, momentum=None), TypeError, r"momentum is None; expected a number from 0 to 1"),
    (lambda: bz.batch_norm(X, running_mean=THREE), TypeError, r"running_mean is given without running_var"),
    (lambda: bz.batch_norm(X, running_var=THREE), TypeError, r"running_var is given without running_mean"),
    (lambda: bz.batch_norm(X, None, None, THREE, THREE), ValueError, r"running_var overlaps running_mean in memory"),
    (lambda: bz.batch_norm(X, THREE, None, THREE, THREE + 1), ValueError, r"running_mean overlaps scale in memory"),
    (lambda: bz.batch_norm((b := X.copy()), None, None, b[0, :, 0], THREE), ValueError, r"running_mean overlaps x in mem"),
    (lambda: bz.batch_norm(X, None, None, THREE, (b := X.copy())[1, :, 1], add=b), ValueError, r"running_var overlaps add"),
    (lambda: bz.batch_norm(X, (b := X.copy())[0, :, 0], out=b), ValueError, r"out overlaps scale in memory"),
    (lambda: bz.batch_norm.backward(X, bz.batch_norm(X, THREE, THREE)[1], dscale=(b := THREE.copy()), dshift=b),
     ValueError, r"dshift overlaps dscale in memory"),
    (lambda: bz.batch_norm.backward(X, bz.batch_norm(X, THREE)[1], dscale=THREE), ValueError, r"dscale overlaps scale"),
    (lambda: bz.batch_norm.backward(X, X), TypeError, r"batch_norm: saved is ndarray; expected what the forward call"),
    (lambda: bz.batch_norm.recalibrate([X], np.ones(1), THREE), ValueError, r"running_mean has shape \(1,\)"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, text", ERRORS, ids=lambda v: v[:30] if isinstance(v, str) else "")
def test_errors_name_the_argument(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_read_only_running_statistics_are_refused():
    still = np.zeros(3, "float32")
    still.flags.writeable = False
    with pytest.raises(ValueError, match=r"running_mean is read-only"):
        bz.batch_norm(X, None, None, still, np.ones(3, "float32"))
    bz.batch_norm(X, None, None, still, np.ones(3, "float32"), training=False)


def test_extra_memory_is_bounded(run_python):
    """At most 1/32 of x beside x and y, and some per channel and thread."""
    grown = run_python("""
import resource, numpy as np, brazen as bz
bz.set_num_threads(2)
x = np.full((256, 64, 32, 32), 0.5, "float16")
y, dx = np.full_like(x, 1), np.full_like(x, 1)
scale = np.ones(64, "float32")
small = x[:2].copy()
bz.batch_norm.backward(small, bz.batch_norm(small, scale, activation="gelu")[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
_, saved = bz.batch_norm(x, scale, activation="gelu", out=y)
bz.batch_norm.backward(y, saved, dx=dx)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - x.nbytes // 32)
""")
    assert int(grown) < 1 << 20
