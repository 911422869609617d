# Each target installs what it needs into .venv first; nothing else has to be prepared.
# ARGS is handed on, as in: make test ARGS="-k burn"     make demo ARGS=--year
# PYTHON chooses the Python that .venv is made from, as in: make test PYTHON=python3.13

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install -qq # warnings are about the machine, not the project
LOCK := $(PY) -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
# The whole year of purchases is read from a package that only this option needs.
YEAR := $(if $(findstring --year,$(ARGS)),.venv/year.stamp)

.PHONY: help demo test faults properties node guide check bench proto lock
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s%s\n", $$1, $$2 }' Makefile

demo: .venv/run.stamp $(YEAR) ## a real month of purchases, from the first earn to the last statement
	@$(PY) examples/demo.py $(ARGS)

# Nobody takes a crashed worker's place: with loadfile the others could then wait for ever (pytest-xdist#1378).
test: .venv/dev.stamp ## every test, on as many as four cores
	@$(PY) -m pytest -n logical --maxprocesses 4 --max-worker-restart 0 --dist loadfile $(ARGS)

faults: .venv/dev.stamp ## kills, lost answers, and windows that close under 50 writers, many times over (12 minutes)
	@TONGDUI_FAULTS=20 $(PY) -m pytest -n 0 tests/system/test_windows_under_load.py -o faulthandler_timeout=0 $(ARGS)
	@TONGDUI_FAULTS=50 $(PY) -m pytest -n 0 tests/system/test_outbox_faults.py tests/system/test_sidecar_process.py \
		tests/postgres/test_webhook_inbox.py -o faulthandler_timeout=0 $(ARGS)

properties: .venv/dev.stamp ## random histories of all commands, ten times as many and other ones (6 minutes)
	@TONGDUI_PROPERTY_FACTOR=10 $(PY) -m pytest tests/property tests/wire/test_sidecar_document.py -o faulthandler_timeout=0 $(ARGS)

node: .venv/dev.stamp examples/node/node_modules/.package-lock.json ## the Node client of examples/node against a hub (needs Node 20 or newer, and npm)
	@$(PY) -m pytest tests/system/test_node_client.py $(ARGS)

guide: .venv/dev.stamp ## docs/integrate.md, every block as written (its parts for curl and Node where these are)
	@TONGDUI_GUIDE=1 $(PY) -m pytest -n 0 tests/system/test_integrate_guide.py -o faulthandler_timeout=0 $(ARGS)

check: .venv/dev.stamp ## style, types, who imports whom, and the wire contract
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo
	$(PY) proto/generate.py lint
	$(PY) proto/generate.py check

bench: .venv/run.stamp $(YEAR) ## figures, against baselines measured in the same run (ARGS=--quick: two minutes)
	@$(PY) -m benchmarks $(ARGS)

proto: .venv/dev.stamp ## make proto/gen anew from the .proto files
	@$(PY) proto/generate.py write

lock: .venv/dev.stamp ## pin the dependencies of pyproject.toml anew (ARGS=--upgrade: newest versions)
	@set -e; export CUSTOM_COMPILE_COMMAND='make lock'; \
	$(LOCK) $(ARGS) -o requirements/run.txt --build-deps-for editable \
		--extra hub --extra adapter --extra sidecar --extra settlement pyproject.toml; \
	$(LOCK) $(ARGS) -o requirements/dev.txt --build-deps-for editable -c requirements/run.txt \
		--extra hub --extra adapter --extra sidecar --extra settlement --extra dev pyproject.toml; \
	$(LOCK) $(ARGS) -o requirements/year.txt -c requirements/dev.txt --extra year pyproject.toml; \
	echo pip | $(LOCK) $(ARGS) -o requirements/pip.txt -c requirements/dev.txt -

examples/node/node_modules/.package-lock.json: examples/node/package.json examples/node/package-lock.json
	@echo 'Installing the pinned packages of examples/node'
	@cd examples/node && npm ci --no-audit --no-fund --loglevel=error
	@touch $@ # npm keeps the time of what it unpacked

# A stamp is newer than the lock and the pyproject.toml that were installed last.

.venv/pip.stamp:
	@PYTHON='$(PYTHON)' sh requirements/make-venv.sh
	@touch $@

.venv/run.stamp: requirements/run.txt pyproject.toml | .venv/pip.stamp
	@echo 'Installing the pinned packages of $< into .venv (the first time, this takes a minute)'
	@$(PIP) --require-hashes -r $<
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt pyproject.toml | .venv/pip.stamp
	@echo 'Installing the pinned packages of $< into .venv (the first time, this takes a minute)'
	@$(PIP) --require-hashes -r $<
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ .venv/run.stamp # it holds all of run.txt, in the same versions

.venv/year.stamp: requirements/year.txt | .venv/run.stamp
	@echo 'Installing the pinned packages of $< into .venv'
	@$(PIP) --require-hashes -r $<
	@touch $@
