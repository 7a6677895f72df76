# SPDX-License-Identifier: BSD-3-Clause
"""The generator in plain array code: Philox4x32-10 and the distributions drawn from it. No mutable state, no dropout.

bits = f(seed, step, site, logical index). The key is the seed, low word first; the counter is (block low, block high,
step, domain << 24 | site). What one element takes of the blocks:

* 16-bit pieces (masks): piece i % 8 of block i // 8, the low half of word 0 first.
* float32 and 16-bit storage: word i % 4 of block i // 4.
* float64, and the keys of a permutation: words 2 (i % 2), low, and 2 (i % 2) + 1, high, of block i // 2.

uniform: u = (word >> 8) * 2^-24 or (word64 >> 11) * 2^-53, in [0, 1); then low + (high - low) * u in the compute type,
high - low being rounded to it first. Rounding may reach `high`.

normal: Box-Muller on the pair (2k, 2k + 1) of logical indices, a the draw of the even one, b of the odd one:
radius = sqrt(-2 log(u1)), u1 = a * 2^-32 + 2^-33 in float32 (a converted to nearest), or
(a >> 11) * 2^-53 + 2^-54 in float64, in (0, 1]; angle = 2 pi u2, u2 the uniform of b; the even element is
radius * cos(angle), the odd one radius * sin(angle).
"""

from __future__ import annotations

import math
import operator

import numpy

from .._noise import CALLER, bounded, keep_threshold
from ._kinds import _array, array_namespace

__all__ = ["bernoulli", "keep_threshold", "normal", "permutation", "pieces", "random_words", "uniform"]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85  # what the two key words grow by each round
_ROUNDS = 10


def random_words(seed, step, site, blocks):
    """The four 32-bit words of each block, as uint32 of shape (*blocks.shape, 4); `site` is all 32 bits of it."""
    seed, step, site = bounded("seed", seed, 64), bounded("step", step, 32), bounded("site", site, 32)
    xp = array_namespace(blocks)
    blocks = xp.asarray(blocks).astype("uint64")
    mask, shift = xp.uint64(_MASK), xp.uint64(32)
    counter = [blocks & mask, blocks >> shift, xp.full_like(blocks, step), xp.full_like(blocks, site)]
    key = [seed & _MASK, seed >> 32]
    for _ in range(_ROUNDS):
        first, second = counter[0] * xp.uint64(_MULTIPLIERS[0]), counter[2] * xp.uint64(_MULTIPLIERS[1])
        counter = [
            (second >> shift) ^ counter[1] ^ xp.uint64(key[0]),
            second & mask,
            (first >> shift) ^ counter[3] ^ xp.uint64(key[1]),
            first & mask,
        ]
        key = [(word + weyl) & _MASK for word, weyl in zip(key, _WEYL)]
    return xp.stack(counter, axis=-1).astype("uint32")


def _range(xp, bits, count, seed, step, site, offset, domain):
    """The draws of `bits` bits of elements offset … offset + count - 1."""
    site = domain << 24 | bounded("site", site, 24)
    offset = bounded("offset", offset, 63)
    if seed is None:
        raise TypeError("seed is missing; give one: seed=0, and step= the number of the training step")
    each = 128 // bits
    first, last = offset // each, (offset + count + each - 1) // each
    blocks = xp.arange(last - first, dtype="uint64") + xp.uint64(first)
    words = random_words(seed, step, site, blocks).astype("uint64")
    if bits == 16:
        draws = xp.stack([words & xp.uint64(0xFFFF), words >> xp.uint64(16)], axis=-1)
    elif bits == 32:
        draws = words
    else:
        draws = words[:, 0::2] | words[:, 1::2] << xp.uint64(32)
    start = offset - first * each
    return draws.reshape(-1)[start : start + count]


def pieces(shape, *, seed, step=0, site=0, offset=0, domain=CALLER, like=None):
    """The 16-bit pieces of the elements of an array of `shape`, as uint64."""
    draws = _range(array_namespace(like), 16, math.prod(shape), seed, step, site, offset, domain)
    return draws.reshape(shape)


def _target(shape, dtype, like, out):
    """(xp, shape, dtype): what is asked for, or what `out` has."""
    if out is not None:
        return array_namespace(out), out.shape, out.dtype
    shape = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(shape)
    return array_namespace(like), shape, numpy.dtype(dtype)


def _unit(xp, draws, real):
    """Numbers in [0, 1) of the real dtype, from draws of 32 bits or of 64."""
    if real == "float32":
        return (draws >> xp.uint64(8)).astype(real) * real.type(2.0**-24)
    return (draws >> xp.uint64(11)).astype(real) * real.type(2.0**-53)


def uniform(shape, low=0.0, high=1.0, *, seed, step=0, site=0, offset=0, dtype="float32", like=None, out=None):
    """Uniform numbers from `low` on, below `high` but for rounding."""
    xp, shape, dtype = _target(shape, dtype, like, out)
    real = dtype if dtype.itemsize > 4 else numpy.dtype("float32")
    bits = 32 if real == "float32" else 64
    unit = _unit(xp, _range(xp, bits, math.prod(shape), seed, step, site, offset, CALLER), real)
    return _array(xp, (real.type(low) + real.type(high - low) * unit).reshape(shape), dtype, out)


def _on_the_circle(xp, turns):
    """(cos, sin) of 2 pi turns; whole quarters are taken off before anything is rounded, so that zeros are exact."""
    quarters = xp.floor(4 * turns + 0.5)
    angle = 8 * xp.arctan(xp.ones((), turns.dtype)) * (turns - quarters / 4)
    cosine, sine = xp.cos(angle), xp.sin(angle)
    odd, flipped = quarters % 2 == 1, quarters % 4 >= 2
    first, second = xp.where(odd, -sine, cosine), xp.where(odd, cosine, sine)
    return xp.where(flipped, -first, first), xp.where(flipped, -second, second)


def standard_normal(xp, shape, real, seed, step, site, offset, domain):
    """Normal numbers as `real` draws them, evaluated in float64 at least and not yet rounded to it."""
    count, offset = math.prod(shape), bounded("offset", offset, 63)
    start = offset & ~1
    even = (offset + count + 1 & ~1) - start
    draws = _range(xp, 32 if real == "float32" else 64, even, seed, step, site, start, domain)
    wide = numpy.dtype("float64") if real == "float32" else real
    if real == "float32":
        near = draws[0::2].astype(real) * real.type(2.0**-32) + real.type(2.0**-33)
    else:
        near = (draws[0::2] >> xp.uint64(11)).astype("float64") * 2.0**-53 + 2.0**-54
    radius = xp.sqrt(-2 * xp.log(near.astype(wide)))
    cosine, sine = _on_the_circle(xp, _unit(xp, draws[1::2], real).astype(wide))
    pair = xp.stack([radius * cosine, radius * sine], axis=-1).reshape(-1)
    return pair[offset - start : offset - start + count].reshape(shape)


def normal(shape, mean=0.0, std=1.0, *, seed, step=0, site=0, offset=0, dtype="float32", like=None, out=None):
    """Normal numbers of the given mean and standard deviation."""
    xp, shape, dtype = _target(shape, dtype, like, out)
    real = dtype if dtype.itemsize > 4 else numpy.dtype("float32")
    numbers = standard_normal(xp, shape, real, seed, step, site, offset, CALLER)
    return _array(xp, real.type(mean) + real.type(std) * numbers, dtype, out)


def bernoulli(shape, probability=0.5, *, seed, step=0, site=0, offset=0, like=None, out=None):
    """True with `probability`, a multiple of 2^-16 after rounding; dropout draws its masks so, in its own domain."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}; expected 0 to 1")
    threshold = keep_threshold(probability)
    if probability > 0 and threshold == 0:
        raise ValueError(f"probability is {probability}, which rounds to 0 in steps of 2^-16")
    xp, shape, _ = _target(shape, "bool", like, out)
    drawn = pieces(shape, seed=seed, step=step, site=site, offset=offset, like=like if out is None else out)
    return _array(xp, drawn < threshold, "bool" if out is None else out.dtype, out)


def permutation(count, *, seed, step=0, site=0, like=None, out=None):
    """The numbers 0 … count - 1 in random order, as int64: the stable argsort of 64-bit keys."""
    xp = array_namespace(like if out is None else out)
    keys = _range(xp, 64, bounded("count", count, 63), seed, step, site, 0, CALLER)
    order = xp.argsort(keys, kind="stable") if xp is numpy else xp.argsort(keys)
    return _array(xp, order, "int64" if out is None else out.dtype, out)
