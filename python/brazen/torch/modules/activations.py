# SPDX-License-Identifier: BSD-3-Clause
"""Activations as modules: `Activation` for every one of the registry, and PyTorch's names for those it has."""

from __future__ import annotations

import torch

import brazen

from .. import activations as functions
from ..graph import bare

__all__ = ["Activation", "GELU", "Hardtanh", "PReLU", "Softplus"]

# PyTorch's class: the function, and the attributes that are its arguments.
_NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ReLU": ("relu", ()), "ReLU6": ("relu6", ()), "LeakyReLU": ("leaky_relu", ("negative_slope",)), "ELU": ("elu", ("alpha",)),
    "CELU": ("celu", ("alpha",)), "SELU": ("selu", ()), "SiLU": ("silu", ()), "Mish": ("mish", ()), "Sigmoid": ("sigmoid", ()),
    "LogSigmoid": ("log_sigmoid", ()), "Tanh": ("tanh", ()), "Softsign": ("softsign", ()), "Hardsigmoid": ("hard_sigmoid", ()),
    "Hardswish": ("hard_silu", ()), "Hardshrink": ("hard_shrink", ("lambd",)), "Softshrink": ("soft_shrink", ("lambd",)),
    "Tanhshrink": ("tanh_shrink", ()), "Threshold": ("threshold", ("threshold", "value")), "GLU": ("glu", ("dim",)),
    "Softmax": ("softmax", ("dim",)), "LogSoftmax": ("log_softmax", ("dim",)),
}  # fmt: skip


def _refuse_inplace(module) -> None:
    if getattr(module, "inplace", False):
        raise ValueError(
            f"{type(module).__name__}: inplace is True; leave it away: the backward pass reads the input again"
        )


class Activation(torch.nn.Module):
    """Any activation of `brazen.activations()` of one array, by name: `Activation("leaky_relu", alpha=0.2)`.

    >>> import torch
    >>> Activation("leaky_relu", alpha=0.5)(torch.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, name: str, **parameters):
        super().__init__()
        if name not in brazen.activations() or name == "prelu":
            raise ValueError(f"Activation: name is {name!r}; brazen.activations() lists the names; prelu is PReLU")
        self.name, self.parameters_of = name, parameters
        functions.__dict__[name](torch.zeros(2), **parameters)  # raises what does not fit

    def forward(self, x):
        return functions.__dict__[self.name](x, **self.parameters_of)

    def extra_repr(self):
        return ", ".join([repr(self.name), *(f"{n}={v!r}" for n, v in self.parameters_of.items())])


def _named(name: str, function, arguments: tuple[str, ...]) -> type:
    theirs = getattr(torch.nn, name)

    def __init__(self, *given, **named):
        theirs.__init__(self, *given, **named)
        _refuse_inplace(self)

    def forward(self, x):
        return function(x, *[getattr(self, argument) for argument in arguments])

    doc = f"torch.nn.{name} on brazen.torch.{function.__name__}."
    return type(name, (theirs,), {"__init__": __init__, "forward": forward, "__doc__": doc, "__module__": __name__})


for _name, (_function, _arguments) in _NAMES.items():
    globals()[_name] = _named(_name, getattr(functions, _function), _arguments)
    __all__.append(_name)


class GELU(torch.nn.GELU):
    """torch.nn.GELU: exact, or approximate="tanh"."""

    def forward(self, x):
        return functions.__dict__["gelu_tanh" if self.approximate == "tanh" else "gelu"](x)


class Hardtanh(torch.nn.Hardtanh):
    """torch.nn.Hardtanh between -1 and 1, or 0 and 6."""

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__(min_val, max_val, inplace)
        _refuse_inplace(self)
        if (min_val, max_val) not in ((-1, 1), (0, 6)):
            raise ValueError(f"Hardtanh: min_val, max_val are {min_val}, {max_val}; expected -1, 1 or 0, 6")

    def forward(self, x):
        return functions.__dict__["relu6" if self.max_val == 6 else "hard_tanh"](x)


class Softplus(torch.nn.Softplus):
    """torch.nn.Softplus with beta=1; nothing overflows, so that no threshold is needed."""

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__(beta, threshold)
        if beta != 1:
            raise ValueError(f"Softplus: beta is {beta}; expected 1")

    def forward(self, x):
        return functions.__dict__["softplus"](x)


class PReLU(torch.nn.PReLU):
    """torch.nn.PReLU: the slope is learnt, one for all or one a channel."""

    def forward(self, x):
        if bare(self.weight).numel() == 1 and x.ndim > 1 and x.shape[1] != 1:
            return functions.prelu(x, self.weight.reshape(1))
        return functions.prelu(x, self.weight)
