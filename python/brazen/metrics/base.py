# SPDX-License-Identifier: BSD-3-Clause
"""What every metric does: take batches, keep sums where the arrays live, give one number at the end. No formula."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy

from .._random import namespace

registry: dict[str, type[Metric]] = {}


class Metric:
    """`update(prediction, target, weights)` for every batch, then `value()`; `start()` forgets. The sums stay on the
    device until `value()` asks.

    `sums` names what is added up; a subclass gives them in `parts`, and the number in `of`.
    """

    name: ClassVar[str] = ""
    higher_is_better: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("total", "count")
    label: str

    def __init_subclass__(cls):
        if "name" in cls.__dict__:
            registry[cls.name] = cls

    def __new__(cls, *arguments, **named):
        made = super().__new__(cls)
        made.label = cls.name
        made.start()
        return made

    def start(self) -> None:
        self._sums: list[Any] = [0] * len(self.sums)

    def update(self, prediction, target, weights=None) -> None:
        self._sums = [before + part for before, part in zip(self._sums, self.parts(prediction, target, weights))]

    def value(self):
        return self.of(*(to_host(total) for total in self._sums))

    def parts(self, prediction, target, weights) -> tuple:
        """What one batch adds to each of `sums`."""
        raise NotImplementedError

    def of(self, *sums):
        """The metric, from the sums on the host."""
        total, count = sums
        return float(total) / float(count) if count else float("nan")

    def check(self, output_shape: tuple[int, ...]) -> None:
        """Raises where a network whose samples leave with this shape cannot be measured."""

    @classmethod
    def score(cls, prediction, target, weights=None, **options):
        """The metric of one set of predictions."""
        made = cls(**options)
        made.update(prediction, target, weights)
        return made.value()

    # In the middle of an epoch.

    def state(self) -> dict[str, Any]:
        return {name: to_host(total) for name, total in zip(self.sums, self._sums)}

    def load_state(self, state: dict[str, Any]) -> None:
        self._sums = [state[name] for name in self.sums]

    def __repr__(self):
        return f"{type(self).__name__}()"


class Function(Metric):
    """A function (prediction, target) -> number, averaged over samples."""

    def __init__(self, function):
        self.function, self.label = function, getattr(function, "__name__", "metric")

    def parts(self, prediction, target, weights):
        return self.function(prediction, target) * len(prediction), len(prediction)

    def __repr__(self):
        return self.label


def to_host(value):
    """A number or NumPy array, from whatever device."""
    value = value.get() if hasattr(value, "get") and not isinstance(value, dict) else value
    return value.item() if getattr(value, "ndim", None) == 0 else value


def hit_classes(prediction, target, threshold: float):
    """(predicted classes, true classes): the largest of the last axis, or, of one score a sample, whether it is above
    `threshold`."""
    if prediction.ndim > 1 and prediction.shape[-1] > 1:
        known = target.argmax(axis=-1) if target.shape == prediction.shape else target
        return prediction.argmax(axis=-1), known
    return (prediction.reshape(-1) > threshold).astype("int64"), (target.reshape(-1) > 0.5).astype("int64")


def same_shape(prediction, target):
    """Both as float32 or wider, in one shape."""
    if prediction.shape != target.shape:
        if prediction.size != target.size:
            raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}; expected the same")
        target = target.reshape(prediction.shape)
    wide = "float64" if prediction.dtype.itemsize == 8 else "float32"
    return prediction.astype(wide, copy=False), target.astype(wide, copy=False)


def weighed(values, weights):
    """(sum, count) of a value for each sample, or each row of it."""
    if weights is None:
        return values.sum(dtype="float64"), values.size
    spread = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    return (values * spread).sum(dtype="float64"), namespace(weights).broadcast_to(spread, values.shape).sum(
        dtype="float64"
    )


def get(given) -> Metric:
    """A metric of its name ("top_3" is TopK(3)), an object, or a function.

    >>> get("accuracy"), get("top_3")
    (Accuracy(), TopK(k=3))
    """
    if isinstance(given, Metric):
        return given
    if isinstance(given, type) and issubclass(given, Metric):
        return given()
    if callable(given):
        cls = getattr(given, "__self__", None)
        return cls() if isinstance(cls, type) and issubclass(cls, Metric) else Function(given)
    if given in registry:
        return registry[given]()
    kind, _, k = str(given).rpartition("_")
    if kind in ("top", "top_k") and k.isdigit():
        return registry["top_k"](int(k))  # type: ignore[call-arg]
    raise ValueError(f"metrics: {given!r} is not known; expected one of {', '.join(registry)}, a Metric or a function")


def numpy_of(array) -> numpy.ndarray:
    return numpy.asarray(to_host(array))
