# make demo   sets everything up and runs the main job (FILE=path stores a file of yours)
# make test   sets everything up, then checks style, types, imports and contracts and runs the tests
# make bench-gas   what the contracts' transactions cost, into benchmarks/results/gas.json
# make bench-handover   what a handover moves and how fast repair is, into benchmarks/results/handover.json and .svg
# make bench-links   store and read over slow links, about a quarter of an hour, into benchmarks/results/links.json
# make bench-store   small blobs stored one by one and together, some minutes, into benchmarks/results/store.json
# make bench-scale   what grows with the number of blobs, some minutes, into benchmarks/results/scale.json
# make bench-proofs   who is caught by storage proofs, and what a commitment costs, into benchmarks/results/proofs.json
# make simulate   a year of churn at internet scale, into benchmarks/results/churn.json and .svg
# make bench-redstuff   times the grid beside its peers, some minutes long, into benchmarks/results/redstuff.json

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
BIN := .venv/bin
EVM := contracts/evm
SUI := contracts/sui
PEERS := benchmarks/peers
WALRUS := tests/walrus
MOTO := tests/moto
SLITHER := $(EVM)/.slither
# The machine's npm, or the one from the wheel. (Never `npm --prefix`: it would look for its global settings there.)
NPM := PATH="$$PATH:$(CURDIR)/$(BIN)" npm
FILE ?=
# A test that takes longer shows where all its threads are, and ends the run.
HUNG := -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true --max-worker-restart=0
CHECKS := check-contracts check-style check-types check-artifacts check-slither

.PHONY: setup demo test $(CHECKS) bench-redstuff bench-gas bench-handover bench-links bench-store bench-scale bench-proofs simulate lock clean

setup: .venv/.ready $(EVM)/node_modules/.ready $(SUI)/node_modules/.ready

.venv/.ready: requirements.txt requirements-node.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Haulout needs Python 3.11 or newer; this is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 …")'
	@echo "setting up .venv (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-node.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(EVM)/node_modules/.ready: .venv/.ready $(EVM)/package.json $(EVM)/package-lock.json
	@echo "setting up $(EVM)/node_modules (once)"
	@cd $(EVM) && $(NPM) ci --loglevel=error --no-audit --no-fund --no-update-notifier
	@touch $@

$(SUI)/node_modules/.ready: .venv/.ready $(SUI)/package.json $(SUI)/package-lock.json
	@echo "setting up $(SUI)/node_modules (once)"
	@cd $(SUI) && $(NPM) ci --loglevel=error --no-audit --no-fund --no-update-notifier
	@touch $@

# Slither wants an older web3 than the node, so it has a virtual environment of its own.
$(SLITHER)/.ready: .venv/.ready $(EVM)/requirements-slither.txt
	+@echo "setting up $(SLITHER) (once)"
	@test -x $(SLITHER)/bin/python || $(PYTHON) -m venv $(SLITHER)
	@$(SLITHER)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(EVM)/requirements-slither.txt
	@touch $@

# So does moto, whose server stands for S3 in the tests: boto wants an older dateutil than pysui.
$(MOTO)/.venv/.ready: .venv/.ready $(MOTO)/requirements-moto.txt
	@echo "setting up $(MOTO) (once)"
	@test -x $(MOTO)/.venv/bin/python || $(PYTHON) -m venv $(MOTO)/.venv
	@$(MOTO)/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(MOTO)/requirements-moto.txt
	@touch $@

$(PEERS)/node_modules/.ready: .venv/.ready $(PEERS)/package.json $(PEERS)/package-lock.json
	@echo "setting up $(PEERS)/node_modules (once)"
	@cd $(PEERS) && $(NPM) ci --loglevel=error --no-audit --no-fund --no-update-notifier
	@touch $@

$(WALRUS)/node_modules/.ready: .venv/.ready $(WALRUS)/package.json $(WALRUS)/package-lock.json
	@echo "setting up $(WALRUS)/node_modules (once)"
	@cd $(WALRUS) && $(NPM) ci --loglevel=error --no-audit --no-fund --no-update-notifier
	@touch $@

demo: setup
	@$(BIN)/haulout demo $(if $(FILE),"$(FILE)")

# Of the checks all but Foundry's tests use one core: two run at a time, and each prints what it has found when it ends.
# (A line with + is printed at once. Older makes, as macOS has, know no --output-sync and print as it comes.)
# Many tests wait for processes and for blocks, so two cores have time for three workers. A file's tests are one worker's,
# which starts the file's network once.
test: setup $(WALRUS)/node_modules/.ready
	@$(MAKE) --no-print-directory --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) $(CHECKS) $(MOTO)/.venv/.ready
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(HUNG) --ignore=tests/contracts

$(CHECKS): setup

check-contracts:
	+@echo "checking the contracts: compiling them and Foundry's tests, running these (about a minute and a half)"
	@cd $(EVM) && $(NPM) test --silent

check-style:
	+@echo "checking style and imports"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

check-types:
	+@echo "checking types"
	@$(BIN)/mypy

check-artifacts:
	+@echo "checking the contracts' artifacts against a build of their sources"
	@$(BIN)/pytest --quiet tests/contracts

check-slither: $(SLITHER)/.ready
	+@echo "checking Slither's findings against their answers"
	@PATH="$$PATH:$(CURDIR)/$(BIN)" $(SLITHER)/bin/python $(EVM)/check_slither.py

# A peer without wheels for every Python that the rest runs on.
.venv/.bench-ready: .venv/.ready requirements-bench.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

bench-redstuff: setup .venv/.bench-ready $(PEERS)/node_modules/.ready
	@PATH="$$PATH:$(CURDIR)/$(BIN)" $(BIN)/python benchmarks/bench_redstuff.py

bench-gas: setup
	@$(BIN)/python -m benchmarks.bench_gas

bench-handover: setup
	@$(BIN)/python -m benchmarks.bench_handover

bench-links: setup
	@$(BIN)/python -m benchmarks.bench_links

bench-store: setup
	@$(BIN)/python -m benchmarks.bench_store

bench-scale: setup
	@$(BIN)/python -m benchmarks.bench_scale

bench-proofs: setup
	@$(BIN)/python -m benchmarks.bench_proofs

simulate: setup
	@$(BIN)/python -m benchmarks.simulate_churn

# The lock files hold hashes and no addresses.
lock: setup
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --all-extras --group dev pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --group node -o requirements-node.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	  --group bench -o requirements-bench.txt
	echo slither-analyzer | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header - -o $(EVM)/requirements-slither.txt
	printf 'moto[s3]\nflask\nflask-cors\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header - -o $(MOTO)/requirements-moto.txt
	cd $(EVM) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved
	cd $(SUI) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved
	cd $(PEERS) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved
	cd $(WALRUS) && $(NPM) install --package-lock-only --omit-lockfile-registry-resolved

clean:
	rm -rf .venv $(SLITHER) $(MOTO)/.venv $(PEERS)/node_modules $(WALRUS)/node_modules $(EVM)/node_modules $(EVM)/out $(EVM)/cache $(SUI)/node_modules
