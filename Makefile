# Everything a developer types. `make help` lists it. Nothing here needs more than python3 (3.11 or newer) and make.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
TORCH ?= torch==2.13.0
MODEL ?= coder-0.5b
PYTEST_ARGS ?=

VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help setup model demo test check fix bench test-gpu bench-gpu editors editor-tools test-editors clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## make .venv with everything a developer needs

# torch comes first and alone, so that a CPU build which pip is configured to prefer is the one that gets taken.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or say make PYTHON=/path/to/python3"; exit 1; }
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --upgrade "$(TORCH)"
	$(RUN)/python -m pip install --editable ".[dev]"
	@touch $(READY)

model: $(READY)  ## install the default model (once, 491 MB; later runs need no network)
	$(RUN)/python -m seedls model install $(MODEL)

demo: model  ## complete and refactor real files with the default model
	$(RUN)/python -m seedls demo --model $(MODEL)

test: model  ## the whole default test suite: no GPU, no network
	$(RUN)/python -m pytest $(PYTEST_ARGS)

check: $(READY)  ## format, lint, types, import rules
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/python -m pytest -q tests/architecture

fix: $(READY)  ## format and repair what the linter can
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: model  ## measure speed on this machine (see benchmarks/README.md)
	$(RUN)/python -m model_runtime.evaluation.bench
	$(RUN)/python -m benchmarks.replay

test-gpu: model  ## the tests that need a CUDA device
	$(RUN)/python -m pytest -m gpu tests/kernels tests/cuda_path tests/model_runtime $(PYTEST_ARGS)

bench-gpu: $(READY)  ## everything there is to measure on a CUDA device, in stages
	$(RUN)/python -m benchmarks.gpu.run --out out/gpu

editors:  ## check, test and package the VS Code extension with the server inside (fetches Node where it is missing)
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer found: install one, or say make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) editors/vscode/scripts/build.py

editor-tools: $(READY)  ## install a VS Code that runs headless, for test-editors (800 MB)
	$(RUN)/python tests/editors/vscode/install_tools.py

test-editors: model  ## drive real editors, headless, then take the README's pictures in them (look at docs/images)
	$(RUN)/python -m pytest tests/editors --run-slow $(PYTEST_ARGS)
	$(RUN)/python -m tests.editors.screenshots

clean:  ## remove the environment, caches and build outputs; installed models stay
	rm -rf $(VENV) build dist out .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find seedls model_runtime tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
