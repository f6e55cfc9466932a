"""The steps that clients take, and the clients.

Each program in `clients/` is called with PLAN and ANSWERS. PLAN is a file with one step on each
line, its words separated by tabs:

    step  method  URL  file with the content, or -  how

`how` is `none` (no content), `length` (with Content-Length), `chunked` (without), `expect` (as
`length`, with `Expect: 100-continue`), and for curl also `head` and `upload`. The program writes
the content of each answer to ANSWERS/step and prints step, status and media type, separated by
tabs. It ends with a status other than 0 when it got no answer.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.e2e.process import ACCOUNTS, ORDER, ORDERS
from tests.interop.parts import SUBSCRIPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAMS: Final = Path(__file__).parent / "clients"
#: `limits.max_body_bytes` of the proxy under test. Contents on both sides of it are far larger than
#: what fits into the buffers of a socket.
MAX_BODY_BYTES: Final = 4_000_000


def _order(size: int) -> bytes:
    """Make an order of this many bytes, no two parts of it alike."""
    numbers = " ".join(map(str, range(size // 4)))
    frame = len(json.dumps({**ORDER, "comment": ""}))
    return json.dumps({**ORDER, "comment": numbers[: size - frame]}).encode()


CONTENTS: Final = {
    "order": json.dumps(ORDER).encode(),
    "large": _order(3_000_000),
    "too_large": _order(5_000_000),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One request and its status. ours: the proxy answers. content: a name of CONTENTS."""

    name: str
    method: str
    path: str
    content: str = ""
    how: str = "none"
    status: int = 200
    ours: bool = False


STEPS: Final = (
    Step("order", "POST", ORDERS, "order", "length", 201),
    Step("list", "GET", ACCOUNTS),
    Step("large", "POST", ORDERS, "large", "length", 201),
    Step("chunked", "POST", ORDERS, "large", "chunked", 201),
    Step("expect", "POST", ORDERS, "order", "expect", 201),
    Step("upload", "PUT", f"{ACCOUNTS}/90000001", "large", "upload"),
    Step("head", "HEAD", SUBSCRIPTIONS, how="head", status=404),
    Step("error", "GET", "/corporate-accounts/v2/nothing", status=404),
    Step("again", "GET", f"{SUBSCRIPTIONS}/4799885577"),
    Step("refused", "GET", "/oauth/v2/logout", status=403, ours=True),
    Step("after", "GET", f"{SUBSCRIPTIONS}/4799885577"),
    Step("too_large", "POST", ORDERS, "too_large", "length", 413, ours=True),
)
_NOT_FOR_ALL: Final = {"chunked", "expect", "upload", "head"}


@dataclass(frozen=True, slots=True)
class Client:
    """A program of `clients/` and how it is called.

    probe, package: succeeds where the program runs; the Debian package to install if not. also:
    steps beyond those that all take. connections: it opens at most so many; 0 is one for each
    request. says: what it must send. waits: it waits for `100 Continue`.
    """

    name: str
    command: tuple[str, ...]
    probe: tuple[str, ...]
    package: str
    also: frozenset[str] = frozenset()
    connections: int = 0
    says: tuple[bytes, ...] = ()
    waits: bool = False
    options: tuple[str, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """The steps that it takes, in order."""
        return [step for step in STEPS if step.name not in _NOT_FOR_ALL - self.also]

    def call(self, plan: Path, answers: Path) -> list[str]:
        """Return the words that start it."""
        *launcher, program = self.command
        return [*launcher, str(_PROGRAMS / program), str(plan), str(answers), *self.options]


#: Connections of a client that keeps its own: each refusal ends one, and one of the two refusals is
#: not the last step.
_KEPT: Final = 2
#: Steps of clients that speak HTTP/1.1 in full.
_FULL: Final = frozenset({"chunked", "expect"})
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_EXPECT: Final = b"Expect: 100-continue\r\n"
_HTTP10: Final = b" HTTP/1.0\r\n"

_CURL: Final = ("bash", "curl.sh"), ("curl", "--version"), "curl"
_JAVA: Final = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # it starts faster so
_JDK: Final = ("javac", "--version"), "default-jdk-headless"
_NODE: Final = ("node", "--eval", "fetch"), "nodejs"
_PHP_STREAMS: Final = ("php", "php_streams.php"), ("php", "--version"), "php-cli"


def _full(
    name: str,
    command: tuple[str, ...],
    needs: tuple[tuple[str, ...], str],
    *says: bytes,
    waits: bool = False,
) -> Client:
    """Make a client that speaks HTTP/1.1 in full, and keeps its connection."""
    says = (_CHUNKED, _EXPECT, *says)
    return Client(name, command, *needs, _FULL, _KEPT, says, waits)


CURL: Final = Client(
    "curl",
    *_CURL,
    also=_FULL | {"upload", "head"},
    connections=_KEPT,
    says=(_CHUNKED, _EXPECT, b"User-Agent: curl/"),
    waits=True,
)
CLIENTS: Final = (
    CURL,
    Client(
        "curl-http1.0",
        *_CURL,
        also=frozenset({"upload", "head"}),
        says=(_HTTP10,),
        options=("--http1.0",),
    ),
    Client(
        "curl-http1.0-keep-alive",
        *_CURL,
        # Twice the API answers in chunks, and what HTTP/1.0 gets then ends with the connection.
        connections=_KEPT + 2,
        says=(_HTTP10, b"Connection: keep-alive\r\n"),
        options=("--http1.0", "--header", "Connection: keep-alive"),
    ),
    Client(
        "curl-compressed",
        *_CURL,
        connections=_KEPT,
        says=(b"Accept-Encoding: deflate, gzip",),
        options=("--compressed",),
    ),
    Client(
        "wget", ("bash", "wget.sh"), ("wget", "--version"), "wget", says=(b"User-Agent: Wget/",)
    ),
    _full(
        "python-http.client",
        (sys.executable, "python_http_client.py"),
        ((sys.executable, "--version"), "python3"),
    ),
    _full(
        "python-requests",
        (sys.executable, "python_requests.py"),
        ((sys.executable, "-c", "import requests"), "python3-requests"),
        b"User-Agent: python-requests/",
    ),
    _full(
        "perl-http-tiny",
        ("perl", "perl_http_tiny.pl"),
        (("perl", "-MHTTP::Tiny", "-e1"), "perl"),
        b"User-Agent: HTTP-Tiny/",
    ),
    _full(
        "perl-lwp",
        ("perl", "perl_lwp.pl"),
        (("perl", "-MLWP::UserAgent", "-e1"), "libwww-perl"),
        b"TE: deflate,gzip",
        waits=True,
    ),
    _full(
        "java-url-connection",
        (*_JAVA, "UrlConnection.java"),
        _JDK,
        b"User-Agent: Java/",
        waits=True,
    ),
    _full(
        "java-http-client",
        (*_JAVA, "HttpClientH2c.java"),
        _JDK,
        *(b"Upgrade: h2c", b"HTTP2-Settings: "),
        waits=True,
    ),
    _full("node-http", ("node", "node_http.mjs"), _NODE, waits=True),
    _full(
        "php-curl",
        ("php", "php_curl.php"),
        (("php", "--re", "curl"), "php-curl"),
        b"Accept-Encoding: deflate, gzip",
        waits=True,
    ),
    Client(
        "node-fetch",
        ("node", "node_fetch.mjs"),
        *_NODE,
        also=frozenset({"chunked"}),
        # It keeps two, used in turns: when an answer has been read, its connection is not yet free
        # again.
        connections=2 * _KEPT,
        says=(_CHUNKED.lower(), b"sec-fetch-mode: cors"),
    ),
    Client(
        "php-streams",
        *_PHP_STREAMS,
        says=(b" HTTP/1.1\r\n", b"Connection: close\r\n"),
        options=("1.1",),
    ),
    Client("php-streams-http1.0", *_PHP_STREAMS, says=(_HTTP10,), options=("1.0",)),
)


def plan(steps: Iterable[Step], url: str, directory: Path) -> Path:
    """Write the plan and its contents into the directory; return the plan's path."""
    for name, content in CONTENTS.items():
        (directory / name).write_bytes(content)
    path = directory / "plan"
    lines = [
        "\t".join(
            (
                step.name,
                step.method,
                f"{url}{step.path}",
                str(directory / step.content) if step.content else "-",
                step.how,
            )
        )
        for step in steps
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
