# make train       train the default network on Fashion-MNIST
# make test        the whole test suite, on NumPy and on CuPy with a pretend GPU (a quarter of an hour)
# make check       ruff, mypy and the tests of the engine's core, on NumPy (one minute)
# make check-python PYTHON=python3.12   the tests that need neither PyTorch nor CuPy, with another Python
# make gradcheck   every operation's gradients against three other ways to compute them
# make mutants     how many small faults in the derivative code the suite catches (40 minutes)
# make bench       time and memory against other libraries (half an hour)
# make bench-gpu   the same on a GPU, with the Python that has CuPy and PyTorch (ten minutes)
# make gpu-counts  what a training step asks of a GPU, counted without one (two minutes)
# make docs        the pages of docs/ as a site, in build/site
# make wheel       the package: built, installed into an empty environment, and tried there
# make lint        ruff and mypy
# Each makes .venv and installs what it needs; nothing is installed anywhere else.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
CORE := autograd creation dtype functional nn operations optim random tensor
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

.PHONY: train test test-numpy test-pretend check check-python gradcheck mutants bench bench-gpu gpu-counts docs wheel lint format clean

train: .venv/run.stamp
	$(BIN)/python -m nin.train $(ARGS)

test: .venv/test.stamp # CuPy is for Linux
	$(MAKE) --keep-going test-numpy $(if $(filter Linux,$(shell uname)),test-pretend)

test-numpy test-pretend check check-python: export OMP_NUM_THREADS := 1 # as there is a process a core

test-numpy: .venv/test.stamp
	$(PYTEST) $(ARGS)

test-pretend: .venv/test.stamp build/cupy-cuda13x
	$(PYTEST) --backend pretend $(ARGS)

check: lint
	$(PYTEST) $(CORE:%=tests/test_%.py) $(ARGS)

OTHER := build/$(notdir $(PYTHON))
# By what a file imports, or does, that a Python without PyTorch, CuPy, ONNX and TensorBoard has not.
LACKED := torch|[. ]table import|mutation import|twin import|docs import|tensorboard import|pretend|processes
FREE = $(shell grep -LE '$(LACKED)|import (mpi|cupy|onnx)|no-isolation|good --onnx' tests/test_*.py)

check-python:
	$(PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet --editable . pytest pytest-xdist hypothesis
	$(OTHER)/bin/python -m minicnn.gradcheck
	$(PYTEST:$(BIN)%=$(OTHER)/bin%) $(FREE) $(ARGS)

gradcheck: .venv/test.stamp
	$(BIN)/python -m minicnn.gradcheck $(ARGS)

mutants: .venv/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[test,mutants]'
	$(BIN)/python -m tests.mutation $(ARGS)

bench: .venv/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	$(BIN)/python -m benchmarks.suite $(ARGS)

bench-gpu: # installs nothing, as a machine with a GPU may have no network
	$(PYTHON) -m benchmarks.gpu $(ARGS)

gpu-counts: .venv/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[counts]'
	$(BIN)/python -m benchmarks.gpu_counts $(ARGS)

docs: .venv/run.stamp
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'The site begins with build/site/index.html.'

NEW := build/installed
wheel: .venv/test.stamp
	rm -rf build/dist $(NEW)
	$(BIN)/python -m build --outdir build/dist
	$(PYTHON) -m venv $(NEW)
	$(NEW)/bin/python -m pip install --quiet build/dist/*.whl
	mkdir $(NEW)/empty
	cd $(NEW)/empty && ../bin/nin train --dry-run --dataset silhouettes && ../bin/python -m minicnn.gradcheck

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/run.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test.stamp: .venv/run.stamp
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

build/cupy-cuda13x: | .venv/run.stamp # the CuPy that .venv has not
	rm -rf $@.part
	$(BIN)/python -m pip install --quiet --no-deps --target $@.part 'cupy-cuda13x==14.2.*'
	mv $@.part $@

.venv/dev.stamp: .venv/test.stamp
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .hypothesis .mypy_cache .ruff_cache build *.egg-info
