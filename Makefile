# Everything a newcomer types. Needs Python 3.11+ with pip and venv, and make; uses uv where it is installed.
PYTHON   ?= python3
VERSIONS ?= 3.11 3.12 3.13
# `make test` has no time for these.
MORE     ?= 3.14 3.15 3.13t 3.14t
ARGS     ?=
EVERYTHING ?=
# Test files that run side by side; most of their time is waiting. JOBS=0 runs them one by one, as `-s` and `--pdb` need.
JOBS     ?= 3

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# Two test runs side by side would measure each other, and both would build the same environment.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-quick test-more lint types format examples bench profile failures chaos placement clean .venv

BIN := .venv/bin
# What measures, hunts or shows, and has little to do with the version of Python, runs on one of them only.
ONCE := $(foreach it,benchmarks benchmarks_placement chaos demo docs examples failures_table profile proof_holes,--ignore tests/test_$(it).py)
# On this Python everything runs, on both event loops. The newer ones have one each, and what takes long runs on one of
# the two, so that CI ends in time (EVERYTHING=1: all of it on all of them).
NOT_ON_3.12 := cargo porters listening web_server stdlib_executor capped faults/test_big_data map posts
NOT_ON_3.13 := process_pool_executor blocked workforce lessons faults/test_large_calls faults/test_imports stream actors
LOOP_ON_3.12 := asyncio
LOOP_ON_3.13 := uvloop
SKIPPED = $(if $(EVERYTHING),,$(foreach it,$(NOT_ON_$(1)),--ignore tests/$(if $(findstring /,$(it)),$(it),test_$(it)).py))
PYTEST := -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# $(call environment,FOLDER,INTERPRETER,GROUP): a virtual environment with this package (editable) and a dependency group.
# pip learned --group in 25.1, later than the one which Python 3.11 carries, hence the upgrade. A uv that cannot reach its
# index (it does not read pip's settings) is no reason to stop: pip then does the same.
define environment
	echo "== $(1): installing (group $(3))"; \
	rm -f $(1)/.stamp; \
	if ! { command -v uv >/dev/null 2>&1 \
	       && uv venv --quiet --allow-existing --python "$(2)" $(1) \
	       && uv pip install --quiet --python $(1)/bin/python --editable . --group $(3); }; then \
	    "$(2)" -m venv $(1); \
	    $(1)/bin/python -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'; \
	    $(1)/bin/python -m pip install -qq --disable-pip-version-check --editable . --group $(3); \
	fi; \
	touch $(1)/.stamp
endef

# $(call interpreter,3.12): prints the path of a Python of that version, or nothing. A pyenv shim may be on PATH and yet
# refuse to run, so each candidate is tried; after PATH come the neighbours of our own Python (as pyenv and uv lay them
# out), then pyenv's folder.
define interpreter
	neighbours=$$($(BIN)/python -c 'import pathlib, sys; print(pathlib.Path(sys.base_prefix).parent)'); \
	for candidate in python$(1) "$$neighbours"/*$(1).*/bin/python$(1) \
	                 "$$(pyenv root 2>/dev/null || echo /nonexistent)"/versions/$(1).*/bin/python$(1) \
	                 ~/.cache/pythons/*/bin/python$(1) ~/.cache/pythons/*/usr/bin/python$(1); do \
	    if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then echo "$$candidate"; break; fi; \
	done
endef

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.venv: .venv/.stamp
.venv/.stamp: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "hybridrt needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(call environment,.venv,$(PYTHON),dev)

demo: .venv ## a loop that stays quick while thousands of real files are read, parsed and compressed (ARGS="--dir PATH")
	@$(BIN)/hybridrt demo $(ARGS)

test: lint types test-quick $(VERSIONS:%=test-%) ## everything: lint, types, the tests on each Python that is here

test-more: $(MORE:%=test-%) ## the tests on newer and free-threaded Pythons, each where it is here

test-quick: .venv ## the tests, on this Python only (ARGS="-k word")
	@echo "== tests: $$($(BIN)/python -V)"
	@$(BIN)/python $(PYTEST)

# Newer releases of some packages have no wheels for it and are too dear to build.
test-3.13t: export PIP_CONSTRAINT = tests/constraints-3.13t.txt
test-3.13t: export UV_CONSTRAINT = tests/constraints-3.13t.txt

$(VERSIONS:%=test-%) $(MORE:%=test-%): test-%: .venv
	@if [ "$$($(BIN)/python -c 'import sys; print("%d.%d%s" % (*sys.version_info[:2], "t" * ("t" in sys.abiflags)))')" = "$*" ]; then exit 0; fi; \
	python=$$($(call interpreter,$*)); \
	if [ -z "$$python" ]; then echo "== tests: Python $* is not here: skipped"; exit 0; fi; \
	if [ ! -e .venvs/$*/.stamp ] || [ pyproject.toml -nt .venvs/$*/.stamp ]; then $(call environment,.venvs/$*,$$python,test); fi; \
	echo "== tests: $$(.venvs/$*/bin/python -VV)"; \
	HYBRIDRT_TEST_LOOP=$(if $(EVERYTHING),,$(LOOP_ON_$*)) .venvs/$*/bin/python $(PYTEST) $(ONCE) $(call SKIPPED,$*)

lint: .venv ## ruff: rules and format
	@echo "== lint"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: .venv ## ruff: mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

types: .venv ## mypy (strict) and basedpyright, and that the public API is typed throughout
	@echo "== types"
	@$(BIN)/mypy
	@$(BIN)/basedpyright
	@report=$$(PATH="$(CURDIR)/$(BIN):$$PATH" basedpyright --verifytypes hybridrt --ignoreexternal) \
	    || { echo "$$report"; exit 1; }; \
	echo "$$report" | grep "completeness"

examples: .venv ## each example, one after the other
	@$(BIN)/python $(PYTEST) tests/test_examples.py -v

bench: .venv ## hybridrt beside the others and beside the floor (ARGS="--help")
	@$(BIN)/python -m benchmarks $(ARGS)

profile: .venv ## where the time of one call goes, by strace, callgrind and setprofile: benchmarks/profile.md (ARGS="--help")
	@$(BIN)/python -m benchmarks.profile $(ARGS)

failures: .venv ## what hybridrt and its peers do when things go wrong, found out by doing it (ARGS="--only hybridrt")
	@$(BIN)/python -m benchmarks.failures $(ARGS)

chaos: .venv ## thousands of calls under random kills, cancels and limits, and a ledger of what really ran (ARGS="--seeds 50")
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

placement: .venv ## whether `run` puts a labelled set of functions where they belong (ARGS="--help")
	@$(BIN)/python -m benchmarks.placement $(or $(ARGS),labelled)

clean: ## what make and the tools made
	rm -rf .venv .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
