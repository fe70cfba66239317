# Each target does all the set-up that it needs with Python 3.11 or later and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A process for each processor (at most so many), and a file's tests in one of them, the long ones of faults first;
# processes whose tests need Kafka and S3 have their own.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## virtual environment in .venv with the pinned packages

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed ($(PYTHON) is not): make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: install its venv package (python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the pinned packages (some minutes the first time)"
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@PYTHONWARNINGS=ignore $(PIP) install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m jobs.compile_kernels || echo "kernels are compiled when they are first needed, then"
	@touch $(STAMP)

demo: $(STAMP)  ## a small city, from its messages to a query
	@$(BIN)/phl demo

test: lint  ## ruff, types, import layers, then all tests
	@$(PYTEST) --maxprocesses 4 tests/unit tests/golden
	@$(PYTEST) --maxprocesses 4 tests/property
	@$(PYTEST) --maxprocesses 2 tests/integration

lint: $(STAMP)  ## ruff, types and import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP)  ## throughput and latency on this machine
	@$(BIN)/python -m benchmarks

# Hashes are the public index's, whatever this machine has beside it.
lock: $(STAMP)  ## compile requirements.lock anew from pyproject.toml
	@env -u PIP_FIND_LINKS CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	  --allow-unsafe --no-emit-find-links --no-emit-index-url --no-emit-trusted-host --no-emit-options \
	  --extra dev --strip-extras --output-file requirements.lock pyproject.toml

clean:  ## remove what was made; stops the embedded services first
	@test ! -x $(BIN)/phl || $(BIN)/phl down || true
	@rm -rf $(VENV) .phl .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*.egg-info
