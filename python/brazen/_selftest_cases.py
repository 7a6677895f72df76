# SPDX-License-Identifier: BSD-3-Clause
"""What the self-test computes: every registered operation, and calls of every other family. No check stands here.

Arrays are equal on every machine: no random generator draws them, no library function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from . import _core, ops, reference

# Prime, above a vector and below a tile; the strided copies of it make tiles with an end inside a vector.
SIZE = 2053

# Arguments of the operations whose parameters have no default.
REQUIRED = {"threshold": 0.25, "value": -1.5}

SPECIALS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, 1e-3, -1e-3, 100.0, -100.0]

Shape = tuple[int, ...]


def sample(size: int, dtype: Any, salt: int = 0, specials: bool = False) -> np.ndarray:
    """Values in [-16, 16)."""
    steps = (np.arange(size, dtype=np.int64) * 40_503 + salt * 7_919) % 65_521
    x = (steps - 32_760) / 2048.0
    if specials:
        x[: len(SPECIALS)] = SPECIALS
    return x.astype(dtype)


class Case:
    """One call: what brazen makes of arrays of given shapes, and what the reference makes of them.

    `terms` is how many numbers of x's size, 16, may have been added or multiplied up on the way to a result of the first
    array's shape, `sums` to any other. `drawn` says that the random numbers depend on the compute type, so that the
    reference draws them in it.
    """

    def __init__(self, label: str, shapes: list[Shape], call: Callable, expect: Callable, terms: float = 0.0,
                 sums: float = 0.0, specials: bool = False, drawn: bool = False):  # fmt: skip
        self.label, self.shapes, self.call, self.expect = label, shapes, call, expect
        self.terms, self.sums, self.specials, self.drawn = terms, sums, specials, drawn

    def arrays(self, dtype: Any) -> list[np.ndarray]:
        last = len(self.shapes) - 1  # x, but for prelu, whose alpha comes last
        made = [
            sample(int(np.prod(shape)), dtype, i, self.specials and i == last) for i, shape in enumerate(self.shapes)
        ]
        return [array.reshape(shape) for array, shape in zip(made, self.shapes)]

    def scale(self, result: Shape) -> float:
        """How far above the result the terms can be that it was made of."""
        if self.sums and result != self.shapes[0]:
            return 16.0 * self.sums
        return 16.0 * self.terms or 16.0 ** (len(self.shapes) - 1) * (16.0 if len(self.shapes[-1]) == 2 else 1.0)

    def truth(self, dtype: Any) -> Any:
        """The dtype in which the reference computes."""
        return np.dtype("float32") if self.drawn and dtype.itemsize < 8 else np.dtype("float64")


def cases(size: int = SIZE) -> Iterator[Case]:
    yield from registered(size)
    yield from families(size)


def families(size: int = SIZE) -> Iterator[Case]:
    """Every operation that is more than one formula."""
    for family in (_norms, _noises, _rows, _losses, _fills, _optimizers):
        yield from family(size)


def registered(size: int) -> Iterator[Case]:
    """Every registered operation that has a reference."""
    for entry in _core.operations():
        name, family = entry["name"], entry["family"]
        if name not in reference.operations():
            continue  # a part of another operation
        expected = reference.find(name)
        if family == "function":
            yield Case(name, [(size,)], _core.Kernel(name), expected, specials=True)
            continue
        shapes: dict[str, tuple[list[Shape], list[Shape]]] = {
            "activation": ([(size,)], [(size,), (size,)]),
            "gate": ([(3, size // 3 * 2)], [(3, size // 3), (3, size // 3 * 2)]),
            "maxout": ([(3, size // 3 * 2)], [(3, size // 3), (3, size // 3 * 2)]),
            "prelu": ([(size // 5, 5), (5,)], [(size // 5, 5), (size // 5, 5), (5,)]),
        }
        forward, backward = shapes[family]
        operation = getattr(ops, name)
        parameters = {key: REQUIRED[key] for key, standard in entry["parameters"].items() if standard is None}
        specials = family == "activation"
        yield Case(name, forward, _bound(operation, parameters), _bound(expected, parameters), specials=specials)
        # prelu's alpha gets a sum over all rows.
        terms = 16.0 * (size // 5) if family == "prelu" else 0.0
        yield Case(f"{name}.backward", backward, _bound(operation.backward, parameters),
                   _bound(expected.backward, parameters), 0, terms, specials)  # fmt: skip


def _bound(function: Callable, parameters: dict[str, Any]) -> Callable:
    return lambda *arrays: function(*arrays, **parameters)


def _both(label: str, shapes: list[Shape], call: Callable, *parameters: Any, **about: Any) -> Case:
    """`call` takes what holds the operations, brazen or its reference, and then the arrays."""
    import brazen

    return Case(label, shapes, partial(call, brazen, *parameters), partial(call, reference, *parameters), **about)


def _vector(values: Any) -> Any:
    """A channel's values have the compute type."""
    return values.astype("float32") if values.dtype.itemsize == 2 else values


def _given(results: Any) -> tuple:
    return tuple(result for result in results if result is not None)


_PLACE = {"seed": 0x0123456789ABCDEF, "step": 3, "site": 5, "offset": 1_000_003}
_TAIL = {"activation": "gelu", "dropout": 0.3, **_PLACE}


def _norms(size: int) -> Iterator[Case]:
    """Several chunks a channel, whose ends lie inside a run of 20; and channels side by side."""

    def batch_norm(bz, stages, x, dy, add, scale, shift):
        mean, variance = _vector(scale).copy(), abs(_vector(shift)) + 1
        y, saved = bz.batch_norm(x, _vector(scale), _vector(shift), mean, variance, add=add, **stages)
        return (y, mean, variance, *_given(bz.batch_norm.backward(dy, saved)))

    def inference(bz, x, dy, add, scale, shift):
        running = _vector(scale).copy(), abs(_vector(shift)) + 1
        y, saved = bz.batch_norm(x, _vector(scale), None, *running, add=add, training=False, **_TAIL)
        return (y, *_given(bz.batch_norm.backward(dy, saved)))

    images: list[Shape] = [(size // 15, 3, 4, 5)] * 3 + [(3,)] * 2
    plain: list[Shape] = [(size // 8, 37)] * 3 + [(37,)] * 2
    rounded = {"terms": 16.0, "sums": 16.0 * size}
    yield _both("batch_norm", images, batch_norm, {}, **rounded)
    yield _both("batch_norm.fused", images, batch_norm, _TAIL, **rounded)
    yield _both("batch_norm.columns", plain, batch_norm, {"activation": "relu", "running": "biased"}, **rounded)
    yield _both("batch_norm.inference", images, inference, **rounded)

    def row_norm(bz, name, keywords, x, dy, *vectors):
        function = getattr(bz, name)
        y, saved = function(x, *keywords.get("groups", ()), *map(_vector, vectors))
        return (y, *_given(function.backward(dy, saved)))

    rows: list[Shape] = [(size // 100, 131)] * 2
    grouped: list[Shape] = [(size // 80, 6, 4, 5), (size // 80, 6, 4, 5), (6,), (6,)]
    kinds: list[tuple[str, list[Shape], dict[str, Any]]] = [
        ("layer_norm", [*rows, (131,), (131,)], {}),
        ("rms_norm", [*rows, (131,)], {}),
        ("group_norm", grouped, {"groups": (3,)}),
        ("instance_norm", grouped, {}),
    ]
    for name, shapes, keywords in kinds:
        yield _both(name, shapes, row_norm, name, keywords, **rounded)
    yield _both("row_norms", [(size // 100, 1031)], lambda bz, x: bz.row_norms(x), terms=16.0)


def _noises(size: int) -> Iterator[Case]:
    shape = (size // 15, 3, 5)

    def fused(bz, x, dy, add, after, scale, bias):
        stages = {"scale": _vector(scale), "bias": _vector(bias), "add": add, "add_after": after, **_TAIL}
        y = bz.fused(x, **stages)
        return (y, *_given(bz.fused.backward(dy, x, **stages)))

    yield _both("fused", [shape] * 4 + [(5,)] * 2, fused, terms=32.0, sums=16.0**2 * size)

    def noise(bz, name, keywords, x, dy):
        function = getattr(bz, name)
        return function(x, **keywords, **_PLACE), function.backward(dy, **keywords, **_PLACE)

    for label, name, keywords in [
        ("dropout", "dropout", {"rate": 0.3}),
        ("dropout.spatial", "dropout", {"keep": 0.75, "noise_shape": (shape[0], 1, 5)}),
        ("dropout.vanilla", "dropout", {"rate": 0.3, "mode": "vanilla"}),
        ("drop_connect", "drop_connect", {"keep_prob": 0.75}),
        ("stochastic_depth", "stochastic_depth", {"rate": 0.3}),
        ("alpha_dropout", "alpha_dropout", {"rate": 0.3}),
        ("gaussian_dropout", "gaussian_dropout", {"rate": 0.3}),
        ("gaussian_noise", "gaussian_noise", {"std": 0.5}),
    ]:
        yield _both(label, [shape] * 2, noise, name, keywords, terms=2.0, drawn=True)


def _rows(size: int) -> Iterator[Case]:
    def row_map(bz, name, axis, x, dy):
        y = getattr(bz, name)(x / 4, axis)
        return y, getattr(bz, name).backward(dy, y, axis)

    for name in ("softmax", "log_softmax", "sparsemax"):
        yield _both(name, [(size // 40, 67)] * 2, row_map, name, -1, terms=4.0)
        yield _both(f"{name}.columns", [(5, 41, size // 40)] * 2, row_map, name, 1, terms=4.0)


def _losses(size: int) -> Iterator[Case]:
    shape = (size // 40, 67)

    def classes(bz, name, keywords, x):
        labels = (x[:, 0] * 0).astype("int64") + _numbered(x)
        return getattr(bz, name)(x, labels, **keywords)

    def pair(bz, name, keywords, x, target):
        return getattr(bz, name)(x, target, **keywords)

    def soft(bz, name, keywords, x, target):
        return getattr(bz, name)(x, abs(target) / 512, **keywords)

    smoothed = {"label_smoothing": 0.1, "ignore_index": 4, "grad_scale": 64.0}
    yield _both("softmax_cross_entropy", [shape], classes, "softmax_cross_entropy", {}, terms=1.0, sums=67.0)
    yield _both(
        "softmax_cross_entropy.smoothed", [shape], classes, "softmax_cross_entropy", smoothed, terms=64.0, sums=67.0
    )
    yield _both("softmax_cross_entropy.soft", [shape] * 2, soft, "softmax_cross_entropy", {}, terms=1.0, sums=67.0 * 16)
    yield _both("multiclass_hinge", [shape], classes, "multiclass_hinge", {"reduction": "none"}, terms=1.0, sums=67.0)
    yield _both("kl_divergence", [shape] * 2, soft, "kl_divergence", {}, terms=1.0, sums=67.0 * 16)
    for name in ("sigmoid_cross_entropy", "mse", "mae", "huber"):
        yield _both(name, [shape] * 2, pair, name, {}, terms=2.0, sums=64.0)
    for name in ("sum_of_squares", "half_squared"):
        yield _both(name, [shape] * 2, pair, name, {}, terms=2.0, sums=64.0 * size)


def _numbered(x: Any) -> Any:
    """A class for each row, on x's device."""
    from ._random import namespace

    return namespace(x).arange(x.shape[0]) * 7 % x.shape[1]


def _fills(size: int) -> Iterator[Case]:
    def fill(bz, name, bounds, x):
        return getattr(bz.random, name)(x.shape, *bounds, **_PLACE, dtype=x.dtype, like=x)

    for name, bounds in (("uniform", (-2.0, 3.0)), ("normal", (1.0, 2.0))):
        yield _both(f"random.{name}", [(size,)], fill, name, bounds, drawn=True)
    yield _both("random.bernoulli", [(size,)], lambda bz, x: bz.random.bernoulli(x.shape, 0.3, **_PLACE, like=x))
    yield _both("random.permutation", [(size,)], lambda bz, x: bz.random.permutation(x.size, seed=7, like=x))


def _optimizers(size: int) -> Iterator[Case]:
    """Two steps of every rule with its own settings."""
    from . import optim

    def steps(make, weights, gradient):
        updated = weights.copy()
        step = make(updated)
        for _ in range(2):
            step([gradient / 16])
        return updated

    for name in optim.names():
        rule = reference.optim.get(name)
        yield Case(f"optim.{name}", [(size // 67, 67)] * 2,
                   partial(steps, lambda updated, name=name: optim.get(name)([updated]).step),
                   partial(steps, lambda updated, rule=rule: partial(rule().step, [updated])), terms=1.0)  # fmt: skip
