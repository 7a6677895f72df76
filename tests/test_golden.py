# SPDX-License-Identifier: BSD-3-Clause
"""The bits of every operation are those of golden.json, on every instruction set: a change of formula is never silent."""

import golden
import numpy as np
import op_table
import pytest
from samples import DTYPES


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_golden(case, dtype, isa):
    assert golden.digest_of(case, dtype) == golden.stored()[f"{case.id}-{dtype}"], "bits changed; see tests/golden.py"


def test_the_file_lists_the_op_table():
    assert set(golden.stored()) == {f"{case.id}-{dtype}" for case in op_table.CASES for dtype in DTYPES}


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_the_hash_sees_one_bit_and_an_exchange(dtype):
    x = golden.sample(dtype)
    x = x[~np.isnan(x)]
    changed, swapped = x.copy(), x.copy()
    changed.view(np.uint8)[4321] ^= 1
    swapped[[7, 9]] = swapped[[9, 7]]
    assert len({golden.digest(a) for a in (x, changed, swapped)}) == 3
