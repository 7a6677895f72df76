# SPDX-License-Identifier: BSD-3-Clause
"""Every rule on the functions of Schaul et al., "Unit tests for stochastic optimization" (2014): it arrives, not only moves.

A sign, a start or a correction that is wrong leaves a rule short of these bounds at every step size of the grid.
"""

import brazen as bz
import numpy as np
import pytest
from tolerance import tolerance


def quadratic(x):
    """Curvatures 1 and 10."""
    return 0.5 * x[0] ** 2 + 5 * x[1] ** 2, x * np.array([1.0, 10.0])


def rosenbrock(x):
    a, b = x
    return (1 - a) ** 2 + 100 * (b - a * a) ** 2, np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)])


def saddle(x):
    """Minima of -1/4 at (0, 1) and (0, -1); the start lies where nearly nothing leads there."""
    return 0.5 * x[0] ** 2 - 0.5 * x[1] ** 2 + 0.25 * x[1] ** 4, np.array([x[0], -x[1] + x[1] ** 3])


def cliff(x):
    """A slope of 10,000 above 1, a bowl below."""
    return np.where(x > 1, 1e4 * (x - 1) + 0.5, 0.5 * x * x).sum(), np.where(x > 1, 1e4, x)


def plateau(x):
    """Nearly flat far out: the gradient at the start is a hundredth of the steepest."""
    return 0.5 * (np.tanh(x) ** 2).sum(), np.tanh(x) / np.cosh(x) ** 2


# The start, the number of steps, and the value that the best step size must come below.
FUNCTIONS = {
    quadratic: ([2.0, 1.0], 1000, 7e-4),
    rosenbrock: ([-1.0, 1.0], 3000, 4e-2),
    saddle: ([1.0, 1e-3], 1000, -0.249),
    cliff: ([1.5, 0.5], 1000, 1e-3),
    plateau: ([2.5, -2.0], 1000, 1e-3),
}
GRID = (0.1, 0.01, 1.0, 1e-3, 10.0)


def values(name, function, start, steps, lr, noise=None):
    point = np.array(start)
    opt = bz.optim.get(name)([point], lr=lr, clip_norm=1.0)  # H1, which is a cliff's cure
    for step in range(steps):
        value, gradient = function(point)
        yield value
        opt.step([gradient if noise is None else gradient + noise[step]])


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", bz.optim.names())
def test_arrives(name, function):
    start, steps, bound = FUNCTIONS[function]
    least = {}
    for lr in GRID:
        for value in values(name, function, start, steps, lr):
            least[lr] = min(value, least.get(lr, np.inf))
            if value < bound:
                return
    raise AssertionError(f"not below {bound}: {least}")


@pytest.mark.parametrize("name", bz.optim.names())
def test_arrives_in_noise(name):
    """Gradients of standard deviation 1: the mean of the last values is a twentieth of the first, from a tenth of the bowl."""
    noise = np.random.default_rng(5).normal(size=(1500, 2))
    start = [3.0, -2.0]
    found = {}
    for lr in GRID:
        made = list(values(name, lambda x: (0.5 * (x * x).sum(), x), start, len(noise), lr, noise))
        found[lr] = np.mean(made[-200:]) / made[0]
        if found[lr] < 0.05:
            return
    raise AssertionError(found)


def test_a_decayed_rate_ends_lower():
    """G15: on a noisy bowl a constant rate ends at the height its noise keeps up, a decaying one below."""
    noise = np.random.default_rng(7).normal(size=(2000, 2))
    ends = {}
    for name, lr in (("constant", 0.2), ("decayed", bz.schedules.inverse_time(0.2, 0.02))):
        point, heights = np.array([3.0, -2.0]), []
        opt = bz.optim.SGD([point], lr=lr)
        for step in noise:
            opt.step([point + step])
            heights.append(0.5 * (point * point).sum())
        ends[name] = np.mean(heights[-300:])
    # A constant rate keeps up lr / (2 - lr) of the gradients' variance in each of the two directions.
    assert ends["constant"] == pytest.approx(0.2 / 1.8, rel=0.4) and ends["decayed"] < 0.2 * ends["constant"]


def test_clipping_tames_a_cliff():
    """H2."""

    def jump(**options):
        point = np.array([1.5])
        bz.optim.SGD([point], lr=0.1, **options).step([np.array([1e4])])
        return abs(point.item() - 1.5)

    assert jump() > 100 * jump(clip_norm=1.0) and jump(clip_norm=1.0) <= 0.1 + 8 * tolerance("float64").unit


def test_backtracking_decreases_monotonically():
    for function in (quadratic, rosenbrock):
        start, *_ = FUNCTIONS[function]
        point = np.array(start)
        search = bz.optim.Backtracking([point], lr=1.0)
        losses = [function(point)[0]]
        losses += [search.step([function(point)[1]], lambda: function(point)[0]) for _ in range(3000)]  # noqa: B023
        assert all(b <= a for a, b in zip(losses, losses[1:])) and losses[-1] < 1e-3 * losses[0], function.__name__
