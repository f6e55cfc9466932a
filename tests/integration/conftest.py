"""Fixtures of the tests of parts together: those of the end-to-end tests."""

from tests.e2e.conftest import api, start

__all__ = ["api", "start"]
