"""The steps that clients take, and the clients.

Each program in `clients/` is called with PLAN and ANSWERS. PLAN is a file with one step on each
line, its words separated by tabs:

    step  method  URL  file with the content, or -  how

`how` is `none` (no content), `length` (with Content-Length), `chunked` (without), `expect` (as
`length`, with `Expect: 100-continue`), and for curl also `head` and `upload`. The program writes
the content of each answer to ANSWERS/step and prints step, status and media type, separated by
tabs. It ends with a status other than 0 when it got no answer.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.e2e.process import ACCOUNTS, ORDER, ORDERS
from tests.interop.parts import PROGRAMS, SUBSCRIPTIONS

_CLIENTS: Final = Path(__file__).parent / "clients"
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


#: Connections of a client that keeps its own: each refusal ends one, and one of the two refusals is
#: not the last step.
_KEPT: Final = 2
#: Steps of clients that speak HTTP/1.1 in full.
_FULL: Final = frozenset({"chunked", "expect"})
_CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
_EXPECT: Final = b"Expect: 100-continue\r\n"
_HTTP10: Final = b" HTTP/1.0\r\n"


@dataclass(frozen=True, slots=True)
class Client:
    """A program of `clients/` and how it is called; by default it speaks HTTP/1.1 in full.

    runner: of PROGRAMS. also: steps beyond those that all take. connections: it opens at most so
    many; 0 is one for each request. says: what it must send. waits: it waits for `100 Continue`.
    """

    name: str
    runner: str
    file: str
    says: tuple[bytes, ...] = ()
    waits: bool = False
    also: frozenset[str] = _FULL
    connections: int = _KEPT
    options: tuple[str, ...] = ()

    @property
    def steps(self) -> list[Step]:
        """The steps that it takes, in order."""
        return [step for step in STEPS if step.name not in _NOT_FOR_ALL - self.also]

    async def run(self, plan: Path, answers: Path, place: Path) -> tuple[int | None, str, str]:
        """Run it, as `Program.run`."""
        words = (str(plan), str(answers), *self.options)
        return await PROGRAMS[self.runner].run(_CLIENTS / self.file, *words, place=place)


def _plain(
    name: str, runner: str, file: str, *says: bytes, kept: int = 0, options: tuple[str, ...] = ()
) -> Client:
    """Make a client that takes only the steps that all take."""
    return Client(name, runner, file, says, also=frozenset(), connections=kept, options=options)


_CURL_ALSO: Final = frozenset({"upload", "head"})
_SAYS: Final = (_CHUNKED, _EXPECT)
CURL: Final = Client(
    "curl", "curl", "curl.sh", (*_SAYS, b"User-Agent: curl/"), waits=True, also=_FULL | _CURL_ALSO
)
CLIENTS: Final = (
    CURL,
    replace(
        CURL,
        name="curl-http1.0",
        says=(_HTTP10,),
        waits=False,
        also=_CURL_ALSO,
        connections=0,
        options=("--http1.0",),
    ),
    _plain(
        "curl-http1.0-keep-alive",
        *("curl", "curl.sh", _HTTP10, b"Connection: keep-alive\r\n"),
        # Twice the API answers in chunks, and what HTTP/1.0 gets then ends with the connection.
        kept=_KEPT + 2,
        options=("--http1.0", "--header", "Connection: keep-alive"),
    ),
    _plain(
        "curl-compressed",
        *("curl", "curl.sh", b"Accept-Encoding: deflate, gzip"),
        kept=_KEPT,
        options=("--compressed",),
    ),
    _plain("wget", "wget", "wget.sh", b"User-Agent: Wget/"),
    Client("python-http.client", "python", "python_http_client.py", _SAYS),
    Client(
        "python-requests",
        *("requests", "python_requests.py", (*_SAYS, b"User-Agent: python-requests/")),
    ),
    Client("perl-http-tiny", "perl", "perl_http_tiny.pl", (*_SAYS, b"User-Agent: HTTP-Tiny/")),
    Client("perl-lwp", "lwp", "perl_lwp.pl", (*_SAYS, b"TE: deflate,gzip"), waits=True),
    Client(
        "java-url-connection",
        "java",
        "UrlConnection.java",
        (*_SAYS, b"User-Agent: Java/"),
        waits=True,
    ),
    Client(
        "java-http-client",
        *("java", "HttpClientH2c.java", (*_SAYS, b"Upgrade: h2c", b"HTTP2-Settings: ")),
        waits=True,
    ),
    Client("node-http", "node", "node_http.mjs", _SAYS, waits=True),
    Client(
        "php-curl",
        "php-curl",
        "php_curl.php",
        (*_SAYS, b"Accept-Encoding: deflate, gzip"),
        waits=True,
    ),
    Client(
        "node-fetch",
        *("node", "node_fetch.mjs", (_CHUNKED.lower(), b"sec-fetch-mode: cors")),
        also=frozenset({"chunked"}),
        # It keeps two, used in turns: when an answer has been read, its connection is not yet free
        # again.
        connections=2 * _KEPT,
    ),
    _plain(
        "php-streams",
        *("php", "php_streams.php", b" HTTP/1.1\r\n", b"Connection: close\r\n"),
        options=("1.1",),
    ),
    _plain("php-streams-http1.0", "php", "php_streams.php", _HTTP10, options=("1.0",)),
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
