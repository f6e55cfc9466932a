"""Fixtures of the end-to-end tests, which serve here too."""

from tests.e2e.conftest import api, http, start

__all__ = ["api", "http", "start"]
