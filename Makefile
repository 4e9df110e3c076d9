# Commands for people. `make install` is done by the others when it is needed.
#   make train ARGS="model=tiny seed=1"      make eval RUN=runs/adfm-1a2b3c4d DATASET=magnetic_tile ARGS="dataset.root=..."
# TORCH_INDEX=<url> takes torch from another package index; the default one gives the build that fits the machine.

SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TORCH_INDEX ?=
ARGS ?=
RUN ?=
DATASET ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
INSTALLED := $(VENV)/.installed
BENCHED := $(VENV)/.benched

# Read by OpenMP when torch is imported: threads that spin while they wait slow down every other process.
export GOMP_SPINCOUNT := 0
export OMP_WAIT_POLICY := passive

.DEFAULT_GOAL := help
.PHONY: help install train eval test test-slow check golden tiny bench clean

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## make .venv and install everything into it

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with make PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) setuptools wheel ninja packaging numpy
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) --no-build-isolation deepspeed
	$(PIP) --editable ".[dev]"
	touch $@

train: $(INSTALLED) ## train the embedded default on two cores, or what ARGS says, and report
	$(BIN)/python -m adfm.train $(or $(ARGS),engine.nproc=2)

eval: $(INSTALLED) ## evaluate RUN (default: the newest) on DATASET (default: its own)
	$(BIN)/python -m adfm.evaluate $(if $(RUN),run=$(RUN)) $(if $(DATASET),dataset=$(DATASET)) $(ARGS)

test: $(INSTALLED) ## the fast tests
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu" $(ARGS)

test-slow: $(INSTALLED) ## the rest
	$(BIN)/python -m pytest -n 2 -m "slow and not gpu" $(ARGS)

check: $(INSTALLED) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

golden: $(INSTALLED) ## compose the golden config again; read the difference before committing it
	$(BIN)/python -m adfm.train model=qwen3b reward=fine_grained --cfg job --resolve > tests/golden/train.yaml
	git diff --stat tests/golden/train.yaml

tiny: $(INSTALLED) ## rebuild the embedded model from its three recipes: three hours
	$(BIN)/python -m adfm.coldstart recipe=tiny $(ARGS)
	$(BIN)/python -m adfm.coldstart recipe=tiny_continued $(ARGS)
	$(BIN)/python -m adfm.coldstart recipe=tiny_annealed $(ARGS)

bench: $(BENCHED) ## time steps of adfm against TRL, or what ARGS says (--help tells all)
	$(BIN)/python experiments/step_time/bench.py $(ARGS)

$(BENCHED): $(INSTALLED)
	$(PIP) --editable ".[bench]"
	touch $@

clean: ## remove caches and builds; runs/ and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find adfm tests -name __pycache__ -type d -prune -exec rm -rf {} +
