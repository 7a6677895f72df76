# SPDX-License-Identifier: BSD-3-Clause
"""Modules under PyTorch's names and arguments; each is a subclass of PyTorch's own and loads its state_dict."""

from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .batch_norm import *  # noqa: F403
from .batch_norm import __all__ as _batch_norm

__all__ = [*_activations]
__all__ += _batch_norm
