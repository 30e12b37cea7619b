# Two commands matter to a newcomer: `make demo` and `make test`. Both set everything up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test fuzz check bench clean

install: .venv/.installed

# uv is installed into the environment it then fills, so the machine needs nothing but Python and make.
.venv/.installed: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("Suanwang needs Python 3.11 or newer; try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync --locked --all-extras --inexact --quiet
	touch $@

demo: install
	$(BIN)/suanwang demo

test: check
	$(BIN)/pytest --hypothesis-profile=ci

# The property tests alone, on examples found at random (tests/conftest.py), so many times or until one fails.
ROUNDS ?= 10
fuzz: install
	for round in $$(seq $(ROUNDS)); do $(BIN)/pytest -m hypothesis || exit 1; done

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# What others publish is not part of this repository: DATA is where you keep it (benchmarks/README.md).
DATA ?= traces
bench: install
	UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync --locked --all-extras --inexact --quiet --group bench
	$(BIN)/python -m benchmarks --data $(DATA)

clean:
	rm -rf .venv .suanwang
