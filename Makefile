# Everything below makes its own environment in .venv, asks nothing and needs no Java: the first run downloads packages
# (a few minutes), later ones start at once.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml
# What ALFWorld needs to play its text games. As a whole (pip install '.[alfworld]') it brings a language parser besides
# that is never used, of some 200 MB.
ALFWORLD := alfworld textworld fast-downward-textworld jericho tatsu hashids mementos more-itertools prompt_toolkit \
	wcwidth termcolor tqdm networkx numpy
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

FAULTS ?= 100
# A file's tests share what they prepare, so a file goes to one process; more processes than this fill the memory.
PYTEST := -m pytest -q -n logical --maxprocesses 4 --dist loadfile

.PHONY: help quickstart test lint format benchmarks faults fuzz soak lowest audit clean

help:
	@echo "make quickstart   train a small agent on ScienceWorld and show how it scores (RECIPE=... for another recipe)"
	@echo "make test         run the tests"
	@echo "make lint         check style, types and which file may import which"
	@echo "make format       format the code"
	@echo "make benchmarks   measure speed, with the quickstart's policy (it is trained where it is not there)"
	@echo "make faults       hurt a hundred times what runs, and see whether anything is lost (FAULTS=... for another number)"
	@echo "make fuzz         try many thousand inputs that nobody would give"
	@echo "make soak         play thousands of episodes while workers are killed"
	@echo "make lowest       run the tests with the oldest versions that the package allows, in .venv-lowest (PYTHON=python3.10)"
	@echo "make audit        look up what is known to be unsafe in the versions used (needs a network)"
	@echo "make clean        remove .venv and caches (runs are kept)"

quickstart: $(VENV)/.run $(if $(findstring alfworld,$(RECIPE)),$(VENV)/.alfworld)
	@echo "==> step-hrl run $(RECIPE)"
	@$(BIN)/step-hrl run $(RECIPE)

test: $(VENV)/.dev $(VENV)/.alfworld
	@echo "==> tests"
	@$(BIN)/python $(PYTEST)

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
		{ echo "step-hrl needs Python 3.10 or newer; name one with make PYTHON=python3.12"; exit 1; }
	@echo "==> making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml constraints.txt $(VENV)/.made
	@echo "==> installing step-hrl and ScienceWorld into $(VENV) (some minutes the first time)"
	@$(INSTALL) --editable '.[scienceworld,report]'
	@touch $@

$(VENV)/.alfworld: $(VENV)/.run
	@if (command -v c++ && command -v make && command -v cmake) >/dev/null; then \
		echo "==> building ALFWorld's planner in $(VENV) (some four minutes the first time)"; \
		$(INSTALL) --no-deps $(ALFWORLD) && touch $@ || echo "==> no ALFWorld: it was not built, see above"; \
	else \
		echo "==> no ALFWorld: building its planner takes c++, make and cmake"; \
	fi

$(VENV)/.dev: $(VENV)/.run
	@echo "==> installing what tests and checks need into $(VENV)"
	@$(INSTALL) --editable '.[scienceworld,dev]'
	@touch $@

$(LOWEST)/.dev: pyproject.toml
	@echo "==> installing the oldest versions into $(LOWEST)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet uv
	@$(LOWEST)/bin/uv pip compile --quiet --python $(LOWEST)/bin/python --resolution lowest-direct \
		--extra scienceworld --extra dev pyproject.toml --output-file $(LOWEST)/oldest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $(LOWEST)/oldest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	@touch $@
