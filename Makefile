# Every target creates the environment .venv if needed, asks nothing and needs no Java. The first one downloads packages,
# which takes a few minutes.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml
# The packages that ALFWorld's text games need. All of its dependencies (pip install '.[alfworld]') include an unused
# language parser of some 200 MB.
ALFWORLD := alfworld textworld fast-downward-textworld jericho tatsu hashids mementos more-itertools prompt_toolkit \
	wcwidth termcolor tqdm networkx numpy
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

FAULTS ?= 100
# Tests of a file share fixtures, so each file runs in one process. More than four processes need too much memory.
# tests/conftest.py puts the files with slow tests first, and that order is kept.
PYTEST := -m pytest -q -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help quickstart test test-fast lint format benchmarks faults fuzz soak lowest audit clean

help:
	@echo "make quickstart   train a small agent on ScienceWorld and print its scores (RECIPE=... for another recipe)"
	@echo "make test         run all tests"
	@echo "make test-fast    run the tests without those that start several processes"
	@echo "make lint         check style, types and import rules"
	@echo "make format       format the code"
	@echo "make benchmarks   measure speed with the quickstart's policy, which is trained first if it is missing"
	@echo "make faults       inject 100 faults and check that nothing is lost (FAULTS=... for another number)"
	@echo "make fuzz         test parsers and readers with many thousand random inputs"
	@echo "make soak         play thousands of episodes while workers are killed"
	@echo "make lowest       run the tests with the oldest supported dependencies, in .venv-lowest (PYTHON=python3.10)"
	@echo "make audit        check the pinned dependencies for known vulnerabilities (needs a network)"
	@echo "make clean        remove .venv and caches; runs are kept"

quickstart: $(VENV)/.run $(if $(findstring alfworld,$(RECIPE)),$(VENV)/.alfworld)
	@echo "==> step-hrl run $(RECIPE)"
	@$(BIN)/step-hrl run $(RECIPE)

test: $(VENV)/.dev $(VENV)/.alfworld
	@echo "==> tests"
	@$(BIN)/python $(PYTEST)

test-fast: $(VENV)/.dev $(VENV)/.alfworld
	@echo "==> tests, without the slow ones"
	@$(BIN)/python $(PYTEST) -m "not slow"

lint: $(VENV)/.dev
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@echo "==> pyright"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright --pythonpath $(BIN)/python
	@echo "==> import-linter"
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

benchmarks: $(VENV)/.dev $(VENV)/.alfworld quickstart
	@for file in benchmarks/*.py; do echo "==> $$file"; $(BIN)/python $$file || exit 1; done

faults: $(VENV)/.dev
	@$(BIN)/python -m tests.faults --faults $(FAULTS)

fuzz: $(VENV)/.dev
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -q tests/fuzz --timeout=0 --hypothesis-show-statistics

soak: $(VENV)/.dev
	@$(BIN)/python -m tests.faults.soak

lowest: $(LOWEST)/.dev
	@$(LOWEST)/bin/python $(PYTEST) -p no:cacheprovider --ignore=tests/faults --ignore=tests/fuzz $(TESTS)

audit: $(VENV)/.dev
	@$(INSTALL) pip-audit
	@$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "step-hrl needs Python 3.10 or newer; choose one with make PYTHON=python3.12"; exit 1; }
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt $(VENV)/.made
	@echo "==> installing step-hrl and ScienceWorld into $(VENV) (a few minutes)"
	@$(INSTALL) --editable '.[scienceworld,report]'
	@touch $@

$(VENV)/.alfworld: $(VENV)/.run
	@if (command -v c++ && command -v make && command -v cmake) >/dev/null; then \
		echo "==> building ALFWorld's planner in $(VENV) (about four minutes)"; \
		$(INSTALL) --no-deps $(ALFWORLD) && touch $@ || echo "==> skipping ALFWorld: the build failed, see above"; \
	else \
		echo "==> skipping ALFWorld: building its planner needs c++, make and cmake"; \
	fi

$(VENV)/.dev: $(VENV)/.run
	@echo "==> installing the development tools into $(VENV)"
	@$(INSTALL) --editable '.[scienceworld,dev]'
	@touch $@

$(LOWEST)/.dev: pyproject.toml
	@echo "==> installing the oldest supported versions into $(LOWEST)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv
	@$(LOWEST)/bin/uv pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--extra scienceworld --extra dev pyproject.toml --output-file $(LOWEST)/oldest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $(LOWEST)/oldest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	@touch $@
