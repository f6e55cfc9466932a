"""Fixtures of the tests that run what the documentation says: those of the end-to-end tests."""

from tests.e2e.conftest import _standing, api, http, standing, start

__all__ = ["_standing", "api", "http", "standing", "start"]
