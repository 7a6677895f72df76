# SPDX-License-Identifier: BSD-3-Clause
"""A small trainer for tests of training, and epochs whose logs are given."""

import brazen as bz
import numpy as np
from brazen.callbacks import Callback

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype("float32")
Y = RNG.integers(0, 3, 40)


def trainer(lr=0.1, **named):
    net = bz.nn.Sequential([bz.nn.Dense(4, "tanh"), bz.nn.BatchNorm(), bz.nn.Dense(3)]).build(5, seed=0)
    return bz.Trainer(net, "softmax_cross_entropy", bz.optim.SGD(lr=lr), **named)


class Replay(Callback):
    """Puts recorded values into the logs of epochs, before other callbacks see them."""

    def __init__(self, **curves):
        self.curves = curves

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: curve[epoch] for name, curve in self.curves.items()})


def replayed(given, epochs=None, lr=0.1, **curves):
    made = trainer(lr)
    given = given if isinstance(given, list) else [given]
    epochs = epochs or len(next(iter(curves.values())))
    history = made.fit(X, Y, epochs=epochs, batch_size=20, callbacks=[Replay(**curves), *given], verbose=0)
    return made, history


def names(path):
    return sorted(entry.name for entry in path.iterdir())
