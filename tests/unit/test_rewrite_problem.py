"""The proxy's own answers: problem details (RFC 9457) and `Proxy-Status` (RFC 9209)."""

import json

import h11
import pytest

from proxy import errors
from proxy.errors import Failed, Problem, Refused
from proxy.forward import rewrite
from proxy.problems import ProblemKind

#: RFC 9209, section 2.3: all types that a proxy error may have.
PROXY_ERRORS = (
    "dns_timeout dns_error destination_not_found destination_unavailable "
    "destination_ip_prohibited destination_ip_unroutable connection_refused "
    "connection_terminated connection_timeout connection_read_timeout connection_write_timeout "
    "connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received "
    "http_request_error http_request_denied http_response_incomplete "
    "http_response_header_section_size http_response_header_size http_response_body_size "
    "http_response_trailer_section_size http_response_trailer_size "
    "http_response_transfer_coding http_response_content_coding http_response_timeout "
    "http_upgrade_failed http_protocol_error proxy_internal_response proxy_internal_error "
    "proxy_configuration_error proxy_loop_detected"
)


def read(answer: bytes, method: bytes = b"GET") -> tuple[h11.Response, dict[bytes, bytes], bytes]:
    """Read an answer with h11: the head, its fields, and all of its content."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(answer)
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    content = b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        content += event.data
    assert connection.trailing_data[0] == b""
    names = [name for name, _ in response.headers]
    assert len(names) == len(set(names))
    return response, dict(response.headers), content


@pytest.mark.parametrize("kind", ProblemKind, ids=lambda kind: f"{kind.type}-{kind.proxy_error}")
def test_every_kind_of_answer_is_whole_and_says_what_it_is(kind: ProblemKind) -> None:
    """Status, fields and problem details agree."""
    error = Refused(kind, "What happened, and what to do.")
    response, fields, content = read(rewrite.problem(error, b"id-1"))
    assert response.status_code == kind.status
    assert fields[b"content-type"] == b"application/problem+json"
    assert fields[b"cache-control"] == b"no-store"
    assert fields[b"proxy-status"] == b"telenor-proxy; error=" + kind.proxy_error.encode()
    assert kind.proxy_error in PROXY_ERRORS.split()
    assert fields[b"x-request-id"] == b"id-1"
    assert json.loads(content) == {
        "type": f"urn:telenor-proxy:problem:{kind.type}",
        "title": kind.title,
        "status": kind.status,
        "detail": "What happened, and what to do.",
        "instance": "id-1",
    }


@pytest.mark.parametrize("outcome", [errors.NOT_SENT, errors.UNKNOWN])
def test_a_failed_forward_says_whether_the_api_may_have_acted(outcome: errors.Outcome) -> None:
    """A refusal has no `outcome`."""
    error = Failed(ProblemKind.TERMINATED, "x", outcome=outcome)
    _, _, content = read(rewrite.problem(error, b"id-1"))
    assert json.loads(content)["outcome"] == outcome
    _, _, content = read(rewrite.problem(Refused(ProblemKind.MALFORMED, "x"), b"id-1"))
    assert "outcome" not in json.loads(content)


def test_retry_after_is_in_whole_seconds_and_never_too_early() -> None:
    """Rounded up, at least one second."""
    given = (None, 0, 0.2, 1, 1.1, 29.999, 30, 3600.5)
    fields = (None, b"1", b"1", b"1", b"2", b"30", b"30", b"3601")
    for seconds, field in zip(given, fields, strict=True):
        error = Failed(ProblemKind.NO_TOKEN, "x", outcome=errors.NOT_SENT, retry_after=seconds)
        assert read(rewrite.problem(error, b"id-1"))[1].get(b"retry-after") == field


def test_only_405_lists_the_methods() -> None:
    """`Allow` is required there (RFC 9110 section 15.5.6)."""
    for kind in ProblemKind:
        allow = read(rewrite.problem(Refused(kind, "x"), b"id-1"))[1].get(b"allow", b"")
        listed = {*b"GET HEAD POST PUT PATCH DELETE OPTIONS".split()}
        assert {*allow.replace(b",", b"").split()} == (listed if kind.status == 405 else set())


ANSWERS: list[Problem] = [
    Refused(ProblemKind.PATH_NOT_ALLOWED, "x"),
    Failed(ProblemKind.NO_TOKEN, "x", outcome=errors.NOT_SENT, retry_after=3),
]


@pytest.mark.parametrize("error", ANSWERS)
def test_head_gets_the_same_head_and_no_content(error: Problem) -> None:
    """RFC 9110 section 9.3.2."""
    to_get = rewrite.problem(error, b"id-1")
    to_head = rewrite.problem(error, b"id-1", method=b"HEAD")
    assert to_head == to_get[: to_get.index(b"\r\n\r\n") + 4]
    assert read(to_head, b"HEAD")[2] == b""


@pytest.mark.parametrize(
    ("minor", "keep_alive", "connection"),
    [(1, False, b"close"), (1, True, None), (0, False, b"close"), (0, True, b"keep-alive")],
)
@pytest.mark.parametrize("error", ANSWERS)
def test_the_connection_ends_by_default(
    error: Problem, minor: int, *, keep_alive: bool, connection: bytes | None
) -> None:
    """After a refusal it is uncertain where the next request begins."""
    answer = rewrite.problem(error, b"id-1", minor=minor, keep_alive=keep_alive)
    assert read(answer)[1].get(b"connection") == connection
    assert read(rewrite.problem(error, b"id-1"))[1][b"connection"] == b"close"


def test_words_of_any_language_are_json() -> None:
    """Quotes, line ends and letters beyond ASCII arrive as they are."""
    detail = 'Skift passordet i «Min Bedrift», "nå".\r\nX-Injected: 1'
    answer = rewrite.problem(Refused(ProblemKind.MALFORMED, detail), b"id-1")
    assert json.loads(read(answer)[2])["detail"] == detail
    assert b"\r\nX-Injected" not in answer


def test_a_failed_tunnel_names_the_next_hop() -> None:
    """And its status (RFC 9209 section 2.1); the outcome is `not_sent`."""
    error = Failed(ProblemKind.COMPANY_PROXY_LOGIN, "What happened.", outcome="not_sent")
    error.next_hop, error.received_status = "[2001:db8::1]:3128", 407
    _, fields, content = read(rewrite.problem(error, b"id-1"))
    assert fields[b"proxy-status"] == (
        b"telenor-proxy; error=destination_unavailable; "
        b'next-hop="[2001:db8::1]:3128"; received-status=407'
    )
    assert json.loads(content)["outcome"] == "not_sent"
