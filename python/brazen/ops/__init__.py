# SPDX-License-Identifier: BSD-3-Clause
"""The functional operations, one module per family. No formula here: those are compiled."""

from .activations import *  # noqa: F403
from .activations import __all__ as _activations

__all__ = [*_activations]
