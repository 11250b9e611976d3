# Everything happens in .venv; the only thing taken from the machine is a Python.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION := 0.13.9

.PHONY: up test check bench test-compose format migration clean

up: $(VENV)/.installed  ## start the whole platform on this machine
	@exec $(VENV)/bin/crawldock up

# uv comes with pip when it is absent, at the version that the lock file has; then it keeps itself.
$(VENV)/.installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try make PYTHON=python3.12"; exit 1; }
	@test -x $(VENV)/bin/pip -o -x $(UV) || $(PYTHON) -m venv --clear $(VENV)
	@test -x $(UV) || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

test: $(VENV)/.installed  ## the whole suite, on real SQLite, Postgres and Valkey
	$(VENV)/bin/python -m pytest -n 4 tests

check: $(VENV)/.installed  ## what a machine can hold of our conventions
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	@git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 400 { print $$2 ": " $$1 " lines, 400 are allowed"; bad = 1 } END { exit bad }'

format: $(VENV)/.installed  ## put the code into its usual form
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# What the peers of reading come from: Debian's packages zstd and nginx-light. A row without them fails, by name.
bench: $(VENV)/.installed  ## figures, each beside its peer's
	$(VENV)/bin/python -m bench

test-compose: $(VENV)/.installed  ## the same in containers, wherever a Docker engine answers
	@docker info >/dev/null 2>&1 || { echo "no Docker engine answers: the compose test cannot run"; exit 1; }
	$(VENV)/bin/python -m pytest -n 0 --timeout 1800 --override-ini addopts= --confcutdir=tests/compose tests/compose
