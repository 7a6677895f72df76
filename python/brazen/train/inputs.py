# SPDX-License-Identifier: BSD-3-Clause
"""What fit, evaluate and predict are given, made a source of batches; all that can be known to be wrong is said here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy

from .._random import namespace
from ..data import Batch, Loader, as_batch
from .models import NetworkModel

# Items of a target that count for nothing: what the losses call ignore_index.
_IGNORED = -100


class Source:
    """`source(epoch, start_batch)` iterates over batches; `settings` are what a resumed run must agree on, `checked` says
    that all batches were looked at."""

    def __init__(self, make: Callable[[int, int], Iterator], steps: int | None, settings: dict[str, Any], one_shot=False, checked=False):  # fmt: skip
        self.make, self.steps, self.settings, self.one_shot, self.checked = make, steps, settings, one_shot, checked

    def __call__(self, epoch: int, start: int) -> Iterator:
        return self.make(epoch, start)


def source(
    model, x, y=None, weights=None, *, batch_size: int = 32, shuffle: bool = False, seed: int = 0, whole: bool = False,
    class_weight=None, targets: bool = True, what: str = "x",
) -> Source:  # fmt: skip
    """Batches of arrays, of a Loader, a function (epoch, start_batch), or anything that can be iterated over."""
    weigh = _class_weigher(model, class_weight)
    if isinstance(x, Loader) or _is_iterable_source(x):
        if y is not None or weights is not None:
            raise ValueError(
                f"{what} yields batches, and so their targets and weights; expected no y and sample_weight"
            )
        made = _of_batches(x, what)
    else:
        x = _array(x, what)
        y = None if y is None else _array(y, "y", lazy=False)
        weights = None if weights is None else _array(weights, "sample_weight", lazy=False)
        check_arrays(model, x, y, weights, what, targets)
        size = len(x) if whole else batch_size
        loader = Loader(x, y, weights, batch_size=size, shuffle=shuffle and not whole, seed=seed, reuse=True)
        settings = {"samples": len(x), "batch_size": size, "shuffle": loader.shuffle}
        made = Source(loader, len(loader), settings, checked=True)
    if weigh is not None:
        inner = made.make
        made.make = lambda epoch, start: (weigh(as_batch(batch)) for batch in inner(epoch, start))
    return made


def _is_iterable_source(x) -> bool:
    return not hasattr(x, "shape") and not _is_samples(x) and (callable(x) or hasattr(x, "__iter__"))


def _is_samples(x) -> bool:
    """Whether a list holds samples, such as rows of numbers, and not batches."""
    if not isinstance(x, list | tuple) or not len(x):
        return isinstance(x, list | tuple)
    first = x[0]
    return not isinstance(first, tuple) and not hasattr(first, "shape")


def _of_batches(x, what: str) -> Source:
    if isinstance(x, Loader):
        settings = {"samples": x.count, "batch_size": x.batch_size, "shuffle": x.shuffle, "loader_seed": x.seed}
        return Source(x, None if x.count is None else len(x), settings)
    steps = len(x) if hasattr(x, "__len__") else None
    if callable(x):
        return Source(lambda epoch, start: iter(x(epoch, start)), steps, {})
    if iter(x) is not x:
        return Source(lambda epoch, start: itertools.islice(iter(x), start, None), steps, {"batches": steps})

    def go_on(epoch, start):
        # The one iterator goes on where it is: it cannot be told to start anywhere.
        return iter(x)

    return Source(go_on, None, {}, one_shot=True)


def one_shot_error(what: str) -> ValueError:
    return ValueError(
        f"{what} is an iterator that runs once: it cannot be started again where a run ended. Pass arrays, a "
        "brazen.data.Loader, a list of batches, or a function (epoch, start_batch) -> iterator"
    )


def _array(value, what: str, lazy: bool = True):
    if isinstance(value, namespace(value).ndarray) or (lazy and is_lazy(value)):
        return value
    made = numpy.asarray(value)
    if made.dtype.kind not in "fiub":
        raise TypeError(f"{what} is {type(value).__name__} of {made.dtype}; expected an array of numbers")
    return made


def is_lazy(value) -> bool:
    """Whether it is an array that reads from a file what is asked for, such as h5py's: no table with labels, no array of
    another library, which become NumPy's."""
    if isinstance(value, namespace(value).ndarray):
        return False
    sliced = isinstance(getattr(value, "dtype", None), numpy.dtype) and hasattr(value, "shape")
    return sliced and hasattr(value, "__getitem__") and not hasattr(value, "iloc") and not hasattr(value, "__dlpack__")


def check_arrays(model, x, y, weights, what: str = "x", targets: bool = True) -> None:
    """Raises at what is wrong with whole arrays, or with one batch."""
    if x.dtype.kind not in "fiubV":  # V: bfloat16
        raise TypeError(f"{what} has dtype {x.dtype}; expected numbers")
    if not x.shape or not len(x):
        raise ValueError(f"{what} has shape {tuple(x.shape)}; expected at least one sample")
    for name, array in (("y", y), ("sample_weight", weights)):
        if array is not None and (not array.shape or len(array) != len(x)):
            raise ValueError(f"{name} has shape {tuple(array.shape)}; expected {len(x)} samples, as {what} has")
    if weights is not None and (len(weights.shape) != 1 or weights.dtype.kind not in "fiub"):
        raise ValueError(f"sample_weight has shape {tuple(weights.shape)}; expected one number a sample")
    if targets and y is None and isinstance(model, NetworkModel):
        raise ValueError(f"y is missing; expected targets beside {what}")
    if isinstance(model, NetworkModel):
        _check_network(model, x, what)
    _check_finite(x, what)
    if y is not None:
        _check_targets(model, x, y)
        _check_finite(y, "y")
    if weights is not None:
        _check_finite(weights, "sample_weight")


def _check_network(model: NetworkModel, x, what: str) -> None:
    if tuple(x.shape[1:]) != tuple(model.net.input_shape):
        expected = ", ".join(map(str, ("samples", *model.net.input_shape)))
        raise ValueError(f"{what} has shape {tuple(x.shape)}; expected ({expected}), as the network was built")
    if namespace(x) is not model.xp:
        raise TypeError(
            f"{what} is {type(x).__name__}; this network was built with xp={model.xp.__name__}: {what} = "
            f"{model.xp.__name__}.asarray({what})"
        )


def _check_finite(array, what: str) -> None:
    """An array in memory is looked at once; one mapped from a file is not read through for that."""
    if array.dtype.kind in "iub" or isinstance(array, numpy.memmap) or is_lazy(array) or not array.size:
        return
    xp = namespace(array)
    if array.dtype.kind == "V":
        array = array.astype("float32")
    low, high = float(array.min()), float(array.max())
    if low == low and abs(low) != float("inf") and abs(high) != float("inf"):
        return
    bad = ~xp.isfinite(array).reshape(len(array), -1).all(axis=1)
    raise ValueError(f"{what} holds NaN or infinity in {int(bad.sum())} samples, the first at {int(bad.argmax())}")


def _check_targets(model, x, y) -> None:
    if not isinstance(model, NetworkModel):
        return
    output = tuple(model.output_shape)
    if model.objective.of_classes and tuple(y.shape[1:]) != output:
        if tuple(y.shape[1:]) not in (output[:-1], (*output[:-1], 1)):
            raise ValueError(
                f"y has shape {tuple(y.shape)}; expected classes ({len(x)}{''.join(f', {n}' for n in output[:-1])}{',' * (len(output) == 1)}) or "
                f"probabilities {(len(x), *output)}"
            )
        if y.dtype.kind not in "iub":
            raise TypeError(f'y has dtype {y.dtype}; expected classes as integers: y.astype("int64")')
        low, high, classes = int(y.min()), int(y.max()), output[-1]
        if high >= classes or (low < 0 and bool(((y < 0) & (y != _IGNORED)).any())):
            wrong = high if high >= classes else low
            raise ValueError(
                f"y holds the label {wrong}; expected 0 to {classes - 1}, as the network gives {classes} scores"
            )
    elif y.size != len(x) * int(numpy.prod(output)):
        raise ValueError(f"y has shape {tuple(y.shape)}; expected {(len(x), *output)}, the shape the network gives")


def _class_weigher(model, class_weight):
    """A function that multiplies weights of classes into those of samples."""
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        class_weight = dict(enumerate(class_weight))
    wrong = [
        key
        for key, value in class_weight.items()
        if not (isinstance(key, int) or hasattr(key, "__index__")) or value < 0
    ]
    classes = model.output_shape[-1] if model.output_shape else None
    wrong += [key for key in class_weight if classes and not wrong and not 0 <= key < max(classes, 2)]
    if wrong:
        raise ValueError(
            f"class_weight holds {wrong[0]!r}: {class_weight[wrong[0]]!r}; expected classes and weights of at least 0"
        )
    table = numpy.ones(max(max(class_weight) + 1, classes or 0), "float32")
    for key, value in class_weight.items():
        table[key] = value
    on_device: dict[str, Any] = {}

    def weigh(batch: Batch) -> Batch:
        y = batch.y
        if y.dtype.kind not in "iub" or y.size != len(y):
            raise ValueError("class_weight needs targets that are classes, one a sample")
        xp = namespace(y)
        known = on_device.setdefault(xp.__name__, xp.asarray(table))
        own = known[y.reshape(-1).astype("int64")]
        return batch._replace(weights=own if batch.weights is None else own * batch.weights)

    return weigh
