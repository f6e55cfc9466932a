#!/bin/sh
# Writes the lock files anew: every dependency at one version, with hashes, for all supported Pythons and systems.
# Run it with `make lock` after changing pyproject.toml, or with LOCK_FLAGS=--upgrade to take newer versions.
set -eu
cd "$(dirname "$0")/.."
lock() {
    # shellcheck disable=SC2086 # LOCK_FLAGS is a list of words
    # Extras stay: pip asks for the newest `coverage[toml]`, and refuses its hash, where only `coverage` is pinned.
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links --no-emit-build-options ${LOCK_FLAGS:-} "$@"
}
lock pyproject.toml --output-file requirements/runtime.txt
lock pyproject.toml --extra otel --constraints requirements/runtime.txt --output-file requirements/otel.txt
lock pyproject.toml --extra redis --constraints requirements/runtime.txt --output-file requirements/redis.txt
lock pyproject.toml --extra sandbox --constraints requirements/runtime.txt --output-file requirements/sandbox.txt
lock pyproject.toml --group dev --constraints requirements/otel.txt --constraints requirements/redis.txt --constraints requirements/sandbox.txt --output-file requirements/dev.txt
# The same environment gets these two, so they have to agree.
lock --group docs --fork-strategy fewest --constraints requirements/dev.txt --output-file requirements/docs.txt
lock --group bench --output-file requirements/bench.txt
printf 'editables>=0.5\nhatchling>=1.27\nuv>=0.9\n' | lock - --output-file requirements/tools.txt
