# SPDX-License-Identifier: BSD-3-Clause
"""The training half of `make demo`: a network on scikit-learn's handwritten digits, resumed where it was interrupted."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, NamedTuple

import numpy

import brazen

from .. import callbacks, checkpoint, data, nn, optim, plots, schedules
from ..train import Trainer

EPOCHS, BATCH, PATIENCE = 40, 64, 12


class Digits(NamedTuple):
    """Images of 8 x 8 pixels between 0 and 1 as rows of 64, with their classes, divided by class."""

    train: tuple
    val: tuple
    test: tuple


def digits(seed: int = 0) -> Digits:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'brazen[demo]'") from None
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype("float32")
    parts = data.split(len(x), val=0.15, test=0.2, seed=seed, stratify=y)
    return Digits(*((x[chosen], y[chosen]) for chosen in parts))


def trainer(steps: int, seed: int = 0) -> Trainer:
    """Batch norm and dropout between three layers; AdamW on a cosine with a warm-up."""
    layers: list[Any] = []
    for width in (256, 256):
        layers += [nn.Dense(width, bias=False), nn.BatchNorm(), nn.Activation("relu"), nn.Dropout(0.3)]
    net = nn.Sequential([*layers, nn.Dense(10)]).build(input_shape=64, seed=seed)
    rate = schedules.cosine(3e-3, steps).with_warmup(steps // 20)
    return Trainer(net, "softmax_cross_entropy", optim.AdamW(lr=rate, weight_decay=0.01), ["accuracy"], seed=seed)


class Run(NamedTuple):
    trainer: Trainer
    history: callbacks.History
    ratios: callbacks.UpdateRatio
    stopped: bool
    seconds: float


def train(given: Digits, seed: int = 0, checkpoint_dir=None, verbose: int = 1) -> Run:
    """Trains, or goes on with what stands in `checkpoint_dir`."""
    made = trainer(-(-len(given.train[0]) // BATCH) * EPOCHS, seed)
    stopping = callbacks.EarlyStopping("val_loss", patience=PATIENCE, restore_best_weights=True)
    ratios = callbacks.UpdateRatio(every=5)
    named: dict[str, Any] = {} if checkpoint_dir is None else {"checkpoint_dir": checkpoint_dir, "resume": "auto"}
    start = time.perf_counter()
    history = made.fit(
        *given.train, epochs=EPOCHS, batch_size=BATCH, validation_data=given.val, callbacks=[stopping, ratios],
        verbose=verbose, **named,
    )  # fmt: skip
    return Run(made, history, ratios, stopping.stopped_epoch > 0, time.perf_counter() - start)


def main(directory: str = "demo", seed: int = 0) -> int:
    """Trains, tests once, and leaves the model and its figures in the directory."""
    given = digits(seed)
    saved = os.path.join(directory, "checkpoints")
    begun = checkpoint.newest(saved)
    sizes = ", ".join(f"{len(x)} to {use}" for use, (x, _) in zip(("train", "validate", "test"), given))
    print(f"Handwritten digits: {sizes}.", f"Going on from {begun}." if begun else "", flush=True)
    run = train(given, seed, saved)
    if run.trainer.interrupted:
        print("Run it again: it goes on from this batch, with the bits of a run that was never interrupted.")
        return 130
    result = run.trainer.test(*given.test)
    path = os.path.join(directory, "model.safetensors")
    checkpoint.save(path, run.trainer.model.state())
    drawn = draw(run, directory)
    shutil.rmtree(saved)  # done: the next demo begins anew
    best = run.history.best() + 1
    print(
        f"\nTest accuracy {result['accuracy']:.2%}, loss {result['loss']:.4f}; {len(run.history.epoch)} epochs, the best was "
        f"{best}; {run.seconds:.1f} s of training.\n"
        f"Weights: {path} (brazen.load, safetensors). Figures: {', '.join(drawn)}\n"
        'Ctrl-C and the same command go on where it stopped; in a program: trainer.fit(…, checkpoint_dir="…", resume="auto").'
    )
    return 0


def draw(run: Run, directory: str) -> list[str]:
    """Writes the figures; returns their paths, none where matplotlib is missing."""
    figures = {
        "loss": lambda: plots.loss(run.history),
        "accuracy": lambda: plots.accuracy(run.history),
        "early-stopping": lambda: plots.early_stopping(run.history, stopped=run.stopped),
        "learning-rate": lambda: plots.learning_rate(run.history),
        "update-ratio": lambda: plots.update_ratio(run.ratios),
    }
    written = []
    for name, figure in figures.items():
        path = os.path.join(directory, f"{name}.png")
        try:
            figure().savefig(path)
        except ImportError as missing:
            print(missing)
            return []
        written.append(path)
    return written


def accuracy_of_seeds(seeds: int = 5) -> float:
    """The mean test accuracy over fixed seeds, each with its own split."""
    found = []
    for seed in range(seeds):
        given = digits(seed)
        made = train(given, seed, verbose=0).trainer
        found.append(brazen.metrics.accuracy(made.predict(given.test[0]), given.test[1]))
    return float(numpy.mean(found))
