# make run · make test · make ui: each sets up all it needs on a fresh machine with Python 3.11, git and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Where it is set (in many container images), each process compiles TensorFlow's sources again: 8 seconds.
unexport PYTHONDONTWRITEBYTECODE
# A file's tests share what it set up, so they stay with one worker; in the order of tests/conftest.py.
# Three workers on two cores: some wait for servers and processes that they started.
PYTEST := pytest -n 3 --dist loadfile --no-loadscope-reorder
# Bytecode is made where a module is first used: half of the installation is compiling what nobody imports.
PIP := pip install --quiet --disable-pip-version-check --no-compile
KERAS_TESTS := $(addprefix tests/,models training explain/test_saliency.py explain/test_sanity_checks.py tracking/test_runs.py \
	stages/test_continue_training.py stages/test_external_stage.py)

.PHONY: help setup setup-dev run test test-fast test-jax test-site lint types notebook docs ui lock clean

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## ?/\t/' | expand -t 12

setup: $(VENV)/.run          ## the virtual environment, with what the pipeline needs

setup-dev: $(VENV)/.dev      ## and with what tests, lint and types need

run: setup                   ## the whole pipeline (dvc repro), then the comparison table
	dvc repro
	@python -m mammo summary

test: setup-dev              ## all tests
	$(PYTEST)

test-fast: setup-dev         ## all tests but the slow ones, with a fifth of the random examples
	$(PYTEST) -m "not slow" --hypothesis-profile fast

test-jax: setup-dev          ## the tests of all that trains or predicts, on Keras' JAX backend
	KERAS_BACKEND=jax $(PYTEST) $(KERAS_TESTS)

test-site: setup-dev         ## the site (make docs first) in a browser
	MAMMO_SITE=site pytest tests/test_site.py

lint: setup-dev              ## ruff: lint and format; the order of the packages (import-linter)
	ruff check .
	ruff format --check .
	lint-imports --no-cache

types: setup-dev             ## mypy
	mypy

notebook: setup-dev          ## execute the notebook in a copy of this repository and keep its outputs
	python notebooks/execute.py

docs: $(VENV)/.docs          ## the documentation site, in site/; a broken link is an error
	mkdocs build --strict

ui: setup                    ## the MLflow UI on http://127.0.0.1:5000
	python -m mammo ui --port 5000

lock: setup-dev              ## requirements/*.in -> the pinned files beside them
	pip install --quiet pip-tools
	pip-compile --quiet --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements.txt requirements/base.in
	pip-compile --quiet --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements/dev.txt requirements/dev.in
	pip-compile --quiet --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements/docs.txt requirements/docs.in
	pip-compile --quiet --strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file requirements/onnx.txt requirements/onnx.in

clean:           ## remove the virtual environment and all computed data, not downloads and not the tracking store
	rm -rf $(VENV) .dvc/cache .dvc/tmp
	find data -mindepth 1 -maxdepth 1 ! -name README.md ! -name downloads -exec rm -rf {} +

# Debian and Ubuntu split the modules that make an environment off their Python, and leave half of one without them.
$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "there is no python3.11; on Debian and Ubuntu: apt install python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(PYTHON) -c 'import sys; print("$(PYTHON) cannot make a virtual \
	environment; on Debian and Ubuntu: apt install python%d.%d-venv" % sys.version_info[:2])' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(BIN)/python
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.docs: requirements/docs.txt | $(BIN)/python
	$(PIP) -r requirements/docs.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(PIP) -r requirements/dev.txt
	@touch $@
