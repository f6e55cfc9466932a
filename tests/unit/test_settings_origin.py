"""The upstream's URL: what an origin is, where http may be used, which listener is open."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.settings import Origin, load
from tests.unit.made import CREDENTIALS, problems, settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "text", "host", "port"),
    [
        ("https://api.telenor.no", "https://api.telenor.no", "api.telenor.no", 443),
        ("https://api.telenor.no/", "https://api.telenor.no", "api.telenor.no", 443),
        ("HTTPS://API.Telenor.NO:443", "https://api.telenor.no", "api.telenor.no", 443),
        ("https://a:8443/", "https://a:8443", "a", 8443),
        ("https://a:80", "https://a:80", "a", 80),
        ("http://localhost", "http://localhost", "localhost", 80),
        ("http://localhost:00080", "http://localhost", "localhost", 80),
        ("http://127.0.0.1:443", "http://127.0.0.1:443", "127.0.0.1", 443),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]", "2001:db8::1", 443),
        ("https://[::1]:65535", "https://[::1]:65535", "::1", 65535),
        ("https://my_service-1", "https://my_service-1", "my_service-1", 443),
        ("https://xn--rksmrgs-5wao1o.example", None, "xn--rksmrgs-5wao1o.example", 443),
    ],
)
def test_an_origin_is_scheme_host_and_port(
    url: str, text: str | None, host: str, port: int
) -> None:
    """In lower case; the Host field has the port only if it is not the scheme's own."""
    text = text or url
    origin = settings(upstream={"url": url}).upstream.origin
    scheme, _, field = text.partition("://")
    assert (origin.scheme, origin.host, origin.port) == (scheme, host, port)
    assert (str(origin), origin.host_header) == (text, field.encode())
    assert origin.is_tls == (scheme == "https")
    assert Origin.parse(str(origin)) == origin


def test_an_origin_is_frozen() -> None:
    """The destination of the credential cannot change."""
    origin = Origin.parse("https://a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        origin.host = "b"  # type: ignore[misc]


SCHEME = "must begin with https"
NAME = "must hold a valid host name or address, and a port only as a number; IPv6 goes in brackets"
MORE = "must end after the host and the port, without path, query or fragment"
USER = "must not hold a user or a password"
ASCII = "must name the host in ASCII"
PORT = "must hold a port from 1 to 65535"


@pytest.mark.parametrize(
    ("url", "start"),
    [
        *((url, SCHEME) for url in ("api.telenor.no", "//api.telenor.no", "ftp://a")),
        *((url, SCHEME) for url in (" https://a", "https:/a")),
        *((f"https://a{end}", MORE) for end in ("/b", "//", "?b", "/?b", "#b", "\\b")),
        *((f"https://{user}@a", USER) for user in ("user", "user:word")),
        *((f"https://{name}", NAME) for name in ("", ":443", "a:", "a:b", "a:-1", "a:443:443")),
        *((f"https://{name}", NAME) for name in ("a:123456", "a b", "a\n", "a\tb", "-a", "a-")),
        *((f"https://{name}", NAME) for name in ("a..b", "a.", "a%2eb", "*", "1", "127.1")),
        *((f"https://{name}", NAME) for name in ("0x7f.0.0.1", "0x7f000001", "127.0.0.01")),
        *((f"https://{name}", NAME) for name in ("127.0.0.256", "::1", "[::1", "[::1]a")),
        *((f"https://{name}", NAME) for name in ("[127.0.0.1]", "[fe80::1%25eth0]", "[]")),
        *((f"https://{name}", NAME) for name in ("a" * 64, ".".join(["abc"] * 64))),
        *((f"https://{name}", ASCII) for name in ("blåbær.example", "\uff41", "a:٤٤٣")),
        *((f"https://a:{port}", PORT) for port in (0, 65536)),
    ],
)
def test_what_is_more_or_less_than_an_origin_is_refused(url: str, start: str) -> None:
    """Also what parsers could read in two ways; it is never repeated."""
    (line,) = problems(CREDENTIALS | {"TELENOR_PROXY_UPSTREAM__URL": url})
    assert line.startswith(f"upstream.url (from TELENOR_PROXY_UPSTREAM__URL): {start}")
    assert "word" not in line.replace("password", "")


def test_http_is_for_loopback_hosts() -> None:
    """Credentials leave the machine encrypted, unless `upstream.allow_plaintext` is set."""
    with pytest.raises(ValueError, match=SCHEME):
        Origin.parse("")
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0::1]"):
        origin = settings(upstream={"url": f"http://{host}"}).upstream.origin
        assert origin.is_loopback
        assert not origin.is_tls


@pytest.mark.parametrize(
    "host",
    [
        *("api.telenor.no", "localhost.example", "my.localhost", "128.0.0.1", "10.0.0.1"),
        *("0.0.0.0", "[::2]", "[::]"),
    ],
)
def test_http_to_elsewhere_has_to_be_allowed(host: str) -> None:
    """With `upstream.allow_plaintext`."""
    upstream: dict[str, object] = {"url": f"http://{host}"}
    with pytest.raises(ConfigError, match="unencrypted"):
        settings(upstream=upstream)
    plain = settings(upstream=upstream | {"allow_plaintext": True})
    assert not plain.upstream.origin.is_loopback
    settings(upstream={"url": f"https://{host}"})


def test_the_origin_is_parsed_once_and_follows_the_url() -> None:
    """A copy with another URL has another origin."""
    upstream = settings().upstream
    assert upstream.origin is upstream.origin
    copy = dataclasses.replace(upstream, url="https://127.0.0.1:8443")
    assert str(upstream.origin) == "https://api.telenor.no"
    assert str(copy.origin) == "https://127.0.0.1:8443"


def test_a_ca_file_holds_certificates(tmp_path: Path) -> None:
    """It is read at the start, has to exist, and holds a certificate in PEM form."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "good"))
    authority.private_key_pem.write_to_path(str(tmp_path / "key"))
    (tmp_path / "empty").write_text("")
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "broken").write_text(broken)
    name = "TELENOR_PROXY_UPSTREAM__CA_FILE"
    assert load(None, CREDENTIALS | {name: str(tmp_path / "good")}).upstream.ca_file
    missing = f"the file does not exist: of its path only {tmp_path} is there. Check the"
    empty = "names a file without a certificate in PEM form"
    for file, start in (("key", empty), ("empty", empty), ("broken", empty), ("missing", missing)):
        (line,) = problems(CREDENTIALS | {name: str(tmp_path / file)})
        assert line.startswith(f"upstream.ca_file (from {name}): {start}")


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ({}, False),
        ({"host": "LOCALHOST"}, False),
        ({"host": "127.8.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": ["127.0.0.1", "::1"]}, False),
        ({"host": ["127.0.0.1", "10.0.0.1"]}, True),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "10.0.0.5"}, True),
        ({"host": "proxy.example"}, True),
        ({"host": "0.0.0.0", "client_key": "made-up-key"}, False),
        ({"unix_socket": "listener"}, False),
    ],
)
def test_a_listener_beyond_loopback_is_open_without_a_key(
    listen: dict[str, Any], *, is_open: bool
) -> None:
    """A client key or a Unix socket closes it."""
    assert settings(listen=listen).listen.is_open is is_open
