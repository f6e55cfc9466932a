"""The exceptions of the proxy: each carries its words and its answer."""

from __future__ import annotations

import re
from http import HTTPStatus

import pytest

from proxy import errors
from proxy.errors import (
    ConfigError,
    CredentialsRefused,
    Failed,
    Problem,
    ProxyError,
    Refused,
    StartError,
    TokenError,
    TokenUnavailable,
)
from proxy.problems import ProblemKind

#: The statuses of the contract's table.
OF_REFUSALS = {400, 403, 405, 408, 409, 411, 413, 414, 417, 421, 422, 431, 501, 505}
OF_FAILURES = {429, 500, 502, 503, 504}


def test_the_tree() -> None:
    """A handler for a branch catches all below it; all is a `ProxyError`."""
    tree = {
        ConfigError: ProxyError,
        StartError: ProxyError,
        TokenError: ProxyError,
        CredentialsRefused: TokenError,
        TokenUnavailable: TokenError,
        Problem: ProxyError,
        Refused: Problem,
        Failed: Problem,
    }
    assert {error: error.__base__ for error in tree} == tree


@pytest.mark.parametrize("kind", ProblemKind, ids=lambda kind: f"{kind.type}-{kind.proxy_error}")
def test_every_kind_is_well_formed(kind: ProblemKind) -> None:
    """A name for a URL, a known status, a title, an error type as in RFC 9209."""
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", kind.type)
    assert HTTPStatus(kind.status)
    assert re.fullmatch(r"[A-Z].*[^.!]", kind.title)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.proxy_error)


def test_kinds_and_statuses_agree() -> None:
    """A type has one status; a refusal's status says so, and the contract's statuses all exist."""
    statuses = {kind.type: kind.status for kind in ProblemKind}
    for kind in ProblemKind:
        assert kind.status == statuses[kind.type]
        assert kind.is_refusal == (kind.status in OF_REFUSALS)
    assert set(statuses.values()) == OF_REFUSALS | OF_FAILURES
    assert len({(kind.type, kind.proxy_error) for kind in ProblemKind}) == len(ProblemKind)


def test_a_configuration_error_has_all_problems() -> None:
    """As a list for the command line, and as text."""
    error = ConfigError(["oauth.client_id: is missing", "listen.port: must be a number"])
    assert error.problems == ["oauth.client_id: is missing", "listen.port: must be a number"]
    assert str(error) == "oauth.client_id: is missing; listen.port: must be a number"


@pytest.mark.parametrize("kind", [TokenError, CredentialsRefused, TokenUnavailable])
def test_a_token_error_says_why(kind: type[TokenError]) -> None:
    """A reason, a detail, and what Telenor's answer held."""
    error = kind("refused", "Set a new password.", code="40101", retry_after=5)
    assert (error.reason, error.code, error.retry_after) == ("refused", "40101", 5)
    assert error.detail == str(error) == "Set a new password."
    assert (kind("timeout", "x").code, kind("timeout", "x").retry_after) == (None, None)


def test_a_refusal_has_no_outcome() -> None:
    """Nothing was to be forwarded."""
    error = Refused(ProblemKind.MALFORMED, "The request has no Host.")
    assert (error.kind, error.outcome, error.retry_after) == (ProblemKind.MALFORMED, None, None)
    assert error.detail == str(error) == "The request has no Host."


@pytest.mark.parametrize("outcome", [errors.NOT_SENT, errors.UNKNOWN])
def test_a_failure_has_an_outcome(outcome: errors.Outcome) -> None:
    """Whether the API may have acted, and when to try again if known."""
    error = Failed(ProblemKind.NO_TOKEN, "x", outcome=outcome, retry_after=1.5)
    assert (error.outcome, error.retry_after) == (outcome, 1.5)
    assert Failed(ProblemKind.NO_TOKEN, "x", outcome=outcome).retry_after is None
