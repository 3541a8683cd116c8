# One command starts the console, one runs the tests; each makes its own environment first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EDITABLE := install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
CODE := opsconsole screens drivers data
# Tests never see the caller's own console, and nothing of them waits for a keyboard.
CLEAN := env -u OPSCONSOLE_HOME -u OPSCONSOLE_DATABASE_URL -u PYTHONPATH CI=true

.DEFAULT_GOAL := help
.PHONY: help console install develop test check quick bench soak index lock clean

help:
	@echo 'make console   start the console on this machine'
	@echo 'make test      everything CI runs: check, then all tests (25 minutes at most)'
	@echo 'make check     style, types, import contracts, generated files'
	@echo 'make bench     measurements against peers      make soak   long runs'
	@echo 'make index     generated files again           make lock   lock files again'

console: install
	@$(BIN)/opsconsole

install: $(VENV)/.installed
develop: $(VENV)/.developing

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo 'the module venv is missing (Debian: apt-get install python3-venv)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) $(EDITABLE)
	@touch $@

$(VENV)/.developing: requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements-dev.lock
	$(PIP) $(EDITABLE)
	@touch $@ $(VENV)/.installed

check: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -P -m opsconsole.indexing --check

test: check
	$(CLEAN) $(BIN)/pytest -m 'not soak and not bench' -n 2 --dist loadgroup </dev/null

quick: develop
	$(CLEAN) $(BIN)/pytest -m 'not soak and not bench and not lab' -x </dev/null

bench: develop
	$(CLEAN) $(BIN)/python -m tests.benchmarks </dev/null

soak: develop
	$(CLEAN) $(BIN)/pytest -m soak --timeout 0 </dev/null

index: develop
	$(BIN)/python -P -m opsconsole.indexing

# The build backend is locked with the rest, for the project itself is built without isolation.
lock: develop
	printf 'setuptools>=77\n' > $(VENV)/build.in
	$(BIN)/uv pip compile $(LOCKING) -o requirements.lock pyproject.toml $(VENV)/build.in
	$(BIN)/uv pip compile $(LOCKING) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml $(VENV)/build.in

LOCKING := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	--no-emit-index-url --no-emit-find-links

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
