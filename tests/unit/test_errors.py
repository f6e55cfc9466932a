"""The tree of what can go wrong: each error carries its words and its answer."""

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
    """Whoever catches a branch catches what hangs on it, and all of it is a `ProxyError`."""
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
def test_every_kind_can_be_told_to_people_and_machines(kind: ProblemKind) -> None:
    """A name for a URL, a known status, a title that is a clause, an error type of RFC 9209's form."""
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", kind.type)
    assert HTTPStatus(kind.status)
    assert kind.status in OF_REFUSALS | OF_FAILURES
    assert re.fullmatch(r"[A-Z].*[^.!]", kind.title)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.proxy_error)


def test_a_name_stands_for_one_status() -> None:
    """Kinds that share a name share the status too, and the section of the troubleshooting guide."""
    statuses: dict[str, set[int]] = {}
    for kind in ProblemKind:
        statuses.setdefault(kind.type, set()).add(kind.status)
    assert all(len(found) == 1 for found in statuses.values())
    assert len({(kind.type, kind.proxy_error) for kind in ProblemKind}) == len(ProblemKind)


def test_what_refuses_a_request_is_told_from_what_could_not_forward_it() -> None:
    """By the status, except that 429 answers a request that may pass, but not now."""
    for kind in ProblemKind:
        assert kind.is_refusal == (kind.status in OF_REFUSALS)


def test_the_statuses_of_the_contract_are_all_there() -> None:
    """Each status that is promised has a kind."""
    assert {kind.status for kind in ProblemKind} == OF_REFUSALS | OF_FAILURES


def test_a_configuration_error_tells_all_problems() -> None:
    """As a list for the command line, and as text."""
    error = ConfigError(["oauth.client_id: is missing", "listen.port: must be a number"])
    assert error.problems == ["oauth.client_id: is missing", "listen.port: must be a number"]
    assert str(error) == "oauth.client_id: is missing; listen.port: must be a number"


@pytest.mark.parametrize("kind", [TokenError, CredentialsRefused, TokenUnavailable])
def test_a_token_error_says_why(kind: type[TokenError]) -> None:
    """In a word, in sentences, and with what Telenor's answer held, if it held anything."""
    error = kind("refused", "Set a new password.", code="40101", retry_after=5)
    assert (error.reason, error.detail, error.code, error.retry_after) == (
        "refused",
        "Set a new password.",
        "40101",
        5,
    )
    assert str(error) == "Set a new password."
    assert (kind("timeout", "x").code, kind("timeout", "x").retry_after) == (None, None)


def test_a_refusal_has_no_outcome() -> None:
    """Nothing was to be forwarded, so nothing is said of what the API may have done."""
    error = Refused(ProblemKind.MALFORMED, "The request has no Host.")
    assert (error.kind, error.detail, error.outcome, error.retry_after) == (
        ProblemKind.MALFORMED,
        "The request has no Host.",
        None,
        None,
    )
    assert str(error) == "The request has no Host."


@pytest.mark.parametrize("outcome", [errors.NOT_SENT, errors.UNKNOWN])
def test_a_failure_has_an_outcome(outcome: errors.Outcome) -> None:
    """It says whether the API may have acted, and when to try again if that is known."""
    error = Failed(ProblemKind.NO_TOKEN, "x", outcome=outcome, retry_after=1.5)
    assert (error.outcome, error.retry_after) == (outcome, 1.5)
    assert Failed(ProblemKind.NO_TOKEN, "x", outcome=outcome).retry_after is None
