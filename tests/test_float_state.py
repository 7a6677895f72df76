# SPDX-License-Identifier: BSD-3-Clause
"""A process that switched on flush-to-zero, or another rounding mode, gets the same bits and keeps its setting."""

import ctypes
import platform
import shutil
import subprocess

import brazen as bz
import golden
import numpy as np
import op_table
import pytest
import samples
from tolerance import same_bits

FLUSH, UPWARDS, USUAL = 0x9FC0, 0x5F80, 0x1F80

pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is x86-64's control register"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for two functions that set MXCSR"),
]


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """(set, get) of the calling thread's MXCSR; the sticky flags are masked away."""
    folder = tmp_path_factory.mktemp("mxcsr")
    (folder / "m.c").write_text(
        "#include <xmmintrin.h>\nvoid put(unsigned v) { _mm_setcsr(v); }\nunsigned got(void) { return _mm_getcsr() & 0xffc0; }\n"
    )
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", str(folder / "m.c"), "-o", str(folder / "m.so")], check=True, timeout=60
    )
    library = ctypes.CDLL(str(folder / "m.so"))
    yield library.put, library.got
    library.put(USUAL)


@pytest.mark.parametrize("state", [FLUSH, UPWARDS], ids=["flush-to-zero", "rounding-up"])
@pytest.mark.parametrize("case, dtype", op_table.each())
def test_bits_do_not_depend_on_the_process(case, dtype, state, control):
    put, got = control
    arrays, parameters = golden.arguments(case, dtype)
    usual = case.results(*arrays, parameters=parameters)[0]
    put(state)
    try:
        result = case.results(*arrays, parameters=parameters)[0]
        after = got()
    finally:
        put(USUAL)
    assert after == state & 0xFFC0, "the caller's setting was not put back"
    wrong = same_bits(result, usual)
    assert not wrong, wrong


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("dtype", list(samples.DTYPES))
def test_parallel_calls_and_sums(dtype, threads, control):
    """Subnormal inputs, terms and sums, in workers and in the merging of their sums."""
    put, got = control
    tiny = np.finfo(dtype).smallest_normal if dtype != "bfloat16" else 2.0**-126
    x = (-tiny * np.linspace(0.25, 0.75, 700_001)).astype(samples.DTYPES[dtype])
    dy = np.full_like(x, 2.0**-20)
    alpha = np.full(1, 0.5, x.dtype)
    calls = [
        lambda: bz.linear(x),
        lambda: bz.gelu(x),
        lambda: bz.prelu.backward(dy, x, alpha)[1],
        lambda: bz.prelu.backward(dy[:50], x[:50], alpha)[1],
    ]
    bz.set_num_threads(threads)
    usual = [call() for call in calls]
    assert (usual[0] != 0).all() and (dtype in ("float16", "bfloat16") or usual[3][0] != 0)
    for state in (FLUSH, UPWARDS):
        put(state)
        try:
            results = [call() for call in calls]
            after = got()
        finally:
            put(USUAL)
        assert after == state & 0xFFC0
        for result, wanted in zip(results, usual):
            wrong = same_bits(result, wanted)
            assert not wrong, wrong
