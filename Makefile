# Durian. `make demo` shows the whole loop, `make run` starts the service, `make test` runs the tests.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
HOST   ?= 127.0.0.1
PORT   ?= 8000
STAMPS := .stamps

.PHONY: run demo test test-postgresql image-test kill kill-mutants mutants soak check lint types bench \
	bench-peers bench-gpu sbom audit lock lock-images clean setup setup-dev setup-torch

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

check: setup-dev lint types test mutants  ## what CI runs

mutants: setup-dev  ## 26,000 mutants of uploads and 3,000 of ONNX files: 20 s of one core
	$(BIN)/pytest -n 2 -m nightly tests/unit/test_decoder_mutants.py tests/unit/test_onnx_mutants.py

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

bench-peers: setup-torch $(STAMPS)/dev  ## the same load on other servers, which it installs under build/peers
	$(BIN)/python -m tests.benchmarks.with_peers

bench-gpu: setup-dev  ## the figures of a GPU, where there is one
	@$(BIN)/python -c "import sys; from app.engine.providers import CUDA, providers; \
	  sys.exit(0 if CUDA in providers('cuda') else 'No CUDA device with its libraries here: nothing is measured.')"
	$(BIN)/pytest -m gpu tests/gpu
	$(BIN)/python -m tests.benchmarks gpu

kill: setup-dev  ## a hundred SIGKILLs of service, worker and children under load
	$(BIN)/python -m tests.kill --kills 100

kill-mutants: setup-dev  ## faults seeded into the service, each of which the harness must find
	$(BIN)/python -m tests.kill --mutants

soak: setup-dev  ## about three hours: a thousand kills, every nightly test, two hours of mixed load
	timeout 3600 $(BIN)/python -m tests.kill --kills 1000 --seconds 3300
	timeout 3600 $(BIN)/pytest -m nightly
	$(BIN)/python -m tests.soak --seconds 7200

sbom: $(STAMPS)/dev  ## what a service runs on, as build/sbom.cdx.json (CycloneDX)
	$(BIN)/python -m tests.supply.sbom build/sbom.cdx.json

audit: $(STAMPS)/dev  ## known faults of pinned packages; fails where it cannot find out (needs PyPI's advisories)
	$(BIN)/python -m tests.supply.audit

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
