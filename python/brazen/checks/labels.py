# SPDX-License-Identifier: BSD-3-Clause
"""Labels out of range that a loss has met on a GPU, where only the kernel sees them."""

from __future__ import annotations

from .. import _core

__all__ = ["labels"]


def labels() -> None:
    """Raises ValueError for the first label out of range that a loss met on a GPU since this was asked last.

    The error names the loss, the label and its position. Nothing is waited for: a call that still runs is seen the next
    time, so ask after something that did wait, such as float(loss). The next loss with labels on the same GPU asks by
    itself. On the CPU the loss itself raises.

    >>> labels()
    """
    _core.check_labels()
