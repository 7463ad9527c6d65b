# `make eval` and `make test` each do all their set-up: they build .venv when it is missing or older
# than pyproject.toml. `make help` lists the rest.
#
#   PYTHON    the Python to build .venv from, 3.11 or later       make eval PYTHON=python3.12
#   PIP_ARGS  further arguments for pip, say an index with the CPU build of torch, which is smaller
#   TEST_ARGS further arguments for pytest                        make test TEST_ARGS="-k replay"

PYTHON ?= python3
PIP_ARGS ?=
TEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RECORDINGS := datasets/neural_memory/recordings

.DEFAULT_GOAL := help
.PHONY: help eval test test-slow check lint format types clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

eval: $(VENV)/.installed  ## run neural_memory on ten recorded answers: no key, no Docker
	@[ -t 1 ] || export COLUMNS=170; \
	$(BIN)/inspect eval evals/neural_memory.py --epochs 10 --log-dir logs --display rich \
		--model replay/recordings -M submissions=$(RECORDINGS)
	@$(BIN)/python -c "from inspect_ai.log import list_eval_logs, read_eval_log as read; \
		exit(read(list_eval_logs('logs')[0], header_only=True).status != 'success')" \
		|| { echo; echo "The run did not succeed: the log above says why."; exit 1; }
	@echo
	@echo "These were recorded answers. To run a model (with its key in the environment):"
	@echo "  $(BIN)/inspect eval evals/neural_memory.py --epochs 10 --model anthropic/MODEL"
	@echo "To read the transcripts and the evidence for each criterion:"
	@echo "  $(BIN)/inspect view --log-dir logs"

test: check  ## format, lint, types, and all tests but the slow ones
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile $(TEST_ARGS)

test-slow: $(VENV)/.installed-dev  ## the slow tests
	$(BIN)/pytest -m slow $(TEST_ARGS)

check: lint types  ## both of the next two

lint: $(VENV)/.installed-dev  ## lint and format, without changing a file
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed-dev  ## mypy --strict
	$(BIN)/mypy
	$(BIN)/mypy tests

format: $(VENV)/.installed-dev  ## format the code and mend what ruff can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove .venv, builds and caches (not the logs)
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \
		'Python 3.11 or later is needed, and $(PYTHON) is older: make eval PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_ARGS) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install $(PIP_ARGS) --editable '.[dev]'
	@touch $@
