# Each target sets up what it needs. Nothing is to be installed first but python3 (3.11 or later) and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CODE   := opencrypto drivers consumers tests tools
PYTEST := $(BIN)/python -m pytest
TOGETHER = $(PYTEST) -n $(or $(WORKERS),2) --dist worksteal

# Compiled modules, ours and those whose asserts pytest rewrites, are kept even where the environment
# wants none beside the sources: without them each process compiles all of it again.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/bytecode
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint format soak storm fuzz mutants kit gateway algsocket bench streams freethreaded lowest capture system clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

# Reinstalled only when pyproject.toml changes: the install is editable, sources need nothing.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "opencrypto needs Python 3.11 or later; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || PYTHON=$(PYTHON) tools/install-system-packages venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e '.[dev,openssl,testing]'
	@touch $@

demo: $(STAMP) ## protect and unprotect a real capture, with a driver unplugged half way
	$(BIN)/python tools/demo.py

# What measures, floods or boots a machine runs by itself, all else on as many workers as CI has cores.
test: $(STAMP) system ## every test (WORKERS=2)
	@failed=; \
	$(PYTEST) -m 'not bench and (alone or kernel)' || failed=' alone'; \
	$(TOGETHER) -m 'not bench and not (alone or kernel)' || failed="$$failed together"; \
	test -z "$$failed" || { echo "failed among the tests that run:$$failed" >&2; exit 1; }

quick: $(STAMP) ## the everyday loop: less than a minute on two cores
	OPENCRYPTO_QUICK=1 $(BIN)/python tools/side_by_side.py $(or $(WORKERS),2) -o faulthandler_timeout=0 \
	  --ignore tests/benchmarks -m 'not slow and not bench and not alone' -q

lint: $(STAMP) ## ruff, its formatter, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(CODE)

format: $(STAMP) ## let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(STAMP) ## everything at once for ten minutes (SECONDS=600)
	OPENCRYPTO_SOAK_SECONDS=$(or $(SECONDS),600) $(PYTEST) -s -o faulthandler_timeout=0 tests/soak

storm: $(STAMP) ## signal handlers and finalizers in the midst of everything (SECONDS=60 each)
	OPENCRYPTO_STORM_SECONDS=$(or $(SECONDS),60) $(PYTEST) -o faulthandler_timeout=0 -o timeout=0 tests/core/test_interrupted.py tests/core/test_called_within.py

fuzz: $(STAMP) ## requests and captures made of anything, for some minutes (EXAMPLES=40000)
	OPENCRYPTO_FUZZ_EXAMPLES=$(or $(EXAMPLES),40000) $(PYTEST) -o faulthandler_timeout=0 tests/fuzz tests/core/keys/test_fuzz.py

mutants: $(STAMP) ## single faults planted in the core, and which go unnoticed (SAMPLE=200 SEED=1)
	$(BIN)/python tools/mutants.py --sample $(or $(SAMPLE),200) --seed $(or $(SEED),1)

kit: $(STAMP) ## every faulty driver of the kit against every clause, for a quarter of an hour
	OPENCRYPTO_KIT_LONG=1 $(PYTEST) -o faulthandler_timeout=0 tests/kit

gateway: $(STAMP) ## the ESP gateway against the kernel's IPsec and its like, 20 MiB each way with every suite (as root)
	OPENCRYPTO_GATEWAY_LONG=1 OPENCRYPTO_KERNEL_SECONDS=7200 $(PYTEST) -o faulthandler_timeout=0 tests/consumers/esp/gateway

algsocket: $(STAMP) ## programs of any calls on a kernel's AF_ALG sockets and on ours, some ten thousand (EXAMPLES=2500)
	OPENCRYPTO_ALG_EXAMPLES=$(or $(EXAMPLES),2500) $(PYTEST) -o faulthandler_timeout=0 -o timeout=0 tests/consumers/algsocket/test_differential.py

bench: $(STAMP) ## the tables of docs/performance.md
	$(PYTEST) -m bench -s tests/benchmarks

MIB ?= 10240
streams: $(STAMP) ## a file of ten gigabytes through messages in pieces, in little memory (MIB=10240)
	OPENCRYPTO_STREAM_MIB=$(MIB) $(PYTEST) -m bench -s tests/benchmarks/test_streams.py -k large_file

# Core, sessions, key operations, virtual sessions and storms, without a global interpreter lock.
# Single-threaded code runs at half its speed there, so on a busy machine the state machines take minutes.
FREETHREADED := tests/core tests/measure tests/test_threads.py tests/test_thread_failures.py

freethreaded: ## the tests of threads on a free-threaded Python, which is built first
	python=$$(tools/free-threaded-python) && $$python tools/show_drivers.py && \
	  $$python -X gil=0 -m pytest -m 'not bench' --timeout 900 -p no:cacheprovider $(FREETHREADED) \
	    --ignore tests/core/keys/test_interop.py

# What an installer may put together by the floors of pyproject.toml must work, and not the newest alone.
LOWEST := build/lowest

lowest: ## core, drivers and command with the lowest versions that pyproject.toml names
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python tools/lowest_versions.py >$(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LOWEST)/constraints.txt \
	  -e '.[dev,openssl,gmpy2,metrics,telemetry,testing]'
	$(LOWEST)/bin/python -m pytest -m 'not slow and not bench and not kernel' -q -p no:cacheprovider \
	  -W ignore::DeprecationWarning tests/core tests/drivers tests/cli  # old ones may be deprecated

capture: ## record tests/data/capture.pcap again (as root)
	tools/install-system-packages capture
	tools/record-capture tests/data/capture.pcap

# The tests name what is still missing, so here it is no failure.
system:
	@tools/install-system-packages test || true

clean: ## remove all that can be made again
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
