# SPDX-License-Identifier: BSD-3-Clause
"""The bits of every operation are those of golden.json, on every instruction set: a change of formula is never silent."""

import brazen as bz
import golden
import numpy as np
import op_table
import pytest
from samples import DTYPES

# Lists of names, types, second names, and an average of what the caller computes.
NO_BITS_OF_THEIR_OWN = {"activations", "losses", "Activation", "NormGradients", "NormSaved", "swish", "hard_swish"}
NO_BITS_OF_THEIR_OWN |= {"monte_carlo"}


@pytest.mark.parametrize("case, dtype", op_table.each())
def test_golden(case, dtype, isa):
    assert golden.digest_of(case, dtype) == golden.stored()[f"{case.id}-{dtype}"], "bits changed; see tests/golden.py"


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", list(golden.families()), ids=lambda case: case.label)
def test_families(case, dtype, isa):
    expected = golden.stored()[f"{case.label}-{dtype}"]
    assert golden.family_digest(case, dtype) == expected, "bits changed; see tests/golden.py"


def test_the_file_lists_every_call():
    labels = {case.id for case in op_table.CASES} | {case.label for case in golden.families()}
    assert set(golden.stored()) == {f"{label}-{dtype}" for label in labels for dtype in DTYPES}


def test_every_operation_has_a_hash():
    """A new operation of any family is found here, not forgotten."""
    public = {name for name in bz.ops.__all__ if name not in NO_BITS_OF_THEIR_OWN}
    public |= {f"random.{name}" for name in bz.random.__all__} | {f"optim.{name}" for name in bz.optim.names()}
    hashed = {label.rpartition("-")[0] for label in golden.stored()}
    assert public <= {name for label in hashed for name in (label, label.partition(".")[0])}, public - hashed


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_the_hash_sees_one_bit_and_an_exchange(dtype):
    x = golden.sample(dtype)
    x = x[~np.isnan(x)]
    changed, swapped = x.copy(), x.copy()
    changed.view(np.uint8)[4321] ^= 1
    swapped[[7, 9]] = swapped[[9, 7]]
    assert len({golden.digest(a) for a in (x, changed, swapped)}) == 3
