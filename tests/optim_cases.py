# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of optimizers share: every rule with the settings worth trying, samples, and how exact steps must be."""

import brazen as bz
import numpy as np
from tolerance import tolerance

# Beside the defaults; a new rule is tried with its defaults alone.
_SETTINGS = {
    "sgd": [
        {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "form": "classic"}, {"momentum": 0.9, "form": "classic", "nesterov": True},
        {"momentum": 0.9, "form": "ema"}, {"momentum": 0.9, "form": "ema", "nesterov": True},
        {"momentum": 0.9, "form": "ema", "initial": "gradient"}, {"momentum": 0.9, "initial": "zero"},
        {"momentum": 0.9, "form": "classic", "initial": "gradient"},
    ],
    "adagrad": [{"lr_decay": 0.1}, {"initial_accumulator_value": 0.5}, {"eps": 0.1, "eps_mode": "inside"}, {"eps_mode": "none"}],
    "rmsprop": [
        {"momentum": 0.9}, {"centered": True}, {"centered": True, "momentum": 0.5}, {"eps": 0.1, "eps_mode": "inside"},
        {"eps_mode": "none"}, {"initial": "gradient"}, {"alpha": 0.9, "centered": True, "eps": 0.1, "eps_mode": "inside"},
    ],
    "adadelta": [{"eps_mode": "outside", "eps": 1e-3}, {"rho": 0.95}],
    "adam": [
        {"amsgrad": True}, {"eps_mode": "inside", "eps": 1e-3}, {"eps_mode": "none"}, {"bias_correction": False},
        {"form": "efficient", "eps": 1e-3}, {"amsgrad": True, "form": "efficient"}, {"betas": (0.5, 0.7)},
    ],
    "adamax": [{"eps_mode": "outside", "eps": 0.1}, {"eps_mode": "none"}],
    "nadam": [{"momentum_decay": 0.1}],
    "radam": [{"threshold": 4.0}, {"betas": (0.9, 0.9)}],
    "rprop": [{"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}],
    "asgd": [{"t0": 10.0}, {"lambd": 0.01, "alpha": 0.5}],
    "lion": [{"betas": (0.8, 0.9)}],
    "adabelief": [{"bias_correction": False, "eps": 1e-8}],
    "yogi": [{"bias_correction": False}],
    "adan": [{"form": "decoupled"}, {"bias_correction": False}],
    "lars": [{"form": "torch"}, {"nesterov": True, "trust_coefficient": 0.02}, {"form": "torch", "nesterov": True, "eps": 0.1}],
    "lamb": [{"trust_clip": (0.5, 2.0)}, {"bias_correction": False}],
    "novograd": [{"grad_averaging": True}, {"initial": "zero"}],
    "adafactor": [{"eps": (1e-3, 1e-2), "d": 0.5}, {"beta2_decay": -0.5, "lr": 0.5}],
    "sm3": [{"momentum": 0.9}],
    "ademamix": [{"alpha_warmup": 50, "beta3_warmup": 60}, {"alpha": 2.0}],
}  # fmt: skip
CASES = [(name, settings) for name in bz.optim.names() for settings in [{}, *_SETTINGS.get(name, [])]]
UNLISTED = set(_SETTINGS) - set(bz.optim.names())
SHAPES = [(7,), (5, 13), (1,), (), (0,), (0, 3), (3, 2, 1031), (16384 + 1,)]


def ids(case):
    name, settings = case
    return name + "".join(f"-{k}={v}" for k, v in settings.items())


def arrays(shapes, dtype="float32", seed=0):
    draw = np.random.default_rng(seed)
    return [np.asarray(draw.standard_normal(shape)).astype(dtype) for shape in shapes]


def gradients(step, shapes, dtype="float32"):
    return arrays(shapes, dtype, seed=1000 + step)


def run(name, settings, params, steps, dtype=None, **options):
    """`steps` steps on the gradients of the step's number, in place; the optimizer."""
    opt = bz.optim.get(name)(params, **settings, **options)
    for step in range(steps):
        opt.step(gradients(step, [p.shape for p in params], dtype or params[0].dtype))
    return opt


def too_far(params, truth, steps, compute, factor=4.0):
    """Where rounding alone cannot explain a difference: every step may lose `factor` roundings of the weights' size."""
    for number, (p, t) in enumerate(zip(params, truth)):
        error = np.abs(np.asarray(p, "float64") - t)
        bound = factor * steps * tolerance(compute).unit * (1 + np.abs(t))
        if (error > bound).any() or np.isnan(p).any():
            return f"parameter {number}: off by {error.max()}, allowed {bound.flat[error.argmax()]}"
    return ""
