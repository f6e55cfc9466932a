"""What is refused: unknown keys, wrong types, contradictions.

All of it at once, in words that help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.errors import ConfigError
from proxy.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

P = "TELENOR_PROXY_"
UNKNOWN = (
    "is not a setting. Remove it, or look its name up in the table of settings (docs/reference.md)."
)
BACK = "leads back to the proxy itself, by {0}.host and {0}.port. Set it to the API (https://api.telenor.no), or {0}.port to another port."
OAUTH = "oauth: {client_id: a, client_secret: b, username: c, password: d}\n"


@pytest.fixture
def problems(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return what is wrong with a YAML text, without the environment."""

    def judge(text: str) -> list[str]:
        config = tmp_path / "config.yaml"
        config.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(config, {})
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        return caught.value.problems

    return judge


@pytest.fixture
def accepted(tmp_path: Path) -> Callable[[str], Settings]:
    """Return the settings that a YAML text makes."""

    def judge(text: str) -> Settings:
        config = tmp_path / "config.yaml"
        config.write_text(text, encoding="utf-8")
        return load(config, {})

    return judge


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One run shows every problem.

    Of the file, the environment, the named files, each setting, and between settings.
    """
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
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "listen.hosst",
        "pace",
        f"{P}LOGLEVEL",
        "oauth.password_file",
        "listen.port",
        "listen.allowed_hosts[0]",
        "listen.allowed_hosts[2]",
        "admin.port",
        "upstream.allowed_paths[1]",
        "oauth.client_id",
        "oauth.client_secret",
        "oauth.username",
        f"log.level (from {P}LOG__LEVEL)",
        "upstream.url",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen: {prot: 1}", "listen.prot: is not a setting. Did you mean listen.port?"),
        (
            "listen: {unix-socket: a}",
            "listen.unix-socket: is not a setting. Did you mean listen.unix_socket?",
        ),
        (
            "listen: {allowedHosts: [a]}",
            "listen.allowedHosts: is not a setting. Did you mean listen.allowed_hosts?",
        ),
        ("listen: {Port: 1}", "listen.Port: is not a setting. Did you mean listen.port?"),
        (
            "listen: {key_file: a}",
            "listen.key_file: is not a setting. Did you mean listen.tls_key_file?",
        ),
        ("listen: {passwd: a}", "listen.passwd: is not a setting. Did you mean oauth.password?"),
        (
            "listen: {password: a}",
            "listen.password: is not a setting. Did you mean oauth.password?",
        ),
        (
            "listen: {max_connections: 1}",
            "listen.max_connections: is not a setting. Did you mean upstream.max_connections or limits.max_connections?",
        ),
        ("scope: a", "scope: is not a setting. Did you mean oauth.scope?"),
        ("limit: {}", "limit: is not a setting. Did you mean limits?"),
        ("zzz: 1", f"zzz: {UNKNOWN}"),
        ("listen: {1: 2}", f"listen.1: {UNKNOWN}"),
        ("listen: {~: 2}", f"listen.null: {UNKNOWN}"),
        ("listen: {on: 2}", f"listen.true: {UNKNOWN}"),
        ("listen: {port 2: 3}", "listen.port...: is not a setting. Did you mean listen.port?"),
        ("listen : {port? : 3}", "listen.port...: is not a setting. Did you mean listen.port?"),
        ("listen!: {}", "listen...: is not a setting. Did you mean listen?"),
        ("\u00e5: 1", f"...: {UNKNOWN}"),
        ("listen: {'': 2}", f"listen.: {UNKNOWN}"),
        (
            "listen.port: 1",
            "listen.port: must be split at the dot: the section first, the rest indented below it.",
        ),
        (
            "listen:\n  port: 1\n  admin:\n    port: 2",
            "listen.admin: is not a setting, but a section of its own. Begin it at the margin, with its settings indented below it.",
        ),
        ("listen: {port:81}", "listen.port: needs a space after the colon."),
        (
            "listen: 8080",
            "listen: must be a group of settings, each on a line of its own and indented.",
        ),
        (
            "listen: [port]",
            "listen: must be a group of settings, each on a line of its own and indented.",
        ),
    ],
)
def test_an_unknown_key_is_refused(
    problems: Callable[[str], list[str]], text: str, told: str
) -> None:
    """A key that is no setting is told with its path, and with what was probably meant."""
    assert problems(OAUTH + text) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen: {port: '81'}", 'listen.port: must be a whole number from 0 to 65535, not "81". Write it without quotes and in plain digits.'),
        ("listen: {port: 81.0}", "listen.port: must be a whole number from 0 to 65535, not 81.0."),
        ("listen: {port: true}", "listen.port: must be a whole number from 0 to 65535, not true."),
        ("listen: {port: [1]}", "listen.port: must be a whole number from 0 to 65535."),
        ("listen: {host: 127}", "listen.host: must be text that is not empty, not 127. Put it in quotes."),
        ("listen: {host: ''}", 'listen.host: must be text that is not empty, not "".'),
        ("listen: {host: 2027-01-01}", "listen.host: must be text that is not empty. Put it in quotes."),
        ("listen: {unix_socket: 5}", "listen.unix_socket: must be the path of a file, as text, not 5. Put it in quotes."),
        ("listen: {unix_socket: ''}", "listen.unix_socket: must be the path of a file."),
        ('listen: {unix_socket: "a\\0b"}', "listen.unix_socket: must be the path of a file."),
        ("listen: {allowed_hosts: a}", 'listen.allowed_hosts: must be a list with at least one entry, not "a". Put each entry on a line of its own, after a dash.'),
        ("listen: {allowed_hosts: {a: b}}", "listen.allowed_hosts: must be a list with at least one entry."),
        ("listen: {allowed_hosts: []}", "listen.allowed_hosts: must be a list with at least one entry."),
        ("listen: {allowed_hosts: [a, 5]}", "listen.allowed_hosts[1]: must be text that is not empty, not 5. Put it in quotes."),
        ("listen: {allowed_hosts: [~]}", "listen.allowed_hosts[0]: must be text that is not empty. Put it in quotes."),
        ("upstream: {allow_plaintext: 1}", "upstream.allow_plaintext: must be true or false, not 1."),
        ("upstream: {allow_plaintext: 'true'}", 'upstream.allow_plaintext: must be true or false, not "true". Write it without quotes.'),
        ("pacing: {requests_per_second: 0}", "pacing.requests_per_second: must be a number above 0 and up to 100000, not 0."),
        ("pacing: {requests_per_second: true}", "pacing.requests_per_second: must be a number above 0 and up to 100000, not true."),
        ("oauth: {refresh_ahead_seconds: -1}", "oauth.refresh_ahead_seconds: must be a number from 0 to 86400, not -1."),
        (f"limits: {{max_body_bytes: 0x{'f' * 5000}}}", "limits.max_body_bytes: must be a whole number from 1 to 1099511627776."),
        (f"limits: {{idle_timeout_seconds: 0x{'f' * 5000}}}", "limits.idle_timeout_seconds: must be a number above 0 and up to 3600."),
        ("log: {level: off}", "log.level: must be one of debug, info, warning, error, not false. Put it in quotes."),
        ("log: {format: xml}", 'log.format: must be one of auto, json, console, not "xml".'),
    ],
)  # fmt: skip # one row a line
def test_a_wrong_type_is_refused(
    problems: Callable[[str], list[str]], text: str, told: str
) -> None:
    """The file is taken strictly.

    What stands there must be of the right type, and the message says how to write it.
    """
    oauth = OAUTH if not text.startswith("oauth") else ""
    text = text.replace(
        "oauth: {", "oauth: {client_id: a, client_secret: b, username: c, password: d, "
    )
    assert problems(oauth + text) == [told]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen: {host: 'a:80'}", "listen.host: must be a host name or an address alone, without scheme, port or brackets."),
        ("listen: {host: '[::1]'}", "listen.host: must be a host name or an address alone, without scheme, port or brackets."),
        ("admin: {host: 'http://a'}", "admin.host: must be a host name or an address alone, without scheme, port or brackets."),
        ("admin: {host: 127.0.0.256}", "admin.host: must be a host name or an address alone, without scheme, port or brackets."),
        (f"listen: {{unix_socket: {'a' * 108}}}", "listen.unix_socket: must be at most 107 bytes long, the system's limit for socket paths."),
        ("listen: {allowed_hosts: ['a:80']}", 'listen.allowed_hosts[0]: must be a host name or an address without scheme, port or path, or "*" alone for all.'),
        ("listen: {allowed_hosts: ['[::1]:80']}", 'listen.allowed_hosts[0]: must be a host name or an address without scheme, port or path, or "*" alone for all.'),
        ("listen: {allowed_hosts: ['*.a']}", 'listen.allowed_hosts[0]: must be a host name or an address without scheme, port or path, or "*" alone for all.'),
        ("listen: {allowed_hosts: ['a b']}", 'listen.allowed_hosts[0]: must be a host name or an address without scheme, port or path, or "*" alone for all.'),
        ("listen: {allowed_hosts: ['::1']}", "listen.allowed_hosts[0]: must have the IPv6 address in brackets."),
        ("upstream: {allowed_paths: [a/]}", 'upstream.allowed_paths[0]: must begin with "/" and hold visible ASCII characters only.'),
        ("upstream: {allowed_paths: ['/a b']}", 'upstream.allowed_paths[0]: must begin with "/" and hold visible ASCII characters only.'),
        ("upstream: {allowed_paths: [/ø]}", 'upstream.allowed_paths[0]: must begin with "/" and hold visible ASCII characters only.'),
        *(
            (f"upstream: {{allowed_paths: ['{path}']}}", 'upstream.allowed_paths[0]: must be a plain path, without "?", "#", "%", "\\", "//" and dot segments.')
            for path in ("/a?b", "/a#b", "/a%2f", "/a\\b", "//a", "/a//b", "/a/../b", "/a/.", "/..")
        ),
        *(
            (f"upstream: {{allowed_paths: ['{path}']}}", "upstream.allowed_paths[0]: can never be called: everything below /oauth/ is the proxy's own business. Remove the entry.")
            for path in ("/oauth", "/oauth/", "/OAuth/v2", "/oauth/v2/token")
        ),
        ("oauth: {token_path: oauth/token}", 'oauth.token_path: must begin with "/" and hold visible ASCII characters only.'),
        ("oauth: {logout_path: '/a?b=c'}", 'oauth.logout_path: must be a plain path, without "?", "#", "%", "\\", "//" and dot segments.'),
        ("oauth: {scope: 'a  b'}", "oauth.scope: must be scope names with one space between them (RFC 6749, section 3.3)."),
        ("oauth: {scope: 'a\"'}", "oauth.scope: must be scope names with one space between them (RFC 6749, section 3.3)."),
    ],
)  # fmt: skip # one row a line
def test_a_value_that_cannot_work_is_refused(
    problems: Callable[[str], list[str]], text: str, told: str
) -> None:
    """A value of the right type that could never do what it is for is refused when the proxy starts, not when a request comes."""
    oauth = OAUTH if not text.startswith("oauth") else ""
    text = text.replace(
        "oauth: {", "oauth: {client_id: a, client_secret: b, username: c, password: d, "
    )
    assert problems(oauth + text) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "listen: {host: '::'}",
        "listen: {host: my_service-1.example}",
        "listen: {allowed_hosts: ['*', A.example, '10.0.0.1', '[fe80::1]', under_score]}",
        "listen: {unix_socket: " + "a" * 107 + "}",
        "upstream: {allowed_paths: [/]}",
        "upstream: {allowed_paths: [/oauthentic/, /a.b/, /..a, /a/oauth]}",
        "oauth: {client_id: a, client_secret: 'æ', username: c, password: '  d: \"', scope: a:b/c d}",
        "listen: {port: ~}\nlog:\n",
    ],
)
def test_unusual_values_that_work_are_taken(accepted: Callable[[str], Settings], text: str) -> None:
    """Nothing is refused for being unusual."""
    accepted(text if text.startswith("oauth") else OAUTH + text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("listen: {unix_socket: a, port: 81}", "listen.unix_socket: cannot be used together with listen.port. Remove one or the other."),
        ("listen: {unix_socket: a, host: b, port: 8080}", "listen.unix_socket: cannot be used together with listen.host and listen.port. Remove one or the other."),
        ("admin: {port: 8080}", "admin.port: is 8080, the same address as the listener's. Give one of them another port."),
        ("listen: {host: 0.0.0.0, port: 9090}", "admin.port: is 9090, the same address as the listener's. Give one of them another port."),
        ("listen: {host: A, port: 5}\nadmin: {host: a, port: 5}", "admin.port: is 5, the same address as the listener's. Give one of them another port."),
        ("upstream: {url: 'http://127.0.0.1:8080'}", f"upstream.url: {BACK.format('listen')}"),
        ("upstream: {url: 'https://localhost:8080'}", f"upstream.url: {BACK.format('listen')}"),
        ("upstream: {url: 'http://127.0.0.1:9090'}", f"upstream.url: {BACK.format('admin')}"),
        ("upstream: {url: 'http://127.0.0.9:5'}\nlisten: {host: 0.0.0.0, port: 5}", f"upstream.url: {BACK.format('listen')}"),
        ("upstream: {url: 'http://[::1]:5'}\nlisten: {host: '::', port: 5}", f"upstream.url: {BACK.format('listen')}"),
        ("upstream: {url: 'https://Proxy.example:5'}\nlisten: {host: proxy.Example, port: 5}", f"upstream.url: {BACK.format('listen')}"),
        ("upstream: {url: 'http://a.example'}", "upstream.url: would send the credentials and the token unencrypted. Use https, or set upstream.allow_plaintext to true if you trust every network on the way."),
        ("upstream: {allowed_paths: [/a/, /login/token/x]}\noauth: {token_path: /login/token}", "upstream.allowed_paths[1]: can never be called, since oauth.token_path is the proxy's own business. Remove the entry."),
        ("upstream: {allowed_paths: [/bye/]}\noauth: {logout_path: /bye}", "upstream.allowed_paths[0]: can never be called, since oauth.logout_path is the proxy's own business. Remove the entry."),
    ],
)  # fmt: skip # one row a line
def test_a_contradiction_is_refused(
    problems: Callable[[str], list[str]], text: str, told: str
) -> None:
    """Settings that cannot all be meant are refused, with the setting to change first."""
    oauth = OAUTH if "oauth" not in text else ""
    text = text.replace(
        "oauth: {", "oauth: {client_id: a, client_secret: b, username: c, password: d, "
    )
    assert problems(oauth + text) == [told]


@pytest.mark.parametrize(
    "text",
    [
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
def test_what_only_looks_like_a_contradiction_is_taken(
    accepted: Callable[[str], Settings], text: str
) -> None:
    """Only what really cannot be meant is refused."""
    oauth = OAUTH if "oauth" not in text else ""
    accepted(
        oauth
        + text.replace(
            "oauth: {", "oauth: {client_id: a, client_secret: b, username: c, password: d, "
        )
    )


def test_a_faulty_setting_is_in_no_contradiction(problems: Callable[[str], list[str]]) -> None:
    """A setting that is wrong by itself is not also compared, as it would be by its default."""
    told = problems(
        OAUTH
        + "listen: {port: x}\nadmin: {port: 8080}\nupstream: {url: 'http://a', allow_plaintext: x}"
    )
    assert [line.partition(":")[0] for line in told] == ["listen.port", "upstream.allow_plaintext"]
