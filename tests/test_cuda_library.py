# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA library as a file: what it exports and needs, how it answers without a GPU, and what a wrong one says.

It catches a lost symbol, a hidden dependency on a driver or on Python, and an error that does not name its cure.
"""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import brazen as bz
import pytest
from brazen import _core
from emulation import build

ABI = (build.ROOT / "csrc/cuda/abi.h").read_text()
ENTRIES = set(re.findall(r"^BRAZEN_ABI \S+ (\w+)\(", ABI, re.M))


@pytest.fixture(scope="module")
def library():
    path = Path(_core.__file__).parent / "lib" / "libbrazen_cuda13.so"
    if not path.exists():
        pytest.skip(f"this build has no CUDA library: {bz.info()['cuda']['why_not']}")
    return path


@pytest.fixture
def compile_library(tmp_path):
    """Compiles a few lines of C++ into a shared library."""
    if build.compiler() is None:
        pytest.skip("a stub library needs g++ (or CXX), which is not here")

    def make(text):
        source, made = tmp_path / "stub.cpp", tmp_path / "libstub.so"
        source.write_text(text)
        build.run(
            [build.compiler(), "-shared", "-fPIC", "-std=c++20", f"-I{build.ROOT}/csrc", str(source), "-o", str(made)]
        )
        return str(made)

    yield make
    _core.load_cuda_library("")


def tool(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} (binutils) is not here")
    return found


def test_exports_the_abi_and_nothing_else(library):
    listed = subprocess.run(
        [tool("nm"), "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    assert ENTRIES and {line.split()[-1] for line in listed.splitlines()} == ENTRIES


def test_needs_only_the_c_library(library):
    listed = subprocess.run([tool("readelf"), "-d", str(library)], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", listed))
    assert needed and all(
        re.match(r"(libc|libm|libdl|libpthread|librt|ld-linux[-\w]*)\.so", name) for name in needed
    ), needed


def test_names_no_folder_of_the_build(library):
    assert str(build.ROOT).encode() not in library.read_bytes()


def test_opens_and_answers_at_once(library, run_python):
    """In a fresh process: milliseconds, whether there is a driver or not."""
    script = f"""
import ctypes, time
start = time.perf_counter()
library = ctypes.CDLL({str(library)!r})
print(time.perf_counter() - start)
"""
    assert float(run_python(script)) < 0.05


def test_without_a_gpu_the_error_is_typed_and_names_the_cure(library):
    description, message = ctypes.create_string_buffer(64), ctypes.create_string_buffer(512)
    opened = ctypes.CDLL(str(library))
    status = opened.brazen_cuda_describe(description, message, 512)
    info = bz.info()["cuda"]
    assert info["library"] == str(library) and info["runtime"] >= 13000 and info["archs"]
    if status == 0:
        pytest.skip("there is a GPU here: tools/gpu tests its calls")
    assert info["devices"] == 0 and info["why_not"] == message.value.decode()
    assert re.search(r"install driver 580 or newer|check nvidia-smi and CUDA_VISIBLE_DEVICES", info["why_not"])


def test_missing_library():
    with pytest.raises(RuntimeError, match=r"the CUDA library is not part of this build"):
        _core.load_cuda_library("/nonexistent/libbrazen_cuda13.so")


def test_a_cuda_array_without_the_library_names_the_cure(run_python):
    """A build for the CPU alone, given an array of a GPU: through CuPy's attributes, and as what an optimizer holds."""
    script = """
import cupy, numpy as np, brazen as bz
x, g = cupy.asarray(np.ones(4, "float32")), cupy.asarray(np.ones(4, "float32"))
pair = x.reshape(2, 2)
for call in (lambda: bz.relu(x), lambda: bz.softmax(x), lambda: bz.batch_norm(pair), lambda: bz.optim.SGD([x], lr=1.0).step([g])):
    try:
        call()
    except RuntimeError as error:
        print(error)
"""
    if (Path(_core.__file__).parent / "lib" / "libbrazen_cuda13.so").exists():
        pytest.skip("the CUDA library is part of this build: test_without_a_gpu_the_error_is_typed_and_names_the_cure")
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent / 'standin')!r})\n{script}"
    told = run_python(script).splitlines()
    assert len(told) == 4
    for line in told:
        assert "a CUDA array needs the CUDA library" in line
        assert "install a wheel that holds it, or build with BRAZEN_CUDA=ON" in line


def test_library_of_another_abi(compile_library):
    stub = compile_library(
        """
#define BRAZEN_CUDA_LIBRARY
#include "cuda/abi.h"
using namespace brazen::cuda;
Status brazen_cuda_describe(Description* description, char*, size_t) { description->abi = 4711; return Status::ok; }
Status brazen_cuda_elementwise(const brazen::ElementwiseCall*, const Launch*) { return Status::failed; }
Status brazen_cuda_reduction(const brazen::ReductionCall*, const Launch*) { return Status::failed; }
"""
    )
    with pytest.raises(RuntimeError, match=r"speaks ABI 4711, this module \d+; reinstall brazen"):
        _core.load_cuda_library(stub)


def test_library_without_a_symbol(compile_library):
    stub = compile_library(
        """
#define BRAZEN_CUDA_LIBRARY
#include "cuda/abi.h"
using namespace brazen::cuda;
Status brazen_cuda_describe(Description* description, char*, size_t) { description->abi = kAbi; return Status::ok; }
"""
    )
    with pytest.raises(
        RuntimeError, match=r"lacks the symbol brazen_cuda_elementwise; it belongs to another version of brazen"
    ):
        _core.load_cuda_library(stub)


def test_a_refused_library_is_not_kept(compile_library):
    before = bz.info()["cuda"]
    test_library_without_a_symbol(compile_library)
    assert bz.info()["cuda"] == before


def test_importing_and_calling_brazen_never_imports_cupy(run_python):
    script = """
import sys
import numpy as np
import brazen as bz
bz.info()
bz.gelu(np.ones(3, "float32"))
try:
    bz.gelu([1.0])
except TypeError:
    pass
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("cupy", "torch")))
"""
    assert run_python(script) == "[]"
