# SPDX-License-Identifier: BSD-3-Clause
"""What a random operation is asked for: probabilities, seeds and places, checked. Nothing is drawn here.

Nothing random has state: bits = f(seed, step, site, index), and `offset` is the index of the first element in the whole
batch, so that a part of a batch draws what the whole would. The top 8 bits of the generator's 32-bit site are the domain.
"""

from __future__ import annotations

import operator

from ._given import number

CALLER, DROPOUT, INITIALISATION, SHUFFLE, AUGMENTATION, ROUNDING = range(6)


def bounded(name: str, value, bits: int) -> int:
    """`value` as an integer of `bits` bits, or an error that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected an integer from 0 to 2^{bits} - 1") from None
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{name} is {number}; expected 0 to 2^{bits} - 1")
    return number


def site_of(site, domain: int) -> int:
    """The generator's site: the domain above the caller's ordinal."""
    return domain << 24 | bounded("site", site, 24)


def seeded(seed, call: str):
    """`seed`, or an error that shows the call to write."""
    if seed is None:
        raise TypeError(f"{call.partition('(')[0]}: seed is missing; call {call}")
    return seed


def keep_threshold(keep) -> int:
    """round(keep * 65536), ties to even: an element is kept if its 16-bit piece is below."""
    return round(keep * 65536)


_ACCEPTED = {
    "rate": "the probability to drop, at least 0 and below 1",
    "keep": "the probability to keep, above 0 and at most 1",
}


def probability(operation: str, rate=None, keep=None, keep_prob=None, default=0.5) -> tuple:
    """(name, value) of the one that is given: the probability to drop, or the one to keep."""
    given = {"rate": rate, "keep": keep, "keep_prob": keep_prob}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) > 1:
        raise TypeError(
            f"{operation}: {' and '.join(named)} are given; expected one: rate drops, keep (or keep_prob) keeps"
        )
    for name, value in named.items():
        accepted = _ACCEPTED["rate" if name == "rate" else "keep"]
        number(operation, name, value, accepted)
        if not (0 <= value < 1 if name == "rate" else 0 < value <= 1):
            raise ValueError(f"{operation}: {name} is {value}; expected {accepted}")
    return next(iter(named.items()), ("rate", default))


def drop_threshold(rate=None, keep=None, keep_prob=None, default=0.5) -> int:
    """Of 65536 pieces, how many keep: from the probability to drop or the one to keep, never both."""
    name, value = probability("dropout", rate, keep, keep_prob, default)
    threshold = keep_threshold(1 - value if name == "rate" else value)
    if threshold == 0:
        raise ValueError(
            f"dropout: {name} is {value}, which keeps less than one element of 131072: nothing would be left"
        )
    return threshold


def chain_rate(operation: str, rate) -> float:
    """The rate of dropout among other stages, where it is left out by 0."""
    return number(operation, "dropout", rate, "the probability to drop, at least 0 and below 1; 0 for no dropout")


def noise_dimensions(shape, noise_shape):
    """`noise_shape` with None replaced by the extents of `shape`, against which it broadcasts."""
    if noise_shape is None:
        return tuple(shape)
    try:
        extents = tuple(None if own is None else operator.index(own) for own in noise_shape)
    except TypeError:
        raise TypeError(
            f"dropout: noise_shape is {noise_shape!r}; expected 1, None or the extent for each axis of x, {tuple(shape)}"
        ) from None
    if len(extents) != len(shape):
        raise ValueError(f"dropout: noise_shape {extents} has {len(extents)} axes, x has {len(shape)}")
    noise = tuple(full if own is None else own for own, full in zip(extents, shape))
    if any(own not in (1, full) for own, full in zip(noise, shape)):
        raise ValueError(f"dropout: noise_shape {extents}; expected 1, None or the extent of x, {tuple(shape)}")
    return noise
