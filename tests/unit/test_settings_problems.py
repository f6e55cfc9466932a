"""What is refused: unknown keys, wrong types, contradictions, all at once and in words."""

import re
from pathlib import Path

import pytest

from proxy.errors import ConfigError
from proxy.settings import Settings, load
from tests.unit.made import CREDENTIALS

P = "TELENOR_PROXY_"
UNKNOWN = "is not a setting. Remove it, or look its name up in docs/reference.md."
BACK = (
    "leads back to the proxy itself, by {0}.host and {0}.port. Set it to the API "
    "(https://api.telenor.no), or {0}.port to another port."
)


def judged(directory: Path, text: str) -> Settings:
    """Load a YAML text, beside credentials in the environment where it has none."""
    config = directory / "config.yaml"
    config.write_text(text, encoding="utf-8")
    return load(config, {} if "client_id" in text else CREDENTIALS)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Of file, environment, named files, each setting and between settings."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "listen: {port: many, hosst: a, allowed_hosts: ['a:1', b, 'c/d']}\n"
        "admin: {port: -1}\n"
        "upstream: {url: 'http://api.example', allowed_paths: [/a, x]}\n"
        "oauth: {client_id: 'a:b', password_file: nowhere, username: 5}\n"
        "pace: {}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(config, {f"{P}LOG__LEVEL": "loud", f"{P}LOGLEVEL": "info"})
    paths = ", ".join(line.partition(":")[0] for line in caught.value.problems)
    assert paths == (
        f"listen.hosst, pace, {P}LOGLEVEL, oauth.password_file, listen.port, "
        "listen.allowed_hosts[0], listen.allowed_hosts[2], admin.port, upstream.allowed_paths[1], "
        "oauth.client_id, oauth.client_secret, oauth.username, "
        f"log.level (from {P}LOG__LEVEL), upstream.url"
    )


INDENTED = "must be a group of settings, each on a line of its own and indented."
MEAN = "is not a setting. Did you mean"
UNKNOWN_KEYS = [
    ("listen: {prot: 1}", "listen.prot", f"{MEAN} listen.port?"),
    ("listen: {unix-socket: a}", "listen.unix-socket", f"{MEAN} listen.unix_socket?"),
    ("listen: {allowedHosts: [a]}", "listen.allowedHosts", f"{MEAN} listen.allowed_hosts?"),
    ("listen: {Port: 1}", "listen.Port", f"{MEAN} listen.port?"),
    ("listen: {key_file: a}", "listen.key_file", f"{MEAN} listen.tls_key_file?"),
    ("listen: {passwd: a}", "listen.passwd", f"{MEAN} oauth.password?"),
    ("listen: {password: a}", "listen.password", f"{MEAN} oauth.password?"),
    ("oauth: {port: 1}", "oauth.port", f"{MEAN} listen.port or admin.port?"),
    ("scope: a", "scope", f"{MEAN} oauth.scope?"),
    ("limit: {}", "limit", f"{MEAN} limits?"),
    ("zzz: 1", "zzz", UNKNOWN),
    ("listen: {1: 2}", "listen.1", UNKNOWN),
    ("listen: {~: 2}", "listen.null", UNKNOWN),
    ("listen: {on: 2}", "listen.true", UNKNOWN),
    ("listen: {port 2: 3}", "listen.port...", f"{MEAN} listen.port?"),
    ("listen : {port? : 3}", "listen.port...", f"{MEAN} listen.port?"),
    ("listen!: {}", "listen...", f"{MEAN} listen?"),
    ("\u00e5: 1", "...", UNKNOWN),
    ("listen: {'': 2}", "listen.", UNKNOWN),
    ("listen.port: 1", "listen.port", "must be split at the dot: the section first, the rest"),
    ("listen:\n  port: 1\n  admin:\n    port: 2", "listen.admin", "is a section of its own. Begin"),
    ("listen: {port:81}", "listen.port", "needs a space after the colon."),
    ("listen: 8080", "listen", INDENTED),
    ("listen: [port]", "listen", INDENTED),
]

WHOLE = "must be a whole number from 0 to 65535"
TEXT = "must be text that is not empty"
ENTRIES = "must be a list with at least one entry"
ABOVE = "must be a number above 0 and up to"
#: Settings with a value in YAML, and the words for what is wrong with it.
WRONG_TYPES = [
    ("listen.port", "'81'", f'{WHOLE}, not "81". Write it without quotes and in plain digits.'),
    ("listen.port", "81.0", f"{WHOLE}, not 81.0."),
    ("listen.port", "true", f"{WHOLE}, not true."),
    ("listen.port", "[1]", f"{WHOLE}."),
    ("listen.host", "127", f"{TEXT}, not 127. Put it in quotes."),
    ("listen.host", "''", f'{TEXT}, not "".'),
    ("listen.host", "2027-01-01", f"{TEXT}. Put it in quotes."),
    ("listen.unix_socket", "5", "must be the path of a file, as text, not 5. Put it in quotes."),
    ("listen.unix_socket", "''", "must be the path of a file."),
    ("listen.unix_socket", '"a\\0b"', "must be the path of a file."),
    ("listen.allowed_hosts", "a", f'{ENTRIES}, not "a". Put each entry on a line of its own'),
    ("listen.allowed_hosts", "{a: b}", f"{ENTRIES}."),
    ("listen.allowed_hosts", "[]", f"{ENTRIES}."),
    ("listen.allowed_hosts[1]", "[a, 5]", f"{TEXT}, not 5. Put it in quotes."),
    ("listen.allowed_hosts[0]", "[~]", f"{TEXT}. Put it in quotes."),
    ("upstream.allow_plaintext", "1", "must be true or false, not 1."),
    ("upstream.keep_warm", "'true'", 'must be true or false, not "true". Write it without quotes'),
    ("pacing.requests_per_second", "0", f"{ABOVE} 100000, not 0."),
    ("pacing.requests_per_second", "true", f"{ABOVE} 100000, not true."),
    ("oauth.refresh_ahead_seconds", "-1", "must be a number from 0 to 86400, not -1."),
    ("limits.max_body_bytes", "0x" + "f" * 5000, "must be a whole number from 1 to 1099511627776."),
    ("limits.idle_timeout_seconds", "0x" + "f" * 5000, f"{ABOVE} 3600."),
    ("log.level", "off", "must be one of debug, info, warning, error, not false. Put it in quotes"),
    ("log.format", "xml", 'must be one of auto, json, console, not "xml".'),
]

ALONE = "must be a host name or an address without scheme, port or brackets."
STAR = 'must be a host name or an address without scheme, port or path, or "*" alone for all.'
VISIBLE = 'must begin with "/" and hold visible ASCII characters only.'
PLAIN = 'must be a plain path, without "?", "#", "%", "\\", "//" and dot segments.'
OWN = "can never be called, since /oauth/ is the proxy's own. Remove the entry."
NAMES = "must be names with one space between them (RFC 6749, section 3.3)."
IMPOSSIBLE = [
    ("listen.host", "'a:80'", ALONE),
    ("listen.host", "'[::1]'", ALONE),
    ("admin.host", "'http://a'", ALONE),
    ("admin.host", "127.0.0.256", ALONE),
    ("listen.unix_socket", "a" * 108, "must be at most 107 bytes long"),
    *(("listen.allowed_hosts[0]", f"['{h}']", STAR) for h in ("a:80", "[::1]:80", "*.a", "a b")),
    ("listen.allowed_hosts[0]", "['::1']", "must have the IPv6 address in brackets."),
    *(
        ("upstream.allowed_paths[0]", f"['{path}']", words)
        for words, paths in (
            (VISIBLE, ("a/", "/a b", "/ø")),
            (PLAIN, ("/a?b", "/a#b", "/a%2f", "/a\\b", "//a", "/a//b", "/a/../b", "/a/.", "/..")),
            (OWN, ("/oauth", "/oauth/", "/OAuth/v2", "/oauth/v2/token")),
        )
        for path in paths
    ),
    ("oauth.token_path", "oauth/token", VISIBLE),
    ("oauth.logout_path", "'/a?b=c'", PLAIN),
    ("oauth.scope", "'a  b'", NAMES),
    ("oauth.scope", "'a\"'", NAMES),
]

SAME = "the same address as the listener's. Set another port."
TOGETHER = "cannot be used together with"
CONTRADICTIONS = [
    ("listen: {unix_socket: a, port: 81}", "listen.unix_socket", f"{TOGETHER} listen.port. Remove"),
    (
        "listen: {unix_socket: a, host: b, port: 8080}",
        "listen.unix_socket",
        f"{TOGETHER} listen.host and listen.port. Remove one or the other.",
    ),
    ("admin: {port: 8080}", "admin.port", f"is 8080, {SAME}"),
    ("listen: {host: 0.0.0.0, port: 9090}", "admin.port", f"is 9090, {SAME}"),
    ("listen: {host: A, port: 5}\nadmin: {host: a, port: 5}", "admin.port", f"is 5, {SAME}"),
    *(
        (f"upstream: {{url: '{url}'}}{listen}", "upstream.url", BACK.format(section))
        for url, section, listen in (
            ("http://127.0.0.1:8080", "listen", ""),
            ("https://localhost:8080", "listen", ""),
            ("http://127.0.0.1:9090", "admin", ""),
            ("http://127.0.0.9:5", "listen", "\nlisten: {host: 0.0.0.0, port: 5}"),
            ("http://[::1]:5", "listen", "\nlisten: {host: '::', port: 5}"),
            ("https://Proxy.example:5", "listen", "\nlisten: {host: proxy.Example, port: 5}"),
        )
    ),
    ("upstream: {url: 'http://a.example'}", "upstream.url", "would send the credentials and the"),
    (
        "upstream: {allowed_paths: [/a/, /login/token/x]}\noauth: {token_path: /login/token}",
        "upstream.allowed_paths[1]",
        "can never be called, since oauth.token_path is",
    ),
    (
        "upstream: {allowed_paths: [/bye/]}\noauth: {logout_path: /bye}",
        "upstream.allowed_paths[0]",
        "can never be called, since oauth.logout_path is",
    ),
]


VALUES = [
    (f"{path.split('.')[0]}: {{{re.split('[.[]', path)[1]}: {value}}}", path, words)
    for path, value, words in (*WRONG_TYPES, *IMPOSSIBLE)
]


@pytest.mark.parametrize(("text", "path", "words"), [*UNKNOWN_KEYS, *VALUES, *CONTRADICTIONS])
def test_a_mistake_has_its_path_and_its_words(
    tmp_path: Path, text: str, path: str, words: str
) -> None:
    """It is found at the start, not when a request comes, with what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        judged(tmp_path, text)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: {words}")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "text",
    [
        "listen: {host: '::'}",
        "listen: {host: my_service-1.example}",
        "listen: {allowed_hosts: ['*', A.example, '10.0.0.1', '[fe80::1]', under_score]}",
        "listen: {unix_socket: " + "a" * 107 + "}",
        "upstream: {allowed_paths: [/]}",
        "upstream: {allowed_paths: [/oauthentic/, /a.b/, /..a, /a/oauth]}",
        "oauth: {client_id: a, client_secret: 'æ', username: c, password: '  : \"', scope: b/c d}",
        "listen: {port: ~}\nlog:\n",
        "listen: {unix_socket: a}\nadmin: {port: 8080}",
        "listen: {port: 0}\nadmin: {port: 0}",
        "listen: {host: '::1', port: 5}\nadmin: {host: 127.0.0.1, port: 5}",
        "listen: {host: '::1', port: 5}\nadmin: {host: 0.0.0.0, port: 5}",
        "upstream: {url: 'http://a.example', allow_plaintext: true}",
        "upstream: {url: 'http://localhost:1'}",
        "upstream: {url: 'http://127.0.0.2:8080'}",
        "upstream: {url: 'http://[::1]:8080'}",
        "upstream: {url: 'http://[::1]:5'}\nlisten: {host: 0.0.0.0, port: 5}",
        "upstream: {url: 'https://api.example:5'}\nlisten: {host: 0.0.0.0, port: 5}",
        "upstream: {url: 'http://127.0.0.1:8080'}\nlisten: {unix_socket: a}",
        "upstream: {allowed_paths: [/login/]}\noauth: {token_path: /login/token}",
        "limits: {max_replay_bytes: 1000, max_body_bytes: 10}",
    ],
)
def test_unusual_values_that_work_are_accepted(tmp_path: Path, text: str) -> None:
    """Also what only looks like a contradiction."""
    judged(tmp_path, text)


def test_a_faulty_setting_is_in_no_contradiction(tmp_path: Path) -> None:
    """It is not compared by its default."""
    text = "listen: {port: x}\nadmin: {port: 8080}\nupstream: {url: 'http://a', allow_plaintext: x}"
    with pytest.raises(ConfigError) as caught:
        judged(tmp_path, text)
    paths = [line.partition(":")[0] for line in caught.value.problems]
    assert paths == ["listen.port", "upstream.allow_plaintext"]
