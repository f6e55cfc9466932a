"""Fixtures of the packaging tests that look at the site: those of the status page's tests."""

from tests.page.conftest import chromium, tab

__all__ = ["chromium", "tab"]
