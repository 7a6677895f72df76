# SPDX-License-Identifier: BSD-3-Clause
"""Modules under PyTorch's names and arguments; each is a subclass of PyTorch's own and loads its state_dict."""

from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .batch_norm import *  # noqa: F403
from .batch_norm import __all__ as _batch_norm
from .dropout import *  # noqa: F403
from .dropout import __all__ as _dropout
from .losses import *  # noqa: F403
from .losses import __all__ as _losses
from .norms import *  # noqa: F403
from .norms import __all__ as _norms

__all__ = [*_activations]
__all__ += _batch_norm
__all__ += _dropout
__all__ += _losses
__all__ += _norms
