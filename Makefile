# Every target makes what it needs: a virtual environment of its own in .venv, with pip upgraded inside it.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DATA   ?=
JOBS   ?= 2
INTEROP ?= .venv-interop
PEERS  ?= .venv-peers
OLDEST ?= .venv-oldest

.PHONY: help demo test test-oldest lint type format bench bench-quick bench-bulk bench-peers interop serve test-data clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       rerank a real list by a real model on the local server"
	@echo "make test       lint, types and the whole test suite"
	@echo "make test-oldest   the suite on the oldest versions of what it depends on"
	@echo "make lint|type|format   one of them alone"
	@echo "make interop    three other clients from PyPI against the local server: their rankings against ours"
	@echo "make bench      limits, faults, fairness, batches, CPU, beside raw aiohttp: medians of 5 (more than an hour)"
	@echo "make bench-quick   the same once, with one kind of limit (under 10 minutes)"
	@echo "make bench-peers   three clients from PyPI at a limit, beside ours"
	@echo "make bench-bulk  bulk jobs: CPU, memory, kill -9, use of the limit; minutes"
	@echo "make serve      the local server, until Ctrl-C"
	@echo "make test-data DATA=FOLDER   BEIR folders: HTTP ranking against direct ranking, nDCG@10"

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "rerank_async needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "This Python has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable '.[cli,local]'
	@$(BIN)/python -m compileall -q rerank_async
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable '.[cli,local,orjson,dev]'
	@$(BIN)/python -m compileall -q rerank_async
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run
	$(BIN)/python examples/search_stdlib.py

serve: $(VENV)/.run
	$(BIN)/rerank-async serve

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.dev
	$(BIN)/mypy

test: $(VENV)/.dev lint type
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

$(OLDEST)/.made: pyproject.toml tests/oldest.txt | $(BIN)/pip
	rm -rf $(OLDEST)
	$(PYTHON) -m venv --without-pip $(OLDEST)
	$(BIN)/python -m pip --python $(OLDEST) install --quiet --disable-pip-version-check --constraint tests/oldest.txt \
	  --editable '.[cli,local,orjson,dev]'
	@touch $@

test-oldest: $(OLDEST)/.made
	$(OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py

bench-quick: $(VENV)/.dev
	$(BIN)/python benchmarks/run.py --quick

bench-bulk: $(VENV)/.dev
	$(BIN)/python benchmarks/bulk.py

# Each client has a virtual environment of its own, made anew when its pinned versions change.
$(PEERS)/%/.made: benchmarks/peers/%.txt | $(BIN)/pip
	rm -rf $(PEERS)/$*
	$(PYTHON) -m venv --without-pip $(PEERS)/$*
	$(BIN)/python -m pip --python $(PEERS)/$* install --quiet --disable-pip-version-check --no-compile --requirement $<
	@touch $@

bench-peers: $(VENV)/.dev $(INTEROP)/ibm/.made $(INTEROP)/litellm/.made $(PEERS)/cohere/.made
	$(BIN)/python benchmarks/peers/run.py ibm=$(INTEROP)/ibm/bin/python litellm=$(INTEROP)/litellm/bin/python \
	  cohere=$(PEERS)/cohere/bin/python

$(INTEROP)/%/.made: tests/interop/requirements/%.txt | $(BIN)/pip
	rm -rf $(INTEROP)/$*
	$(PYTHON) -m venv --without-pip $(INTEROP)/$*
	$(BIN)/python -m pip --python $(INTEROP)/$* install --quiet --disable-pip-version-check --no-compile --requirement $<
	@touch $@

interop: $(VENV)/.dev $(foreach client,ibm langchain litellm,$(INTEROP)/$(client)/.made)
	PYTHONPATH=tests $(BIN)/python -m interop.run $(INTEROP)

test-data: $(VENV)/.dev
	@test -n "$(DATA)" || { echo "Say where the BEIR folders are: make test-data DATA=FOLDER" >&2; exit 1; }
	$(BIN)/python benchmarks/beir.py "$(DATA)"

clean:
	rm -rf $(VENV) $(INTEROP) $(PEERS) $(OLDEST) .mypy_cache .pytest_cache .ruff_cache .hypothesis
