"""The exceptions of the proxy: each carries its words and its answer."""

import re
from http import HTTPStatus

import pytest

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
