# SPDX-License-Identifier: BSD-3-Clause
"""Callbacks under Keras' names, with Keras' arguments and defaults, and what is missing there."""

from .averaging import SnapshotEnsemble, WeightAveraging
from .base import Callback, CallbackList
from .events import EVENTS, Logs, hooks
from .history import History
from .learning_rate import LearningRateScheduler, ReduceLROnPlateau
from .logs import CSVLogger, JSONLogger, LambdaCallback
from .measuring import LiveBench, UpdateRatio
from .progress import ProgressBar
from .saving import ModelCheckpoint
from .stopping import DivergenceBreak, EarlyStopping, TerminateOnNaN, TimeBudget
from .tensorboard import TensorBoard

__all__ = [
    "CSVLogger", "Callback", "CallbackList", "DivergenceBreak", "EVENTS", "EarlyStopping", "History", "JSONLogger",
    "LambdaCallback", "LearningRateScheduler", "LiveBench", "Logs", "ModelCheckpoint", "ProgressBar", "ReduceLROnPlateau",
    "SnapshotEnsemble", "TensorBoard", "TerminateOnNaN", "TimeBudget", "UpdateRatio", "WeightAveraging", "hooks",
]  # fmt: skip
