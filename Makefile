# `make help` lists what there is to make.  Every target sets up its own environment first, in .venv.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
HTML := _build/html

# What one page or test trains, the others find again: the book, the notebooks' tests and the package's own
# tests share one folder of trained models, keyed by configuration, data and code.
export MAA_CACHE ?= $(CURDIR)/.cache
# One widget version, one kernel, no settings of the person at the keyboard.
export JUPYTER_PREFER_ENV_PATH := 1
export PYTHONNOUSERSITE := 1
# What Python has compiled is kept in .venv, even where the environment forbids to keep it: without it every process
# takes three seconds longer to import PyTorch, pandas and SciPy, and the book and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/pycache
export IPYTHONDIR := $(CURDIR)/$(VENV)/ipython

.PHONY: help
help:  ## List the targets
	@echo "maa: an executable book on microaneurysm segmentation"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "The pages run on synthetic photographs, or on IDRiD where MAA_IDRID names its folder."

$(VENV)/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: maa needs Python 3.11 or newer; name one with 'make PYTHON=python3.12'" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-compile \
	  --editable '.[book,dev,test]' | sed -n -e 's/ (from .*//' -e '/^Collecting\|^Installing collected/p'
	@mkdir -p $(VENV)/etc/ipython  # else every kernel warns that it talks to its page without encryption
	@echo 'c.IPKernelApp.log_level = "ERROR"' > $(VENV)/etc/ipython/ipython_kernel_config.py
	@touch $@

.PHONY: setup
setup: $(VENV)/.stamp  ## Set up the environment in .venv

# What was changed, checked in a minute: no training, no browser, no pages.  The four run two at a time, and all of them in any case.
.PHONY: check
check: setup  ## Lint, types, imports and the quick tests, within 90 seconds
	@$(MAKE) --no-print-directory -j2 -k quick types lint imports

.PHONY: lint
lint: setup  ## Lint, formatting (of notebooks too) and spelling
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/codespell

.PHONY: types
types: setup  ## mypy, strictly
	@$(BIN)/mypy --no-error-summary

.PHONY: imports
imports: setup  ## Which room of maa may import which
	@found=$$($(BIN)/lint-imports --no-logo) || { echo "$$found"; exit 1; }

.PHONY: quick
quick: setup  ## The tests that are over soon: no training but of toys, no pages
	@unset MAA_IDRID; $(BIN)/python -m pytest -q -m 'not (slow or browser or colab or book or hostile)' tests

# What cannot be installed is left out, and the page says so.
.PHONY: bench
bench: setup  ## How fast maa is on this machine, beside other tools: writes results/bench (ten minutes on two idle cores)
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]' || \
	  echo "Not all of the other tools can be installed here: those that are absent are left out."
	@$(BIN)/python benchmarks/bench.py

.PHONY: mutate
mutate: setup  ## How many faults put into losses, metrics, sampling and fusion the tests notice (half an hour)
	@nice -n 10 $(BIN)/python benchmarks/mutate.py

.PHONY: format
format: setup  ## Put right what ruff can put right by itself
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

.PHONY: hooks
hooks: setup  ## Have git run the checks of .pre-commit-config.yaml before each commit
	@$(BIN)/pre-commit install

# A warning is an error.  Only pages whose inputs changed run again: book/_ext/stale_pages.py says which those are.
BUILD := $(BIN)/jupyter-book build -W -n --keep-going .

# What the browser tests serve to the pages: where npm or a chromium is missing they are skipped, and say so.
BROWSER := tests/browser/node_modules/.package-lock.json
$(BROWSER): tests/browser/package.json tests/browser/package-lock.json tests/browser/.npmrc
	@echo "Installing what the browser tests need from npm (once, half a minute)"
	@cd tests/browser && npm ci --silent
	@touch $@

.PHONY: browser
browser:  ## Install what the browser tests need from npm, where a chromium and npm are there
	@if ! command -v npm >/dev/null; then echo "No npm here, so the browser tests will be skipped."; \
	elif ! command -v chromium chromium-browser google-chrome >/dev/null; then \
	  echo "No chromium here, so the browser tests will be skipped."; \
	else $(MAKE) --no-print-directory $(BROWSER) || echo "npm could not install the packages, so the browser tests will be skipped."; fi

# There is something to read while the chapters run for the first time.  It lies apart, so that no part of a book is ever taken for the
# whole, and it warns of the pages that it links to, which are not there yet.
FRONT := _build/front
$(HTML)/index.html: | setup
	@echo "Building the front page"
	@$(BIN)/jupyter-book build -q --toc book/first_page.yml --path-output $(FRONT) . >/dev/null 2>&1 || true
	@echo "The front page, to read meanwhile: file://$(CURDIR)/$(FRONT)/_build/html/index.html"

.PHONY: book
book: setup $(HTML)/index.html  ## Run every chapter and build the book
	@echo "Building the book: chapters that changed run first, with a line for each"
	@$(BUILD)
	@echo "Checking the pages"
	@MAA_BOOK=$(HTML) $(BIN)/python -m pytest -q tests/book/test_book.py
	@echo
	@echo "The book: file://$(CURDIR)/$(HTML)/index.html   (or: make serve)"

# The key numbers that the notebooks' tests compare are the phantom's, so no other data are named to them.
.PHONY: test
test: setup browser  ## Test the package, the notebooks and the built book, and how much of maa the tests run
	@echo "1 of 2: building the book, whose pages are tested too"
	@unset MAA_IDRID; $(BUILD)
	@echo "2 of 2: testing the package, the pages, and every chapter anew, cell by cell: a dot for each test or cell"
	@unset MAA_IDRID; \
	MAA_BOOK=$(HTML) $(BIN)/python -m pytest --cov --cov-report=term tests && \
	$(BIN)/python -m pytest -q --nbval-lax --nbval-cell-timeout=300 notebooks

KILLS ?= 10
.PHONY: hostile
hostile: setup  ## A thousand hostile files, and kills at random moments (KILLS of each kind of run), which make test leaves out
	@MAA_KILLS=$(KILLS) $(BIN)/python -m pytest -q -m hostile tests

.PHONY: serve
serve: setup  ## Show the book at localhost:8000, and rebuild it when a file changes
	@$(BIN)/python book/serve.py $(PORT) $(BUILD)

.PHONY: links
links: setup  ## Follow every link that leads out of the book (needs the network)
	@$(BIN)/jupyter-book build --builder linkcheck --keep-going .

.PHONY: constraints
constraints: setup  ## Write constraints.txt anew from what .venv holds (make bench first: it adds the other tools)
	@{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip list --disable-pip-version-check --format=freeze --exclude-editable \
	  | grep -viE '^pip==' | sed 's/+cpu$$//' | LC_ALL=C sort -f; } > constraints.new
	@mv constraints.new constraints.txt

.PHONY: clean
clean:  ## Remove what was built and trained; the environment stays
	rm -rf _build build .cache .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache .coverage
