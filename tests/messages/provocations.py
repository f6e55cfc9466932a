"""What has to go wrong so that each message is said: configurations, answers of the token endpoint, faults on the way to it."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy import faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Configuration(NamedTuple):
    """A configuration with a fault. yaml: SECRET stands for a secret, FOLDER for where the files are. environ: without the prefix."""

    yaml: str = ""
    environ: Mapping[str, str] = {}
    files: Mapping[str, bytes] = {}
    is_missing: bool = False
    has_credentials: bool = True


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
            "upstream: {allowed_paths: [a, /a/../b, /oauth/]}",
            "oauth: {token_path: token}",
            "oauth: {scope: 'a  b'}",
            'oauth: {client_id: "a:b"}',
            'oauth: {username: "a\\nb"}',
            "telemetry: {otlp_endpoint: collector}",
            "telemetry: {otlp_endpoint: 'http://user:SECRET@collector:4318'}",
            "telemetry: {otlp_endpoint: 'http://collector:4318/v1/traces'}",
            # Values that contradict each other.
            "listen: {unix_socket: a, host: b, port: 1}",
            "admin: {port: 8080}",
            "upstream: {url: 'http://api.example'}",
            "upstream: {url: 'http://127.0.0.1:8080'}",
            "upstream: {url: 'http://127.0.0.1:9090'}",
            "upstream: {allowed_paths: [/login/]}\noauth: {token_path: /login}",
        ),
    ),
    Configuration(environ={"LISTEN__PORT": "http"}),
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


def _distrust(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = code, "invalid CA certificate"
    return error


FAULTS_ON_THE_WAY: Final = (
    aiohttp.ClientConnectorCertificateError(_KEY, _distrust(10)),
    aiohttp.ClientConnectorSSLError(_KEY, ssl.SSLError(1, "")),
    aiohttp.ClientConnectorDNSError(_KEY, socket.gaierror(socket.EAI_NONAME, "")),
    aiohttp.ClientConnectorError(_KEY, OSError(111, "")),
    aiohttp.ClientConnectorError(_KEY, OSError("several")),
    aiohttp.ClientResponseError(aiohttp.RequestInfo(URL(), "POST", CIMultiDictProxy(CIMultiDict())), ()),
    aiohttp.ServerDisconnectedError(),
)


#: What the system says when no connection is made.
FAULTS_OF_THE_SYSTEM: Final[tuple[OSError, ...]] = (
    TimeoutError(),
    *map(_distrust, (10, 9, 20, 62, 79)),
    ssl.SSLError(1, ""),
    socket.gaierror(socket.EAI_AGAIN, ""),
    socket.gaierror(socket.EAI_NONAME, ""),
    ConnectionRefusedError(errno.ECONNREFUSED, ""),
    ConnectionResetError(errno.ECONNRESET, ""),
    OSError(errno.EMFILE, ""),
    OSError(errno.EHOSTUNREACH, ""),
    OSError("several"),
)
_HOP: Final = "proxy.example:3128"
#: What the company's proxy says, or what happens on the way to it.
FAULTS_OF_THE_PROXY: Final[tuple[OSError, ...]] = (
    *(faults.to_company_proxy(error, _HOP) for error in FAULTS_OF_THE_SYSTEM),
    faults.no_tunnel(407, _HOP, has_login=False, takes_basic=True),
    faults.no_tunnel(407, _HOP, has_login=True, takes_basic=True),
    faults.no_tunnel(407, _HOP, has_login=False, takes_basic=False),
    *(faults.no_tunnel(status, _HOP, has_login=False, takes_basic=False) for status in (403, 502, 405)),
    faults.unreadable("it is not HTTP", _HOP),
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
