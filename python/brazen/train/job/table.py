# SPDX-License-Identifier: BSD-3-Clause
"""Samples and targets of an .npz or .csv file, and what kind of targets they are."""

from __future__ import annotations

import csv
import os
from typing import Any, NamedTuple

import numpy


class Table(NamedTuple):
    """x as float32 and y: whole numbers from 0 with the names of the classes, or float32 numbers with None."""

    x: Any
    y: Any
    classes: list | None


def read(path: str, x: str = "x", y: str = "y", target: str | None = None) -> Table:
    """Reads a file by its ending. Whole numbers and texts are classes, other numbers are numbers."""
    kind = os.path.splitext(path)[1].lower()
    if kind == ".npz":
        samples, targets = _npz(path, x, y)
    elif kind == ".csv":
        samples, targets = _csv(path, target)
    else:
        raise ValueError(f"{path} ends in {kind or 'nothing'}; expected .npz or .csv")
    if len(samples) != len(targets) or not len(samples):
        raise ValueError(f"{path} holds {len(samples)} samples and {len(targets)} targets; expected as many, and some")
    samples = numpy.ascontiguousarray(samples, "float32")
    bad = ~numpy.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path} holds NaN or infinity in {int(bad.sum())} samples, the first is number {int(bad.argmax())}"
        )
    if targets.dtype.kind in "iubUS" and targets.ndim == 1:
        classes, places = numpy.unique(targets, return_inverse=True)
        return Table(samples, places.astype("int64"), classes.tolist())
    if targets.dtype.kind not in "fiu":
        raise ValueError(f"{path}: targets have dtype {targets.dtype}; expected numbers, or one class a sample")
    return Table(samples, targets.astype("float32").reshape(len(targets), -1), None)


def _npz(path, x, y):
    with numpy.load(path) as held:  # never unpickles
        missing = [name for name in (x, y) if name not in held.files]
        if missing:
            raise ValueError(f"{path} holds no array {missing[0]!r}; it holds {', '.join(held.files) or 'none'}")
        samples, targets = held[x], held[y]
    if samples.dtype.kind not in "fiub":
        raise ValueError(f"{path}: {x} has dtype {samples.dtype}; expected numbers")
    return samples, targets


def _csv(path, target):
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = [name.strip() for name in next(rows, [])]
        if len(names) < 2:
            raise ValueError(f"{path}, line 1: expected the names of at least two columns")
        if target is not None and target not in names:
            raise ValueError(f"{path} has no column {target!r}; it has {', '.join(names)}")
        place = names.index(target) if target is not None else len(names) - 1
        samples, targets = [], []
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(f"{path}, line {rows.line_num}: {len(row)} values, {len(names)} columns")
            try:
                samples.append([float(value) for column, value in enumerate(row) if column != place])
            except ValueError as error:
                raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
            targets.append(row[place].strip())
    return numpy.array(samples, "float32").reshape(len(samples), len(names) - 1), _numbers(targets)


def _numbers(texts: list[str]):
    """Whole numbers, else numbers, else the texts."""
    for kind in (int, float):
        try:
            return numpy.array([kind(text) for text in texts])
        except ValueError:
            continue
    return numpy.array(texts)
