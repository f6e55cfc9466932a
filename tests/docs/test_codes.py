"""Telenor's error codes and the reasons of failed renewals on the troubleshooting page."""

import pytest

from proxy.tokens import codes, diagnosis
from proxy.tokens.codes import concerns_token
from proxy.tokens.diagnosis import diagnose
from tests.docs.pages import TROUBLESHOOTING, names, rows, section
from tests.messages.sentences import reasons

BY_CODE = section(TROUBLESHOOTING, "By error code of Telenor")
ENDPOINT = [row for row in rows(section(BY_CODE, "Codes of the token endpoint")) if len(row) == 5]
WORDS = [row for row in rows(section(BY_CODE, "Codes of the token endpoint")) if len(row) == 3]
GATEWAY = rows(section(BY_CODE, "Codes of the gateway"))
REASONS = rows(section(TROUBLESHOOTING, "By reason of a failed renewal"))

#: Telenor's developer pages, "Error codes" of the token endpoint and of the Info API: status and
#: code.
PUBLISHED = {(400, "2"), (500, "2"), (500, "16")}
PUBLISHED |= {(401, code) for code in ("1", "4", "5", "6", "7", "9", "20", "21", "22", "23")}
PUBLISHED |= {(403, code) for code in ("8", "12", "15")}
PUBLISHED_OF_GATEWAY = {(400, "40001"), (403, "40301"), (404, "40401"), (404, "4042000")}
PUBLISHED_OF_GATEWAY |= {(401, f"4010{digit}") for digit in range(1, 9)}
PUBLISHED_OF_GATEWAY |= {(429, "42901"), (429, "42902")}
PUBLISHED_OF_GATEWAY |= {(500, f"5000{digit}") for digit in range(1, 4)}


def test_every_code_of_the_token_endpoint_has_a_row() -> None:
    """Each published code has one row, with its status."""
    shown = [(int(row[1]), *names(row[0])) for row in ENDPOINT]
    assert set(shown) == PUBLISHED
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("row", ENDPOINT, ids=lambda row: f"{row[1]} {row[0]}")
def test_a_code_means_what_the_proxy_says(row: list[str]) -> None:
    """The meaning is that of the proxy's own diagnosis, and there is a next step."""
    assert row[2] == diagnose(names(row[0])[0], int(row[1])).meaning
    assert row[4]


@pytest.mark.parametrize("row", WORDS, ids=lambda row: row[0])
def test_a_word_means_what_the_proxy_says(row: list[str]) -> None:
    """The same for the words of RFC 6749."""
    assert row[1] == diagnose(names(row[0])[0]).meaning


def test_every_code_of_the_gateway_has_a_row() -> None:
    """Each published code has one row with status, meaning, consequence and next step."""
    shown = [(int(row[1]), *names(row[0])) for row in GATEWAY]
    assert set(shown) == PUBLISHED_OF_GATEWAY
    assert len(set(shown)) == len(shown)
    assert all(row[3] and row[4] for row in GATEWAY)
    assert {names(row[0])[0]: (int(row[1]), row[2]) for row in GATEWAY} == {
        code: (said.status, said.meaning) for code, said in codes.GATEWAY.items()
    }


def test_the_codes_that_a_new_token_cures_stand_out() -> None:
    """Those in bold, and only those, are renewed for."""
    cured = {names(row[0])[0] for row in GATEWAY if "renews" in row[3]}
    assert cured == {code for _, code in PUBLISHED_OF_GATEWAY if concerns_token(code)}
    assert cured == {names(row[0])[0] for row in GATEWAY if row[0].startswith("**")}


def test_the_page_knows_what_the_proxy_knows() -> None:
    """No code of the diagnosis is left out."""
    shown = {name for row in (*ENDPOINT, *WORDS, *GATEWAY) for name in names(row[0])}
    assert set(diagnosis._KNOWN) <= shown


def test_every_reason_has_a_row() -> None:
    """Each `reason` of `token.renewal_failed` has one row, and no other word has."""
    shown = [names(row[0])[0].replace("...", "") for row in REASONS]
    # "pending" is for requests before the first answer: no renewal has failed then.
    assert set(shown) == reasons() - {"pending"}
    assert len(set(shown)) == len(shown)
    assert {row[2] for row in REASONS} == {"soon", "slowly"}
    slowly = {"refused", "company_proxy_login", "company_proxy_denied"}
    assert {names(row[0])[0] for row in REASONS if row[2] == "slowly"} == slowly
