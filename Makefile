# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
BUILD_NEEDS := "setuptools>=77" wheel "pybind11>=2.13" "numpy>=2.0" "llvmlite>=0.50,<0.51" "networkx>=3"
NATIVE := $(wildcard native/*/*.c native/*/*.h native/*/*.cpp native/*/*.hpp native/include/graphflow/*.h)

.PHONY: setup demo test test-slow lint format bench clean

setup: $(VENV)/.built

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(BUILD_NEEDS)
	touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(NATIVE)
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[demo,test,lint]"
	touch $@

demo: setup
	$(BIN)/python tutorials/digits.py

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto -m "not slow" $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# make bench runs every workload on every system that can be installed, in an environment of its
# own; NAME and SYSTEMS restrict it, BENCH_ARGS=--quick only tries it. See benchmarks/README.md.
bench: $(BENCH)/.built
	$(BENCH)/bin/python -m benchmarks $(NAME) $(if $(SYSTEMS),--systems $(SYSTEMS)) $(BENCH_ARGS)

$(BENCH)/.installed: benchmarks/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --upgrade pip
	$(BENCH)/bin/pip install --quiet $(BUILD_NEEDS)
	$(BENCH)/bin/python benchmarks/install.py
	touch $@

$(BENCH)/.built: $(BENCH)/.installed setup.py $(NATIVE)
	$(BENCH)/bin/pip install --quiet --no-build-isolation --editable .
	touch $@

clean:
	rm -rf $(VENV) $(BENCH) build dist *.egg-info graphflow/*.so
