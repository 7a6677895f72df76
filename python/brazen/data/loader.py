# SPDX-License-Identifier: BSD-3-Clause
"""Loader: the batches of an epoch from any of its batches on, gathered ahead by threads where asked."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy

from .._matmul import take_rows
from .._random import namespace
from .batch import Batch, as_batch
from .order import order


class Loader:
    """`loader(epoch, start_batch)` iterates over that epoch's batches: the position is the number of batches consumed, so
    that what was fetched ahead when a run stopped is simply fetched again.

    x: an array (NumPy, CuPy, memory-mapped), or a function `(epoch, start_batch) -> iterator` of batches. shuffle: a new
    order each epoch, a function of seed and epoch. transform: `f(batch, sample_ids, epoch)`, such as an augmentation, which
    returns the batch, or (x, y, …), changed; sample_ids is None where x is a function. prefetch: how many batches to make
    ready in the background; workers: threads that do it. worker=(r, n): of every batch, part r of n, for n processes that
    train together. drop_last leaves out a last batch that is not full. reuse gathers every batch into the same memory: one is
    valid until the next is made.

    >>> loader = Loader(numpy.arange(5), batch_size=2, shuffle=False)
    >>> [batch.x.tolist() for batch in loader(epoch=0, start_batch=1)], len(loader)
    ([[2, 3], [4]], 3)
    """

    def __init__(
        self,
        x,
        y=None,
        weights=None,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        transform: Callable | None = None,
        prefetch: int = 0,
        workers: int = 1,
        worker: tuple[int, int] = (0, 1),
        drop_last: bool = False,
        reuse: bool = False,
    ):
        self.x, self.y, self.weights, self.transform = x, y, weights, transform
        self.batch_size, self.prefetch, self.workers = (
            _at_least(name, value, least)
            for name, value, least in (
                ("batch_size", batch_size, 1),
                ("prefetch", prefetch, 0),
                ("workers", workers, 1),
            )
        )
        self.reuse = bool(reuse) and not self.prefetch
        self.count: Any
        self.shuffle, self.seed, self.drop_last, self.worker = bool(shuffle), seed, bool(drop_last), tuple(worker)
        part, parts = self.worker
        if not 0 <= part < parts or self.batch_size % parts:
            raise ValueError(f"worker is {worker}, batch_size {batch_size}; expected (r, n), r < n, and n to divide it")
        if callable(x) and not hasattr(x, "shape"):
            if y is not None or weights is not None or parts > 1:
                raise ValueError("x is a function, which yields its own y, weights and part of each batch")
            self.count = None
            return
        for name, array in (("y", y), ("weights", weights)):
            if array is not None and len(array) != len(x):
                raise ValueError(f"{name} has {len(array)} samples, x has {len(x)}; expected as many")
        self.count = len(x)
        if not self.count:
            raise ValueError("x holds no sample")
        self._order: tuple[int, Any] = (-1, None)
        self._buffers: dict[tuple, Any] = {}

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("the length of a function's epoch is not known; count its batches")
        return self.count // self.batch_size if self.drop_last else -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self(0, 0)

    def __call__(self, epoch: int = 0, start_batch: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from `start_batch` on."""
        make = self._of_function(epoch, start_batch) if self.count is None else self._of_arrays(epoch, start_batch)
        if self.prefetch:
            return self._ahead(make)
        return _until_none(make)

    def _of_arrays(self, epoch: int, start: int) -> Callable[[], Callable[[], Batch | None]]:
        """A function that takes the next batch's number, and returns a function that makes that batch."""
        numbers = iter(range(start, len(self)))
        ids = self.order(epoch)

        def claim():
            number = next(numbers, None)
            return lambda: None if number is None else self._gather(number, ids, epoch)

        return claim

    def order(self, epoch: int):
        """The samples in the order of that epoch; None is the order they have."""
        if not self.shuffle:
            return None
        if self._order[0] != epoch:
            device = self.x if namespace(self.x) is not numpy else None
            self._order = epoch, order(self.count, self.seed, epoch, like=device)
        return self._order[1]

    def _gather(self, number: int, ids, epoch: int) -> Batch:
        start = number * self.batch_size
        stop = min(start + self.batch_size, self.count)
        part, parts = self.worker
        size = stop - start
        begin, end = start + size * part // parts, start + size * (part + 1) // parts
        chosen = slice(begin, end) if ids is None else ids[begin:end]
        x, y, weights = (
            None if array is None else self._take(role, array, chosen)
            for role, array in (("x", self.x), ("y", self.y), ("weights", self.weights))
        )
        batch = Batch(x, y, weights, begin - start)
        if self.transform is None:
            return batch
        known = numpy.arange(begin, end) if ids is None else chosen
        changed = as_batch(self.transform(batch, known, epoch))
        return changed._replace(offset=batch.offset)

    def _take(self, role: str, array, chosen):
        xp = namespace(array)
        if isinstance(chosen, slice):
            return array[chosen]
        if not isinstance(array, xp.ndarray):  # of a file: h5py reads rows in rising order only
            rising = chosen.argsort()
            return numpy.asarray(array[chosen[rising]])[rising.argsort()]
        if not self.reuse:
            return array[chosen]
        key = role, len(chosen)
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = xp.empty((len(chosen), *array.shape[1:]), array.dtype)
        return take_rows(array, chosen, buffer)

    def _of_function(self, epoch: int, start: int):
        iterator = iter(self.x(epoch, start))

        def make():
            given = next(iterator, None)
            if given is None:
                return None
            batch = as_batch(given)
            return as_batch(self.transform(batch, None, epoch)) if self.transform else batch

        return lambda: make

    def _ahead(self, claim) -> Iterator[Batch]:
        """Keeps `prefetch` batches in the making. One iterator cannot be advanced by two threads at once."""
        threads = self.workers if self.count is not None else 1
        pool = ThreadPoolExecutor(threads, thread_name_prefix="brazen-loader")
        try:
            waiting = deque(pool.submit(claim()) for _ in range(self.prefetch))
            while waiting:
                batch = waiting.popleft().result()
                if batch is None:
                    return
                waiting.append(pool.submit(claim()))
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _until_none(claim) -> Iterator[Batch]:
    while (batch := claim()()) is not None:
        yield batch


def _at_least(name: str, value, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
    return number
