"""Settings of the upstream, addresses, TLS, the company's proxy, stores and the collector."""

import dataclasses
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.errors import ConfigError
from proxy.settings import Origin, judge
from proxy.settings.catalogue import why_no_pair
from tests.unit.made import OAUTH, settings

SENTINEL = "Zq7hunter2"
ONE = {"certificate": "one.crt"}
URL = {"proxy_url": "http://a:1"}


def problems(**sections: dict[str, Any]) -> list[str]:
    """Make settings that cannot be made; return why."""
    with pytest.raises(ConfigError) as caught:
        settings(**sections)
    assert SENTINEL not in str(caught.value)
    return caught.value.problems


# --- The upstream's origin, and who reaches the listener --------------------------------------


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
    (line,) = problems(upstream={"url": url})
    assert line.startswith(f"upstream.url: {start}")
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


# --- Hosts, TLS, the company's proxy, stores, collectors ---------------------------------------


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("::", ("::",)),
        (["127.0.0.1"], ("127.0.0.1",)),
        (["127.0.0.1", "::1", "proxy.example"], ("127.0.0.1", "::1", "proxy.example")),
    ],
)
def test_a_host_is_one_or_a_list(host: object, expected: tuple[str, ...]) -> None:
    """For both listeners; it is shown as it may be written."""
    made = settings(listen={"host": host}, admin={"host": host})
    assert made.listen.host == made.admin.host == expected
    shown = expected[0] if len(expected) == 1 else list(expected)
    assert made.effective()["listen.host"] == shown


def test_hosts_come_from_the_environment() -> None:
    """One, or several with commas or as JSON."""
    for text, expected in [
        ("::1", ("::1",)),
        ("127.0.0.1, ::1", ("127.0.0.1", "::1")),
        ('["127.0.0.1", "::1"]', ("127.0.0.1", "::1")),
        ('["::1"]', ("::1",)),
    ]:
        made = judge({"oauth": OAUTH}, {"TELENOR_PROXY_LISTEN__HOST": text})
        assert made.listen.host == expected


@pytest.mark.parametrize(
    ("host", "start"),
    [
        (["a", "A"], ["[1]: is the same as [0]. Remove one of the two."]),
        (["::1", "b", "0:0::1"], ["[2]: is the same as [0]. Remove one of the two."]),
        ([], [": must be a list with at least one entry."]),
        (
            ["a:1", 5],
            [
                "[0]: must be a host name or an address without scheme, port or brackets.",
                "[1]: must be text that is not empty, not 5. Put it in quotes.",
            ],
        ),
    ],
)
def test_a_list_of_hosts_that_cannot_be_used_is_refused(host: object, start: list[str]) -> None:
    """One host twice, however spelled, would fail when it is bound."""
    assert problems(listen={"host": host}) == [f"listen.host{line}" for line in start]


@pytest.mark.parametrize(
    ("listen", "admin", "same"),
    [
        (["127.0.0.1"], ["::1"], False),
        (["127.0.0.1", "::1"], ["::1"], True),
        (["::"], ["127.0.0.1"], True),
        (["0.0.0.0"], ["::1"], False),
        (["0.0.0.0"], ["127.0.0.1"], True),
        (["localhost"], ["::1"], True),
        (["10.0.0.1"], ["127.0.0.1"], False),
    ],
)
def test_no_two_listeners_claim_one_address(
    listen: list[str], admin: list[str], *, same: bool
) -> None:
    """`::` takes every address."""
    sections = {"listen": {"host": listen, "port": 81}, "admin": {"host": admin, "port": 81}}
    if same:
        (start,) = problems(**sections)
        assert start.startswith("admin.port: is 81, the same address as the listener's.")
    else:
        settings(**sections)


@pytest.fixture
def pem(tmp_path: Path) -> Callable[[str], str]:
    """Return the path of a PEM file by its name."""
    authority = trustme.CA()
    for name in ("one", "two"):
        pair = authority.issue_cert("localhost")
        pair.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.crt"))
        pair.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    both = (tmp_path / "one.key").read_bytes() + (tmp_path / "one.crt").read_bytes()
    (tmp_path / "both.pem").write_bytes(both)
    (tmp_path / "half.key").write_bytes((tmp_path / "one.key").read_bytes()[:60])
    for name, kind in (("half", "PRIVATE"), ("locked", "ENCRYPTED PRIVATE")):
        key = f"-----BEGIN {kind} KEY-----\nAAAA\n-----END {kind} KEY-----\n"
        pem = (tmp_path / "one.crt").read_bytes() + key.encode("ascii")
        (tmp_path / f"{name}.pem").write_bytes(pem)
    (tmp_path / "locked.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    (tmp_path / "none").write_text("nothing")
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    (tmp_path / "broken.pem").write_text(broken)
    der = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
    (tmp_path / "der").write_bytes(der)
    return lambda name: str(tmp_path / name)


def test_certificate_and_key_are_taken(pem: Callable[[str], str]) -> None:
    """As two files or one; clients may need a certificate, too."""
    for listen in (
        {"tls_certificate_file": pem("one.crt"), "tls_key_file": pem("one.key")},
        {"tls_certificate_file": pem("both.pem"), "tls_client_ca_file": pem("ca.pem")},
    ):
        path = settings(listen=listen).listen.tls_certificate_file
        assert path == Path(listen["tls_certificate_file"])
    clients = [{"name": "erp", "certificate": "ERP.example"}]
    made = settings(listen={**listen, "clients": clients, "host": "0.0.0.0"}).listen
    assert made.clients[0].certificate == "erp.example"
    assert not made.is_open


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({"key": "one.key"}, "key_file: needs listen.tls_certificate_file as well"),
        ({"client_ca": "ca.pem"}, "client_ca_file: needs listen.tls_certificate_file as well"),
        ({"certificate": "one.crt"}, "certificate_file: holds no private key"),
        ({"key": "two.key", **ONE}, "key_file: is not the key of"),
        ({"key": "half.key", **ONE}, "key_file: cannot be used with"),
        ({"key": "locked.key", **ONE}, "key_file: names a private key that a passphrase"),
        ({"key": "none", **ONE}, "key_file: names a file without a private key"),
        ({"key": "missing", **ONE}, "key_file: the file does not exist"),
        ({"key": ".", **ONE}, "key_file: the file cannot be read"),
        ({"certificate": "locked.pem"}, "certificate_file: names a private key that a"),
        ({"certificate": "none"}, "certificate_file: names a file without a certificate"),
        ({"certificate": "missing"}, "certificate_file: the file does not exist"),
        ({"certificate": "broken.pem"}, "certificate_file: names a file without a certificate"),
        ({"certificate": "der"}, "certificate_file: names a certificate in DER form"),
        (
            {"certificate": "both.pem", "client_ca": "one.key"},
            "client_ca_file: names a file without a",
        ),
    ],
)
def test_what_cannot_be_used_for_tls_is_refused(
    pem: Callable[[str], str], files: dict[str, str], start: str
) -> None:
    """Before anything listens, with the setting to change."""
    (line,) = problems(listen={f"tls_{name}_file": pem(file) for name, file in files.items()})
    assert line.startswith(f"listen.tls_{start}")


def test_a_half_written_file_with_both_is_called_incomplete(pem: Callable[[str], str]) -> None:
    """As it may be in the moment of a reload."""
    _, words = why_no_pair(Path(pem("half.pem")), None) or ("", "")
    assert words.startswith("is incomplete")


def test_no_tls_is_spoken_on_a_unix_socket(pem: Callable[[str], str]) -> None:
    """Both settings at once are refused."""
    pair = {"tls_certificate_file": pem("one.crt"), "tls_key_file": pem("one.key")}
    (line,) = problems(listen=pair | {"unix_socket": "a.sock"})
    together = "cannot be used together with listen.unix_socket"
    assert line.startswith(f"listen.tls_certificate_file: {together}")


@pytest.mark.parametrize(
    "url", ["http://proxy.example:3128", "https://[::1]:8443/", "HTTP://10.0.0.1:80", "Environment"]
)
def test_the_way_through_a_proxy_is_taken(url: str) -> None:
    """A URL with its port, or one word; credentials stand beside it."""
    upstream = settings(
        upstream={"proxy_url": url, "proxy_username": "user", "proxy_password": "word"}
    ).upstream
    assert (upstream.proxy_origin is None) == (upstream.proxy_url == "environment")


@pytest.mark.parametrize(
    ("store", "kind"),
    [
        ("memory", "memory"),
        ("Memory", "memory"),
        ("./memory", "sqlite"),
        ("/var/lib/orders.db", "sqlite"),
        ("C:\\data\\orders.db", "sqlite"),
        ("redis://cache.example", "redis"),
        ("rediss://user@cache.example:6380/2", "redis"),
        ("valkey://[::1]:6379/0", "redis"),
    ],
)
def test_a_store_is_taken(store: str, kind: str) -> None:
    """Memory, the path of a file, or the URL of a Valkey or Redis."""
    assert settings(orders={"store": store, "guard_seconds": 30}).orders.store_kind == kind
    assert settings().orders.store_kind is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4318",
        "http://otel-collector.monitoring:4318/",
        "https://collector.example/otlp",
        "https://[2001:db8::1]:4318/a/b/",
        "HTTPS://Collector.example",
    ],
)
def test_the_url_of_a_collector_is_accepted(url: str) -> None:
    """With http, too: a collector is most often on the same network."""
    assert settings(telemetry={"otlp_endpoint": url}).telemetry.otlp_endpoint == url


#: What is set in `upstream`, and why it is refused; the same of `orders` and of the collector.
WAYS = [
    ({"proxy_url": f"http://u:{SENTINEL}@a:1"}, "proxy_url: must not hold a user or a pass"),
    ({"proxy_url": "socks5://a:1"}, "proxy_url: must begin with http:// or https://"),
    ({"proxy_url": "a:1"}, "proxy_url: must begin with http:// or https://"),
    ({"proxy_url": "http://a"}, "proxy_url: must end with the proxy's port, such as http:"),
    ({"proxy_url": "http://a:1/x"}, "proxy_url: must end after the host and the port"),
    ({"proxy_url": "http://a:0"}, "proxy_url: must hold a port from 1 to 65535"),
    ({"proxy_url": "http://127.0.0.1:8080"}, "proxy_url: leads back to the proxy itself, by"),
    ({**URL, "proxy_username": "x"}, "proxy_username: needs upstream.proxy_password"),
    ({**URL, "proxy_password": SENTINEL}, "proxy_password: needs upstream.proxy_username"),
    ({"proxy_password": SENTINEL}, "proxy_password: needs upstream.proxy_url as well"),
    (
        {**URL, "proxy_username": f"x:{SENTINEL}", "proxy_password": "y"},
        'proxy_username: must not contain ":"',
    ),
    ({"transport": "slow"}, 'transport: must be one of fast, asyncio, not "slow".'),
]
ORDERS = [
    ({"guard_seconds": 1}, "guard_seconds: needs orders.store"),
    ({"store_password": SENTINEL}, "store_password: needs the URL of a Valkey or Redis"),
    (
        {"store_password": SENTINEL, "store": "memory"},
        "store_password: needs the URL of a Valkey or Redis",
    ),
]
STORES = [
    (f"redis://:{SENTINEL}@a", "must not hold a password: it belongs in orders.store_password"),
    (f"redis://a/0?password={SENTINEL}", "must not hold a password"),
    ("redis:a", "must have // behind the scheme"),
    ("http://a", 'must be the word "memory", the path of a file, or a URL with redis'),
    ("redis://a/x", "must be host, port and the number of a database"),
    ("redis://", "must hold a valid host name or address"),
    ("redis://a/0?ssl_ca_certs=/ca.pem", "?ssl_ca_certs= needs rediss:// and a file"),
    ("rediss://a/0?ssl_ca_certs=", "?ssl_ca_certs= needs rediss:// and a file"),
    ("rediss://a/0?ssl_ca_certs=/ca.pem&a=b", "?ssl_ca_certs= needs rediss://"),
    ("rediss://a/0?ssl_ca_certs=/no/ca.pem", "the file does not exist"),
    ("rediss://a/0?ssl_cert_reqs=none", "must be host, port and the number"),
    ("dir/", "must be the path of a file"),
]
COLLECTORS = [
    ("127.0.0.1:4318", "must begin with http:// or https://"),
    ("grpc://127.0.0.1:4317", "must begin with http:// or https://"),
    (f"https://user:{SENTINEL}@collector.example", "must not hold a user or a password"),
    ("https://collector.example/v1/traces", "must be without /v1/traces"),
    ("https://collector.example/otlp/v1/traces/", "must be without /v1/traces"),
    (f"https://collector.example?key={SENTINEL}", "must end after the host and the port"),
    (f"https://collector.example/otlp?key={SENTINEL}", "must be a plain path"),
    ("https://collector.example:99999", "must hold a port from 1 to 65535"),
    ("https://", "must hold a valid host name"),
]


@pytest.mark.parametrize(
    ("section", "content", "start"),
    [
        *(("upstream", content, start) for content, start in WAYS),
        *(("orders", content, start) for content, start in ORDERS),
        *(("orders", {"store": url}, f"store: {start}") for url, start in STORES),
        *(
            ("telemetry", {"otlp_endpoint": url}, f"otlp_endpoint: {start}")
            for url, start in COLLECTORS
        ),
    ],
)
def test_what_cannot_work_is_refused(section: str, content: dict[str, object], start: str) -> None:
    """With the setting to change, and without a credential."""
    (line,) = problems(**{section: content})
    assert line.startswith(f"{section}.{start}")
