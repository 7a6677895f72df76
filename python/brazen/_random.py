# SPDX-License-Identifier: BSD-3-Clause
"""New arrays filled by the generator, for `brazen.random`, masks and initialisers. NumPy's, or those of `like`."""

from __future__ import annotations

import math
import operator
import sys

from . import _core
from ._noise import bounded, seeded, site_of


def namespace(like):
    """numpy, or cupy where `like` is one of its arrays."""
    cupy = sys.modules.get("cupy")
    if cupy is not None and (like is cupy or isinstance(like, cupy.ndarray)):
        return cupy
    import numpy

    return numpy


def fill(kind, shape, dtype, like, out, operation, seed, step, site, offset, domain, scale=1.0, shift=0.0, threshold=0):
    """`out`, or a new array, with what `kind` draws."""
    seed = bounded("seed", seeded(seed, f"{operation}(shape, seed=0, step=step)"), 64)
    if out is None:
        shape = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(shape)
        out = namespace(like).empty(shape, dtype)
    place = (seed, bounded("step", step, 32), site_of(site, domain), bounded("offset", offset, 62))
    return _core.random_fill(kind, out, scale, shift, threshold, *place)


def draw_mask(shape, threshold, seed, step, site, offset, domain, bits, like):
    """A bool mask, or its bits in bytes, the first element in the lowest."""
    mask = fill("bernoulli", shape, "bool", like, None, "dropout.mask", seed, step, site, offset, domain,
                threshold=threshold)  # fmt: skip
    if not bits:
        return mask
    xp = namespace(like)
    padded = xp.zeros((math.prod(shape) + 7) // 8 * 8, "uint8")
    padded[: mask.size] = mask.reshape(-1)
    return (padded.reshape(-1, 8) << xp.arange(8, dtype="uint8")).sum(axis=1, dtype="uint8")
