# Targets are listed by `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/sh

OPENAPI ?= examples/openapi/media-library.yaml
NAME ?= media-library
PYTEST_ARGS ?=
# How many processes run the tests; the live Airflow is in one of them.
PYTEST_JOBS ?= 2
# The first Python that will do; the newest name last, for the message if none does.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	command -v $$python >/dev/null 2>&1 \
	&& $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { echo $$python; exit; }; done; echo python3)

BIN := .venv/bin
PIP_AUDIT := pip-audit==2.10.1

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: check-document install ## Start Airflow, make a service from OPENAPI=file NAME=name, show what came of it.
	@$(BIN)/python -m local_airflow run --openapi "$(OPENAPI)" --name "$(NAME)"

.PHONY: up
up: install ## Start Airflow, its database and the bundled agent.
	@$(BIN)/python -m local_airflow up

.PHONY: status
status: ## Show what runs.
	@if test -x $(BIN)/python; then $(BIN)/python -m local_airflow status; else echo "Nothing runs here."; fi

.PHONY: stop
stop: ## Stop everything that was started here.
	@if test -x $(BIN)/python; then $(BIN)/python -m local_airflow stop; else echo "Nothing runs here."; fi

.PHONY: test
test: install-dev lint ## Lint, check types and run all tests; PYTEST_ARGS="-k name" passes through.
	$(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: test-lowest
test-lowest: check-python ## Run the unit, records and airflow tests with the lowest versions that are supported.
	@"$(PYTHON)" -I local_airflow/bootstrap.py requirements-lowest-dev.txt --venv .venv-lowest
	.venv-lowest/bin/python -m pytest -n $(PYTEST_JOBS) --dist loadscope --no-loadscope-reorder tests/unit tests/records tests/airflow $(PYTEST_ARGS)

.PHONY: nightly
nightly: install-dev lint test-lowest ## Both, with twenty times the property tests and a kill at every line: an hour or so.
	SCAFFOLDER_TEST_PROFILE=nightly SCAFFOLDER_TEST_KILL_STEP=1 $(BIN)/python -m pytest -n $(PYTEST_JOBS) --dist loadscope --no-loadscope-reorder -o timeout=3600 $(PYTEST_ARGS)

.PHONY: lint
lint: install-dev ## Check style, formatting, types and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: install-dev ## Run one benchmark: NAME=module below benchmarks/.
	@test -f "benchmarks/$(NAME).py" || { echo "Error: NAME=$(NAME): there is no benchmarks/$(NAME).py" >&2; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

.PHONY: audit
audit: install-uv ## Ask PyPI for known vulnerabilities of what is pinned.
	$(BIN)/uv tool run --from $(PIP_AUDIT) pip-audit --strict --progress-spinner off --disable-pip --no-deps --requirement requirements-dev.txt

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make requirements" \
	--extra a2a --extra llm --extra fab --extra celery --extra demo --extra copier --extra cookiecutter pyproject.toml

.PHONY: requirements
requirements: install-uv ## Pin the requirements again, from pyproject.toml: the highest, and the lowest that it allows.
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --extra dev --constraint requirements.txt -o requirements-dev.txt
	$(COMPILE) --upgrade --resolution lowest-direct -o requirements-lowest.txt
	$(COMPILE) --extra dev --constraint requirements-lowest.txt -o requirements-lowest-dev.txt

.PHONY: clean
clean: stop ## Stop, and remove the databases, logs and generated projects.
	rm -rf .scaffolder generated-projects

.PHONY: distclean
distclean: clean ## Also remove the virtual environment and all caches.
	rm -rf .venv .venv-lowest .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Before anything is installed or started.
.PHONY: check-document
check-document:
	@test -f "$(OPENAPI)" || { echo "Error: OPENAPI=$(OPENAPI): there is no such file" >&2; exit 2; }

.PHONY: check-python
check-python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
		echo "Error: $(PYTHON) is missing. Install Python 3.11, 3.12 or 3.13 with its venv module." >&2; exit 2; }

.PHONY: install
install: check-python
	@"$(PYTHON)" -I local_airflow/bootstrap.py requirements.txt

.PHONY: install-dev
install-dev: check-python
	@"$(PYTHON)" -I local_airflow/bootstrap.py requirements-dev.txt

.PHONY: install-uv
install-uv: check-python
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet "$$(sed -n 's/^UV = "\(.*\)"/\1/p' local_airflow/bootstrap.py)"
