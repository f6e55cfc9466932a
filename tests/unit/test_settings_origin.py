"""The upstream's URL: what is an origin, what it is to the parts that connect, and where http may be used."""

from __future__ import annotations

import dataclasses

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.settings import Origin, judge, load

CREDENTIALS = {"client_id": "a", "client_secret": "b", "username": "c", "password": "d"}


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "field", "text"),
    [
        ("https://api.telenor.no", "https", "api.telenor.no", 443, b"api.telenor.no", "https://api.telenor.no"),
        ("https://api.telenor.no/", "https", "api.telenor.no", 443, b"api.telenor.no", "https://api.telenor.no"),
        ("HTTPS://API.Telenor.NO:443", "https", "api.telenor.no", 443, b"api.telenor.no", "https://api.telenor.no"),
        ("https://a:8443/", "https", "a", 8443, b"a:8443", "https://a:8443"),
        ("https://a:80", "https", "a", 80, b"a:80", "https://a:80"),
        ("http://localhost", "http", "localhost", 80, b"localhost", "http://localhost"),
        ("http://localhost:00080", "http", "localhost", 80, b"localhost", "http://localhost"),
        ("http://127.0.0.1:443", "http", "127.0.0.1", 443, b"127.0.0.1:443", "http://127.0.0.1:443"),
        ("https://[2001:DB8::1]", "https", "2001:db8::1", 443, b"[2001:db8::1]", "https://[2001:db8::1]"),
        ("https://[::1]:65535", "https", "::1", 65535, b"[::1]:65535", "https://[::1]:65535"),
        ("https://my_service-1", "https", "my_service-1", 443, b"my_service-1", "https://my_service-1"),
        ("https://xn--rksmrgs-5wao1o.example", "https", "xn--rksmrgs-5wao1o.example", 443,
         b"xn--rksmrgs-5wao1o.example", "https://xn--rksmrgs-5wao1o.example"),
    ],
)  # fmt: skip # a table
def test_an_origin_is_scheme_host_and_port(
    url: str, scheme: str, host: str, port: int, field: bytes, text: str
) -> None:
    """Host and scheme are lower case, the port is always known, and the Host field has it only when it is not the scheme's own."""
    origin = judge({"oauth": CREDENTIALS, "upstream": {"url": url}}, {}).upstream.origin
    assert (origin.scheme, origin.host, origin.port, origin.host_header, str(origin)) == (
        scheme,
        host,
        port,
        field,
        text,
    )
    assert origin.is_tls == (scheme == "https")
    assert Origin.parse(str(origin)) == origin


def test_an_origin_is_frozen() -> None:
    """Where the credential goes cannot be changed while the proxy runs."""
    origin = Origin.parse("https://a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        origin.host = "b"  # type: ignore[misc]


SCHEME = "must begin with https"
NAME = "must hold a valid host name or address, and a port only as a number; IPv6 goes in brackets"
MORE = "must end after the host and the port, without path, query or fragment"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "must be text that is not empty"),
        ("api.telenor.no", SCHEME),
        ("//api.telenor.no", SCHEME),
        ("ftp://a", SCHEME),
        (" https://a", SCHEME),
        ("https:/a", SCHEME),
        ("https://a/b", MORE),
        ("https://a//", MORE),
        ("https://a?b", MORE),
        ("https://a/?b", MORE),
        ("https://a#b", MORE),
        ("https://a\\b", MORE),
        ("https://user@a", "must not hold a user or a password"),
        ("https://user:word@a", "must not hold a user or a password"),
        ("https://", NAME),
        ("https://:443", NAME),
        ("https://a:", NAME),
        ("https://a:b", NAME),
        ("https://a:-1", NAME),
        ("https://a:443:443", NAME),
        ("https://a:123456", NAME),
        ("https://a:٤٤٣", "must name the host in ASCII"),
        ("https://a b", NAME),
        ("https://a\n", NAME),
        ("https://a\tb", NAME),
        ("https://-a", NAME),
        ("https://a-", NAME),
        ("https://a..b", NAME),
        ("https://a.", NAME),
        ("https://a%2eb", NAME),
        ("https://*", NAME),
        ("https://1", NAME),
        ("https://127.1", NAME),
        ("https://0x7f.0.0.1", NAME),
        ("https://0x7f000001", NAME),
        ("https://127.0.0.01", NAME),
        ("https://127.0.0.256", NAME),
        ("https://::1", NAME),
        ("https://[::1", NAME),
        ("https://[::1]a", NAME),
        ("https://[127.0.0.1]", NAME),
        ("https://[fe80::1%25eth0]", NAME),
        ("https://[]", NAME),
        (f"https://{'a' * 64}", NAME),
        (f"https://{'.'.join(['abc'] * 64)}", NAME),
        ("https://blåbær.example", "must name the host in ASCII"),
        ("https://\uff41", "must name the host in ASCII"),
        ("https://a:0", "must hold a port from 1 to 65535"),
        ("https://a:65536", "must hold a port from 1 to 65535"),
    ],
)
def test_what_is_more_or_less_than_an_origin_is_refused(url: str, told: str) -> None:
    """A URL that two parsers could read differently, or with more in it than an origin, is refused and never repeated."""
    credentials = {
        f"TELENOR_PROXY_OAUTH__{key.upper()}": value for key, value in CREDENTIALS.items()
    }
    if not url:
        with pytest.raises(ValueError, match=SCHEME):
            Origin.parse(url)
        return
    with pytest.raises(ConfigError) as caught:
        load(None, credentials | {"TELENOR_PROXY_UPSTREAM__URL": url})
    (line,) = caught.value.problems
    assert line.startswith(f"upstream.url (from TELENOR_PROXY_UPSTREAM__URL): {told}")
    assert "word" not in line.replace("password", "")


LOOPBACK = ("localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0::1]")
ELSEWHERE = (
    "api.telenor.no",
    "localhost.example",
    "my.localhost",
    "128.0.0.1",
    "10.0.0.1",
    "0.0.0.0",
    "[::2]",
    "[::]",
)


@pytest.mark.parametrize("host", LOOPBACK)
def test_http_is_for_loopback_hosts(host: str) -> None:
    """What does not leave the machine may go unencrypted."""
    upstream = judge({"oauth": CREDENTIALS, "upstream": {"url": f"http://{host}"}}, {}).upstream
    assert upstream.origin.is_loopback
    assert not upstream.origin.is_tls


@pytest.mark.parametrize("host", ELSEWHERE)
def test_http_to_elsewhere_needs_a_word(host: str) -> None:
    """What leaves the machine goes encrypted, unless the operator allowed otherwise."""
    upstream: dict[str, object] = {"url": f"http://{host}"}
    with pytest.raises(ConfigError, match="unencrypted"):
        judge({"oauth": CREDENTIALS, "upstream": upstream}, {})
    settings = judge({"oauth": CREDENTIALS, "upstream": upstream | {"allow_plaintext": True}}, {})
    assert not settings.upstream.origin.is_loopback
    judge({"oauth": CREDENTIALS, "upstream": {"url": f"https://{host}"}}, {})


def test_the_origin_is_parsed_once_and_follows_the_url() -> None:
    """Looking again costs nothing, and a copy with another URL never keeps the first one's origin."""
    upstream = judge({"oauth": CREDENTIALS}, {}).upstream
    assert upstream.origin is upstream.origin
    copy = dataclasses.replace(upstream, url="https://127.0.0.1:8443")
    assert (str(upstream.origin), str(copy.origin)) == (
        "https://api.telenor.no",
        "https://127.0.0.1:8443",
    )


def test_a_ca_file_holds_certificates(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file to trust is looked into when the proxy starts.

    It has to be there and to hold a certificate in PEM form.
    """
    folder = tmp_path_factory.mktemp("ca")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "good"))
    authority.private_key_pem.write_to_path(str(folder / "key"))
    (folder / "empty").write_text("")
    (folder / "broken").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    credentials = {
        f"TELENOR_PROXY_OAUTH__{key.upper()}": value for key, value in CREDENTIALS.items()
    }
    assert load(
        None, credentials | {"TELENOR_PROXY_UPSTREAM__CA_FILE": str(folder / "good")}
    ).upstream.ca_file
    for name, told in [
        ("key", "names a file without a certificate in PEM form"),
        ("empty", "names a file without a certificate in PEM form"),
        ("broken", "names a file without a certificate in PEM form"),
        (
            "missing",
            f"names a file that does not exist: of its path only {folder} is there. Check the path.",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            load(None, credentials | {"TELENOR_PROXY_UPSTREAM__CA_FILE": str(folder / name)})
        (line,) = caught.value.problems
        assert line.startswith(f"upstream.ca_file (from TELENOR_PROXY_UPSTREAM__CA_FILE): {told}")


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ({}, False),
        ({"host": "LOCALHOST"}, False),
        ({"host": "127.8.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "10.0.0.5"}, True),
        ({"host": "proxy.example"}, True),
        ({"host": "0.0.0.0", "client_key": "made-up-key"}, False),
        ({"unix_socket": "listener"}, False),
    ],
)
def test_a_listener_beyond_loopback_is_open_without_a_key(
    listen: dict[str, object], *, is_open: bool
) -> None:
    """Whoever reaches it over a network may place orders, unless a client key keeps them out."""
    settings = judge({"oauth": CREDENTIALS, "listen": listen}, {})
    assert settings.listen.is_open is is_open
