# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` do all set-up themselves; the others are for work on pyenergy.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where no NVIDIA driver is: a release of torch that is to be had as a CPU build. TORCH=... chooses
# another; plain `torch` pulls gigabytes of CUDA packages.
TORCH ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo 'torch>=2.3' || echo 'torch==2.13.0')
PRESET ?= default
# How long `make fuzz` runs.
SECONDS ?= 60

.PHONY: demo test cpp python lint stubs bench sanitize fuzz clean

demo: $(VENV)/.demo
	$(BIN)/pyenergy demo

test: cpp python

cpp: $(VENV)/.dev
	sh tests/cpp/require_doctest.sh
	cmake --preset $(PRESET) -DPython_EXECUTABLE=$(abspath $(BIN)/python) >build-$(PRESET).log 2>&1 || { cat build-$(PRESET).log; exit 1; }
	@rm -f build-$(PRESET).log
	cmake --build --preset $(PRESET)
	ctest --preset $(PRESET)

python: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files 'csrc/*.h' 'csrc/*.cpp' 'tests/*.cpp' 'tests/*.h' 'bench/*.cpp' 'bench/*.h' | xargs $(BIN)/clang-format --dry-run --Werror

stubs: $(VENV)/.dev
	$(BIN)/python tests/stubs.py --write

sanitize: $(VENV)/.dev
	$(MAKE) cpp PRESET=asan
	$(MAKE) cpp PRESET=tsan

fuzz: $(VENV)/.dev
	sh tests/fuzz/run.sh $(BIN)/python $(SECONDS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet -e '.[models,report]'
	touch $@

# The sources are the extension's too: a change there installs anew.
SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.h')
$(VENV)/.dev: $(BIN)/python pyproject.toml CMakeLists.txt csrc/CMakeLists.txt $(SOURCES)
	$(BIN)/python -m pip install --quiet '$(TORCH)'
	$(BIN)/python -m pip install --quiet -e '.[dev,models,report]'
	touch $@

clean:
	rm -rf build dist demo-out
