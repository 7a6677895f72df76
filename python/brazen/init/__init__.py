# SPDX-License-Identifier: BSD-3-Clause
"""Initial weights: the same seed, site and shape give the same weights on every machine.

>>> import brazen as bz
>>> weights = bz.init.kaiming_normal()((784, 512), seed=0, site=1)
>>> abs(float(weights.std()) - (2 / 784) ** 0.5) < 1e-3
True
"""

from .draw import fans
from .formulas import (
    Initializer,
    calculate_gain,
    constant,
    dirac,
    from_config,
    get,
    identity,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    names,
    normal,
    ones,
    orthogonal,
    random_normal,
    random_uniform,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_avg,
    xavier_fan_in,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from .torch_names import *  # noqa: F403
from .torch_names import __all__ as _torch_names

glorot_normal, glorot_uniform = xavier_normal, xavier_uniform
he_normal, he_uniform = kaiming_normal, kaiming_uniform

__all__ = [
    "Initializer", "calculate_gain", "constant", "dirac", "fans", "from_config", "get", "glorot_normal", "glorot_uniform",
    "he_normal", "he_uniform", "identity", "kaiming_normal", "kaiming_uniform", "lecun_normal", "lecun_uniform", "names",
    "normal", "ones", "orthogonal", "random_normal", "random_uniform", "truncated_normal", "uniform", "variance_scaling",
    "xavier_avg", "xavier_fan_in", "xavier_normal", "xavier_uniform", "zeros", *_torch_names,
]  # fmt: skip
