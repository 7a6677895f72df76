# SPDX-License-Identifier: BSD-3-Clause
"""Learning rates, or any other hyper-parameter, as functions of the step or the epoch.

>>> import brazen as bz
>>> schedule = bz.schedules.cosine(lr=0.1, T_max=90, unit="epoch").with_warmup(10)
>>> schedule.values(4).round(3).tolist(), schedule(100)
([0.0, 0.01, 0.02, 0.03], 0.0)
>>> bz.schedules.from_config(schedule.config()) == schedule
True
"""

from .base import Schedule, from_config, get, names
from .formulas import (
    chain,
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    exponential,
    inverse_sqrt,
    inverse_time,
    lambda_lr,
    linear,
    multi_step,
    one_cycle,
    per_epoch,
    piecewise,
    polynomial,
    step,
    warmup,
)
from .plateau import reduce_on_plateau

__all__ = [
    "Schedule", "chain", "constant", "cosine", "cosine_restarts", "cyclic", "exponential", "from_config", "get",
    "inverse_sqrt", "inverse_time", "lambda_lr", "linear", "multi_step", "names", "one_cycle", "per_epoch", "piecewise",
    "polynomial", "reduce_on_plateau", "step", "warmup",
]  # fmt: skip
