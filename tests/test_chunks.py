# SPDX-License-Identifier: BSD-3-Clause
"""Results large enough to be cut at huge pages: every element is written, wherever the array begins and ends."""

import brazen as bz
import numpy as np
import pytest

ELEMENTS = (24 << 20) // 4  # beyond twice the size from which results go past the caches


@pytest.mark.parametrize("offset", [0, 1, 16, 4099])
@pytest.mark.parametrize("threads", [2, 3])
def test_every_element_of_a_large_result(offset, threads):
    x = np.resize(np.linspace(-4, 4, 8191, dtype="float32"), ELEMENTS)
    room = np.full(ELEMENTS + 8192, np.nan, "float32")
    bz.set_num_threads(threads)
    bz.hard_silu(x, out=room[offset : offset + ELEMENTS])
    bz.set_num_threads(1)
    piece = bz.hard_silu(x[:8191])
    whole = ELEMENTS // 8191 * 8191
    assert (room[offset : offset + whole].reshape(-1, 8191) == piece).all()
    assert np.array_equal(room[offset + whole : offset + ELEMENTS], piece[: ELEMENTS - whole])
    assert np.isnan(room[:offset]).all() and np.isnan(room[offset + ELEMENTS :]).all()
