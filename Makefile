# Thin over the `harness` command. TORCH=cpu|cuda chooses the PyTorch build (default: cuda where
# nvidia-smi works); PYTHON chooses the interpreter (3.11 or later); SUITE=x the suite file that
# tables, figures and report are of, instead of all that ship.
PYTHON ?= python3
VENV ?= .venv
TORCH ?= $(shell nvidia-smi >/dev/null 2>&1 && echo cuda || echo cpu)
SUITES ?= suites/quickstart.yaml suites/cpu suites/gpu suites/registered suites/paper
SHOWN := $(or $(SUITE),$(SUITES))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
CPU_INDEX := --extra-index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 10
TORCH_INDEX := $(if $(filter cpu,$(TORCH)),$(CPU_INDEX),)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint bench tables figures report slurm-up slurm-down

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1|/' | \
	  while IFS='|' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done
	@echo "  SUITE=one suite file, or SUITES=$(SUITES)"
	@echo "  TORCH=$(TORCH)  PYTHON=$(PYTHON)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; give it with PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch-$(TORCH): constraints.txt | $(BIN)/python
	@echo "installing PyTorch ($(TORCH) build) into $(VENV)"
	$(PIP) $(TORCH_INDEX) torch
	@rm -f $(VENV)/.torch-* && touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch-$(TORCH)
	@echo "installing the harness and what it needs"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing the development extras"
	$(PIP) -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## make .venv and install the pinned dependencies

quickstart: setup ## train, evaluate, print tables and draw figures: EBT, Transformer++ and DiT
	@$(BIN)/harness run suites/quickstart.yaml
	@$(BIN)/harness table suites/quickstart.yaml
	@$(BIN)/harness figures suites/quickstart.yaml
	@echo
	@echo "Tables:  results/tables/quickstart    Figures: results/figures/quickstart"
	@echo "Next: $(BIN)/harness plan suites/quickstart.yaml, or copy it and change it: suites/README.md"

test: $(VENV)/.dev lint ## lint, types and tests
	$(BIN)/pytest -n auto --maxprocesses 4

lint: $(VENV)/.dev ## ruff and strict mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev ## speed and memory against textbook forms and other libraries; BENCH=quick is shorter
	BENCH=$(BENCH) $(BIN)/python -m tests.bench

tables: setup ## print and write the tables of all shipped suites, or of SUITE
	@$(BIN)/harness table $(SHOWN)

figures: setup ## draw the figures of all shipped suites, or of SUITE
	@$(BIN)/harness figures $(SHOWN)

report: setup ## write results/report.html of all shipped suites, or of SUITE
	@$(BIN)/harness report $(SHOWN)

slurm-up: setup ## start a two-node Slurm on this machine, to try `harness submit` on
	@$(BIN)/python -m tests.slurm up

slurm-down: $(BIN)/python ## stop it and delete its files
	@$(BIN)/python -m tests.slurm down
