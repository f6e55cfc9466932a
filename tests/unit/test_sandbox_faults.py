"""The sandbox's faults and settings: their values, which fault meets a call, how they end."""

import pytest

from proxy.sandbox.faults import FAULTS, Effect, Faults, make_fault
from proxy.sandbox.messages import UsageError
from proxy.sandbox.published import GATEWAY_ERRORS, LOGOUT_ERRORS, TOKEN_ERRORS, PublishedError
from proxy.sandbox.settings import SandboxSettings, read_setting


def names(faults: Faults, calls: int) -> list[list[str]]:
    """Return the faults that meet the next calls of the API."""
    return [[fault.name for fault in faults.take("api")] for _ in range(calls)]


def switched(*wanted: tuple[str, int | None]) -> Faults:
    """Switch faults on, in that order."""
    faults = Faults()
    for name, count in wanted:
        faults.set(make_fault(name, None, count))
    return faults


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_works_without_a_value(name: str) -> None:
    """Its default breaks something at the place in its name."""
    fault = make_fault(name)
    assert fault.effect != Effect(acts=True)
    assert name.startswith(f"{fault.place}_")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("token_error", "99", "known: 400/2, 401/1"),
        ("token_error", 40105, "known: 400/2, 401/1"),
        ("logout_error", 20, "known: 401/2, 401/6, 500/2"),
        ("api_error", 20, "40105"),
        ("api_error", [], "40105"),
        ("token_status", 200, "status of an error"),
        ("api_status", "9" * 5000, "status of an error"),
        ("api_slow", "soon", "number of seconds"),
        ("api_slow", -1, "number of seconds"),
        ("api_slow", True, "number of seconds"),
        ("api_slow", "nan", "number of seconds"),
        ("api_slow", "1e300", "number of seconds"),
        ("token_redirect", "/a b", "URL"),
        ("token_redirect", "", "URL"),
        ("token_redirect", "/\r\nX: y", "URL"),
        ("api_drop", "3", "takes no value"),
        ("api_dorp", None, "known: token_error, "),
        (["api_drop"], None, "known: token_error, "),
        (None, None, "known: token_error, "),
    ],
)
def test_wrong_faults_are_refused_in_words(name: object, value: object, words: str) -> None:
    """With what exists."""
    with pytest.raises(UsageError, match=words):
        make_fault(name, value)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("token_error", TOKEN_ERRORS),
        ("logout_error", LOGOUT_ERRORS),
        ("api_error", GATEWAY_ERRORS),
        ("api_error_after", GATEWAY_ERRORS),
    ],
)
def test_every_published_error_can_be_switched_on(
    name: str, table: tuple[PublishedError, ...]
) -> None:
    """By code, which means the first one of two, and by status and code."""
    for error in table:
        assert make_fault(name, error.name).effect.error == error
        by_code = make_fault(name, error.code).effect.error
        assert by_code == next(each for each in table if each.code == error.code)


def test_a_fault_without_count_stays_until_it_is_switched_off() -> None:
    """A count of 0 ends it; setting it again replaces it."""
    faults = switched(("api_drop", None))
    assert names(faults, 3) == [["api_drop"]] * 3
    faults.set(make_fault("api_drop", None, 0))
    assert names(faults, 1) == [[]]
    faults.set(make_fault("api_error"))
    faults.set(make_fault("api_error", 42901, 1))
    assert faults.shown() == [{"name": "api_error", "value": 42901, "remaining": 1}]


def test_counted_faults_make_a_sequence_before_the_lasting_ones() -> None:
    """In the order in which they were set, then the newest lasting one; delays come on top."""
    faults = switched(("api_half", None), ("api_drop", 1), ("api_error", 2), ("api_status", None))
    assert faults.take("token") == []
    assert names(faults, 4) == [["api_drop"], ["api_error"], ["api_error"], ["api_status"]]
    delayed = switched(("api_drop", 1), ("api_slow", 2))
    assert names(delayed, 3) == [["api_slow", "api_drop"], ["api_slow"], []]
    assert delayed.shown() == []
    for count in (-1, True, "3", 1.5):
        with pytest.raises(UsageError, match="api_drop: the count must be a whole number"):
            make_fault("api_drop", None, count)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("token_lifetime_seconds", "5", 5),
        ("token_lifetime_seconds", 0.5, 0.5),
        ("expires_in", "string", "string"),
        ("single_session", "on", True),
        ("single_session", False, False),
        ("retry_after_seconds", "none", None),
        ("retry_after_seconds", None, None),
        ("retry_after_seconds", "3", 3),
        ("error_shape", "oauth", "oauth"),
        ("allowed_scopes", "", ""),
    ],
)
def test_settings_read_json_and_text(name: str, given: object, kept: object) -> None:
    """As in JSON and on the command line."""
    settings = SandboxSettings()
    settings.change({name: given})
    assert getattr(settings, name) == kept


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("lifetime", 5, "unknown setting 'lifetime'; known: token_lifetime_seconds, "),
        ("expires_in", "never", "expires_in: the value must be one of number, string, "),
        ("expires_in", [], "expires_in: the value must be one of"),
        ("single_session", "perhaps", "single_session: the value must be one of true, on, "),
        ("token_lifetime_seconds", -1, "_seconds: the value must be a number of seconds"),
        ("allowed_scopes", 3, "allowed_scopes: the value must be a text"),
    ],
)
def test_wrong_settings_are_refused_in_words(name: str, given: object, words: str) -> None:
    """With what exists; one wrong value changes none."""
    with pytest.raises(UsageError, match=words):
        read_setting(name, given)
    settings = SandboxSettings()
    with pytest.raises(UsageError):
        settings.change({"order_delay_seconds": 9, name: given})
    assert settings == SandboxSettings()
