# SPDX-License-Identifier: BSD-3-Clause
"""The functional operations, one module per family. No formula here: those are compiled."""

from .activations import *  # noqa: F403
from .activations import __all__ as _activations
from .losses import *  # noqa: F403
from .losses import __all__ as _losses

__all__ = [*_activations, *_losses]
