"""Fixtures of the tests that run what the documentation says: those of the end-to-end tests."""

from tests.e2e.conftest import api, start

__all__ = ["api", "start"]
