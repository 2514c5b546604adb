# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard native/*/*.c native/*/*.h native/*/*.cpp native/*/*.hpp native/include/graphflow/*.h)

.PHONY: setup demo test test-slow lint format bench clean

setup: $(VENV)/.built

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "setuptools>=77" wheel "pybind11>=2.13" "numpy>=2.0" "llvmlite>=0.50,<0.51" "networkx>=3"
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
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# make bench NAME=dispatch runs one benchmark; without a name, all of them.
bench: setup
	$(BIN)/python -m benchmarks $(NAME)

clean:
	rm -rf $(VENV) build dist *.egg-info graphflow/*.so
