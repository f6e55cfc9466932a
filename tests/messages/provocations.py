"""What has to go wrong so that each message is said: configurations, answers of the token endpoint, faults on the way to it."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
import trustme
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Configuration(NamedTuple):
    """A configuration with a fault. yaml: SECRET stands for a secret, FOLDER for where the files are. environ: without the prefix."""

    yaml: str = ""
    environ: Mapping[str, str] = {}
    files: Mapping[str, bytes] = {}
    is_missing: bool = False
    has_credentials: bool = True


_CA: Final = trustme.CA()
_ONE: Final = _CA.issue_cert("a.example")
_PEM_FILES: Final = {
    "one.crt": _ONE.cert_chain_pems[0].bytes(),
    "one.key": _ONE.private_key_pem.bytes(),
    "two.key": _CA.issue_cert("b.example").private_key_pem.bytes(),
    "half.key": _ONE.private_key_pem.bytes()[:60],
    "locked.key": b"-----BEGIN ENCRYPTED PRIVATE KEY-----",
}

CONFIGURATIONS: Final = (
    Configuration(is_missing=True),
    Configuration(has_credentials=False),
    *map(
        Configuration,
        (
            # The file as a whole.
            "- listen",
            "listen: 8080",
            "listen.port: 1",
            "listen: {port:81}",
            "listen: {prot: 1}",
            "listen: {max_connections: 1}",
            "zzz: 1",
            "listen: {port: 1, port: 2}",
            "[" * 100,
            "a: \0",
            "a: 2027-13-45",
            # YAML that is none.
            "listen:\n\tport: 1\n",
            "oauth:\n  password: @SECRET",
            "oauth:\n  password: SECRET #x",
            "oauth:\n  password: SECRET\n    x",
            "oauth:\n  password: &SECRET x",
            'oauth:\n  password: "SECRET\\nx"',
            "listen:\n  port: 1\n   host: a",
            "listen:\n  admin:\n    port: 1",
            "oauth:\n  password: SECRET: x",
            "oauth:\n  password: *SECRET",
            "oauth:\n  password: !SECRET x",
            "oauth:\n  password: 'SECRET",
            'oauth:\n  password: "\\SECRET"',
            "listen:\n  allowed_hosts: - a",
            "listen: {allowed_hosts: [a}",
            "listen: {\n",
            "oauth:\n  password: |SECRET\n",
            "a: 1\n---\nb: 2",
            "? [a]\n: b",
            " a: 1\nb: 2",
            "oauth:\n  client_id: a\n username: b",
            "%YAML 9.9\n---\na",
            # Types and bounds.
            "listen: {port: '81'}",
            "listen: {port: 70000}",
            "listen: {host: 127}",
            "listen: {host: ''}",
            "listen: {allowed_hosts: a}",
            "listen: {allowed_hosts: []}",
            "listen: {allowed_hosts: [5]}",
            "listen: {unix_socket: 5}",
            "upstream: {allow_plaintext: 'true'}",
            "pacing: {requests_per_second: 0}",
            "oauth: {refresh_ahead_seconds: -1}",
            "log: {format: xml}",
            "oauth: {password_file: 5}",
            # Values that could never work.
            "listen: {host: 'a:80'}",
            "listen: {allowed_hosts: ['a:80', '::1']}",
            f"listen: {{unix_socket: {'a' * 108}}}",
            "listen: {unix_socket: ''}",
            "listen: {client_key: short}",
            "upstream: {url: api.example}",
            "upstream: {url: 'https://user:SECRET@api.example'}",
            "upstream: {url: 'https://api.example/v2'}",
            "upstream: {url: 'https://\u00e5.example'}",
            "upstream: {url: 'https://[::1'}",
            "upstream: {url: 'https://api.example:0'}",
            "upstream: {ca_file: FOLDER/nowhere.pem}",
            "upstream: {ca_file: FOLDER}",
            "upstream: {ca_file: /dev/null}",
            "upstream: {ca_file: /dev/zero}",
            "upstream: {allowed_paths: [a, /a/../b, /oauth/]}",
            "oauth: {token_path: token}",
            "oauth: {scope: 'a  b'}",
            'oauth: {client_id: "a:b"}',
            'oauth: {username: "a\\nb"}',
            "telemetry: {otlp_endpoint: collector}",
            "telemetry: {otlp_endpoint: 'http://user:SECRET@collector:4318'}",
            "telemetry: {otlp_endpoint: 'http://collector:4318/v1/traces'}",
            "listen: {host: [a, A]}",
            "listen: {clients: [5, {}, {name: A, key: SECRET}, {name: b, key: SECRET-1, kye: 1}]}",
            "listen: {clients: [{name: a, key: SECRET-1, key_file: x}, {name: b, key: SECRET-1}]}",
            "listen: {clients: [{name: a, certificate: '*', allowed_methods: [brew]}]}",
            "listen: {clients: erp}",
            "listen: {clients: '[]'}",
            "upstream: {proxy_url: 'socks5://a:1'}",
            "upstream: {proxy_url: 'http://user:SECRET@a:1'}",
            "upstream: {proxy_url: 'http://a'}",
            "orders: {store: 'redis:a'}",
            "orders: {store: 'http://a'}",
            "orders: {store: a/}",
            "orders: {store: 'redis://:SECRET@a'}",
            "orders: {store: 'redis://a/x'}",
            # Values that contradict each other.
            "listen: {client_key: SECRET-1, clients: [{name: a, key: SECRET-2, allowed_paths: [/x/]}]}",
            "listen: {clients: [{name: a, certificate: a.example}]}",
            "upstream: {proxy_url: 'http://127.0.0.1:8080'}",
            "upstream: {proxy_username: a, proxy_password: SECRET}",
            "upstream: {proxy_url: 'http://a:1', proxy_username: a}",
            "orders: {guard_seconds: 1}",
            "orders: {store: memory, store_password: SECRET}",
            "listen: {unix_socket: a, host: b, port: 1}",
            "admin: {port: 8080}",
            "upstream: {url: 'http://api.example'}",
            "upstream: {url: 'http://127.0.0.1:8080'}",
            "upstream: {url: 'http://127.0.0.1:9090'}",
            "upstream: {allowed_paths: [/login/]}\noauth: {token_path: /login}",
        ),
    ),
    Configuration(environ={"LISTEN__PORT": "http"}),
    # TLS of the listener.
    *(
        Configuration(
            f"listen: {{{', '.join(f'tls_{key}_file: FOLDER/{name}' for key, name in named.items())}}}",
            files=_PEM_FILES,
        )
        for named in (
            {"certificate": "one.crt", "key": "two.key"},
            {"certificate": "one.crt"},
            {"certificate": "one.crt", "key": "half.key"},
            {"certificate": "one.crt", "key": "one.crt"},
            {"certificate": "one.crt", "key": "locked.key"},
            {"certificate": "one.crt", "key": "nowhere"},
            {"certificate": "one.crt", "key": "."},
            {"key": "one.key"},
            {"client_ca": "one.crt"},
        )
    ),
    Configuration("upstream: {ca_file: FOLDER/der}", files={"der": b"\x30\x82\x01\x00\x30\x82"}),
    Configuration("upstream: {ca_file: FOLDER/large}", files={"large": b"x" * (5 << 20)}),
    Configuration("upstream: {ca_file: FOLDER/empty}", files={"empty": b""}),
    # Keys of clients.
    Configuration("listen: {clients: [{name: a, key_file: FOLDER/keys}]}", files={"keys": b"abcdefgh\nx"}),
    # Secrets from files.
    Configuration(environ={"OAUTH__PASSWORD_FILE": "/run/SECRET"}, has_credentials=False),
    Configuration("oauth: {password_file: FOLDER/nowhere}"),
    Configuration("oauth: {password_file: secrets/nowhere}"),
    Configuration("oauth: {password_file: FOLDER}"),
    Configuration("oauth: {password_file: FOLDER/empty}", files={"empty": b"\n"}),
    Configuration("oauth: {password_file: FOLDER/latin}", files={"latin": b"\xe6"}),
    Configuration("oauth: {password_file: FOLDER/large}", files={"large": b"x" * 70_000}),
    Configuration("oauth: {password_file: FOLDER/good, password: SECRET}", files={"good": b"x"}),
    Configuration("oauth: {password_file: FOLDER/tab}", files={"tab": b"a\tb"}),
)

#: Passwords that are visibly wrong.
DOUBTFUL: Final = ("PASSWORD=Zq7", '"Zq7"', " Zq7", "Zq7\u200b")

#: Status, content and fields, beside the codes.
ANSWERS_OF_THE_TOKEN_ENDPOINT: Final[tuple[tuple[int, bytes, dict[str, str]], ...]] = (
    (200, b"<html>", {}),
    (200, b"", {}),
    (200, b"x", {}),
    (200, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
    (200, b'{"code": 50001}', {}),
    (200, b"{}", {}),
    (200, b'{"access_token": "a b"}', {}),
    (200, b'{"access_token": "a", "token_type": "mac"}', {}),
    (302, b"", {}),
    (403, b"", {"Proxy-Status": "telenor-proxy; error=http_request_denied"}),
    (404, b"", {}),
    (418, b"", {}),
    (429, b"", {"Retry-After": "60"}),
    (503, b"", {"Retry-After": "3600"}),
    (500, b'{"code": 2}', {}),
)

_KEY: Final = ConnectionKey(
    "api.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)
_EXPIRED: Final = ssl.SSLCertVerificationError(1, "")
_EXPIRED.verify_message = "certificate has expired"

FAULTS_ON_THE_WAY: Final = (
    aiohttp.ClientConnectorCertificateError(_KEY, _EXPIRED),
    aiohttp.ClientConnectorCertificateError(_KEY, ValueError()),
    aiohttp.ClientConnectorSSLError(_KEY, OSError()),
    aiohttp.ClientConnectorDNSError(_KEY, OSError()),
    aiohttp.ClientConnectorError(_KEY, OSError(111, "")),
    aiohttp.ClientConnectorError(_KEY, OSError("several")),
    aiohttp.ClientResponseError(aiohttp.RequestInfo(URL(), "POST", CIMultiDictProxy(CIMultiDict())), ()),
    aiohttp.ServerDisconnectedError(),
)


@contextmanager
def no_telenor_proxy() -> Iterator[int]:
    """Let something else listen on a port of loopback: it greets one connection in its own way."""

    def greet(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet, args=(listening,))
        thread.start()
        yield listening.getsockname()[1]
        thread.join()
