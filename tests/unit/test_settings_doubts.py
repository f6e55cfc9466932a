"""What is visibly wrong with credentials: told before a login, without a word of them."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from proxy import findings, starting
from proxy.findings import Mark
from proxy.settings import Settings, judge
from proxy.settings.catalogue import doubts

OAUTH = {
    "client_id": "made-up-id",
    "client_secret": "made-up-secret",
    "username": "api0000000000",
    "password": "made-up-password",
}
#: Stands for every value; if it is seen anywhere, a credential would have been.
SENTINEL = "Zq7hunter2"

NAME = "begins with a name and = or a colon"
QUOTES = "has quotes that are a part of the value"
SPACE = "begins or ends with a space"
INVISIBLE = "holds a character that cannot be seen"


def settings(oauth: dict[str, str], **listen: object) -> Settings:
    """Make settings with these credentials."""
    return judge({"oauth": {**OAUTH, **oauth}, "listen": listen}, {})


def test_credentials_that_look_right_are_not_doubted() -> None:
    """What Telenor's pages show as examples, and what a generator of passwords makes, gives no doubt."""
    shown = {
        "client_id": "xhdrs6uleK1xyZBOvX37PJ5wALcv1O9",
        "client_secret": "Glz2FV5XYOvAhFCE",
        "username": "api7813371375",
        "password": "hquTvfc00l8F33adAmCd",
    }
    assert list(doubts(settings(shown))) == []
    for password in (
        "a=b",
        "Tr0ub4dor&3=",
        "correct horse",
        "'",
        '"a',
        "pass:word",
        "blåbær",
        "token==",
    ):
        assert list(doubts(settings({"password": password}))) == [], password


@pytest.mark.parametrize("key", OAUTH)
@pytest.mark.parametrize(
    ("value", "told"),
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
def test_what_came_along_with_a_value_is_told(key: str, value: str, told: str) -> None:
    """A name, quotes, spaces and invisible characters are told for each credential, by check and in the log."""
    given = settings({key: value})
    ((path, text),) = doubts(given)
    assert path == f"oauth.{key}"
    assert text.startswith(f"{path} {told}")
    assert SENTINEL not in text
    with capture_logs() as logs:
        starting.warn_of_doubts(given)
    assert logs == [
        {"event": "credentials.doubtful", "log_level": "warning", "setting": path, "detail": text}
    ]
    warned = [finding.text for finding in findings.read(given, {}) if finding.mark is Mark.WARNING]
    assert warned == [text]


def test_a_line_of_yaml_is_no_password() -> None:
    """A file that holds `password: ...` is a file of another kind."""
    ((_, text),) = doubts(settings({"password": f"password: {SENTINEL}"}))
    assert NAME in text


@pytest.mark.parametrize("key", ["client_id", "client_secret", "password"])
def test_swapped_credentials_are_told(key: str) -> None:
    """What looks like the name of a machine user, and is none, is most likely swapped with it."""
    ((path, text),) = doubts(settings({key: "API7813371375", "username": SENTINEL}))
    assert path == f"oauth.{key}"
    assert "belongs in oauth.username" in text
    assert SENTINEL not in text


def test_one_value_twice_is_told() -> None:
    """Two of the four are never the same."""
    ((path, text),) = doubts(settings({"client_secret": SENTINEL, "password": SENTINEL}))
    assert path == "oauth.client_secret"
    assert text.startswith("oauth.client_secret and oauth.password have the same value")


def test_keys_of_clients_are_looked_at_too() -> None:
    """A key with quotes is told by its place, as any other."""
    clients = [{"name": "a", "key": "made-up-key"}, {"name": "b", "key": f'"{SENTINEL}"'}]
    ((path, text),) = doubts(settings({}, clients=clients))
    assert path == "listen.clients[1]"
    assert QUOTES in text
