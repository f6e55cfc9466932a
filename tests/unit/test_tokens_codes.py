"""The closed table of error codes: what each means, and which may be shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tokens import codes

APIGEE = "keymanagement.service."


@pytest.mark.parametrize("code", codes.GATEWAY)
def test_a_code_has_a_meaning_and_a_next_step(code: str) -> None:
    """A clause and whole sentences, each at most a line of the page."""
    known = codes.GATEWAY[code]
    assert codes.look_up(code) is known
    assert not known.meaning.endswith(".")
    assert len(known.meaning) <= 80
    assert re.fullmatch(r"[A-Z].*\.|", known.step)  # of some the settings decide


@pytest.mark.parametrize(
    "code", [None, "", "99999", "20", "GlzFVXYOvAhFCEqw", APIGEE + "unheard_of"]
)
def test_other_codes_have_no_meaning_here(code: str | None) -> None:
    """The gateway is not known to give them."""
    assert codes.look_up(code) is None


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (APIGEE + "access_token_expired", "40106"),
        (APIGEE + "access_token_not_approved", "40105"),
        (APIGEE + "apiproduct_doesnot_exist", "40103"),
        ("policies.ratelimit.QuotaViolation", "42901"),
        ("invalid_token", "40105"),
    ],
)
def test_words_of_the_gateway_software_mean_the_same(word: str, code: str) -> None:
    """Apigee's words stand for Telenor's codes."""
    assert codes.look_up(word) == codes.GATEWAY[code]


@pytest.mark.parametrize(
    ("code", "concerns"),
    [
        *((code, code in {"40105", "40106"}) for code in sorted(codes.GATEWAY)),
        *((code, code == "invalid_token") for code in sorted(codes.OAUTH)),
        *((code, False) for code in sorted(codes.TOKEN_ENDPOINT)),
        (APIGEE + "access_token_expired", True),
        (APIGEE + "invalid_access_token", True),
        (APIGEE + "access_token_not_approved", True),
        ("steps.oauth.v2.access_token_not_approved", True),
        (APIGEE + "apiproduct_doesnot_exist", False),
        (APIGEE + "InvalidAPICallAsNoApiProductMatchFound", False),
        ("steps.oauth.v2.InvalidApiKey", False),
        ("SVC0001", False),
        ("access_token_expired.not", False),
        (None, False),
    ],
)
def test_only_a_rejected_token_calls_for_a_new_one(code: str | None, *, concerns: bool) -> None:
    """40105 and 40106, or words for them."""
    assert codes.concerns_token(code) is concerns


def test_what_may_be_shown() -> None:
    """A known code or a number as long as Telenor's, unless a credential is in it."""
    for code in (*codes.KNOWN, "0", "50004", "7654321"):
        assert codes.quotable(code) == code
    for code, credential in (
        ("40105", "40105"),
        ("1234567", "2345"),
        ("invalid_client", "client"),
        (APIGEE + "app_not_approved", "app"),
    ):
        assert codes.quotable(code) == code
        assert codes.quotable(code, ["other", "", credential]) is None


@pytest.mark.parametrize(
    "code",
    ["GlzFVXYOvAhFCEqw", f"{APIGEE}secret", "GW-9x", "47998855", "40105\n", "٤٠١٠٥", "", None],
)
def test_nothing_else_may(code: str | None) -> None:
    """Words and phone numbers could be a credential."""
    assert codes.quotable(code) is None


@given(
    st.text(min_size=1, max_size=12), st.sampled_from(sorted(codes.KNOWN)) | st.text(max_size=12)
)
def test_no_credential_passes(credential: str, code: str) -> None:
    """Whatever comes as a code."""
    assert credential not in (codes.quotable(code, [credential]) or "")
    assert credential not in (codes.quotable(code + credential, [credential]) or "")


def test_the_labels_of_metrics_are_a_closed_list() -> None:
    """A known code, `other`, or empty."""
    assert {codes.label(code) for code in codes.KNOWN} == codes.KNOWN
    assert codes.label("50004") == codes.label("GlzFVXYOvAhFCEqw") == "other"
    assert codes.label(None) == ""
