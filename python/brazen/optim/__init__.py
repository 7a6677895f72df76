# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers: every rule in one pass over all parameters, in place, on bare arrays.

>>> import numpy as np, brazen as bz
>>> params, grads = [np.ones(3, "float32")], [np.full(3, 0.5, "float32")]
>>> opt = bz.optim.AdamW(params, lr=0.1)
>>> opt.step(grads).skipped
False
>>> params[0].round(3).tolist()
[0.8989999890327454, 0.8989999890327454, 0.8989999890327454]
"""

from .backtracking import Backtracking
from .functions import (
    clip_grad_norm,
    clip_grad_value,
    ema_update,
    global_norm,
    scale_and_check,
)
from .layerwise import LAMB, LARS, SM3, Adafactor, NovoGrad
from .loss_scale import LossScale
from .optimizer import Optimizer, registry
from .report import Norms, Report
from .rules import (
    ASGD,
    SGD,
    AdaBelief,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Adan,
    AdEMAMix,
    AMSGrad,
    Lion,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
    Yogi,
)
from .shards import Merged, merge_norm, norm_partials, shard
from .state import rebuilt

__all__ = [
    "AMSGrad", "ASGD", "AdEMAMix", "AdaBelief", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Adan", "Backtracking",
    "LAMB", "LARS", "Lion", "LossScale", "Merged", "NAdam", "Norms", "NovoGrad", "Optimizer", "RAdam", "RMSprop", "Report", "Rprop", "SGD", "SM3", "Yogi",
    "clip_grad_norm", "clip_grad_value", "ema_update", "from_config", "get", "global_norm", "merge_norm", "names",
    "norm_partials", "scale_and_check", "shard",
]  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of all rules.

    >>> "adamw" in names()
    True
    """
    return tuple(registry)


def get(name: str) -> type[Optimizer]:
    """The class of a rule's name.

    >>> get("adamw").__name__
    'AdamW'
    """
    if name not in registry:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(names())}")
    return registry[name]


def from_config(config: dict) -> Optimizer:
    """The optimizer of a `config()`, without parameters.

    >>> from_config(get("adam")(lr=0.1).config())
    Adam(lr=0.1)
    """
    given = dict(config)
    rule, groups = given.pop("rule"), given.pop("groups", [])
    made = get(rule)(**{name: rebuilt(value) for name, value in given.items()})
    made._own = [{name: rebuilt(value) for name, value in group.items()} for group in groups]
    return made
