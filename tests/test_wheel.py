# SPDX-License-Identifier: BSD-3-Clause
"""The wheel as a user gets it: contents, metadata, size, an empty environment without compiler or network, import time."""

from __future__ import annotations

import email
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import zipfile

import brazen as bz
import numpy as np
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MOST_BYTES = 5_000_000

needs_tools = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "auditwheel").exists(),
    reason="the build tools are not in .venv: `make venv` installs them",
)


def build(folder: pathlib.Path, **environment: str) -> pathlib.Path:
    """A repaired wheel. The build folder of the installed package is used again, so only what changed is compiled."""
    command = ["bash", str(ROOT / "tools" / "wheel"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ARCHS": "90", **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def empty_environment(wheel, tmp_path_factory):
    """A Python that has NumPy and this wheel, and a PATH that has nothing else. Installing asks no index."""
    folder = tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = (folder / "lib").glob("python3*/site-packages")
    numpy = pathlib.Path(np.__file__).parent
    for part in [numpy, *numpy.parent.glob("numpy.libs"), *numpy.parent.glob(f"numpy-{np.__version__}.dist-info")]:
        (packages / part.name).symlink_to(part)
    install = ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-index", "--quiet", str(wheel)]
    done = subprocess.run([sys.executable, *install], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [str(folder / "bin" / "python"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PATH": str(folder / "bin")})

    return run


@needs_tools
def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"brazen/py.typed", "brazen/_core.pyi", "brazen/__main__.py", "brazen/selftest.py"} <= set(names)
    assert any(re.fullmatch(r"brazen/_core\.cpython-.*\.so", name) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    unwanted = [name for name in names if name.endswith((".cu", ".cuh", ".h", ".cpp", ".a", ".o", "CMakeLists.txt"))]
    assert not unwanted
    assert {name.split("/")[0] for name in names} == {"brazen", f"brazen-{bz.__version__}.dist-info"}
    # What auditwheel had to graft would be a dynamic dependency nobody decided on.
    assert not [name for name in names if ".libs/" in name]
    built = bz.info()["cuda"]["library"] is not None
    assert ("brazen/lib/libbrazen_cuda13.so" in names) == built


@needs_tools
def test_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_string(archive.read(name).decode())
    assert metadata["Version"] == PROJECT["project"]["version"] == bz.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    required = metadata.get_all("Requires-Dist")
    assert [line for line in required if "extra ==" not in line] == ["numpy>=1.26"]
    assert {"cuda13", "bf16", "demo", "dev", "peers", "torch"} <= set(metadata.get_all("Provides-Extra"))
    asked = [line for line in required if "torch" in line]
    assert all(re.search(r'extra == "(peers|torch)"', line) for line in asked) and len(asked) == 2
    assert "-manylinux_2_" in wheel.name


@needs_tools
def test_size(wheel):
    assert wheel.stat().st_size <= MOST_BYTES


@needs_tools
def test_equal_sources_give_equal_bytes(wheel, tmp_path):
    again = build(tmp_path)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


@needs_tools
def test_selftest_without_compiler_or_network(empty_environment):
    done = empty_environment("-m", "brazen", "selftest")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "selftest: passed" in done.stdout
    facts = json.loads(empty_environment("-m", "brazen", "info", "--json").stdout)
    assert facts["version"] == bz.__version__
    assert facts["isas"] == bz.info()["isas"]
    assert "instruction set" in empty_environment("-m", "brazen", "info").stdout


IMPORT = """
import sys, time
start = time.perf_counter()
import numpy
numpy_done = time.perf_counter()
import brazen
print(time.perf_counter() - numpy_done, *sorted(sys.modules), sep="\\n")
"""


def test_import_time():
    times = []
    for _ in range(7):
        seconds, *modules = subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        times.append(float(seconds))
    heavy = {"cupy", "torch", "matplotlib", "scipy", "jax", "rich", "ml_dtypes"}
    assert not heavy & {name.partition(".")[0] for name in modules}
    # The smallest says what the import costs; the others also hold what else the machine was doing.
    assert min(times) <= 0.030, f"median {statistics.median(times):.3f} s"


def test_cibuildwheel_table():
    table = PROJECT["tool"]["cibuildwheel"]
    minors = {int(found) for found in re.findall(r"cp3(\d+)-manylinux", table["build"])}
    first = int(PROJECT["project"]["requires-python"].removeprefix(">=3."))
    assert minors == set(range(first, 14))
    classifiers = {f"Programming Language :: Python :: 3.{minor}" for minor in minors}
    assert classifiers <= set(PROJECT["project"]["classifiers"])
    assert "selftest" in table["test-command"]
    assert set(PROJECT["project"]["optional-dependencies"]) >= {"cuda13", "bf16", "demo", "dev", "peers"}


def test_development_versions_are_exact():
    loose = [line for line in PROJECT["project"]["optional-dependencies"]["dev"] if "==" not in line]
    assert not loose


@pytest.mark.release
@pytest.mark.timeout(1800)
@needs_tools
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not on PATH")
def test_release_architectures_fit(tmp_path):
    wheel = build(tmp_path, BRAZEN_CUDA="ON", ARCHS="")
    assert "brazen/lib/libbrazen_cuda13.so" in zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size <= MOST_BYTES
