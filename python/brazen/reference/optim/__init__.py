# SPDX-License-Identifier: BSD-3-Clause
"""Every optimizer update rule in plain array code: the specification (in float64) and the baseline of every benchmark.

>>> import numpy as np
>>> from brazen.reference import optim
>>> rule = optim.get("adam")(lr=1e-3, betas=(0.9, 0.999))
>>> weights, gradients = [np.array([1.0, -2.0])], [np.array([0.5, 3.0])]
>>> report = rule.step(weights, gradients)
>>> weights[0].round(6).tolist(), rule.state["step"]
([0.999, -2.001], 1)
>>> rule.state["exp_avg"][0].round(6).tolist()
[0.05, 0.3]
"""

from . import functions
from .accumulators import SM3, Adadelta, Adafactor, Adagrad, RMSprop
from .adam import Adam, Adamax, AdamW, AMSGrad, NAdam, RAdam
from .functions import (
    add_l1,
    add_l2,
    agc,
    all_finite,
    clip_factor,
    clip_grad_norm,
    clip_grad_value,
    ema_update,
    global_norm,
    max_norm,
    norm,
    scale_and_check,
    unit_norms,
)
from .layerwise import LAMB, LARS, NovoGrad
from .momentum import ASGD, SGD, Lion, Rprop
from .rounding import rounded_randomly
from .rule import Report, Rule, rules
from .successors import AdaBelief, Adan, AdEMAMix, Yogi

__all__ = [
    "AMSGrad", "ASGD", "AdEMAMix", "AdaBelief", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax",
    "Adan", "LAMB", "LARS", "Lion", "NAdam", "NovoGrad", "RAdam", "RMSprop", "Report", "Rprop", "Rule", "SGD", "SM3",
    "Yogi", "add_l1", "add_l2", "agc", "all_finite", "clip_factor", "clip_grad_norm", "clip_grad_value",
    "ema_update", "functions", "get", "global_norm", "max_norm", "names", "norm", "rounded_randomly", "scale_and_check", "unit_norms",
]  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of all rules.

    >>> "adamw" in names()
    True
    """
    return tuple(rules)


def get(name: str) -> type[Rule]:
    """The class of a rule's name.

    >>> get("adamw").__name__
    'AdamW'
    """
    if name not in rules:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(names())}")
    return rules[name]
