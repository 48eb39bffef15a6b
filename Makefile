# The commands of this project. `make help` lists them.
PYTHON ?= .venv/bin/python

.PHONY: help setup browser demo test test-slow gpu lint format wheel clean

help: ## List the commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Make .venv with everything in it and fetch the pinned weights (minutes; once).
	@bash scripts/setup.sh

browser: ## Install Debian's chromium and its driver, for the browser tests (needs root).
	@bash scripts/install_browser.sh

demo: setup ## Run the whole flow on the sample show; the last line is the report's path.
	@bash scripts/demo.sh

test: setup ## Run the tests.
	$(PYTHON) -m pytest -q -m "not slow and not gpu"

test-slow: setup ## Run the tests that take minutes, too.
	$(PYTHON) -m pytest -q -m "not gpu"

gpu: ## Try a CUDA GPU in under 8 minutes, offline; needs no setup (make gpu PYTHON=python3).
	$(PYTHON) benchmarks/gpu.py

lint: setup ## Check style, formatting and types.
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: setup ## Put the code into the house format.
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

wheel: setup ## Build the wheel into dist/.
	$(PYTHON) -m build --wheel

clean: ## Remove what was built; data/ and runs/ stay.
	rm -rf build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
