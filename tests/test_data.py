# SPDX-License-Identifier: BSD-3-Clause
"""Splits, folds, orders, and the loader: who sees which sample when."""

import threading

import brazen as bz
import numpy as np
import pytest
from brazen.data import Batch, Loader, cross_validate, k_fold, order, split
from hypothesis import given, settings
from hypothesis import strategies as st

CLASSES = np.repeat([0, 1, 2], [60, 30, 10])


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 200), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(0, 2**32))
def test_splits_divide(count, val, test, seed):
    """C3: disjoint, everything together, seeded."""
    parts = split(count, val=val, test=test, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert abs(len(parts.val) - val * count) <= 0.5 and abs(len(parts.test) - test * count) <= 0.5
    again = split(count, val=val, test=test, seed=seed)
    assert all((a == b).all() for a, b in zip(parts, again))


def test_splits_by_class():
    for seed in range(5):
        parts = split(CLASSES, val=0.2, test=0.3, seed=seed, stratify=CLASSES)
        assert sorted(np.concatenate(parts)) == list(range(100))
        for part, fraction in zip(parts, (0.5, 0.2, 0.3)):
            for kind, size in enumerate((60, 30, 10)):
                assert abs((CLASSES[part] == kind).sum() - fraction * size) <= 1
        assert (np.sort(parts.train) != parts.train).any(), "in no order"
    assert any((split(CLASSES, seed=1).test != split(CLASSES, seed=2).test).tolist())


def test_folds():
    """C4: disjoint and covering; the test set is never inside."""
    parts = split(103, test=13, val=0, seed=1)
    folds = list(k_fold(parts.train, 5, seed=2))
    assert sorted(np.concatenate([val for _, val in folds])) == list(range(90))
    for train, val in folds:
        assert not set(train) & set(val) and len(train) + len(val) == 90 and len(val) == 18
        assert not set(parts.train[train]) & set(parts.test)
    for _, val in k_fold(100, 4, stratify=CLASSES):
        assert all(abs((CLASSES[val] == kind).sum() - size / 4) < 1 for kind, size in enumerate((60, 30, 10)))


def test_cross_validation():
    scores = iter([1.0, 2.0, 3.0])
    found = cross_validate(lambda train, val: next(scores), 30, 3)
    assert found.mean == 2 and found.scores == [1, 2, 3] and np.isclose(found.std, np.std([1, 2, 3]))
    one = cross_validate(lambda train, val: len(val), 30, None, val=0.2)
    assert one.scores == [6], "C6: one validation set"


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: split(10, val=0.5, test=0.5), "val and test take 10 of 10"),
        (lambda: split(10, val=1.5), "val is 1.5"),
        (lambda: split(10, test=-1), "test is -1"),
        (lambda: split(10, stratify=[1, 2]), r"stratify has shape \(2,\)"),
        (lambda: split(1), "samples is 1"),
        (lambda: list(k_fold(3, 4)), "folds is 4; expected 2 to 3"),
        (lambda: Loader(np.ones(3), np.ones(2)), "y has 2 samples, x has 3"),
        (lambda: Loader(np.ones(0)), "x holds no sample"),
        (lambda: Loader(np.ones(3), batch_size=0), "batch_size is 0"),
        (lambda: Loader(np.ones(3), prefetch=-1), "prefetch is -1"),
        (lambda: Loader(np.ones(3), workers=0), "workers is 0"),
        (lambda: Loader(np.ones(4), batch_size=3, worker=(0, 2)), "worker is"),
        (lambda: Loader(lambda epoch, start: iter([]), np.ones(3)), "x is a function"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_order_is_a_function_of_seed_and_epoch():
    """F3: each epoch visits every sample once. The first orders are golden: they are the same on every machine."""
    orders = [order(50, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(one) == list(range(50)) for one in orders) and len(set(map(tuple, orders))) == 6
    assert order(8, seed=0, epoch=0).tolist() == GOLDEN[0] and order(8, seed=7, epoch=3).tolist() == GOLDEN[1]


GOLDEN = [[6, 3, 1, 0, 5, 4, 2, 7], [1, 4, 5, 2, 3, 6, 7, 0]]


def loaded(loader, epoch=0, start=0):
    return [batch._replace(x=batch.x.copy()) for batch in loader(epoch, start)]


@pytest.mark.parametrize("named", [{}, {"prefetch": 3}, {"prefetch": 3, "workers": 3}, {"reuse": True}])
def test_batches(named):
    x, y = np.arange(23), np.arange(23) * 2
    loader = Loader(x, y, batch_size=5, seed=3, **named)
    assert len(loader) == 5
    batches = loaded(loader, 2)
    assert [len(batch.x) for batch in batches] == [5, 5, 5, 5, 3]
    assert np.concatenate([batch.x for batch in batches]).tolist() == order(23, 3, 2).tolist()
    for start in range(6):
        rest = loaded(loader, 2, start)
        assert [batch.x.tolist() for batch in rest] == [batch.x.tolist() for batch in batches[start:]]
    if not named.get("reuse"):
        assert all((batch.y == 2 * batch.x).all() for batch in loader(1))
    assert len(loaded(Loader(x, batch_size=5, drop_last=True, **named))) == 4
    assert np.concatenate([b.x for b in loaded(Loader(x, batch_size=5, shuffle=False, **named))]).tolist() == x.tolist()


def test_workers_share_every_batch():
    """The parts of n workers are the batch; offset says what stands before."""
    x = np.arange(26)
    whole = loaded(Loader(x, batch_size=8, seed=1), 4)
    parts = [loaded(Loader(x, batch_size=8, seed=1, worker=(number, 4)), 4) for number in range(4)]
    for batch, *shares in zip(whole, *parts):
        assert np.concatenate([share.x for share in shares]).tolist() == batch.x.tolist()
        assert [share.offset for share in shares] == np.cumsum([0, *(len(share.x) for share in shares[:-1])]).tolist()


def test_transforms_know_the_samples_and_the_epoch():
    seen = []

    def transform(batch, ids, epoch):
        seen.append((ids.tolist(), epoch))
        return batch.x * 10, batch.y

    x = np.arange(6)
    batches = list(Loader(x, x, batch_size=4, shuffle=False, transform=transform)(7))
    assert seen == [([0, 1, 2, 3], 7), ([4, 5], 7)] and batches[1].x.tolist() == [40, 50]
    shuffled = list(Loader(x, x, batch_size=4, transform=transform, prefetch=2, workers=2)(1))
    assert sorted(seen[2:]) == sorted([((batch.x // 10).tolist(), 1) for batch in shuffled])


def test_files_mapped_into_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40.0).reshape(20, 2))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches = loaded(Loader(mapped, batch_size=6, seed=2, prefetch=2))
    assert np.concatenate([batch.x for batch in batches])[:, 0].tolist() == (2.0 * order(20, 2, 0)).tolist()


def test_functions_and_their_errors():
    def batches(epoch, start):
        for number in range(start, 4):
            yield np.full(2, 10 * epoch + number), np.zeros(2)

    for prefetch in (0, 2):
        loader = Loader(batches, prefetch=prefetch)
        assert [int(batch.x[0]) for batch in loader(3, 1)] == [31, 32, 33]
        with pytest.raises(TypeError, match="not known"):
            len(loader)

        def broken(epoch, start):
            yield np.ones(1)
            raise OSError("the disk is gone")

        reading = Loader(broken, prefetch=prefetch)(0)
        assert next(reading).x.tolist() == [1]
        with pytest.raises(OSError, match="the disk is gone"):
            next(reading)


def test_threads_end_with_the_epoch():
    def threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith("brazen-loader")]

    loader = Loader(np.arange(100), batch_size=2, prefetch=4, workers=3)
    for batches in (loader(0), loader(1)):
        next(batches)
        assert threads()
        batches.close()
    for thread in threads():
        thread.join(5)
    assert not threads()


def test_what_is_a_batch():
    x = np.ones(3)
    assert (
        bz.data.as_batch(x) == Batch(x) and bz.data.as_batch((x, 1)).y == 1 and bz.data.as_batch([x, 1, 2]).weights == 2
    )
    for wrong in ((), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match=f"a batch has {len(wrong)} parts"):
            bz.data.as_batch(wrong)
    with pytest.raises(TypeError, match="a batch is str"):
        bz.data.as_batch("x")
