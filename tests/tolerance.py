# SPDX-License-Identifier: BSD-3-Clause
"""How exact a result must be, from its dtype alone; the contract is docs/numbers.md's. No operation is named here.

|error| <= ulps * ulp(y) + c * 2^-p * min(1, |x|), p the precision of the compute type (24 or 53); 16-bit results are the
correctly rounded truth wherever the float32 bound decides it.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
WIDE = np.longdouble  # the truth of float64 results


@dataclass(frozen=True)
class Tolerance:
    precision: int  # bits of the significand, the leading one included
    min_exponent: int  # of the smallest normal number
    max_exponent: int  # of the largest finite one
    bits: type  # an unsigned integer of the same size
    central_difference: float  # relative error that (f(x+h) - f(x-h)) / 2h may leave in float64

    @property
    def unit(self):
        """Half an ulp of 1."""
        return 2.0**-self.precision

    @property
    def largest(self):
        return float((2 - 2 * self.unit) * WIDE(2) ** self.max_exponent)

    def ulp(self, y):
        """The distance of neighbours around y, in y's own (wider) dtype."""
        _, exponent = np.frexp(np.abs(y))
        exponent = np.maximum(exponent - 1, self.min_exponent) - self.precision + 1
        return np.ldexp(np.ones_like(y), exponent)

    def round(self, y):
        """y, of a wider dtype, to the nearest number of this one, ties to even; overflow as IEEE says."""
        spacing = self.ulp(y)
        rounded = np.rint(y / spacing) * spacing
        overflows = np.abs(rounded) > self.largest
        return np.where(overflows, np.copysign(np.inf, y), rounded)


_TOLERANCES = {
    "float16": Tolerance(11, -14, 15, np.uint16, 0),
    "bfloat16": Tolerance(8, -126, 127, np.uint16, 0),
    "float32": Tolerance(24, -126, 127, np.uint32, 0),
    "float64": Tolerance(53, -1022, 1023, np.uint64, 1e-6),
}


def tolerance(dtype):
    return _TOLERANCES[np.dtype(dtype).name]


def compute_type(dtype):
    return "float64" if np.dtype(dtype) == np.float64 else "float32"


def bound(dtype, truth, x, ulps, c):
    """The largest error the contract leaves to the compute type of `dtype`."""
    exact = tolerance(compute_type(dtype))
    finite = np.where(np.isfinite(truth), truth, 0)
    return ulps * exact.ulp(finite) + c * exact.unit * np.fmin(1, np.abs(x))  # a NaN allows no more than a number


def same_bits(a, b):
    """Equal to the bit, any NaN being equal to any other; a text that says where not, or ''."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{a.dtype}{a.shape} is not {b.dtype}{b.shape}"
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    kind = tolerance(a.dtype).bits
    differ = np.atleast_1d(a.view(kind) != b.view(kind))
    if not differ.any():
        return ""
    differ &= ~np.atleast_1d(np.isnan(a) & np.isnan(b))
    if not differ.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(differ)[0])
    where = at if a.ndim else ()
    return f"{int(differ.sum())} of {a.size} differ, first at {where}: {a[where]!r} is not {b[where]!r}"


def far_off(dtype, y, truth, error):
    """A text naming the worst result outside `error` of the truth, or ''. NaN must stand where the truth has it."""
    exact = tolerance(dtype)
    y, truth, error = (np.atleast_1d(np.asarray(a, WIDE)) for a in (y, truth, error))
    wrong = np.isnan(y) != np.isnan(truth)
    with np.errstate(invalid="ignore"):
        if exact.precision < 24:
            ok = (exact.round(truth - error) <= y) & (y <= exact.round(truth + error))
        else:
            ok = (np.abs(y - truth) <= error) | (y == truth)
            # A truth beyond the largest number may be infinite, and the largest number's neighbourhood is decided by rounding.
            ok |= (exact.round(truth + np.copysign(error, truth)) == y) & np.isinf(y)
    wrong |= ~ok & ~np.isnan(truth)
    if not wrong.any():
        return ""
    at = int(np.flatnonzero(wrong)[0])
    return f"{int(wrong.sum())} of {y.size} outside the contract, first at {at}: {y[at]!r} for {truth[at]!r}, allowed {error[at]!r}"
