# Holdall: `make help` lists what can be asked for.

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
CLIENTS := tests/clients
CLIENTS_STAMP := $(CLIENTS)/node_modules/.installed
TUS_SERVER := bench/tus_server
TUS_STAMP := $(TUS_SERVER)/node_modules/.installed
BENCH_STAMP := $(VENV)/.installed-bench
COMMA := ,
ROUNDS := 500
SOAK := 600
SOAKED := tests/soak tests/crash tests/live/test_migrating.py tests/services/test_gc_soak.py \
	tests/services/test_faulty_storage.py tests/services/test_faulty_database.py

FIND_PYTHON := for python in python3.12 python3.11 python3 python3.14 python3.13; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done
PYTHON = $(or $(shell $(FIND_PYTHON)),$(error Holdall needs Python 3.11 or later. \
	Install python3.11 or python3.12, or name one: make PYTHON=/path/to/python3))

.DEFAULT_GOAL := help
.PHONY: help run flask loopback-only test fmt fmt-check lint type pytest soak scale scale-soak clients bench lock clean

help: ## Show what each target does
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: loopback-only $(RUN_STAMP) ## Serve on 127.0.0.1:5000, data in ./data, open to all on this machine
	@export HOST="$${HOST:-127.0.0.1}" DATA_DIR="$${DATA_DIR:-./data}" AUTH_MODE="$${AUTH_MODE:-open}"; \
	exec $(PY) -m config $(PY) -m gunicorn --config gunicorn.conf.py app:app

flask: $(RUN_STAMP) ## Run a command on the data of make run: make flask ARGS="keys list"
	@export HOST="$${HOST:-127.0.0.1}" DATA_DIR="$${DATA_DIR:-./data}" AUTH_MODE="$${AUTH_MODE:-open}"; \
	FLASK_SKIP_DOTENV=1 exec $(PY) -m flask --app app $(ARGS)

loopback-only:
	@case "$${AUTH_MODE:-open} $${HOST:-127.0.0.1}" in \
	"open "127.*|"open "localhost|"open "::1) ;; \
	"open "*) echo "HOST: $$HOST can be reached from outside, so AUTH_MODE=open is refused:" \
	"set AUTH_MODE=keys and SECRET_KEY, or HOST=127.0.0.1" >&2; exit 2 ;; esac

test: fmt-check lint type pytest ## Check format, mistakes and types, and run every test

fmt: $(DEV_STAMP) ## Rewrite the code in the project's format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

fmt-check: $(DEV_STAMP)
	$(PY) -m ruff format --check .

lint: $(DEV_STAMP) ## Look for mistakes with ruff
	$(PY) -m ruff check .

type: $(DEV_STAMP) ## Check the types with mypy, strictly
	$(PY) -m mypy .

pytest: $(DEV_STAMP) $(CLIENTS_STAMP) ## Run the tests alone; make pytest ARGS="-k range" picks some
	$(PY) -m pytest --numprocesses $$(( $$(nproc) + 1 )) $(ARGS)

soak: $(DEV_STAMP) ## Kill the service 500 times on each storage, and more; make soak ROUNDS=50
	HOLDALL_TEST_ROUNDS=$(ROUNDS) HOLDALL_TEST_EXAMPLES=$(ROUNDS) HOLDALL_TEST_STEP=1 \
	HOLDALL_TEST_MOVED=1000 HOLDALL_TEST_SECONDS=60 \
	$(PY) -m pytest -s --every-deployment $(or $(ARGS),$(SOAKED))

scale: $(DEV_STAMP) ## Run PostgreSQL, a SeaweedFS cluster, two Holdalls and nginx; make scale PORT=8081
	@exec $(PY) -m deploy.scale $(if $(PORT),--port $(PORT)) $(ARGS)

scale-soak: $(DEV_STAMP) ## Use such a deployment for 600 seconds while its parts are killed; make scale-soak SOAK=60
	$(PY) -m tests.soak.many_hosts --seconds $(SOAK) $(ARGS)

clients: $(CLIENTS_STAMP) ## Install the JavaScript clients that the tests drive

bench: $(BENCH_STAMP) $(TUS_STAMP) ## Measure beside nginx and other file servers; make bench CASE=small-get AGAINST=nginx,copyparty
	$(PY) -m bench $(subst $(COMMA), ,$(CASE)) $(if $(AGAINST),--against $(AGAINST)) $(ARGS)

lock: requirements.txt requirements-dev.txt ## Rewrite requirements.lock from a fresh installation
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/pip --disable-pip-version-check --quiet install -r requirements-dev.txt
	(sed -n '/^#/p' requirements.lock; $(VENV)-lock/bin/pip freeze) > $(VENV)-lock/frozen
	mv $(VENV)-lock/frozen requirements.lock
	rm -rf $(VENV)-lock

clean: ## Remove the virtual environment and caches; data stays
	rm -rf $(VENV) $(CLIENTS)/node_modules $(TUS_SERVER)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual" \
	"environments: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(RUN_STAMP): requirements.txt requirements.lock | $(PY)
	@echo "Installing requirements.txt"
	@$(PIP) install -r requirements.txt -c requirements.lock
	@touch $@

$(DEV_STAMP): requirements.txt requirements-dev.txt requirements.lock | $(PY)
	@echo "Installing requirements-dev.txt"
	@$(PIP) install -r requirements-dev.txt -c requirements.lock
	@touch $@ $(RUN_STAMP)

$(BENCH_STAMP): requirements-bench.txt | $(DEV_STAMP)
	@echo "Installing requirements-bench.txt"
	@$(PIP) install -r requirements-bench.txt -c requirements.lock
	@touch $@

# Node.js itself comes from PyPI with requirements-dev.txt.
$(CLIENTS_STAMP): $(CLIENTS)/package.json $(CLIENTS)/package-lock.json | $(DEV_STAMP)
	@echo "Installing $(CLIENTS)/package.json"
	@PATH="$(abspath $(VENV))/bin:$$PATH" npm ci --prefix $(CLIENTS) --ignore-scripts --no-audit \
	--no-fund --loglevel=error
	@touch $@

$(TUS_STAMP): $(TUS_SERVER)/package.json $(TUS_SERVER)/package-lock.json | $(DEV_STAMP)
	@echo "Installing $(TUS_SERVER)/package.json"
	@PATH="$(abspath $(VENV))/bin:$$PATH" npm ci --prefix $(TUS_SERVER) --ignore-scripts --no-audit \
	--no-fund --loglevel=error
	@touch $@
