"""Credentials that are visibly wrong are reported before a login, without a word of them."""

import pytest
from structlog.testing import capture_logs

from proxy import findings, starting
from proxy.findings import Mark
from proxy.settings import Settings
from proxy.settings.catalogue import doubts
from tests.unit import made
from tests.unit.made import OAUTH

#: Stands for every credential, and may be shown nowhere.
SENTINEL = "Zq7hunter2"

NAME = "begins with a name and = or a colon"
QUOTES = "has quotes that are a part of the value"
SPACE = "begins or ends with a space"
INVISIBLE = "holds a character that cannot be seen"


def settings(oauth: dict[str, str], **listen: object) -> Settings:
    """Make settings with these credentials."""
    return made.settings(oauth=oauth, listen=listen)


def test_credentials_that_look_right_are_not_doubted() -> None:
    """Neither Telenor's examples nor generated passwords."""
    shown = {
        "client_id": "xhdrs6uleK1xyZBOvX37PJ5wALcv1O9",
        "client_secret": "Glz2FV5XYOvAhFCE",
        "username": "api7813371375",
        "password": "hquTvfc00l8F33adAmCd",
    }
    assert list(doubts(settings(shown))) == []
    for password in ("a=b", "Tr0ub4dor&3=", "correct horse", "'", '"a', "pass:word", "token=="):
        assert list(doubts(settings({"password": password}))) == [], password


@pytest.mark.parametrize("key", OAUTH)
@pytest.mark.parametrize(
    ("value", "doubt"),
    [
        (f"CLIENT_ID={SENTINEL}", NAME),
        (f"export TELENOR_PROXY_OAUTH__PASSWORD={SENTINEL}", NAME),
        (f'"{SENTINEL}"', QUOTES),
        (f"'{SENTINEL}'", QUOTES),
        (f"\u201c{SENTINEL}\u201d", QUOTES),
        (f"{SENTINEL} ", SPACE),
        (f" {SENTINEL}", SPACE),
        (f"{SENTINEL}\u00a0", INVISIBLE),
        (f"\u200b{SENTINEL}", INVISIBLE),
        (f"\ufeff{SENTINEL}", INVISIBLE),
    ],
)
def test_what_surrounds_a_value_is_reported(key: str, value: str, doubt: str) -> None:
    """A name, quotes, spaces, invisible characters: by check and in the log."""
    given = settings({key: value})
    ((path, text),) = doubts(given)
    assert path == f"oauth.{key}"
    assert text.startswith(f"{path} {doubt}")
    assert SENTINEL not in text
    with capture_logs() as logs:
        starting.warn_of_doubts(given)
    assert logs == [
        {"event": "credentials.doubtful", "log_level": "warning", "setting": path, "detail": text}
    ]
    warned = [finding.text for finding in findings.read(given, {}) if finding.mark is Mark.WARNING]
    assert warned == [text]


def test_a_line_of_yaml_is_no_password() -> None:
    """A file that holds `password: ...` is of another kind."""
    ((_, text),) = doubts(settings({"password": f"password: {SENTINEL}"}))
    assert NAME in text


@pytest.mark.parametrize("key", ["client_id", "client_secret", "password"])
def test_swapped_credentials_are_reported(key: str) -> None:
    """What looks like the name of a machine user in another setting."""
    ((path, text),) = doubts(settings({key: "API7813371375", "username": SENTINEL}))
    assert path == f"oauth.{key}"
    assert "belongs in oauth.username" in text
    assert SENTINEL not in text


def test_one_value_twice_is_reported() -> None:
    """Two of the four are never the same."""
    ((path, text),) = doubts(settings({"client_secret": SENTINEL, "password": SENTINEL}))
    assert path == "oauth.client_secret"
    assert text.startswith("oauth.client_secret and oauth.password have the same value")


def test_keys_of_clients_are_looked_at_too() -> None:
    """They are named by their place."""
    clients = [{"name": "a", "key": "made-up-key"}, {"name": "b", "key": f'"{SENTINEL}"'}]
    ((path, text),) = doubts(settings({}, clients=clients))
    assert path == "listen.clients[1]"
    assert QUOTES in text
