# The commands people and CI share. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CONTAINER ?= docker
# How many tests run at once: two for each core (tests/conftest.py).
WORKERS ?= auto
# The tests of the repository rather than of the proxy: packages, manifests, pages, benchmark, messages.
REPOSITORY_TESTS := tests/bench tests/deploy tests/docs tests/messages tests/packaging
PYTEST  = $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' proxy/__init__.py)
PIP     = $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-repo test-variants coverage fuzz soak bench check format generate lock audit sbom dist site image image-test clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# What `demo` and `run` need: the locked run-time dependencies and the package itself.
$(VENV)/.runtime: requirements/runtime.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "telenor-proxy needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --require-hashes -r requirements/tools.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What the tests and checks need on top.
$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# What the site of the documentation needs.
$(VENV)/.docs: $(VENV)/.runtime requirements/docs.txt
	$(PIP) install --require-hashes -r requirements/docs.txt
	@touch $@

setup: $(VENV)/.dev $(VENV)/.docs ## install everything into .venv

demo: $(VENV)/.runtime ## sandbox and proxy on loopback, no credentials needed
	$(BIN)/telenor-proxy demo

run: $(VENV)/.runtime ## the proxy itself, configured by config.yaml
	$(BIN)/telenor-proxy serve --config config.yaml

test: $(VENV)/.dev ## the tests of the proxy
	$(PYTEST) $(REPOSITORY_TESTS:%=--ignore=%) $(PYTEST_ARGS)

test-repo: $(VENV)/.dev $(VENV)/.docs ## the tests of packages, manifests, pages and benchmark
	$(PYTEST) $(REPOSITORY_TESTS) $(PYTEST_ARGS)

test-variants: $(VENV)/.dev ## the tests of the gateway on TLS, on asyncio's transports, on uvloop
	$(PYTEST) tests/gateway --listener tls --loop uvloop $(PYTEST_ARGS)
	$(PYTEST) tests/gateway --transport asyncio $(PYTEST_ARGS)
	$(PYTEST) tests/gateway --listener tls --transport asyncio --loop uvloop $(PYTEST_ARGS)

coverage: $(VENV)/.dev ## the tests of the proxy, and what of it they cover
	$(PYTEST) $(REPOSITORY_TESTS:%=--ignore=%) --cov --cov-report=term --cov-fail-under=98 $(PYTEST_ARGS)

fuzz: $(VENV)/.dev ## the fuzz tests, long
	TELENOR_PROXY_FUZZ_EXAMPLES=20000 $(BIN)/python -m pytest tests/fuzz --timeout=3600 $(PYTEST_ARGS)

soak: $(VENV)/.dev ## 10,000 orders on an API that breaks off, then a long soak (SOAK="--requests 1000000")
	TELENOR_PROXY_SOAK_ORDERS=10000 $(BIN)/python -m pytest tests/reliability/test_orders.py -s $(PYTEST_ARGS)
	TELENOR_PROXY_SOAK_ORDERS=10000 $(BIN)/python -m pytest tests/e2e/test_orders.py -k once_at_most -s --timeout=0 $(PYTEST_ARGS)
	$(BIN)/python -m tests.reliability.soak $(or $(SOAK),--seconds 600)

# Envoy has an environment of its own.
.cache/bench-venv/.bench: requirements/bench.txt
	test -x .cache/bench-venv/bin/python || $(PYTHON) -m venv .cache/bench-venv
	.cache/bench-venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r requirements/bench.txt
	@touch $@

bench: $(VENV)/.dev .cache/bench-venv/.bench ## the proxy and its peers, measured side by side (BENCH="--help")
	$(BIN)/python -m bench $(BENCH)

check: $(VENV)/.dev $(VENV)/.docs ## lint, format, types, generated files, and what test-repo tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/generate.py --check
	$(BIN)/shellcheck .ci/run scripts/*.sh
	test ! -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck
	$(BIN)/zizmor --quiet --offline --persona pedantic .github
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(PYTEST) $(REPOSITORY_TESTS) $(PYTEST_ARGS)

format: $(VENV)/.dev ## format the code and apply safe fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

generate: $(VENV)/.dev ## write generated files anew (schema, tables, plot)
	$(BIN)/python scripts/generate.py

lock: $(VENV)/.runtime ## write the lock files anew
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/lock.sh

audit: $(VENV)/.dev ## ask OSV whether a fault is known in what is locked (needs the network)
	@failed=; for lock in requirements/*.txt; do \
		echo "$$lock"; \
		$(BIN)/pip-audit --vulnerability-service osv --progress-spinner off --require-hashes --disable-pip \
			$(AUDIT_ARGS) --requirement "$$lock" || failed="$$failed $$lock"; \
	done; \
	test -z "$$failed" || { echo "audit: see above what is wrong with$$failed" >&2; exit 1; }

sbom: $(VENV)/.dev ## write the bill of materials and the list of licences into build/ (SBOM_ARGS="--lock otel")
	$(BIN)/python scripts/sbom.py $(SBOM_ARGS)

dist: $(VENV)/.runtime ## build the packages, wheel and sdist, into dist/
	$(BIN)/python -m hatchling build --clean --directory dist

site: $(VENV)/.docs ## build the documentation's site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir $(or $(SITE),build/site)

image: ## build the container image
	$(CONTAINER) build --build-arg VERSION=$(VERSION) --tag telenor-proxy --tag telenor-proxy:$(VERSION) .

image-test: $(VENV)/.runtime ## build the image and run it, as root on Debian
	$(BIN)/python scripts/image_test.py

clean: ## remove what the other targets made
	rm -rf $(VENV) .cache .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
