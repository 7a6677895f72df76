# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks under Keras' names, with Keras' arguments and defaults, and what is missing there."""

from .base import Callback, CallbackList
from .events import EVENTS, Logs, hooks
from .history import History
from .progress import ProgressBar

__all__ = ["EVENTS", "Callback", "CallbackList", "History", "Logs", "ProgressBar", "hooks"]
