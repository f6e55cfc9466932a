"""Which clients may call, and what their fields mean: host, web pages, key, expectations, ids."""

from typing import Any

import pytest

from proxy.clients.register import Register
from proxy.errors import Refused
from proxy.forward import policy
from proxy.problems import ProblemKind
from proxy.secret import Secret
from proxy.settings import ClientSettings
from tests.unit.made import settings

KEY = "correct-horse-battery"


def rules(**listen: object) -> policy.Rules:
    """Return the rules for these `listen` settings."""
    return policy.Rules.of(settings(listen=listen, upstream={"allowed_paths": ["/a/"]}))


DEFAULT = rules()
ANY_HOST = rules(allowed_hosts=["*"])
KEYED = Register(bytes(32), lambda: 0.0)
KEYED.follow([ClientSettings(keys=(Secret(KEY),))])
OPEN = Register(bytes(32), lambda: 0.0)


def judged(
    fields: bytes = b"",
    given: policy.Rules = DEFAULT,
    *,
    host: bytes = b"Host: localhost\r\n",
    line: bytes = b"POST /a/ HTTP/1.1",
    register: Register = OPEN,
) -> policy.Request:
    """Judge a request with these fields."""
    head = policy.parse(b"%b\r\n%b%b\r\n" % (line, host, fields), given)
    return policy.judge(head, given, register.identify(head.known.get(b"x-proxy-key", ())))


def refusal(fields: bytes = b"", **request: Any) -> ProblemKind:
    """Return the kind of refusal that such a request gets, with the arguments of `judged`."""
    with pytest.raises(Refused) as caught:
        judged(fields, **request)
    return caught.value.kind


# --- Host --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    (
        b"localhost localhost:8080 localhost:1 localhost:65535 localhost: LOCALHOST "
        b"LocalHost:8080 127.0.0.1 127.0.0.1:80 [::1] [::1]:8080"
    ).split(),
)
def test_an_allowed_host_passes_with_any_port(host: bytes) -> None:
    """The list names hosts."""
    assert judged(host=b"Host: %b\r\n" % host).target


@pytest.mark.parametrize(
    "host",
    (
        b"evil.example evil.example:8080 localhost. localhost.evil.example "
        b"evil.localhost 127.0.0.1.evil.example 127.1 127.0.0.2 2130706433 0.0.0.0 "
        b"[::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] api.telenor.no"
    ).split(),
)
def test_another_host_is_misdirected(host: bytes) -> None:
    """421, so a page whose name was pointed here (DNS rebinding) gets nothing."""
    assert refusal(host=b"Host: %b\r\n" % host) is ProblemKind.HOST_NOT_ALLOWED
    assert judged(given=ANY_HOST, host=b"Host: %b\r\n" % host).target


@pytest.mark.parametrize(
    "host",
    (
        b"Host:\r\n|Host: \r\n|Host: localhost, evil.example\r\n|"
        b"Host: localhost evil.example\r\n|Host: localhost:x\r\n|"
        b"Host: localhost:-1\r\n|Host: localhost:65536\r\n|Host: localhost:080808\r\n|"
        b"Host: localhost:80:80\r\n|Host: :8080\r\n|Host: localhost/a\r\n|"
        b"Host: a@localhost\r\n|Host: localhost@evil.example\r\n|Host: localhost?\r\n|"
        b"Host: localhost#a\r\n|Host: localhost\\a\r\n|Host: http://localhost\r\n|"
        b"Host: %6cocalhost\r\n|Host: ::1\r\n|Host: [::1\r\n|Host: [::1]x\r\n|"
        b'Host: [::1%25lo]\r\n|Host: [localhost]\r\n|Host: "localhost"\r\n|'
        b"Host: localhost;a\r\n|Host: l\xc3\xb8calhost\r\n|"
        b"Host: localhost\r\nHost: localhost\r\n|"
        b"Host: localhost\r\nhost: evil.example\r\n|"
        b"Host: evil.example\r\nHost: localhost\r\n|"
    ).split(b"|"),
)
def test_a_host_that_is_no_host_is_malformed(host: bytes) -> None:
    """Even where every host is allowed."""
    assert refusal(host=host) is ProblemKind.MALFORMED
    assert refusal(host=host, given=ANY_HOST) is ProblemKind.MALFORMED


def test_http_1_0_may_do_without_host() -> None:
    """If there is one, it is judged."""
    line = b"GET /a/ HTTP/1.0"
    assert judged(host=b"", line=line).target
    assert judged(line=line).target
    assert refusal(host=b"Host: evil.example\r\n", line=line) is ProblemKind.HOST_NOT_ALLOWED
    assert refusal(host=b"Host: a\r\nHost: a\r\n", line=line) is ProblemKind.MALFORMED


def test_the_listed_hosts_are_those_of_the_settings() -> None:
    """A star in `listen.allowed_hosts` lets every name in."""
    own = rules(allowed_hosts=["proxy.internal"])
    assert judged(given=own, host=b"Host: proxy.internal:1\r\n").target
    assert refusal(given=own) is ProblemKind.HOST_NOT_ALLOWED
    assert judged(given=rules(allowed_hosts=["proxy.internal", "*"]), host=b"Host: x\r\n").target


# --- web pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        b"Origin: https://evil.example\r\n",
        b"Origin: http://localhost:8080\r\n",
        b"Origin: null\r\n",
        b"origin:\r\n",
        b"Access-Control-Request-Method: POST\r\nOrigin: https://evil.example\r\n",
        b"Access-Control-Request-Method: POST\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Sec-Fetch-Site: same-site\r\n",
        b"Sec-Fetch-Site: same-origin\r\n",
        b"Sec-Fetch-Site: None\r\n",
        b"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
        b"Sec-Fetch-Site: none\r\nOrigin: null\r\n",
        b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        (
            b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
            b"Sec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n"
        ),
        b"Sec-Fetch-Mode: no-cors\r\n",
        b"Sec-Fetch-Mode: navigate\r\n",
        b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
        b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Mode: cors\r\n",
        b"Sec-Fetch-Dest: script\r\n",
    ],
)
def test_what_a_web_page_sends_is_refused(fields: bytes) -> None:
    """Preflights included, for every method and site."""
    for line in (
        b"POST /a/ HTTP/1.1",
        b"GET /a/ HTTP/1.1",
        b"OPTIONS /a/ HTTP/1.1",
        b"GET /a/ HTTP/1.0",
    ):
        assert refusal(fields, line=line) is ProblemKind.BROWSER


# --- client key --------------------------------------------------------------------------------


def test_with_the_key_a_client_passes() -> None:
    """Without a configured key none is required; a person who types an address passes, too."""
    assert judged(
        b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\n"
    ).target
    assert judged(b"X-Proxy-Key: %b\r\n" % KEY.encode(), register=KEYED).target
    assert judged(b"x-proxy-key:%b \r\n" % KEY.encode(), register=KEYED).target
    assert judged(b"X-Proxy-Key: anything\r\n", DEFAULT).target


def test_the_key_is_shown_by_no_refusal() -> None:
    """Neither the right one nor the given one."""
    with pytest.raises(Refused) as caught:
        judged(b"X-Proxy-Key: hunter2\r\n", register=KEYED)
    assert KEY not in caught.value.detail
    assert "hunter2" not in caught.value.detail


def test_without_the_key_nothing_is_learnt_about_paths() -> None:
    """The answer is the same for allowed, protected and ambiguous ones."""
    for target in (b"/a/", b"/b/", b"/oauth/v2/token", b"//x", b"/%2e", b"/%"):
        assert refusal(register=KEYED, line=b"GET %b HTTP/1.1" % target) is ProblemKind.CLIENT_KEY


# --- expectations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "version", "expects"),
    [
        (b"", b"1.1", False),
        (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"1.1", True),
        (b"Transfer-Encoding: chunked\r\nexpect: 100-Continue\r\n", b"1.1", True),
        (b"Expect: 100-continue\r\n", b"1.1", False),
        (b"Content-Length: 0\r\nExpect: 100-continue\r\n", b"1.1", False),
        (b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"1.0", False),
        (b"Content-Length: 5\r\nExpect: the-unexpected\r\n", b"1.0", False),
    ],
)
def test_a_client_may_wait_for_100_continue(
    fields: bytes, version: bytes, *, expects: bool
) -> None:
    """Only a client of HTTP/1.1 with content (RFC 9110 section 10.1.1)."""
    assert judged(fields, line=b"POST /a/ HTTP/" + version).expects is expects


@pytest.mark.parametrize(
    "expect",
    (
        b"Expect:\r\n|Expect: 200-ok\r\n|Expect: 100-continue, 100-continue\r\n|"
        b"Expect: 100-continue;a=b\r\n|"
        b"Expect: 100-continue\r\nExpect: 100-continue\r\n|Expect: 100 continue\r\n"
    ).split(b"|"),
)
def test_an_expectation_that_cannot_be_met_is_refused(expect: bytes) -> None:
    """417 unless it is exactly one 100-continue."""
    assert refusal(expect) is ProblemKind.EXPECTATION
    assert refusal(b"Content-Length: 5\r\n" + expect) is ProblemKind.EXPECTATION


# --- connections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "version", "keep_alive"),
    [
        (b"", b"1.1", True),
        (b"", b"1.0", False),
        (b"Connection: close\r\n", b"1.1", False),
        (b"Connection: keep-alive\r\n", b"1.0", True),
        (b"connection:Keep-Alive , X-A\r\n", b"1.0", True),
        (b"Connection: keep-alive, CLOSE\r\n", b"1.1", False),
        (b"Connection: keep-alive\r\nConnection: close\r\n", b"1.0", False),
        (b"Connection: closed\r\n", b"1.1", True),
        (b"Connection: Upgrade, HTTP2-Settings\r\n", b"1.1", True),
        (b"Connection:\r\n", b"1.1", True),
        (b"Proxy-Connection: close\r\n", b"1.1", True),
        (b"Proxy-Connection: keep-alive\r\n", b"1.0", False),
    ],
)
def test_whether_the_connection_goes_on(fields: bytes, version: bytes, *, keep_alive: bool) -> None:
    """HTTP/1.0 only on request; close wins (RFC 9112 section 9.3)."""
    request = judged(fields, line=b"GET /a/ HTTP/" + version)
    assert request.keep_alive is keep_alive


# --- request ids -------------------------------------------------------------------------------


def request_id(fields: bytes) -> bytes | None:
    """Return the id that a request with these fields keeps."""
    head = b"POST /a/ HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields
    return policy.request_id(policy.parse(head, DEFAULT))


def test_a_sane_request_id_is_kept() -> None:
    """Any other is replaced: an order is not refused for its id."""
    uuid = b"0f8fad5b-d9cb-469f-a165-70867728950e"
    for sane in (b"1", b"4711", b"req-1_2.3:4/5+6=7@8", uuid, b"a" * 128):
        assert request_id(b"X-Request-Id: %b\r\n" % sane) == sane
    for value in b'|a b|-a|a,b|"a"|<script>|a;b|a%0d%0ab|\xc3\xb8'.split(b"|"):
        assert request_id(b"X-Request-Id: %b\r\n" % value) is None
    for fields in (b"", b"X-Request-Id: a\r\n" * 2, b"X-Request-Id: %b\r\n" % (b"a" * 129)):
        assert request_id(fields) is None
