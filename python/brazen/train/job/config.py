# SPDX-License-Identifier: BSD-3-Clause
"""A training job as a TOML file: what it may say, and errors that name the line. Nothing is trained here."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

NUMBER, TEXT, FLAG, WHOLE, LIST, TABLE = "a number", "a text", "true or false", "a whole number", "a list", "a table"
_TYPES: dict[str, tuple[type, ...]] = {
    NUMBER: (int, float), TEXT: (str,), FLAG: (bool,), WHOLE: (int,), LIST: (list,), TABLE: (dict,),
}  # fmt: skip


class Key(NamedTuple):
    """What a key may be, and what it is where it is left out; None stands for "not given"."""

    kind: str
    default: Any
    says: str
    least: int | None = None


KEYS: dict[str, dict[str, Key]] = {
    "data": {
        "file": Key(TEXT, None, "an .npz or .csv file; a path is relative to the config file"),
        "x": Key(TEXT, "x", "the array of samples in an .npz file"),
        "y": Key(TEXT, "y", "the array of targets in an .npz file"),
        "target": Key(
            TEXT, None, "the column of targets in a .csv file, whose first line names its columns; the last, if none"
        ),
        "val": Key(NUMBER, 0.15, "the part, or the count, of the validation set"),
        "test": Key(NUMBER, 0.15, "the part, or the count, of the test set"),
        "standardize": Key(FLAG, True, "inputs minus the mean over the deviation, both of the training set"),
    },
    "network": {
        "hidden": Key(LIST, [128, 128], "the units of each hidden layer"),
        "activation": Key(TEXT, "relu", "after each of them"),
        "batch_norm": Key(FLAG, True, "before the activation"),
        "dropout": Key(NUMBER, 0.2, "the probability to drop, after the activation"),
        "layers": Key(
            LIST, None, 'instead of all that, {layer = "Dense", units = 64} and so on, as net.config() writes them'
        ),
        "dtype": Key(TEXT, "float32", "float32, float64, float16 or bfloat16"),
    },
    "training": {
        "loss": Key(TEXT, None, "softmax_cross_entropy for classes, mse for numbers, where it is left out"),
        "metrics": Key(LIST, None, "accuracy for classes, r2 for numbers, where they are left out"),
        "optimizer": Key(
            TABLE, {"rule": "adamw", "lr": 2e-3, "weight_decay": 0.01}, "rule, lr, and what that rule takes"
        ),
        "schedule": Key(TEXT, "cosine", "cosine or constant"),
        "warmup": Key(NUMBER, 0.05, "the part of all steps in which the rate rises"),
        "epochs": Key(WHOLE, 50, "at most", 1),
        "batch_size": Key(WHOLE, 64, "samples a step", 1),
        "patience": Key(WHOLE, 10, "epochs without a better validation loss before it stops; 0: never", 0),
        "l2": Key(NUMBER, 0.0, "the penalty strength / 2 * sum w^2", 0),
        "clip_norm": Key(NUMBER, None, "the largest norm of the gradients"),
        "seed": Key(WHOLE, 0, "of the split, the weights, the order and the masks", 0),
    },
    "output": {
        "directory": Key(TEXT, "run", "receives model, figures and checkpoints; relative to the config file"),
        "checkpoint_every": Key(WHOLE, None, "batches; each epoch where it is left out", 1),
        "keep": Key(WHOLE, 3, "how many checkpoints", 1),
    },
}


class ConfigError(ValueError):
    """What is wrong with a config file, with its line."""


class Config:
    """The values of a file, by section and key, with the line each stands in."""

    def __init__(self, path: str, text: str):
        self.path = path
        try:
            given = _toml().loads(text)
        except _toml().TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            self._raise(int(found[1]) if found else len(text.splitlines()), str(error))
        self.lines = lines_of(text)
        self.values: dict[str, dict[str, Any]] = {}
        for section, table in given.items():
            self._require_known(section, KEYS, (section,), "section")
            if not isinstance(table, Mapping):
                self.fail((section,), f"{section} is {table!r}; expected a section [{section}]")
            for key, value in table.items():
                self._require_known(key, KEYS[section], (section, key), f"key of [{section}]")
                kind = KEYS[section][key].kind
                if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != FLAG):
                    self.fail((section, key), f"{key} is {value!r}; expected {kind}: {KEYS[section][key].says}")
                least = KEYS[section][key].least
                if least is not None and isinstance(value, int | float) and not value >= least:
                    self.fail((section, key), f"{key} is {value!r}; expected at least {least}")
        for section, keys in KEYS.items():
            table = given.get(section, {})
            self.values[section] = {key: table.get(key, entry.default) for key, entry in keys.items()}
        if self.values["data"]["file"] is None:
            self.fail(("data",), '[data] names no file; expected file = "….npz" or "….csv"')

    def __getitem__(self, section: str) -> dict[str, Any]:
        return self.values[section]

    def _require_known(self, name, known, place, what) -> None:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            self.fail(place, f"{name} is no {what}; {hint}")

    def line(self, place: tuple) -> int:
        """The line of a place, such as ("training", "lr"), or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def fail(self, place: tuple, message: str) -> NoReturn:
        self._raise(self.line(place), message)

    def _raise(self, line: int, message: str) -> NoReturn:
        raise ConfigError(f"{self.path}, line {line}: {message}")


def lines_of(text: str) -> dict[tuple, int]:
    """The line of every section, key, and inline table of a list: ("network", "layers", 2) is the third layer.

    >>> lines_of('[network]\\nlayers = [\\n  {layer = "Flatten"},\\n  {layer = "Dense"}]')[("network", "layers", 1)]
    4
    """
    found: dict[tuple, int] = {}
    place: tuple = ()
    name = ""
    count = depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*", lambda part: "" if part[0][0] == "#" else '""', line)
        header = re.match(r"\s*\[([\w.-]+)\]\s*$", bare)
        key = re.match(r"\s*([\w-]+)\s*=", bare)
        if header and not depth:
            place = tuple(header[1].split("."))
            found.setdefault(place, number)
        elif key and not depth:
            count, name = 0, key[1]
            where = (*place, name)
            found[where] = number
        rest = bare if not (header and not depth) else ""
        for character in rest:
            if character == "{" and depth >= 1:
                found.setdefault((*place, name, count), number)
                count += 1
            depth += (character in "[{") - (character in "]}")
    return found


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        return importlib.import_module("tomli")
    except ImportError:
        raise ImportError("config files need tomli on Python 3.10: pip install 'brazen[demo]'") from None


def load(path: str) -> Config:
    """The config of a file; ConfigError with the line where something is wrong."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return Config(path, text)
