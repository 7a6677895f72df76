# SPDX-License-Identifier: BSD-3-Clause
"""Training: the Trainer, the penalties it takes, and the facade of a well-known course."""

from .classifier import ClassifierTrainer, Stats, init_two_layer_model, two_layer_net
from .regularizers import Regularizer, elastic_net, l1, l2
from .trainer import Trainer

__all__ = [
    "ClassifierTrainer",
    "Regularizer",
    "Stats",
    "Trainer",
    "elastic_net",
    "init_two_layer_model",
    "l1",
    "l2",
    "two_layer_net",
]
