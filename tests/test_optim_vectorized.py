# SPDX-License-Identifier: BSD-3-Clause
"""Every optimizer's loop is vectorised for every instruction set from v3 up, as the machine code tells."""

from pathlib import Path

import pytest
from brazen import _core
from test_vectorized import TARGETS, _functions, _is_vectorized, pytestmark  # noqa: F401

_OTHERS = {"prepare", "average", "squares", "measure", "column_squares", "adafactor_row", "adafactor_vector", "sm3_row"}
ROOT = Path(__file__).resolve().parent.parent


def _loops(target, folder, source="update_kernels"):
    flags, register = TARGETS[target]
    functions = _functions(ROOT / f"csrc/cpu/{source}.cpp", flags, target, folder)
    return {name.split("(anonymous namespace)::", 1)[-1]: body for name, body in functions.items()}, register


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_loop(target, tmp_path):
    loops, register = _loops(target, tmp_path)
    kernels = [name for name in loops if "update<" in name]
    assert len(kernels) == 2 * len(_core.updates()), f"{len(kernels)} loops, {len(_core.updates())} rules"
    loops |= _loops(target, tmp_path, "factored_kernels")[0]
    wanted = [*kernels, *(n for n in loops if n.split("<")[0].split("(")[0] in _OTHERS)]
    scalar = [name for name in wanted if not _is_vectorized(loops[name], register)]
    assert not scalar, f"not vectorised for {target}: {', '.join(scalar)}"
