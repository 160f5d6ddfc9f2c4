# Durian. `make demo` shows the whole loop, `make run` starts the service, `make test` runs the tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
HOST   ?= 127.0.0.1
PORT   ?= 8000
STAMPS := .stamps

.PHONY: run demo test test-postgresql image-test check lint types bench lock lock-images clean setup setup-dev setup-torch

setup: $(STAMPS)/run $(STAMPS)/backbones  ## virtual environment, pinned dependencies, backbones
setup-dev: $(STAMPS)/dev $(STAMPS)/backbones
setup-torch: $(STAMPS)/torch $(STAMPS)/backbones  ## and torch: deeper methods, more sources of backbones

run: setup  ## start the service on http://$(HOST):$(PORT)
	$(BIN)/durian serve --host $(HOST) --port $(PORT)

demo: setup  ## the whole loop on real input, over HTTP
	$(BIN)/durian demo

test-postgresql: setup-dev  ## the tests of the service, on PostgreSQL
	DURIAN_TEST_DATABASE=postgresql $(BIN)/pytest -n 2 tests/integration

test: setup-dev  ## the tests
	$(BIN)/pytest -n 2

check: setup-dev lint types test  ## what CI runs

lint: $(STAMPS)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMPS)/dev
	$(BIN)/mypy

image-test: setup-dev  ## build both images, start them, run the demo against them (root, buildah, minutes)
	$(BIN)/python -m tests.image

bench: setup-dev  ## the figures of docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks

lock: $(STAMPS)/venv  ## pin every dependency again, with hashes
	$(compile) --upgrade requirements/build.in -o requirements/run.lock
	$(compile) --upgrade --extra dev -c requirements/run.lock requirements/build.in -o requirements/dev.lock
	$(compile) --extra torch -c requirements/dev.lock requirements/build.in -o requirements/torch.lock
	$(MAKE) --no-print-directory lock-images

lock-images:  ## what the images install, at the versions of the locks above
	sed -n 's/^onnxruntime-gpu\(==[^ ]*\).*/onnxruntime\1/p' requirements/run.lock > requirements/cpu.in
	$(compile) -c requirements/run.lock --override requirements/cpu.override requirements/cpu.in \
	  requirements/build.in -o requirements/api-cpu.lock
	$(compile) -c requirements/torch.lock requirements/gpu.in requirements/build.in -o requirements/api-gpu.lock
	$(compile) --extra torch -c requirements/torch.lock --override requirements/cpu.override \
	  requirements/cpu.in requirements/build.in -o requirements/worker-cpu.lock
	$(compile) --extra torch -c requirements/torch.lock requirements/gpu.in requirements/build.in \
	  -o requirements/worker-gpu.lock

compile = $(BIN)/uv pip compile -q --generate-hashes --no-header --python-version 3.11 --no-emit-index-url \
	pyproject.toml

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
