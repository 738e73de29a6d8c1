# `make run` and `make test` are all the set-up there is: each makes .venv when it is missing and installs again
# when the list of dependencies has changed.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
SPHINX := $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet
PROJECT := setup.cfg pyproject.toml
ARGS ?=

# Most tests wait for others most of the time, so there are more of them at once than processors. What belongs
# to a module is made once for all its tests. In their own order, the last are those of tests/unit, which are
# short; by the number of tests, as it would be, the slow ones are, and processors wait for the longest.
SIDE_BY_SIDE := --numprocesses=4 --dist=loadfile --no-loadscope-reorder

# The tests start hundreds of processes, each of which would compile the package anew where this is set.
unexport PYTHONDONTWRITEBYTECODE

# The first that is new enough: plain `python3` may be older than 3.11, or missing.
find_python = for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	test -n "$$python" || { echo "tcpbalance needs Python 3.11 or newer, and none was found." >&2; exit 1; }

.PHONY: help run test audit cost bench soak check lint types floors docs wheel news clean

help: ## show this list
	@sed -n -E 's/^([a-z]+):.*## (.*)/\1 \2/p' $(MAKEFILE_LIST) | while read -r name what; do \
		printf 'make %-8s %s\n' "$$name" "$$what"; done

run: $(VENV)/installed-run ## start the demonstration on 127.0.0.1:8080; Ctrl-C ends it
	@exec $(BIN)/twistd -n --pidfile= tcpbalance --demo

test: $(VENV)/installed-test ## run all tests (ARGS="-k affinity" for some of them)
	@$(BIN)/pytest $(SIDE_BY_SIDE) $(ARGS)

audit: $(VENV)/installed-test ## let testssl.sh look at the default settings of TLS, a minute
	@$(BIN)/pytest -m audit $(ARGS)

cost: $(VENV)/installed-test ## count byte codes and calls a connection, which are the same in every run
	@PYTHONPATH=tests $(BIN)/python -m support.byte_codes

bench: $(VENV)/installed-bench ## measure against HAProxy, nginx and Envoy, about a quarter of an hour (ARGS="--turns 3 --only requests")
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/installed-test ## make faults at random while streams run, twenty minutes (ARGS="--seconds 60 --seed 1")
	@$(BIN)/pytest -m soak && $(BIN)/python -m bench.soak $(ARGS)

check: lint types floors news docs wheel ## everything that CI checks besides `make test`

lint: $(VENV)/installed-dev ## style and likely bugs
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check .

types: $(VENV)/installed-dev ## types, strictly
	@$(BIN)/mypy

floors: $(VENV)/installed-dev ## no package imports from a layer above it, and no two modules import each other
	@$(BIN)/lint-imports --no-cache --no-logo

news: $(VENV)/installed-dev ## the news fragments can be read
	@$(BIN)/towncrier build --draft --version next

docs: $(VENV)/installed-dev ## the documentation, into docs/_build/html
	@$(SPHINX) -b html docs docs/_build/html
	@$(BIN)/tcpbalance man >docs/_build/tcpbalance.1
	@echo "docs/_build/html/index.html docs/_build/tcpbalance.1"

# `build` holds what an earlier wheel was made of, and setuptools would put it into this one.
wheel: $(VENV)/installed-dev ## build a wheel, install it elsewhere and test it as installed
	@rm -rf build
	@elsewhere=$$(mktemp -d) && trap 'rm -rf "$$elsewhere" build' EXIT && $(BIN)/tox run -q -e py --workdir "$$elsewhere"

clean: ## remove whatever was made here
	@rm -rf $(VENV) .tox build dist *.egg-info docs/_build twisted/plugins/dropin.cache
	@rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Waits for pip and not for python: a venv without ensurepip leaves a python that can install nothing.
$(BIN)/pip:
	@$(find_python); echo "Making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV)

$(VENV)/installed-run: $(PROJECT) | $(BIN)/pip
	@echo "Installing tcpbalance into $(VENV)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/installed-test: $(PROJECT) | $(BIN)/pip
	@echo "Installing tcpbalance and what its tests need into $(VENV)"
	@$(PIP) install --editable '.[test]'
	@touch $@ $(VENV)/installed-run

$(VENV)/installed-bench: $(PROJECT) | $(BIN)/pip
	@echo "Installing tcpbalance and what measuring it needs into $(VENV)"
	@$(PIP) install --editable '.[bench]'
	@touch $@ $(VENV)/installed-run

$(VENV)/installed-dev: $(PROJECT) | $(BIN)/pip
	@echo "Installing tcpbalance and what its checks need into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/installed-test $(VENV)/installed-run
