# Set-up, demo and tests in one command each. Another torch build: make demo TORCH="torch==2.11.0" PIP_ARGS="--index-url ..."
PYTHON ?= python3
VENV ?= .venv
TORCH ?= -c constraints.txt
PIP_ARGS ?=
BIN = $(VENV)/bin
RUN ?= runs/demo

OLDEST ?= .venv-oldest

.PHONY: demo test slow lint check oldest bench explorer docs clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install $(PIP_ARGS) $(TORCH) -e ".[all]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install $(PIP_ARGS) $(TORCH) -e ".[dev]"
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/theodolite demo --out $(RUN)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto -m "not slow"

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# Strict: a warning ends it. Tutorials are executed, four minutes of one core in all.
docs: $(VENV)/.installed-dev
	$(BIN)/pip install $(PIP_ARGS) -e ".[docs]"
	$(BIN)/sphinx-build -W --keep-going -b html docs site/html

# The oldest torch and diffusers that pyproject.toml allows: what is opened and what is differentiated, some minutes. It
# downloads both, so that CI does not run it; before a release do, or when pyproject.toml changes its least versions.
oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install $(PIP_ARGS) -e . "torch==2.8.*" "diffusers==0.35.*" "huggingface-hub<1" "pytest>=8" "pytest-xdist>=3.6" hypothesis plotly jinja2 scipy
	$(OLDEST)/bin/python -m pytest -n auto -m "not slow" tests/maps tests/derivatives

# The page of `theodolite explore` from its sources; needs Node 20 and npm.
explorer: $(VENV)/.installed-dev
	$(BIN)/python scripts/explorer.py
	$(BIN)/python scripts/explorer.py --check

clean:
	rm -rf $(VENV) $(OLDEST) runs build dist site
