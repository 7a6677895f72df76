# SPDX-License-Identifier: BSD-3-Clause
"""`python -m brazen train --config file.toml`: trains on the user's data as the demo does on digits, and goes on where it was
interrupted."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from typing import Any

import numpy

from ... import callbacks, checkpoint, data, nn, optim, plots, schedules
from ...checkpoint.files import alone
from ...metrics import get
from .. import regularizers
from ..saving import require_writable
from ..trainer import Trainer
from . import config, table
from .config import Config, ConfigError


def main(arguments: list[str] | None = None) -> int:
    """Trains a network on an .npz or .csv file as a TOML file says; run again after an interruption, it goes on."""
    parser = argparse.ArgumentParser(
        "brazen train", description=main.__doc__, epilog=described(), formatter_class=_Plain
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the TOML file")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever checkpoints there are")
    parser.add_argument(
        "--verbose", type=int, choices=(0, 1, 2), default=1, help="0: silent, 1: a bar, 2: a line an epoch"
    )
    given = parser.parse_args(arguments)
    try:
        return train(config.load(given.config), given.fresh, given.verbose)
    except (ConfigError, ImportError, checkpoint.CheckpointError, checkpoint.DirectoryInUse) as error:
        print(error, file=sys.stderr)
        return 2


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def described() -> str:
    """Every section and key of a config file, with its default."""
    lines = ["The file:"]
    for section, keys in config.KEYS.items():
        lines += ["", f"[{section}]"]
        lines += [
            f"  {key:<17}{entry.says}" + ("" if entry.default is None else f" ({json.dumps(entry.default)})")
            for key, entry in keys.items()
        ]
    return "\n".join(lines)


def train(given: Config, fresh: bool = False, verbose: int = 1) -> int:
    """Trains as the config says; returns the exit status."""
    beside = os.path.dirname(os.path.abspath(given.path))
    wanted = given["data"]
    try:
        held = table.read(os.path.join(beside, wanted["file"]), wanted["x"], wanted["y"], wanted["target"])
    except (OSError, ValueError) as error:
        given.fail(("data", "file"), str(error))
    seed = given["training"]["seed"]
    try:
        parts = data.split(len(held.x), val=wanted["val"], test=wanted["test"], seed=seed, stratify=_strata(held))
    except ValueError as error:
        given.fail(("data", "val"), str(error))
    if not len(parts.val):
        given.fail(("data", "val"), "val leaves no sample to validate on")
    mean, deviation = _scaling(held.x[parts.train]) if wanted["standardize"] else (0.0, 1.0)
    x = ((held.x - mean) / deviation).astype("float32")
    train, val, test = ((x[chosen], held.y[chosen]) for chosen in parts)
    made = build(given, held, len(parts.train))
    directory = os.path.join(beside, given["output"]["directory"])
    saved = os.path.join(directory, "checkpoints")
    try:
        require_writable(directory, "directory")
    except ValueError as error:
        given.fail(("output", "directory"), str(error))
    if fresh and os.path.isdir(saved):
        with alone(saved):
            shutil.rmtree(saved)
    begun = checkpoint.newest(saved)
    if verbose:
        kind = f"{len(held.classes)} classes" if held.classes is not None else f"{held.y.shape[1]} numbers"
        sizes = ", ".join(f"{len(part)} to {use}" for use, part in zip(("train", "validate", "test"), parts))
        print(f"{wanted['file']}: {sizes}; {kind}.", f"Going on from {begun}." if begun else "", flush=True)
    wish = given["training"]
    stopping = callbacks.EarlyStopping(
        "val_loss", patience=wish["patience"] or wish["epochs"], restore_best_weights=True
    )
    ratios = callbacks.UpdateRatio(every=10)
    try:
        history = made.fit(
            *train, epochs=wish["epochs"], batch_size=wish["batch_size"], validation_data=val, verbose=verbose,
            callbacks=[stopping, ratios, callbacks.CSVLogger(os.path.join(directory, "log.csv"))], checkpoint_dir=saved,
            checkpoint_every=given["output"]["checkpoint_every"] or "epoch", keep=given["output"]["keep"], resume="auto",
        )  # fmt: skip
    except ValueError as error:
        hint = f". --fresh begins anew, without {saved}" if begun else ""
        given.fail(("training",), f"{error}{hint}")
    if made.interrupted:
        print("Run it again: it goes on from this batch.")
        return 130
    _leave(directory, made, held, mean, deviation, history, ratios, stopping.stopped_epoch > 0)
    result = made.evaluate(*test) if len(parts.test) else {}
    if verbose:
        print("Test: " + ", ".join(f"{name} {value:.4g}" for name, value in result.items() if not numpy.ndim(value)))
        print(f"Model, figures and log: {directory}")
    return 0


def _strata(held: table.Table):
    """Classes to divide by, where each has enough samples for three sets."""
    return held.y if held.classes is not None and numpy.bincount(held.y).min() >= 3 else None


def _scaling(x):
    mean = x.mean(axis=0, dtype="float64")
    deviation = x.std(axis=0, dtype="float64")
    return mean.astype("float32"), numpy.where(deviation > 0, deviation, 1).astype("float32")


def build(given: Config, held: table.Table, samples: int) -> Trainer:
    """The trainer that a config describes."""
    wish, shape = given["training"], given["network"]
    outputs = len(held.classes) if held.classes is not None else held.y.shape[1]
    net = nn.Sequential([*_layers(given), nn.Dense(outputs)])
    try:
        net.build(input_shape=held.x.shape[1:], seed=wish["seed"], dtype=shape["dtype"])
    except (ValueError, TypeError) as error:
        given.fail(("network", "layers" if shape["layers"] else "hidden"), str(error))
    rule = dict(wish["optimizer"])
    rate = rule.pop("lr", 1e-3)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        given.fail(("training", "optimizer"), f"lr is {rate!r}; expected a number above 0")
    if wish["schedule"] not in ("cosine", "constant"):
        given.fail(("training", "schedule"), f"schedule is {wish['schedule']!r}; expected cosine or constant")
    if not 0 <= wish["warmup"] < 1:
        given.fail(("training", "warmup"), f"warmup is {wish['warmup']!r}; expected a part of all steps")
    steps = -(-samples // wish["batch_size"]) * wish["epochs"]
    rise = int(steps * wish["warmup"])
    try:
        plan: Any = (
            schedules.cosine(rate, max(1, steps - rise)) if wish["schedule"] == "cosine" else schedules.constant(rate)
        )
        plan = plan.with_warmup(rise, 0.1) if rise else plan
        optimizer = optim.get(rule.pop("rule", "adamw"))(lr=plan, **rule)
    except (ValueError, TypeError) as error:
        given.fail(("training", "optimizer"), str(error))
    loss = wish["loss"] or ("softmax_cross_entropy" if held.classes is not None else "mse")
    names = wish["metrics"] if wish["metrics"] is not None else ["accuracy" if held.classes is not None else "r2"]
    try:
        metrics = [get(name) for name in names]
        for metric in metrics:
            metric.check(net.output_shape)
    except ValueError as error:
        given.fail(("training", "metrics"), str(error))
    try:
        penalty = regularizers.l2(wish["l2"]) if wish["l2"] else None
        return Trainer(net, loss, optimizer, metrics, penalty, clip_norm=wish["clip_norm"], seed=wish["seed"])
    except (ValueError, TypeError) as error:
        given.fail(("training", "l2" if "l2" in str(error) else "loss"), str(error))


def _layers(given: Config) -> list[Any]:
    shape = given["network"]
    if shape["layers"] is not None:
        layers = []
        for number, layer in enumerate(shape["layers"]):
            try:
                layers.append(nn.from_config(layer))
            except (ValueError, TypeError, KeyError) as error:
                given.fail(("network", "layers", number), f"layer {number + 1}: {error}")
        return layers
    layers = []
    try:
        for units in shape["hidden"]:
            layers.append(nn.Dense(units, bias=not shape["batch_norm"]))
            if shape["batch_norm"]:
                layers.append(nn.BatchNorm())
            layers.append(nn.Activation(shape["activation"]))
            if shape["dropout"]:
                layers.append(nn.Dropout(shape["dropout"]))
    except (ValueError, TypeError) as error:
        given.fail(("network", _culprit(str(error))), str(error))
    return layers


def _culprit(message: str) -> str:
    return next((key for key in ("dropout", "activation") if key in message), "hidden")


def _leave(directory, made, held, mean, deviation, history, ratios, stopped) -> None:
    """The model with what it needs to be used, and the figures."""
    checkpoint.save(os.path.join(directory, "model.safetensors"), made.model.state())
    shape = held.x.shape[1:]
    checkpoint.save(
        os.path.join(directory, "scaling.safetensors"),
        {
            "mean": numpy.broadcast_to(numpy.float32(mean), shape),
            "std": numpy.broadcast_to(numpy.float32(deviation), shape),
        },
    )
    described = {"network": made.model.net.config(), "input_shape": list(shape), "classes": held.classes}
    with open(os.path.join(directory, "model.json"), "w", encoding="utf-8") as file:
        json.dump(described, file, indent=1)
    figures: dict[str, Callable[[], Any]] = {
        "loss": lambda: plots.loss(history),
        "early-stopping": lambda: plots.early_stopping(history, stopped=stopped),
        "learning-rate": lambda: plots.learning_rate(history),
        "update-ratio": lambda: plots.update_ratio(ratios),
    }
    for metric in made.metrics:
        if not isinstance(history[metric.label][0], list):
            figures[metric.label] = functools.partial(plots.accuracy, history, metric.label)
    try:
        for name, figure in figures.items():
            figure().savefig(os.path.join(directory, f"{name}.png"))
    except ImportError as missing:
        print(missing)
