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


def _torch(like):
    """torch where `like` is one of its tensors, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(like, torch.Tensor) else None


def _empty(operation, shape, dtype, like):
    torch = _torch(like)
    if torch is not None:
        kind = dtype if isinstance(dtype, torch.dtype) else getattr(torch, getattr(dtype, "name", str(dtype)))
        return torch.empty(shape, dtype=kind, device=like.device)
    xp = namespace(like)
    if like is not None and like is not xp and not isinstance(like, (xp.ndarray, getattr(xp, "generic", xp.ndarray))):
        raise TypeError(f"{operation}: like is {type(like).__name__}; expected an array of NumPy, CuPy or PyTorch")
    return xp.empty(shape, dtype)


def _extents(operation, shape, out):
    """The shape asked for, which is that of `out` if there is one."""
    if shape is None:
        if out is None:
            raise TypeError(f"{operation}: shape is missing; pass it, or an array as out=")
        return None
    extents = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(shape)
    if out is not None and hasattr(out, "shape") and tuple(out.shape) != extents:
        raise ValueError(f"{operation}: out has shape {tuple(out.shape)}; expected {extents}, the shape asked for")
    return extents


def stable_order(keys):
    """The order that sorts int64 words as unsigned numbers, equal ones as they stand."""
    torch = _torch(keys)
    if torch is not None:
        return torch.argsort(keys ^ (-1 << 63), stable=True)
    return namespace(keys).argsort(keys.view("uint64"), kind="stable")


def fill(kind, shape, dtype, like, out, operation, seed, step, site, offset, domain, scale=1.0, shift=0.0, threshold=0):
    """`out`, or a new array, with what `kind` draws."""
    seed = bounded("seed", seeded(seed, f"{operation}(shape, seed=0, step=step)"), 64)
    extents = _extents(operation, shape, out)
    if out is None:
        out = _empty(operation, extents, dtype, like)
    place = (seed, bounded("step", step, 32), site_of(site, domain), bounded("offset", offset, 62))
    return _core.random_fill(kind, out, scale, shift, threshold, *place)


def draw_mask(shape, threshold, seed, step, site, offset, domain, bits, like):
    """A bool mask, or its bits in bytes, the first element in the lowest."""
    mask = fill("bernoulli", shape, "bool", like, None, "dropout.mask", seed, step, site, offset, domain,
                threshold=threshold)  # fmt: skip
    if not bits:
        return mask
    torch, count = _torch(like), math.prod(shape)
    padded = _empty("dropout.mask", ((count + 7) // 8 * 8,), "uint8", like)
    padded[count:] = 0
    padded[:count] = mask.reshape(-1)
    if torch is not None:
        places = torch.arange(8, dtype=torch.uint8, device=like.device)
        return (padded.reshape(-1, 8) << places).sum(dim=1, dtype=torch.uint8)
    return (padded.reshape(-1, 8) << namespace(like).arange(8, dtype="uint8")).sum(axis=1, dtype="uint8")
