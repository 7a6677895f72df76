# SPDX-License-Identifier: BSD-3-Clause
"""The formulas: each a function of t that `@schedule` makes a class. To add one: one function.

Argument names are PyTorch's, or Keras' where PyTorch has no such schedule; the other's name is accepted where it means the
same. Sums, products and square roots are IEEE's, exp, log and cosine brazen's own: the same bits on every machine.
"""

from __future__ import annotations

import bisect
import inspect
import math
from collections.abc import Callable, Sequence

from .base import Schedule, cosine_of, exp_of, raised, require, schedule

KERAS = {"learning_rate": "lr", "initial_learning_rate": "lr"}


def _between(start: float, end: float, share: float, strategy: str = "cos") -> float:
    """From start to end as share goes from 0 to 1, both ends met exactly."""
    if share <= 0:
        return start
    if share >= 1:
        return end
    return end + (start - end) * ((1 + cosine_of(math.pi * share)) / 2 if strategy == "cos" else 1 - share)


@schedule(**KERAS)
def constant(t, lr: float):
    """lr, always.

    >>> constant(0.1)(1000)
    0.1
    """
    return lr


@schedule(**KERAS)
def step(t, lr: float, step_size: int, gamma: float = 0.1):
    """lr gamma^(t // step_size).

    >>> step(1.0, step_size=30).values(3, start=29).tolist()
    [1.0, 0.1, 0.1]
    """
    require(step_size > 0, "step_size", step_size, "a positive number")
    return lr * raised(gamma, t // step_size)


@schedule(**KERAS)
def multi_step(t, lr: float, milestones: Sequence[int], gamma: float = 0.1):
    """lr gamma^(number of milestones reached).

    >>> multi_step(1.0, milestones=[2, 3], gamma=0.5).values(5).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    require(list(milestones) == sorted(milestones), "milestones", milestones, "steps in ascending order")
    return lr * raised(gamma, bisect.bisect_right(milestones, t))


@schedule(**KERAS, decay_rate="gamma")
def exponential(
    t, lr: float, gamma: float | None = None, rate: float | None = None, decay_steps: float = 1, staircase: bool = False
):
    """lr gamma^(t / decay_steps), or lr e^(-rate t / decay_steps); staircase rounds the quotient down.

    >>> exponential(0.1, rate=0.1)(10).__round__(7)
    0.0367879
    """
    require((gamma is None) != (rate is None), "gamma, rate", (gamma, rate), "one of the two")
    require(decay_steps > 0, "decay_steps", decay_steps, "a positive number")
    count = t // decay_steps if staircase else t / decay_steps
    return lr * raised(gamma, count) if gamma is not None else lr * exp_of(-rate * count)  # type: ignore[operator]


@schedule(**KERAS)
def inverse_time(t, lr: float, decay_rate: float, decay_steps: float = 1, staircase: bool = False):
    """lr / (1 + decay_rate t / decay_steps): "1/t decay". One deck calls `inverse_sqrt` by that name.

    >>> inverse_time(1.0, decay_rate=0.5)(2)
    0.5
    """
    require(decay_steps > 0, "decay_steps", decay_steps, "a positive number")
    return lr / (1 + decay_rate * (t // decay_steps if staircase else t / decay_steps))


@schedule(**KERAS)
def inverse_sqrt(t, lr: float, decay_steps: float = 1):
    """lr / sqrt(t / decay_steps + 1).

    >>> inverse_sqrt(1.0)(99)
    0.1
    """
    require(decay_steps > 0, "decay_steps", decay_steps, "a positive number")
    return lr / math.sqrt(t / decay_steps + 1)


@schedule(**KERAS, decay_steps="total_iters")
def polynomial(t, lr: float, total_iters: float, power: float = 1.0, end_learning_rate: float = 0.0):
    """(lr - end_learning_rate) (1 - t / total_iters)^power + end_learning_rate, constant from total_iters on.

    >>> polynomial(1.0, total_iters=10, power=2)(5)
    0.25
    """
    require(total_iters > 0, "total_iters", total_iters, "a positive number")
    return end_learning_rate + (lr - end_learning_rate) * raised(1 - min(t, total_iters) / total_iters, power)


@schedule(**KERAS, end_learning_rate="end_lr", decay_steps="total_iters")
def linear(t, lr: float, end_lr: float, total_iters: float):
    """(1 - t / total_iters) lr + t / total_iters end_lr, then constant. PyTorch's LinearLR gives both ends as factors of lr.

    >>> linear(1.0, end_lr=0.0, total_iters=4).values(6).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    require(total_iters > 0, "total_iters", total_iters, "a positive number")
    return _between(lr, end_lr, t / total_iters, "linear")


@schedule(**KERAS, decay_steps="T_max")
def cosine(t, lr: float, T_max: float, eta_min: float = 0.0):
    """eta_min + (lr - eta_min) (1 + cos(pi t / T_max)) / 2, then constant (PyTorch's rises again).

    >>> cosine(1.0, T_max=10)(5).__round__(12)
    0.5
    """
    require(T_max > 0, "T_max", T_max, "a positive number")
    return _between(lr, eta_min, t / T_max)


@schedule(**KERAS, first_decay_steps="T_0", t_mul="T_mult")
def cosine_restarts(t, lr: float, T_0: float, T_mult: float = 1, eta_min: float = 0.0, m_mul: float = 1.0):
    """Cosine from lr to eta_min over T_0, again over T_0 T_mult, T_0 T_mult^2, ...; cycle k starts at lr m_mul^k.

    >>> cosine_restarts(1.0, T_0=2, T_mult=2).values(7).round(12).tolist()
    [1.0, 0.5, 1.0, 0.853553390593, 0.5, 0.146446609407, 1.0]
    """
    require(T_0 > 0, "T_0", T_0, "a positive number")
    require(T_mult >= 1, "T_mult", T_mult, "at least 1")
    cycle, length = 0, T_0
    if T_mult == 1:
        cycle, t = int(t // T_0), t % T_0
    while t >= length:
        cycle, t, length = cycle + 1, t - length, length * T_mult
    return _between(max(lr * raised(m_mul, cycle), eta_min), eta_min, t / length)


MODES = ("triangular", "triangular2", "exp_range", "cosine")


@schedule()
def cyclic(
    t,
    base_lr: float,
    max_lr: float,
    step_size_up: float = 2000,
    step_size_down: float | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
):
    """From base_lr to max_lr in step_size_up, back in step_size_down (by default as long), and again.

    mode="triangular": along straight lines; "triangular2": the height is halved each cycle; "exp_range": it is gamma^t;
    "cosine": along half cosine waves.

    >>> cyclic(0.0, 1.0, step_size_up=2).values(6).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
    """
    require(mode in MODES, "mode", mode, f"one of {', '.join(map(repr, MODES))}")
    require(step_size_up > 0, "step_size_up", step_size_up, "a positive number")
    down = step_size_up if step_size_down is None else step_size_down
    require(down > 0, "step_size_down", down, "a positive number")
    whole = step_size_up + down
    cycle, place = int(t // whole), t % whole
    height = place / step_size_up if place <= step_size_up else (whole - place) / down
    if mode == "cosine":
        height = _between(0.0, 1.0, height)
    elif mode != "triangular":
        height *= raised(0.5, cycle) if mode == "triangular2" else raised(gamma, t)
    return base_lr + (max_lr - base_lr) * height


@schedule()
def one_cycle(
    t,
    max_lr: float,
    total_steps: int,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
):
    """From max_lr / div_factor up to max_lr over pct_start of the steps, then down to max_lr / div_factor / final_div_factor.

    three_phase=True comes back to max_lr / div_factor first, as fast as it rose. Constant after the last step, total_steps - 1.

    >>> one_cycle(1.0, total_steps=11, pct_start=0.4, anneal_strategy="linear").values(4).round(4).tolist()
    [0.04, 0.3224, 0.6047, 0.8871]
    """
    require(anneal_strategy in ("cos", "linear"), "anneal_strategy", anneal_strategy, "'cos' or 'linear'")
    require(total_steps > 0, "total_steps", total_steps, "a positive number")
    require(0 <= pct_start <= 1, "pct_start", pct_start, "a share from 0 to 1")
    first = max_lr / div_factor
    # (the step a phase ends at, the value it ends with)
    phases = [(pct_start * total_steps - 1, max_lr)]
    if three_phase:
        phases.append((2 * pct_start * total_steps - 2, first))
    phases.append((total_steps - 1, first / final_div_factor))
    begin, start = 0.0, first
    for end, target in phases:
        if t <= end:
            return _between(start, target, (t - begin) / (end - begin) if end > begin else 1.0, anneal_strategy)
        begin, start = end, target
    return start


@schedule()
def piecewise(t, boundaries: Sequence[float], values: Sequence[float]):
    """values[0] up to and including boundaries[0], values[1] up to boundaries[1], ..., the last value after: Keras' way.

    >>> piecewise(boundaries=[1, 3], values=[1.0, 0.5, 0.1]).values(5).tolist()
    [1.0, 1.0, 0.5, 0.5, 0.1]
    """
    require(list(boundaries) == sorted(boundaries), "boundaries", boundaries, "steps in ascending order")
    require(
        len(values) == len(boundaries) + 1, "values", values, f"{len(boundaries) + 1} numbers, one more than boundaries"
    )
    return values[bisect.bisect_left(boundaries, t)]


@schedule(unit="epoch", **KERAS)
def per_epoch(t, lr: float, learning_rate_decay: float):
    """lr learning_rate_decay^t: lr is multiplied every epoch; 1 leaves it.

    >>> per_epoch(1.0, 0.9)(5).__round__(12)
    0.59049
    """
    return lr * raised(learning_rate_decay, t)


@schedule()
def warmup(t, schedule: Schedule, warmup_steps: float, start_factor: float = 0.0, shift: bool = True):
    """Rises linearly from start_factor times the schedule's first value to that value, at t = warmup_steps.

    The schedule then starts from its own 0; with shift=False it goes on as if it had run from the beginning, and the rise leads
    to its value at warmup_steps.

    >>> warmup(constant(1.0), 4).values(6).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    require(isinstance(schedule, Schedule), "schedule", schedule, "a schedule")
    require(warmup_steps >= 0, "warmup_steps", warmup_steps, "0 or more")
    skipped = warmup_steps if shift else 0
    if t >= warmup_steps:
        return schedule(t - skipped)
    peak = schedule(warmup_steps - skipped)
    return _between(start_factor * peak, peak, t / warmup_steps, "linear")


@schedule()
def chain(t, schedules: Sequence[Schedule], milestones: Sequence[float]):
    """schedules[0] until milestones[0], from there schedules[1] counted from its own 0, and so on.

    >>> chain([constant(1.0), linear(1.0, end_lr=0.0, total_iters=2)], milestones=[2]).values(5).tolist()
    [1.0, 1.0, 1.0, 0.5, 0.0]
    """
    require(all(isinstance(part, Schedule) for part in schedules), "schedules", schedules, "a list of schedules")
    require(list(milestones) == sorted(milestones), "milestones", milestones, "steps in ascending order")
    require(
        len(schedules) == len(milestones) + 1,
        "schedules",
        schedules,
        f"{len(milestones) + 1}, one more than milestones",
    )
    place = bisect.bisect_right(milestones, t)
    return schedules[place](t - (milestones[place - 1] if place else 0))


def _takes_two(function: Callable) -> bool:
    """Whether the function cannot be called with t alone."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters) > 1


@schedule(**KERAS, schedule="lr_lambda")
def lambda_lr(t, lr_lambda: Callable, lr: float = 1.0):
    """lr lr_lambda(t); of a function of two arguments, Keras' way, lr_lambda(t, the value before), which starts from lr.

    The second kind is a recursion: asking for t calls it t + 1 times.

    >>> lambda_lr(lambda epoch: 0.1 * 0.65 ** (epoch // 10), unit="epoch")(10).__round__(12)
    0.065
    >>> lambda_lr(lambda epoch, lr: lr * 0.5 if epoch else lr, lr=1.0).values(3).tolist()
    [1.0, 0.5, 0.25]
    """
    require(callable(lr_lambda), "lr_lambda", lr_lambda, "a function of t, or of t and the value before")
    if not _takes_two(lr_lambda):
        return lr * lr_lambda(t)
    require(t == int(t), "t", t, "a whole number, for a function of two arguments")
    for count in range(int(t) + 1):
        lr = lr_lambda(count, lr)
    return lr
