# SPDX-License-Identifier: BSD-3-Clause
# Every command of the project; `make help` lists them. A target does nothing that is already done.

PYTHON ?= python3
VENV   ?= .venv
ARCHS  ?=
STAGE  ?= prove
OUT    ?= build/gpu
TESTS  ?= tests
STAMPS := .cache/make
BIN    := $(VENV)/bin

BASE_PYTHON := $(shell command -v $(PYTHON))
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc)

PIP := $(BIN)/python -m pip --quiet
# The pinned build tools of .venv build the package, with nothing downloaded. One architecture compiles in seconds.
PIP_BUILD := BRAZEN_CUDA_ARCHS="$(or $(ARCHS),90)" $(PIP) install --no-build-isolation --no-deps
NATIVE  := pyproject.toml CMakeLists.txt $(shell find csrc -type f -not -name '*.md')
SOURCES := $(NATIVE) $(shell find python -type f -not -name '*.pyc' -not -name '*.so')
GCC_LIB = $(shell $${CXX:-g++} -print-file-name=$(1))

.DEFAULT_GOAL := help
.PHONY: help venv install dev demo test lint format stub fingerprints bench bench-compare gpu sanitize sanitize-address sanitize-thread \
        fuzz mutants coverage exhaustive wheel wheels wheel-release test-release sdist clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

# --- set-up ---------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@"$(BASE_PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo 'brazen needs Python 3.10 or newer; set PYTHON=...'; exit 1; }
	@"$(BASE_PYTHON)" -m venv $(VENV) || { echo 'the venv module does not work here (Debian: apt install python3-venv)'; exit 1; }

$(STAMPS)/tools: pyproject.toml tools/requirements.py | $(BIN)/python
	@mkdir -p $(STAMPS)
	@$(BIN)/python tools/requirements.py dev > $(STAMPS)/requirements.txt
	$(PIP) install -r $(STAMPS)/requirements.txt
	@touch $@

# An editable install (`make dev`) rebuilds itself on import and stays as it is.
$(STAMPS)/install: $(SOURCES) $(STAMPS)/tools
	@if [ -e $(STAMPS)/editable ]; then echo 'editable install: rebuilt on import'; else set -x; $(PIP_BUILD) --force-reinstall .; fi
	@touch $@

venv: $(STAMPS)/tools ## .venv with the pinned tools
install: $(STAMPS)/install ## build and install into .venv

dev: $(STAMPS)/tools ## editable install that rebuilds on import
	$(PIP_BUILD) -e . --config-settings editable.rebuild=true
	@touch $(STAMPS)/editable $(STAMPS)/install

# --- the two commands -----------------------------------------------------------------------------------------------

demo: $(STAMPS)/install ## build, install and run the main job
	@$(BIN)/python -m brazen demo

test: $(STAMPS)/install ## the whole test suite
	$(BIN)/python -m pytest $(TESTS) -m "not release"

# --- checks ---------------------------------------------------------------------------------------------------------

LINTED := python tests bench tools examples
CPP := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

lint: $(STAMPS)/install ## ruff, mypy, clang-format, stub
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy
	@echo "clang-format: $(words $(CPP)) files"; $(BIN)/clang-format --dry-run -Werror $(CPP)
	$(BIN)/python tools/stub.py --check

format: $(STAMPS)/tools ## rewrite the sources as lint wants them
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)
	$(BIN)/clang-format -i $(CPP)

stub: $(STAMPS)/install ## write python/brazen/_core.pyi anew
	$(BIN)/python tools/stub.py

fingerprints: $(STAMPS)/install ## record the bits of every operation, after a formula was changed on purpose
	$(BIN)/python -m brazen selftest --record python/brazen/fingerprints.json
	$(BIN)/python tests/golden.py

bench: $(STAMPS)/install ## the benchmarks, and every bar of them
	$(BIN)/python -m pytest bench --benchmark-enable

bench-compare: $(STAMPS)/install ## fail where a ratio dropped by more than 10 %
	$(BIN)/python -m brazen bench --compare

gpu: ## STAGE=prove|sanitize|bench OUT=dir: what can only be run where there is a GPU
	tools/gpu/run $(STAGE) $(OUT)

# --- sanitizers -----------------------------------------------------------------------------------------------------

sanitize: sanitize-address sanitize-thread ## ASan, UBSan and LSan over the CPU tests, TSan over the pool

sanitize-address: $(STAMPS)/tools
	tools/sanitize address $(TESTS)

sanitize-thread: $(STAMPS)/tools
	tools/sanitize thread

# --- tests of the tests ---------------------------------------------------------------------------------------------

CALLS ?= 1000000
fuzz: $(STAMPS)/install ## CALLS=1000000 random calls of the raw bindings
	$(BIN)/python -X faulthandler tests/fuzz/fuzz_bindings.py --calls $(CALLS)

mutants: $(STAMPS)/install ## plant bugs in the kernels; each must be caught
	$(BIN)/python tests/mutants/run.py

coverage: $(STAMPS)/tools ## at least 95 % of the Python lines, 90 % of the C++ lines
	tools/coverage $(TESTS)

exhaustive: $(STAMPS)/tools ## every float32 input of every unary function
	tools/exhaustive

# --- releases -------------------------------------------------------------------------------------------------------

wheel: $(STAMPS)/tools ## ARCHS="90", or all release architectures: a repaired wheel in wheelhouse/
	ARCHS="$(ARCHS)" tools/wheel wheelhouse

wheels: $(STAMPS)/tools ## one for each Python from 3.10 to 3.13 found here
	ARCHS="$(ARCHS)" tools/wheel wheelhouse all

wheel-release: $(STAMPS)/tools ## the release architectures and PTX; fails without nvcc, and above 5 MB
	ARCHS= BRAZEN_CUDA=ON tools/wheel wheelhouse
	@size=$$(stat -c %s $$(ls -t wheelhouse/*.whl | head -1)); echo "$$size bytes, at most 5000000"; test $$size -le 5000000

test-release: $(STAMPS)/install ## the tests that take minutes and an nvcc: `make test` leaves them out
	$(BIN)/python -m pytest $(TESTS) -m release

sdist: $(STAMPS)/tools ## dist/brazen-*.tar.gz
	$(BIN)/python -m build --sdist --no-isolation --outdir dist .

clean: ## everything built, and .venv
	rm -rf build dist wheelhouse coverage .cache $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
