# SPDX-License-Identifier: BSD-3-Clause
"""Linear algebra of the stand-in: NumPy's."""

import numpy as _np

from .core import function

norm, qr = function(_np.linalg.norm), function(_np.linalg.qr)
