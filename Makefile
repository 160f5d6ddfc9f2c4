# Durian. `make demo` shows the whole loop, `make run` starts the service, `make test` runs the tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
HOST   ?= 127.0.0.1
PORT   ?= 8000
STAMPS := .stamps

.PHONY: run demo test check lint types bench bench-gpu lock clean setup setup-dev setup-torch

setup: $(STAMPS)/run $(STAMPS)/backbones  ## virtual environment, pinned dependencies, backbones
setup-dev: $(STAMPS)/dev $(STAMPS)/backbones
setup-torch: $(STAMPS)/torch $(STAMPS)/backbones  ## and torch: deeper methods, more sources of backbones

run: setup  ## start the service on http://$(HOST):$(PORT)
	$(BIN)/durian serve --host $(HOST) --port $(PORT)

demo: setup  ## the whole loop on real input, over HTTP
	$(BIN)/durian demo

test: setup-dev  ## the tests
	$(BIN)/pytest -n 2

check: setup-dev lint types test  ## what CI runs

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMPS)/dev
	$(BIN)/mypy

bench: setup-dev  ## the figures of docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks

bench-gpu: setup-dev  ## the figures of a GPU, where there is one
	@$(BIN)/python -c "import sys; from app.engine.providers import CUDA, providers; \
	  sys.exit(0 if CUDA in providers('cuda') else 'No CUDA device with its libraries here: nothing is measured.')"
	$(BIN)/pytest -m gpu tests/gpu
	$(BIN)/python -m tests.benchmarks gpu

lock: $(STAMPS)/venv  ## pin every dependency again, with hashes
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 \
	  --no-emit-index-url pyproject.toml requirements/build.in -o requirements/run.lock
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-header --python-version 3.11 \
	  --no-emit-index-url --extra dev -c requirements/run.lock pyproject.toml requirements/build.in -o requirements/dev.lock
	$(BIN)/uv pip compile -q --generate-hashes --no-header --python-version 3.11 \
	  --no-emit-index-url --extra torch -c requirements/dev.lock pyproject.toml requirements/build.in -o requirements/torch.lock

# uv is fast; pip is asked where uv cannot reach the configured index. Both check the same hashes.
install = $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --require-hashes -r $(1) \
	|| $(BIN)/pip install -q --no-deps --require-hashes -r $(1)
project = $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . \
	|| $(BIN)/pip install -q --no-deps --no-build-isolation -e .

$(STAMPS)/venv: requirements/bootstrap.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r requirements/bootstrap.lock
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/run: $(STAMPS)/venv requirements/run.lock pyproject.toml
	$(call install,requirements/run.lock)
	$(project)
	@touch $@

$(STAMPS)/torch: $(STAMPS)/run requirements/torch.lock
	$(call install,requirements/torch.lock)
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements/dev.lock
	$(call install,requirements/dev.lock)
	@touch $@

$(STAMPS)/backbones: $(STAMPS)/run $(wildcard training/backbones/*.py)
	$(BIN)/durian backbones setup
	@touch $@

clean:
	rm -rf $(VENV) $(STAMPS) build .mypy_cache .ruff_cache .pytest_cache
