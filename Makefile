# Set-up, demo and tests in one command each. Another torch build: make demo TORCH="torch==2.11.0" PIP_ARGS="--index-url ..."
PYTHON ?= python3
VENV ?= .venv
TORCH ?= -c constraints.txt
PIP_ARGS ?=
BIN = $(VENV)/bin
RUN ?= runs/demo

.PHONY: demo test slow lint check explorer clean

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

# The page of `theodolite explore` from its sources; needs Node 20 and npm.
explorer: $(VENV)/.installed-dev
	$(BIN)/python scripts/explorer.py
	$(BIN)/python scripts/explorer.py --check

clean:
	rm -rf $(VENV) runs build dist
