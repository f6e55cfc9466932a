"""What is visibly wrong with credentials, before a login with them that may lock the machine user. Pure.

A doubt is no fault: the value may be right all the same, and is used as it is. No word of a value is ever shown.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Final, NamedTuple

from proxy.secret import Secret
from proxy.settings.catalogue import Settings

#: The name of a machine user: `api` and digits (Telenor's developer pages, "Get access").
_MACHINE_USER: Final = re.compile(r"api[0-9]{6,}", re.IGNORECASE)
_QUOTES: Final = {'"': '"', "'": "'", "`": "`", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}
#: `CLIENT_ID=`, `export TELENOR_PROXY_OAUTH__PASSWORD=`, `password: `.
_NAME: Final = re.compile(
    r"(?:export\s+)?[\w.-]*(?:client_?id|client_?secret|user_?name|password|passord|secret|key)\s*(?:=|:\s)",
    re.IGNORECASE,
)
#: What a browser or a word processor puts between or into words, and no one sees.
_INVISIBLE: Final = re.compile(r"[\u00a0\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]")


class Doubt(NamedTuple):
    """The path of a setting, and whole sentences about its value: what is doubtful, and what to do."""

    path: str
    text: str


def doubts(settings: Settings) -> Iterator[Doubt]:
    """Yield what is visibly wrong with the credentials and keys in force."""
    for path, value in settings.secrets():
        words = _about(_text(value))
        if words is not None:
            yield Doubt(path, f"{path} {words}.")
    yield from _mixed_up(settings)


def _text(value: str | Secret) -> str:
    return value if isinstance(value, str) else value.reveal()


def _about(value: str) -> str | None:
    """Say what does not look like a part of a value; None if all does."""
    if _NAME.match(value):
        return (
            "begins with a name and = or a colon, as a line of another file does. Remove that from the value"
        )
    if len(value) > 1 and _QUOTES.get(value[0]) == value[-1]:
        return (
            "has quotes that are a part of the value: neither a file that holds a secret nor docker's --env-file"
            " needs any. Remove them"
        )
    if value != value.strip(" "):
        return "begins or ends with a space, which is sent as it is. Remove it"
    if _INVISIBLE.search(value):
        return "holds a character that cannot be seen, such as a no-break space from a web page. Write it anew by hand"
    return None


def _mixed_up(settings: Settings) -> Iterator[Doubt]:
    oauth = settings.oauth
    values: dict[str, str | Secret] = {
        "oauth.client_id": oauth.client_id,
        "oauth.client_secret": oauth.client_secret,
        "oauth.username": oauth.username,
        "oauth.password": oauth.password,
    }
    for path, value in values.items():
        if path != "oauth.username" and _MACHINE_USER.fullmatch(_text(value)):
            text = (
                f"{path} looks like the name of a machine user, which belongs in oauth.username."
                " Check whether the two are swapped."
            )
            yield Doubt(path, text)
    for (one, first), (other, second) in combinations(values.items(), 2):
        if _text(first) == _text(second):
            text = f"{one} and {other} have the same value, which no application has. Compare both with what Telenor gave you."
            yield Doubt(one, text)
